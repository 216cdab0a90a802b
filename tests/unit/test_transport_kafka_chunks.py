"""Messages of the pipeline's topic: what is none of ours is set aside with its place, and moved keys are noticed."""

from __future__ import annotations

import json
import threading
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casscade.commitlog.observations import OBSERVING
from casscade.core.errors import BadDataError, ConfigurationError
from casscade.core.limits import KAFKA_MESSAGE_BYTES_MAX
from casscade.core.notice import GAP, Notice
from casscade.core.position import START, Position
from casscade.debezium.message import DEBEZIUM
from casscade.load.batcher import Batcher
from casscade.transport.chunk import Chunk
from casscade.transport.envelope import SNAPSHOT_HOST, seal, seal_notice
from casscade.transport.kafka.chunks import LETTER_HEADER, Run, add_message, place_of
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.outlet import KafkaOutlet

HOST = uuid.UUID(int=7).bytes
PARTITIONS = 4
KEY = b"key 3"
HOME = place_of(KEY, PARTITIONS)
# As much of a mutation as the transport looks at: one update, a table id, the partition key.
MUTATION = b"\x01" + bytes(range(16)) + bytes((len(KEY),)) + KEY + b"rest"
SEALED = seal(8, HOST, Position(7, 42), 1, MUTATION)


class Received:
    """What add_message asks of a message of the client."""

    def __init__(self, value: bytes | None, key: bytes | None = KEY, partition: int = HOME, offset: int = 5) -> None:
        self._value, self._key, self._partition, self._offset = value, key, partition, offset

    def value(self) -> bytes | None:
        return self._value

    def key(self) -> bytes | None:
        return self._key

    def headers(self) -> None:
        return None

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset


class Replayed(Received):
    """A replayed dead letter."""

    def headers(self) -> list[tuple[str, bytes]]:  # type: ignore[override]
        return [(LETTER_HEADER, b"3")]


def chunks_of(*messages: Received, partitions: int = PARTITIONS) -> list[Chunk]:
    """The chunks of messages of one partition; the same with and without what a source remembers of envelopes."""
    found: list[dict[Run, Chunk]] = []
    heads: dict[bytes, Chunk]
    for heads in ({}, None):  # type: ignore[assignment]
        chunks: dict[Run, Chunk] = {}
        for message in messages:
            add_message(chunks, message, "shop/3", START, own=True, partitions=partitions, heads=heads)  # type: ignore[arg-type]
        found.append(chunks)
    plain = [
        {name: getattr(chunk, name) for name in Chunk.__slots__ if name not in ("captured_at", "refused")}
        for chunks in found
        for chunk in chunks.values()
    ]
    assert plain[: len(plain) // 2] == plain[len(plain) // 2 :]
    refusals = [
        [(event, value, error.code) for event, value, error in chunk.refused]
        for chunks in found
        for chunk in chunks.values()
    ]
    assert refusals[: len(refusals) // 2] == refusals[len(refusals) // 2 :]
    return list(found[0].values())


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("plain", "traced", "notice", "letter", "damaged", "foreign")),
            st.sampled_from((6, 8, OBSERVING)),
            st.sampled_from((HOST, SNAPSHOT_HOST)),
            st.integers(1, 2),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_what_is_remembered_of_envelopes_changes_no_chunk(told: list[tuple[str, int, bytes, int, bool]]) -> None:
    messages: list[Received] = []
    for place, (kind, encoding, host, segment, home) in enumerate(told):
        trace = "00-trace" if kind == "traced" else ""
        value = seal(encoding, host, Position(segment, 40 + place), place, MUTATION + bytes((place,)), trace)
        if kind == "notice":
            value = seal_notice(
                Notice(GAP, str(uuid.UUID(bytes=HOST)), str(place), "a", Position(segment, 9)), host, place
            )
        if kind == "damaged":
            value = value[:35]
        if kind == "foreign":
            value = b"foreign" + value
        kept = Replayed if kind == "letter" else Received
        messages.append(kept(value, partition=HOME if home else HOME ^ 1, offset=place))
    chunks = chunks_of(*messages)
    good = sum(kind in ("plain", "traced", "letter") for kind, *_ in told)
    assert sum(len(chunk.mutations) for chunk in chunks) == good
    assert sum(chunk.misplaced for chunk in chunks) == sum(
        kind in ("plain", "traced", "letter") and not home for kind, *_, home in told
    )


@pytest.mark.requirement("FR-022")
@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"foreign", "envelope_foreign"),
        (json.dumps({"before": None, "after": {"id": 1}, "op": "c"}).encode(), "envelope_foreign"),
        (b"", "envelope_foreign"),
        (None, "envelope_foreign"),
        (SEALED[:2] + b"\x03" + SEALED[3:], "envelope_newer"),
        (SEALED[:2] + b"\x02" + SEALED[3:], "notice_damaged"),
        (SEALED[:20], "envelope_damaged"),
        (seal(DEBEZIUM, HOST, START, 0, MUTATION), "envelope_encoding"),
        (seal(0, HOST, START, 0, MUTATION), "envelope_encoding"),
        (seal(9, HOST, START, 0, MUTATION), "envelope_encoding"),
    ],
)
def test_what_is_no_mutation_of_ours_is_set_aside_with_its_place(value: bytes | None, code: str) -> None:
    good, refused = chunks_of(Received(SEALED), Received(value, offset=6))
    assert good.mutations == [MUTATION]
    ((event, kept, error),) = refused.refused
    assert (event, kept, error.code) == ("shop/3:6", value or b"", code)
    assert isinstance(error, BadDataError)
    assert refused.mutations == []


@pytest.mark.parametrize("encoding", [6, 7, 8, OBSERVING])
def test_what_agents_and_loaders_send_is_taken(encoding: int) -> None:
    (chunk,) = chunks_of(Received(seal(encoding, HOST, START, 0, MUTATION)))
    assert (chunk.version, chunk.mutations, chunk.refused) == (encoding, [MUTATION], [])


@pytest.mark.requirement("FR-023")
def test_a_notice_is_taken_whatever_wrote_the_log_and_wherever_it_lies() -> None:
    for version in (0, 8):
        notice = Notice(GAP, str(uuid.UUID(bytes=HOST)), "a:1", "a", Position(7, 1), "lost", version=version)
        told = Received(seal_notice(notice, HOST, 1), key=HOST, partition=HOME ^ 1)
        chunks = chunks_of(told, Received(SEALED))
        assert [notice for chunk in chunks for notice in chunk.notices] == [notice]
        assert [mutation for chunk in chunks for mutation in chunk.mutations] == [MUTATION]
        assert sum(len(chunk.refused) + chunk.misplaced for chunk in chunks) == 0


@pytest.mark.requirement("FR-043")
def test_a_key_that_moved_is_noticed() -> None:
    (chunk,) = chunks_of(Received(SEALED), Received(SEALED, partition=HOME + 4), Received(SEALED, key=b"another key"))
    assert place_of(b"another key", PARTITIONS) != HOME
    assert (len(chunk.mutations), chunk.misplaced) == (3, 2)


@pytest.mark.parametrize(("partition", "misplaced"), [(HOME, 0), (HOME ^ 1, 1)])
def test_a_message_without_key_is_judged_by_its_mutation(partition: int, misplaced: int) -> None:
    (chunk,) = chunks_of(Received(SEALED, key=None, partition=partition))
    assert (chunk.mutations, chunk.misplaced) == ([MUTATION], misplaced)


def test_a_damaged_mutation_without_key_belongs_where_agents_send_it() -> None:
    damaged = seal(8, HOST, START, 0, b"\x01")
    (chunk,) = chunks_of(Received(damaged, key=None, partition=place_of(b"", PARTITIONS)))
    assert (chunk.mutations, chunk.misplaced) == ([b"\x01"], 0)


def test_a_batch_with_a_moved_key_keeps_other_writers_out() -> None:
    batcher = Batcher(dict, lambda _: False, batch_rows=100, batch_s=1.0)
    sound = Chunk("shop/3", 8, Position(0, 1), 0.0)
    moved = Chunk("shop/3", 8, Position(0, 2), 0.0, misplaced=3)
    batcher.add(sound)
    assert not batcher.take().alone
    for chunk in (moved, sound):
        batcher.add(chunk)
    assert batcher.take().alone
    batcher.add(sound)
    assert not batcher.take().alone
    assert batcher.misplaced == 3


def test_a_mutation_that_no_message_holds_is_named() -> None:
    outlet = KafkaOutlet(KafkaSettings(("127.0.0.1:1",), "t", "g"))
    large = Chunk(str(uuid.UUID(int=7)), 8, Position(3, 9), 1.0, [MUTATION + bytes(KAFKA_MESSAGE_BYTES_MAX)], [9])
    with pytest.raises(ConfigurationError, match="a mutation needs a message of") as refused:
        outlet.put(large, threading.Event())
    outlet.close(0.0)
    assert refused.value.code == "kafka_message_size"
    assert "segment 3, offset 9" in refused.value.where
    assert "max_mutation_size" in refused.value.hint
