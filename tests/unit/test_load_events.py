"""Chunks of Debezium's messages in the batcher: rows, requests to read again, dead letters, and what is left out."""

from __future__ import annotations

import pytest

from casscade.core.errors import InvariantError
from casscade.core.position import Position
from casscade.debezium.message import DEBEZIUM, ConnectMessage, pack
from casscade.load.batcher import Batcher
from casscade.load.doubts import doubts_of
from casscade.transport.chunk import Chunk
from tests.support.debezium import ORDERS, decoder, event

ID = "11111111-1111-1111-1111-111111111111"
SHAPE = ORDERS.shape(replicated=True)


class Refresh:
    """Counts how often the schema was asked for again; it is new once."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def __call__(self, table_id: bytes) -> bool:
        self.asked.append(table_id)
        return len(self.asked) == 1


def batcher(refresh: Refresh | None = None) -> Batcher:
    return Batcher(lambda: {SHAPE.id: SHAPE}, refresh or Refresh(), batch_rows=100, batch_s=1.0, events=decoder())


def chunk(*messages: bytes) -> Chunk:
    return Chunk(
        "cdc.shop.orders/0", DEBEZIUM, Position(0, len(messages)), 0.0, list(messages), list(range(len(messages)))
    )


@pytest.mark.requirement("FR-002")
def test_events_become_rows_and_requests() -> None:
    filled = batcher()
    filled.add(
        chunk(event(id=ID, line=1, qty=5, tags=["a"]), event(id=ID, line=1, tags=[]), event(id=ID, line=2, qty=6))
    )
    batch = filled.take()
    assert filled.counts == {"decoded": 3}
    assert len(batch.fold.tables[SHAPE.id].rows) == 2
    ((table_id, doubts),) = doubts_of(batch.rereads).items()
    assert table_id == SHAPE.id
    assert [(doubt.clustering, doubt.columns) for doubt in doubts] == [
        ([b"\x00\x00\x00\x01"], {SHAPE.columns[b"tags"].index})
    ]
    assert batch.write_times == [1_700_000_000_000_000] * 2


def test_what_cannot_be_read_becomes_a_dead_letter_with_the_original() -> None:
    filled = batcher()
    messages = [pack(ConnectMessage("cdc.shop.orders", b"{}", b"\x00Avro")), event(id=ID, line="x")]
    filled.add(chunk(*messages, event(id=ID, line=3, qty=1)))
    letters = filled.take().dead_letters
    assert [(letter.code, letter.encoding, letter.mutation) for letter in letters] == [
        ("debezium_json", DEBEZIUM, messages[0]),
        ("debezium_value", DEBEZIUM, messages[1]),
    ]
    assert filled.counts == {"decoded": 1, "debezium_json": 1, "debezium_value": 1}
    assert ID not in "".join(letter.message for letter in letters)
    assert [(letter.source_name, letter.schema_version) for letter in letters] == [
        ("shop.orders", f"{SHAPE.id.hex()[:8]}:4")
    ] * 2


def test_an_unknown_column_asks_for_the_schema_until_it_is_the_newest() -> None:
    refresh = Refresh()
    filled = batcher(refresh)
    filled.add(chunk(event(id=ID, line=1, later=7)))
    assert refresh.asked == [SHAPE.id] * 2
    assert [letter.code for letter in filled.take().dead_letters] == ["schema_unknown"]


def test_what_is_left_out_is_counted_by_its_reason() -> None:
    filled = batcher()
    snapshot = event(id=ID, line=1, qty=1).replace(b'"ts_us"', b'"snapshot": "last", "ts_us"')
    other = event(id=ID).replace(b'"table": "orders"', b'"table": "others"')
    marker = pack(ConnectMessage("cdc.shop.orders", b"{}", None))
    wrapped = pack(ConnectMessage("cdc.shop.orders", b"{}", b'{"schema": null, "payload": null}'))
    messages = [_repacked(snapshot), _repacked(other), marker, wrapped]
    filled.add(chunk(*messages))
    assert filled.counts == {
        "decoded": 0,
        "debezium_snapshot": 1,
        "debezium_not_replicated": 1,
        "debezium_marker": 2,
    }
    batch = filled.take()
    assert (batch.fold.tables, batch.rereads, batch.dead_letters) == ({}, [], [])


def _repacked(changed: bytes) -> bytes:
    """The message again, after its value was changed in place."""
    start = changed.index(b'{"op"')
    return pack(ConnectMessage("cdc.shop.orders", b"{}", changed[start:]))


def test_a_pipeline_of_another_format_refuses() -> None:
    filled = Batcher(dict, Refresh(), batch_rows=100, batch_s=1.0)
    with pytest.raises(InvariantError, match="another format"):
        filled.add(chunk(event(id=ID, line=1)))
