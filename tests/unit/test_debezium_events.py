"""Events beyond the samples: other operations, TTLs that do not agree, bounds of every type, and hostile input."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from casscade.core.errors import BadDataError, UnknownSchemaError
from casscade.core.keys import join_partition_key
from casscade.core.mutation import INCL_START_BOUND
from casscade.cql.values import decode
from casscade.debezium.bounds import read_bounds
from casscade.debezium.decoder import EventDecoder
from casscade.debezium.message import ConnectMessage, pack, unpack
from tests.support.debezium import KINDS, ORDERS, TABLES, decoder, event, make_table, samples, say

ID = "11111111-1111-1111-1111-111111111111"
T = 1_700_000_000_000_000
HOUR = T + 3_600_000_000


def said(op: str = "u", **after: Any) -> list[str]:
    return say(decoder().decode(event(op, ORDERS, T, id=ID, line=1, **after)), T, ORDERS)


def refused(message: bytes) -> BadDataError:
    with pytest.raises(BadDataError) as caught:
        decoder().decode(message)
    assert ID not in caught.value.explain()
    return caught.value


def test_an_insert_whose_values_end_apart_may_have_a_liveness() -> None:
    assert said("i", qty=(1, HOUR), sku="x") == ["1111/1 maybe insert qty=1!3600 sku=x"]
    assert said("i", qty=(1, HOUR), sku=None) == ["1111/1 insert!3600 qty=1!3600 sku=null"]


def test_without_values_the_liveness_ends_by_the_default_of_the_table() -> None:
    table = make_table("short", "p p int; c c int; v r int", default_time_to_live=60)
    (update,) = EventDecoder([table]).decode(event("i", table, T, p=1, c=2)).updates
    assert (update.rows[0].liveness_ttl, update.rows[0].liveness_expires_at) == (60, T // 1_000_000 + 60)


@pytest.mark.requirement("FR-007")
def test_a_row_deletion_has_its_own_time() -> None:
    message = event("d", ORDERS, T + 5, id=ID, line=1, qty=(None, T), tags=(None, T))
    assert say(decoder().decode(message), T, ORDERS) == ["1111/1 delete"]
    partition = event("d", ORDERS, T + 5, id=ID, line=(None, T), qty=(None, T))
    assert say(decoder().decode(partition), T, ORDERS) == ["1111: delete partition"]


def test_a_deletion_without_other_columns_has_the_time_of_the_event() -> None:
    table = make_table("keys", "p p int; c c int")
    (update,) = EventDecoder([table]).decode(event("d", table, T, p=1, c=2)).updates
    assert update.rows[0].deletion == T


def test_a_rounded_value_is_read_again() -> None:
    assert said(price=1.5, qty=2) == ["1111/1 qty=2", "read again: row"]
    table = make_table("rounded", "p p decimal; v r int")
    with pytest.raises(BadDataError, match="rounded it"):
        EventDecoder([table]).decode(event("u", table, T, p=1.5, v=1))


def test_untouched_and_dropped_columns_need_not_be_known() -> None:
    assert said(qty=1, later={"value": 1, "deletion_ts": None, "set": False}) == ["1111/1 qty=1"]
    with pytest.raises(UnknownSchemaError) as caught:
        said(later=1)
    assert caught.value.column == b"later"


def test_a_key_of_several_columns_is_joined() -> None:
    table = make_table("joined", "a p int; b p text; v r int")
    (update,) = EventDecoder([table]).decode(event("u", table, T, a=1, b="x", v=1)).updates
    assert update.key == join_partition_key([b"\x00\x00\x00\x01", b"x"])
    with pytest.raises(BadDataError, match="more bytes"):
        EventDecoder([table]).decode(event("u", table, T, a=1, b="x" * 70_000, v=1))


def bound(*entries: tuple[str, str], method: str = "INCL_START_BOUND") -> dict[str, Any]:
    return {"method": method, "values": [{"name": name, "value": value, "type": ""} for name, value in entries]}


@pytest.mark.parametrize(
    ("type_", "text", "expected"),
    [
        ("ascii", "a", "a"),
        ("bigint", "-9223372036854775808", -(1 << 63)),
        ("blob", "00ff", b"\x00\xff"),
        ("boolean", "true", True),
        ("date", "1969-12-31", -1),
        ("decimal", "1E+3", None),
        ("double", "1.0E10", 1e10),
        ("float", "-Infinity", float("-inf")),
        ("inet", "10.0.0.1", None),
        ("smallint", "-5", -5),
        ("text", "", ""),
        ("text", 'a"b', 'a"b'),
        ("time", "08:09:10.123456789", 29350123456789),
        ("timestamp", "2026-01-02T03:04:05.678Z", 1767323045678),
        ("timestamp", "1969-12-31T23:59:59.999Z", -1),
        ("timeuuid", "50554d6e-29bb-11e5-b345-feff819cdc9f", None),
        ("tinyint", "3", 3),
        ("varint", "-12345678901234567890", -12345678901234567890),
        ("frozen<list<int>>", "0000000100000004 00000007", [7]),
        ("int", "", None),
    ],
)
def test_a_bound_is_read_from_what_cassandra_prints(type_: str, text: str, expected: Any) -> None:
    table = make_table("bounds", f"p p int; c c {type_}; v r int")
    start, end = read_bounds(bound(("c", text)), bound(method="INCL_END_BOUND"), table)
    assert start.kind == INCL_START_BOUND
    assert end.values == []
    (value,) = start.values
    assert value is not None
    found = decode(table.clustering[0].type, value)
    assert found == expected if expected is not None else (found is None) == (text == "")


def test_the_columns_of_a_bound_may_come_in_any_order_and_in_quotes() -> None:
    table = make_table("quoted", 'p p int; A"b c int; c d text; v r int')
    start, _ = read_bounds(bound(("c", "x"), ('"A""b"', "1")), bound(method="INCL_END_BOUND"), table)
    assert start.values == [b"\x00\x00\x00\x01", b"x"]


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("int", "x"), ("int", "1_0"), ("bigint", "9223372036854775808"), ("boolean", "True"), ("date", "20260102"),
        ("time", "1:2:3"), ("timestamp", "2026-01-02 03:04+0000"), ("timestamp", "2026-13-02T03:04:05.678Z"),
        ("double", "1e5"), ("float", "1.0E99"), ("inet", "x"), ("uuid", "x"), ("blob", "0x00"), ("tuple<int>", "1"),
        ("decimal", " 1"),
    ],
)  # fmt: skip
def test_a_bound_that_cassandra_does_not_print_is_refused(type_: str, text: str) -> None:
    table = make_table("bounds", f"p p int; c c {type_}; v r int")
    with pytest.raises(BadDataError) as caught:
        read_bounds(bound(("c", text)), bound(method="INCL_END_BOUND"), table)
    assert caught.value.code == "debezium_value"


@pytest.mark.parametrize(
    "start",
    [
        None, [], {}, {"method": "INCL_START_BOUND"}, bound(method="INCL_END_BOUND"), bound(method="CLUSTERING"),
        bound(("ck2", "a")), bound(("ck", "1"), ("ck", "2")), bound(("x", "1")), {"method": [], "values": []},
        {"method": "INCL_START_BOUND", "values": [1]}, {"method": "INCL_START_BOUND", "values": [{"name": "ck"}]},
    ],
)  # fmt: skip
def test_a_bound_with_other_columns_is_refused(start: Any) -> None:
    with pytest.raises(BadDataError) as caught:
        read_bounds(start, bound(method="INCL_END_BOUND"), KINDS)
    assert caught.value.code == "debezium_envelope"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"", "debezium_json"),
        (b"\x00\x00\x00\x00\x01abc", "debezium_json"),
        (b"\xff\xfe", "debezium_json"),
        (b'{"op":', "debezium_json"),
        (b"[" * 100_000, "debezium_json"),
        (b"1" * 10_000, "debezium_json"),
        (b"7", "debezium_envelope"),
        (b'{"id": 1, "qty": 2}', "debezium_envelope"),
        (b'{"op": "i", "source": {"connector": "mysql"}, "after": {}}', "debezium_envelope"),
        (b'{"op": "c", "source": {"connector": "cassandra"}, "after": {}}', "debezium_envelope"),
        (b'{"op": ["i"], "source": {"connector": "cassandra"}, "after": {}}', "debezium_envelope"),
        (b'{"op": "i", "source": {"connector": "cassandra"}, "after": null}', "debezium_envelope"),
    ],
)
def test_what_is_no_event_is_refused(value: bytes, code: str) -> None:
    assert refused(pack(ConnectMessage("t", None, value))).code == code


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (event(ts_us=None, id=ID, line=1), "debezium_envelope"),
        (event(ts_us=1.5, id=ID, line=1), "debezium_envelope"),
        (event(ts_us=1 << 63, id=ID, line=1), "debezium_envelope"),
        (event(line=1), "debezium_envelope"),
        (event(id=None, line=1), "debezium_envelope"),
        (event(id=ID), "debezium_envelope"),
        (event("r", id=ID), "debezium_envelope"),
        (event(id=ID, line="1"), "debezium_value"),
        (event(id="x", line=1), "debezium_value"),
        (event(id=ID, line=1, qty=1 << 31), "debezium_value"),
        (event(id=ID, line=1, qty=(1, -5)), "debezium_envelope"),
        (event(id=ID, line=1, qty=(1, "x")), "debezium_envelope"),
        (event(id=ID, line=1, qty={"set": True}), "debezium_envelope"),
        (event(table=KINDS, pk="p", ck=1), "debezium_envelope"),
        (event(table=KINDS, pk="p", ck=1, ck2="a", s_note="x"), "debezium_value"),
    ],
)
def test_an_event_that_does_not_fit_is_refused(message: bytes, code: str) -> None:
    assert refused(message).code == code


@pytest.mark.parametrize(
    "data", [b"", b"\x05", b"\x01a\x00", b"\x01a\x00\x09x", b"\x01\xff\x00\x00", b"\x00\x00\x00\x00"]
)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(BadDataError) as caught:
        unpack(data)
    assert caught.value.code == "message_corrupt"


def test_a_broken_sample_never_crashes() -> None:
    """Replace parts of real events by something else: they decode or are refused."""
    chance = random.Random(20_261_123)
    values = [json.loads(unpack(entry).value or b"") for sample in samples() for entry in sample.messages]
    outcomes = {"decoded": 0, "refused": 0}
    for _ in range(1_500):
        value = json.loads(json.dumps(chance.choice(values)))
        for _ in range(chance.randint(1, 3)):
            _break(value, chance)
        try:
            EventDecoder(TABLES).decode(pack(ConnectMessage("t", None, json.dumps(value).encode())))
        except BadDataError:
            outcomes["refused"] += 1
        else:
            outcomes["decoded"] += 1
    assert min(outcomes.values()) > 100


def _break(value: Any, chance: random.Random) -> None:
    """Replace or remove one thing somewhere in a JSON document."""
    while isinstance(value, dict | list) and value:
        place = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
        inner = value[place]
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.1:
            value[place] = chance.choice(
                [None, True, -1, 1.5, "", "x", 1 << 80, [], {}, [None], {"value": 1}, [[1, 2]]]
            )
            return
        value = inner
