"""What comes over the wire without a server: raw rows, the time that is told, what the driver keeps."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from casscade.core.errors import ConfigurationError
from casscade.snapshot.page import split_rows
from casscade.snapshot.wire import RawSession


def test_raw_rows_are_split_by_length() -> None:
    data = bytes.fromhex("00000001 61 ffffffff 00000000 00000002 6263")
    assert split_rows(data, 2, 2) == [[b"a", None], [b"", b"bc"]]


def test_a_partitioner_without_numeric_tokens_is_refused() -> None:
    cluster = SimpleNamespace(metadata=SimpleNamespace(partitioner="org.apache.cassandra.dht.ByteOrderedPartitioner"))
    with pytest.raises(ConfigurationError) as caught:
        RawSession(cluster)
    assert caught.value.code == "partitioner_unsupported"


def test_the_driver_does_not_keep_the_bytes_of_a_page() -> None:
    result = SimpleNamespace(
        current_rows=[(b"bytes", 3, 2)], paging_state=b"next", response_future=SimpleNamespace(message=None)
    )
    session = SimpleNamespace(
        execute=lambda *_arguments, **_options: result,
        execution_profile_clone_update=lambda _profile, **changes: changes,
    )
    metadata = SimpleNamespace(partitioner="org.apache.cassandra.dht.Murmur3Partitioner")
    cluster = SimpleNamespace(metadata=metadata, connect=lambda: session, protocol_version=4)
    statement = SimpleNamespace(bind=lambda _bounds: SimpleNamespace())
    page = RawSession(cluster, lambda: 7.5).fetch(statement, (0, 1), 1000, None)
    assert (page.data, page.count, page.columns, page.paging_state) == (b"bytes", 3, 2, b"next")
    assert (page.now, page.read_at) == (7, 7_500_000)
    assert result.current_rows == []
