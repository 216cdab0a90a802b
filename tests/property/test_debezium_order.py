"""Events in any order, any number of times: the same state; and with reads between them, that of Cassandra."""

from __future__ import annotations

import json
import random
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casscade.commitlog.encoder import encode_mutation
from casscade.core.cell import NO_TIMESTAMP
from casscade.core.keys import pack_values
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.observed import NOTHING
from casscade.cql.types import parse_type
from casscade.cql.values import encode
from casscade.debezium.decoder import EventDecoder, Reread
from casscade.debezium.message import ConnectMessage, pack, unpack
from casscade.load.doubts import doubts_of
from casscade.merge.doubt import doubtful_columns, still_observed
from casscade.merge.fold import Fold
from casscade.merge.row import is_visible, merge_rows, normalise
from casscade.snapshot.rows import TableScan
from tests.support.debezium import DIRECTORY, ORDERS, decoder, event, make_table, message, samples

SAMPLES: Final = [entry for sample in samples() for entry in sample.messages]
RF2: Final = [
    message("rf2.shop.orders", line["key"], line["value"])
    for line in map(json.loads, (DIRECTORY / "rf2-two-connectors.jsonl").read_text("utf-8").splitlines())
]
NOW: Final = 1_700_000_000


def state(messages: list[bytes]) -> tuple[Any, ...]:
    """What folding the messages gives, in a form that can be compared."""
    fold, rereads = Fold(), []
    events = decoder()
    for entry in messages:
        decoded = events.decode(entry)
        fold.add(decoded.updates)
        rereads += decoded.rereads
    rows, deletions = {}, {}
    for table_id, table in sorted(fold.tables.items()):
        for (key, clustering), row in table.rows.items():
            update = PartitionUpdate(table.table, key)
            update.rows = [row]
            rows[table_id, key, clustering] = (encode_mutation([update], 8), row.liveness_unknown)
        for key, found in table.deletions.items():
            spans = {
                (
                    tombstone.start.kind,
                    *tombstone.start.values,
                    tombstone.end.kind,
                    *tombstone.end.values,
                    tombstone.deletion,
                )
                for tombstone in found.ranges
            }
            deletions[table_id, key] = (found.deletion, spans)
    asked = {
        (table_id, doubt.key): doubt.columns for table_id, doubts in doubts_of(rereads).items() for doubt in doubts
    }
    return rows, deletions, asked


@pytest.mark.requirement("FR-003")
@given(seed=st.integers(0, 1 << 32), two_nodes=st.booleans())
@settings(max_examples=20, deadline=None)
def test_order_and_duplicates_change_nothing(seed: int, two_nodes: bool) -> None:
    stream = RF2 if two_nodes else SAMPLES
    shuffled = random.Random(seed)
    messages = stream + shuffled.sample(stream, len(stream) // 3)
    shuffled.shuffle(messages)
    assert state(messages) == state(stream)


@given(st.text(st.characters(codec="utf-8")), st.none() | st.binary(), st.none() | st.binary())
def test_a_message_is_kept_as_it_was(topic: str, key: bytes | None, value: bytes | None) -> None:
    found = ConnectMessage(topic, key, value)
    assert unpack(pack(found)) == found


HELD: Final = make_table("held", "p p int; v r int; s r set<int>")
S: Final = next(column.index for column in HELD.columns if column.name == "s")
KEY: Final = (7).to_bytes(4, "big")
SET: Final = parse_type("frozen<set<int>>", "shop", {})


class World:
    """A row in Cassandra, the events of its changes, the row in PostgreSQL, and the request to read it again."""

    def __init__(self) -> None:
        self.time = NOW * 1_000_000
        self.elements: dict[int, int] = {}
        self.value: tuple[int, int] | None = None
        self.inserted = False
        self.events: list[bytes] = []
        self.row = Row(b"", [])
        self.turn = 0
        self.pending: int | None = None
        self.answers: list[tuple[int, Row]] = []
        self._decoder = EventDecoder([HELD])
        self._scan = TableScan(HELD, element_times=False, cellless=True)

    def write(self, kind: int, element: int) -> None:
        """A statement, with the event that the connector makes of it."""
        self.time += 1_000
        if kind == 0:
            self.elements[element] = self.time
        elif kind == 1:
            self.elements.pop(element, None)
        elif kind == 2:
            self.elements = {element: self.time}
        elif kind == 3:
            self.value, self.inserted = (self.time, element), True
        else:
            self.elements, self.value, self.inserted = {}, None, False
        after: dict[str, Any] = {"p": 7}
        if kind < 3:
            after["s"] = [element]
        elif kind == 3:
            after["v"] = element
        else:
            after |= {"v": (None, self.time), "s": (None, self.time)}
        self.events.append(event("uuuid"[kind], HELD, self.time, **after))

    def deliver(self, entry: bytes) -> None:
        decoded = self._decoder.decode(entry)
        for update in decoded.updates:
            row = Row(b"", [])
            row.deletion = update.deletion
            for found in update.rows:
                merge_rows(row, found)
            self._merge(row)
        self._ask(decoded.rereads)

    def read(self) -> None:
        """Answer the request: read the row as it is now."""
        if self.pending is None:
            return
        shown = encode(SET, sorted(self.elements)) if self.elements else None
        cell: list[bytes | None] = [None, None, None]
        if self.value is not None:
            cell = [self.value[1].to_bytes(4, "big"), self.value[0].to_bytes(8, "big"), None]
        raw = [bytes(8), KEY, shown, *cell]
        found = bool(self.elements) or self.inserted
        update = self._scan.read_again(
            [raw] if found else [], NOW, 5, self.pending, (KEY, pack_values([])), [S], static=False
        )
        assert update is not None
        (answer,) = update.rows
        answer.liveness_unknown = answer.liveness_ts == NO_TIMESTAMP and is_visible(answer, NOW)
        self.answers.append((self.pending, answer))

    def take(self, place: int) -> None:
        """An answer becomes durable; it ends the request if nothing was asked since."""
        turn, answer = self.answers.pop(place)
        if self.pending == turn:
            self.pending = None
        self._merge(answer)

    def _merge(self, row: Row) -> None:
        normalise(row)
        doubtful = doubtful_columns(row, self.row, NOW)
        merge_rows(self.row, row)
        if still_observed(self.row, doubtful):
            self._ask([Reread(b"", KEY, b"", [], frozenset(doubtful))])

    def _ask(self, rereads: list[Reread]) -> None:
        if rereads:
            self.turn += 1
            self.pending = self.turn


@pytest.mark.requirement("FR-003")
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), min_size=1, max_size=12), st.integers(0, 1 << 32))
@settings(max_examples=200, deadline=None)
def test_what_events_do_not_determine_is_read_until_it_is_right(writes: list[tuple[int, int]], seed: int) -> None:
    world, chance = World(), random.Random(seed)
    left = list(writes)
    undelivered: list[bytes] = []
    while left or undelivered or world.answers or world.pending is not None:
        step = chance.randrange(4)
        if step == 0 and left:
            world.write(*left.pop(0))
            undelivered += [world.events[-1]] * chance.randint(1, 2)
        elif step == 1 and undelivered:
            world.deliver(undelivered.pop(chance.randrange(len(undelivered))))
        elif step == 2 and len(world.answers) < 3:
            world.read()
        elif step == 3 and world.answers:
            world.take(chance.randrange(len(world.answers)))
    seen = (world.row.observed or {}).get(S)
    shown = NOTHING if seen is None else seen[4]
    assert shown == (encode(SET, sorted(world.elements)) if world.elements else NOTHING)
    assert is_visible(world.row, NOW) == (bool(world.elements) or world.inserted)


def test_the_samples_are_many() -> None:
    assert len(SAMPLES) > 40
    assert len(RF2) == 84
    assert ORDERS.name == "orders"
