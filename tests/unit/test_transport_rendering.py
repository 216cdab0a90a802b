"""What `casscade tail` shows of a message: everything it does, and nothing that a row holds unless it is asked for."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Callable
from typing import Any, Final

import pytest

from casscade.commitlog.encoder import clustering_key, encode_mutation
from casscade.commitlog.observations import OBSERVING, encode_observing
from casscade.core.cell import counter_cell, expiring_cell, live_cell, tombstone_cell
from casscade.core.errors import RetryableError
from casscade.core.mutation import (
    EXCL_END_BOUND,
    INCL_START_BOUND,
    Bound,
    ComplexColumn,
    PartitionUpdate,
    RangeTombstone,
    Row,
)
from casscade.core.notice import GAP, Notice
from casscade.core.observed import SETTLED
from casscade.core.position import Position
from casscade.cql.types import parse_type
from casscade.cql.values import encode
from casscade.debezium.message import unpack
from casscade.schema.model import SchemaSnapshot, Table
from casscade.transport.envelope import SNAPSHOT_HOST, seal, seal_notice
from casscade.transport.rendering.masking import digest, moment, plain_value
from casscade.transport.rendering.message import MessageRenderer, to_line
from casscade.transport.rendering.tables import REFRESH_PAUSE_S, KnownTables
from casscade.transport.topic_message import TopicMessage
from tests.support.debezium import make_table, samples

HOST: Final = uuid.UUID(int=7)
TIME: Final = 1_790_000_000_123_456
PARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET: Final = "s3cretvalue"
ROWS: Final = make_table(
    "rows",
    "id p text; line c int; sku r text; price r decimal; tags r set<text>; prefs r map<text, int>; log r list<text>; "
    "home r addr; note s text",
)
HITS: Final = make_table("hits", "id p text; n r counter")


def columns(table: Table) -> dict[str, int]:
    return {column.name: column.index for column in table.columns}


def value(cql: str, python: Any) -> bytes:
    return encode(parse_type(cql, "shop", {}), python)


def row(line: int) -> Row:
    clustering: list[bytes | None] = [line.to_bytes(4, "big")]
    return Row(clustering_key(clustering, [4]), clustering)


def update(table: Table = ROWS, key: str = SECRET) -> PartitionUpdate:
    return PartitionUpdate(table.shape(replicated=True), key.encode())


def message(body: bytes, encoding: int = 8, traceparent: str = "", host: bytes = HOST.bytes) -> TopicMessage:
    sealed = seal(encoding, host, Position(5, 77), TIME, body, traceparent)
    return TopicMessage("shop.mutations", 3, 42, 1_790_000_000_200, SECRET.encode(), sealed)


def tables(*known: Table, values: bool = False) -> KnownTables:
    snapshot = SchemaSnapshot({}, {table.id: table for table in known}, {})
    return KnownTables(lambda: snapshot, lambda: 0.0, values=values)


def shown(written: PartitionUpdate, table: Table = ROWS, *, values: bool = False) -> Any:
    renderer = MessageRenderer(tables(table, values=values), values=values)
    rendered = renderer.render(message(encode_mutation([written], 8)), debezium=False)
    text = to_line(rendered)
    assert values or SECRET not in text
    assert "error" not in rendered
    (one,) = json.loads(text)["updates"]
    return one


def everything() -> PartitionUpdate:
    """An update with every kind of operation, whose key and values are all one secret text."""
    number = columns(ROWS)
    written = update()
    written.deletion = 1
    start, end = Bound(INCL_START_BOUND, [(5).to_bytes(4, "big")]), Bound(EXCL_END_BOUND, [])
    written.range_tombstones.append(RangeTombstone(start, end, 2))
    written.static_row = Row(b"", [])
    written.static_row.cells[number["note"]] = live_cell(3, SECRET.encode())
    full = row(1)
    full.liveness_ts, full.liveness_ttl, full.liveness_expires_at = 4, 60, 1_790_000_060
    full.cells = {
        number["sku"]: expiring_cell(4, 1_790_000_060, 60, SECRET.encode()),
        number["price"]: tombstone_cell(5),
    }
    secret = live_cell(6, SECRET.encode())
    full.complex = {
        number["tags"]: ComplexColumn(3, {SECRET.encode(): live_cell(6, b"")}),
        number["prefs"]: ComplexColumn(-(1 << 63), {SECRET.encode(): live_cell(6, (9).to_bytes(4, "big"))}),
        number["log"]: ComplexColumn(-(1 << 63), {uuid.UUID(int=1).bytes: secret}),
        number["home"]: ComplexColumn(-(1 << 63), {struct.pack(">H", 0): secret}),
    }
    gone = row(2)
    gone.deletion = 7
    written.rows += [full, gone]
    return written


def test_the_envelope_is_shown_with_its_place_and_trace() -> None:
    rendered = MessageRenderer(None, values=False).render(message(b"not looked into", 7, PARENT), debezium=False)
    assert rendered == {
        "topic": "shop.mutations",
        "partition": 3,
        "offset": 42,
        "written_at": "2026-09-21T14:13:20.200000Z",
        "key": {"bytes": len(SECRET), "digest": digest(SECRET.encode())},
        "bytes": 41 + 1 + len(PARENT) + 15,
        "event_id": f"{HOST}:5:77",
        "captured_at": "2026-09-21T14:13:20.123456Z",
        "traceparent": PARENT,
        "commitlog_version": 7,
        "kind": "stream",
        "mutation_bytes": 15,
    }
    untraced = MessageRenderer(None, values=False).render(message(b"x"), debezium=False)
    assert "traceparent" not in untraced


def test_a_notice_is_shown_without_the_bytes_that_were_damaged() -> None:
    notice = Notice(GAP, str(HOST), "frame_zero:5:77", "frame_zero", Position(5, 77), "9 bytes", None, b"secretkey", 7)
    sealed = seal_notice(notice, HOST.bytes, TIME)
    told = TopicMessage("shop.mutations", 3, 42, None, HOST.bytes, sealed)
    rendered = MessageRenderer(tables(ROWS), values=True).render(told, debezium=False)
    assert "secretkey" not in to_line(rendered)
    assert (rendered["kind"], rendered["notice"], rendered["reason"]) == ("notice", GAP, "frame_zero")
    assert (rendered["event_id"], rendered["content_bytes"]) == (f"{HOST}:5:77", 9)
    assert "error" not in rendered


def test_every_operation_is_shown_and_no_value() -> None:
    rendered = shown(everything())
    key = digest((4).to_bytes(4, "big") + (1).to_bytes(4, "big"))
    assert rendered["table"] == "shop.rows"
    assert rendered["partition_key"] == digest(SECRET.encode())
    partition, range_, static, full, gone = rendered["operations"]
    assert partition == {"kind": "partition_delete", "write_time": 1}
    assert (range_["kind"], range_["write_time"]) == ("range_delete", 2)
    assert range_["start"]["inclusive"]
    assert range_["end"] == {"inclusive": False, "columns": 0}
    assert static == {"kind": "static", "columns": {"note": {"write_time": 3, "bytes": len(SECRET)}}}
    assert (full["kind"], full["clustering"]) == ("upsert", key)
    assert full["liveness"] == {"write_time": 4, "ttl": 60, "expires_at": 1_790_000_060}
    cells = full["columns"]
    assert cells["sku"] == {"write_time": 4, "ttl": 60, "expires_at": 1_790_000_060, "bytes": len(SECRET)}
    assert cells["price"] == {"write_time": 5, "deleted": True}
    assert cells["tags"] == {"deleted_at": 3, "elements": [{"write_time": 6, "bytes": 0}]}
    assert cells["prefs"]["elements"] == [{"write_time": 6, "bytes": 4}]
    assert cells["log"]["elements"] == [{"write_time": 6, "bytes": len(SECRET)}]
    assert cells["home"]["elements"] == [{"path": "street", "write_time": 6, "bytes": len(SECRET)}]
    assert gone == {"kind": "delete", "clustering": gone["clustering"], "write_time": 7}
    assert gone["clustering"] != key


def test_keys_and_values_are_shown_when_they_are_asked_for() -> None:
    rendered = shown(everything(), values=True)
    assert rendered["partition_key"] == {"id": SECRET}
    _, range_, static, full, gone = rendered["operations"]
    assert range_["start"]["clustering"] == {"line": 5}
    assert static["columns"]["note"]["value"] == SECRET
    assert (full["clustering"], gone["clustering"]) == ({"line": 1}, {"line": 2})
    cells = full["columns"]
    assert cells["sku"]["value"] == SECRET
    assert cells["tags"]["elements"] == [{"path": SECRET, "write_time": 6, "bytes": 0}]
    assert cells["prefs"]["elements"] == [{"path": SECRET, "write_time": 6, "bytes": 4, "value": 9}]
    assert cells["log"]["elements"][0]["value"] == SECRET
    assert cells["home"]["elements"][0] == {
        "path": "street",
        "write_time": 6,
        "bytes": len(SECRET),
        "value": SECRET,
    }


def test_an_update_of_a_row_without_liveness_has_none() -> None:
    written = update()
    changed = row(1)
    changed.cells[columns(ROWS)["sku"]] = live_cell(4, b"x")
    written.rows.append(changed)
    (operation,) = shown(written)["operations"]
    assert set(operation) == {"kind", "clustering", "columns"}


def test_a_row_that_is_deleted_and_written_again_is_both() -> None:
    written = update()
    both = row(1)
    both.deletion, both.liveness_ts = 7, 8
    written.rows.append(both)
    assert [operation["kind"] for operation in shown(written)["operations"]] == ["delete", "upsert"]


def test_a_counter_shows_what_its_shards_add_up_to() -> None:
    context = b"\x00\x01\x00\x00" + bytes(16) + (3).to_bytes(8, "big") + (41).to_bytes(8, "big")
    written = update(HITS)
    counted = Row(b"", [])
    counted.cells[0] = counter_cell(5, context)
    written.rows.append(counted)
    (operation,) = shown(written, HITS)["operations"]
    assert operation == {"kind": "counter", "columns": {"n": {"write_time": 5, "bytes": len(context)}}}
    (operation,) = shown(written, HITS, values=True)["operations"]
    assert operation["columns"]["n"]["shards_total"] == 41


def test_a_snapshot_shows_what_it_observed() -> None:
    number = columns(ROWS)
    written = update()
    read = row(1)
    read.liveness_ts = 4
    read.observed = {
        number["tags"]: (2, 9, 6, (1 << 63) - 1, value("set<text>", [SECRET])),
        number["log"]: SETTLED,
    }
    written.rows.append(read)
    sealed = message(encode_observing(written), OBSERVING, host=SNAPSHOT_HOST)
    for values in (False, True):
        rendered = MessageRenderer(tables(ROWS, values=values), values=values).render(sealed, debezium=False)
        assert (rendered["kind"], rendered["commitlog_version"]) == ("snapshot", OBSERVING)
        observed = rendered["updates"][0]["operations"][0]["columns"]
        assert observed["log"]["observed"] == {"state": "settled"}
        seen = observed["tags"]["observed"]
        assert (seen["state"], seen["turn"], seen["read_at"]) == ("shown", 2, 9)
        assert seen.get("value") == ([SECRET] if values else None)
        assert (SECRET in to_line(rendered)) is values


@pytest.mark.requirement("FR-003")
@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda _sealed: b"", "envelope_foreign"),
        (lambda _sealed: b'{"json": 1}', "envelope_foreign"),
        (lambda sealed: sealed[:2] + b"\x09" + sealed[3:], "envelope_newer"),
        (lambda sealed: sealed[:30], "envelope_damaged"),
        (lambda sealed: sealed[:-1], "mutation_corrupt"),
        (lambda sealed: sealed[:42] + b"\xff" * 16 + sealed[58:], "schema_unknown"),
    ],
)
def test_what_can_not_be_read_is_shown_with_the_code(damage: Callable[[bytes], bytes], code: str) -> None:
    sound = message(encode_mutation([everything()], 8))
    assert sound.value is not None
    rendered = MessageRenderer(tables(ROWS), values=False).render(
        sound._replace(value=damage(sound.value)), debezium=False
    )
    assert rendered["error"]["code"] == code
    assert rendered["error"]["what"]
    assert (rendered["offset"], "updates" in rendered) == (42, False)
    assert ("event_id" in rendered) is not code.startswith("envelope")


def test_any_cut_of_a_message_is_shown() -> None:
    sealed = message(encode_mutation([everything()], 8), traceparent=PARENT)
    assert sealed.value is not None
    renderer = MessageRenderer(tables(ROWS, values=True), values=True)
    for length in range(len(sealed.value)):
        rendered = renderer.render(sealed._replace(value=sealed.value[:length]), debezium=False)
        assert "error" in rendered
        assert to_line(rendered)
    for place in range(41, len(sealed.value)):
        turned = bytearray(sealed.value)
        turned[place] ^= 0xFF
        assert to_line(renderer.render(sealed._replace(value=bytes(turned)), debezium=False))


def test_a_table_that_is_new_is_read_once_and_shown() -> None:
    now, readings, known = [0.0], [0], [ROWS]

    def read() -> SchemaSnapshot:
        readings[0] += 1
        return SchemaSnapshot({}, {table.id: table for table in known}, {})

    found = KnownTables(read, lambda: now[0], values=False)
    renderer = MessageRenderer(found, values=False)
    written = update(HITS)
    written.deletion = 5
    sealed = message(encode_mutation([written], 8))
    for _ in range(3):
        assert renderer.render(sealed, debezium=False)["error"]["table_id"] == HITS.id.hex
    assert readings == [1]
    known.append(HITS)
    now[0] += REFRESH_PAUSE_S
    assert renderer.render(sealed, debezium=False)["updates"][0]["table"] == "shop.hits"
    assert readings == [2]


def test_while_cassandra_is_away_an_unknown_table_is_an_error_of_its_message() -> None:
    now, away = [0.0], [False]

    def read() -> SchemaSnapshot:
        if away[0]:
            raise RetryableError("cassandra_unavailable", "no host answers")
        return SchemaSnapshot({}, {ROWS.id: ROWS}, {})

    renderer = MessageRenderer(KnownTables(read, lambda: now[0], values=False), values=False)
    away[0], now[0] = True, REFRESH_PAUSE_S
    written = update(HITS)
    written.deletion = 5
    assert renderer.render(message(encode_mutation([written], 8)), debezium=False)["error"]["code"] == "schema_unknown"


class TestDebezium:
    def shown(self, name: str, *, values: bool = False) -> list[Any]:
        (sample,) = (sample for sample in samples() if sample.name == name)
        renderer = MessageRenderer(None, values=values)
        found = []
        for entry in sample.messages:
            one = unpack(entry)
            stored = TopicMessage(one.topic, 0, 1, None, one.key, one.value)
            found.append(json.loads(to_line(renderer.render(stored, debezium=True))))
        return found

    def test_an_insert(self) -> None:
        (rendered,) = self.shown("17-insert_ttl")
        assert (rendered["format"], rendered["kind"]) == ("debezium", "stream")
        (one,) = rendered["updates"]
        (operation,) = one["operations"]
        assert (one["table"], operation["kind"]) == ("shop.orders", "insert")
        assert "deletion_ts" in operation["columns"]["qty"]
        assert "value" not in json.dumps(rendered)
        (open_,) = self.shown("17-insert_ttl", values=True)
        assert open_["updates"][0]["operations"][0]["columns"]["qty"]["value"] == 1
        assert isinstance(open_["key"]["value"], dict)

    def test_a_range_delete_has_its_bounds(self) -> None:
        (operation,) = self.shown("14-delete_range")[0]["updates"][0]["operations"]
        assert operation["kind"] == "range_delete"
        assert operation["start"] == {"inclusive": True, "columns": 1}
        assert operation["end"] == {"inclusive": False, "columns": 1}

    def test_no_sample_shows_a_value_unasked(self) -> None:
        for sample in samples():
            for entry in sample.messages:
                one = unpack(entry)
                stored = TopicMessage(one.topic, 0, 1, None, one.key, one.value)
                text = to_line(MessageRenderer(None, values=False).render(stored, debezium=True))
                assert '"value"' not in text
                assert "error" not in json.loads(text)

    @pytest.mark.parametrize(
        ("body", "code"), [(b"\x00Avro", "debezium_json"), (b"{", "debezium_json"), (b"[]", "debezium_envelope")]
    )
    def test_another_format_is_an_error_of_its_message(self, body: bytes, code: str) -> None:
        stored = TopicMessage("cdc.shop.orders", 0, 1, None, None, body)
        assert MessageRenderer(None, values=True).render(stored, debezium=True)["error"]["code"] == code

    def test_a_marker_is_one(self) -> None:
        stored = TopicMessage("cdc.shop.orders", 0, 1, None, b"{}", None)
        assert MessageRenderer(None, values=False).render(stored, debezium=True)["marker"] is True


@pytest.mark.parametrize(
    ("cql", "data", "expected"),
    [
        ("int", b"\x00\x00\x00\x07", 7),
        ("int", b"\x00\x07", {"error": "value_malformed"}),
        ("text", b"a\x00b", "a\x00b"),
        ("decimal", b"\x00\x00\x00\x02\x01\x2c", 3.0),
        ("decimal", b"\x00\x00\x00\x14" + (10**24 + 1).to_bytes(11, "big"), "10000.00000000000000000001"),
        ("varint", b"\x01" + bytes(2000), None),
        ("boolean", b"\x01", True),
    ],
)
def test_values_keep_their_digits(cql: str, data: bytes, expected: Any) -> None:
    found = plain_value(parse_type(cql, "shop", {}), data)
    if expected is None:
        assert isinstance(found, str)
        assert len(found) > 4300
    else:
        assert found == expected


def test_a_time_that_no_calendar_has_is_a_number() -> None:
    assert moment(0) == "1970-01-01T00:00:00Z"
    assert moment(1 << 62) == 1 << 62
    assert moment(-(1 << 63)) == -(1 << 63)


def test_a_line_holds_nothing_that_a_terminal_obeys() -> None:
    hostile = "\x1b[2J\x9b2Jé\u202e\n"
    line = to_line({"name": hostile})
    assert json.loads(line)["name"] == hostile
    assert line == '{"name":"\\u001b[2J\\u009b2Jé\\u202e\\n"}'
