"""Names, headers and indexes of segments."""

from __future__ import annotations

import struct

import pytest

from casscade.commitlog.segment import (
    CdcIndex,
    header_checksum,
    index_name,
    parse_cdc_index,
    parse_header,
    parse_segment_name,
    segment_name,
)
from casscade.commitlog.writer import encode_header
from casscade.core.errors import ConfigurationError, CorruptionError

ID = 1795425809903
NAME = f"CommitLog-8-{ID}.log"


def header(parameters: bytes, version: int = 8, segment_id: int = ID) -> bytes:
    checksum = header_checksum(version, segment_id, parameters)
    return struct.pack(">iqH", version, segment_id, len(parameters)) + parameters + struct.pack(">I", checksum)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CommitLog-7-1795425912884.log", (7, 1795425912884)),
        ("CommitLog-8-1.log", (8, 1)),
        ("CommitLog-1795425912884.log", None),
        ("CommitLog-7-1795425912884_cdc.idx", None),
        ("CommitLog-7-1795425912884.log.bak", None),
        ("CommitLog-7-1795425912884.log\n", None),
        ("CommitLog-7--1.log", None),
        ("CommitLog-٧-1.log", None),
        ("", None),
    ],
)
def test_segment_names(name: str, expected: tuple[int, int] | None) -> None:
    assert parse_segment_name(name) == expected
    if expected is not None:
        assert segment_name(*expected) == name
        assert index_name(*expected) == name.replace(".log", "_cdc.idx")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"184987", CdcIndex(184987, False)),
        (b"184987\nCOMPLETED", CdcIndex(184987, True)),
        (b"0", CdcIndex(0, False)),
        (b"", None),
        (b"184987\n", None),
        (b"184987\nCOMPL", None),
        (b"-1", None),
        (b"1 ", None),
        (b"99999999999999999999", None),
    ],
)
def test_an_index_that_is_being_rewritten_says_nothing(data: bytes, expected: CdcIndex | None) -> None:
    assert parse_cdc_index(data) == expected


def test_a_header_as_cassandra_writes_it() -> None:
    data = bytes.fromhex("00000008000001a207b7b5ef00027b7db2daa5f4")
    assert data == header(b"{}") == encode_header(ID, 8)
    found = parse_header(data + b"rest", NAME)
    assert found is not None
    assert (found.version, found.id, found.length, found.compression) == (8, ID, 20, "")


@pytest.mark.parametrize(
    "parameters",
    [
        b'{"compressionClass":"LZ4Compressor","compressionParameters":null}',
        b'{"compressionClass":"org.apache.cassandra.io.compress.LZ4Compressor","compressionParameters":{"a":"b"}}',
    ],
)
def test_the_compressor_is_known_by_its_simple_name(parameters: bytes) -> None:
    found = parse_header(header(parameters), NAME)
    assert found is not None
    assert (found.compression, found.length) == ("LZ4Compressor", 18 + len(parameters))


def test_a_header_that_is_not_written_yet_is_not_damaged() -> None:
    data = header(b"{}")
    assert all(parse_header(data[:cut], NAME) is None for cut in range(len(data)))
    assert parse_header(bytes(1 << 16), NAME) is None


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        (header(b"{}")[:-1] + b"\x00", NAME, "segment_corrupt"),
        (header(b"{}"), "CommitLog-8-7.log", "segment_corrupt"),
        (header(b"{}"), f"CommitLog-7-{ID}.log", "segment_corrupt"),
        (header(b"{}", segment_id=-5), NAME, "segment_corrupt"),
        (header(b"[]"), NAME, "segment_corrupt"),
        (header(b"{"), NAME, "segment_corrupt"),
        (header(b"\xff\xff"), NAME, "segment_corrupt"),
        (header(b"[" * 60000), NAME, "segment_corrupt"),
    ],
)
@pytest.mark.requirement("FR-022")
def test_a_damaged_header_is_refused(data: bytes, name: str, code: str) -> None:
    with pytest.raises(CorruptionError) as caught:
        parse_header(data, name)
    assert caught.value.code == code
    assert caught.value.where == name


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        (header(b"{}", 9), f"CommitLog-9-{ID}.log", "segment_version"),
        (header(b"{}", 5), f"CommitLog-5-{ID}.log", "segment_version"),
        (header(b'{"encCipher":"AES/CBC/PKCS5Padding","encIV":"00","encKeyAlias":"k"}'), NAME, "segment_encrypted"),
        (header(b'{"compressionClass":"com.example.MyCompressor"}'), NAME, "segment_compression"),
    ],
)
def test_what_casscade_cannot_read_is_said_clearly(data: bytes, name: str, code: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_header(data, name)
    assert caught.value.code == code
    assert caught.value.where == name
    assert caught.value.now
    assert caught.value.hint
