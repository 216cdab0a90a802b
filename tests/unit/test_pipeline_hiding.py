"""With `rules: {apply: capture}` nothing that is hidden gets into the outlet, and the loader makes the same of it."""

from __future__ import annotations

import random
import threading
import uuid
from dataclasses import replace
from typing import Any

import pytest

from casscade.commitlog.encoder import encode_mutation
from casscade.commitlog.observations import WITHHELD, decode_any
from casscade.config.rules import RulesSection
from casscade.config.tables import resolve_tables
from casscade.core.cell import live_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.notice import GAP, Notice
from casscade.core.position import START, Position
from casscade.cql.types import CqlType
from casscade.load.batcher import Batcher
from casscade.load.rewriting import rewriting_of
from casscade.pipeline.hiding import ChunkHider, HidingOutlet, hider_of, hides_at_capture
from casscade.rules.concealment import excluded_columns
from casscade.rules.rewriter import Rewriter
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from casscade.transport.chunk import Chunk
from tests.support.hidden_values import MARKER, Outlet, Site, people
from tests.support.ruled import configuration, target_of

TEXT = CqlType("text")
pytestmark = [pytest.mark.requirement("FR-013"), pytest.mark.requirement("FR-030")]


def _everything(chunks: list[Chunk]) -> bytes:
    return b"".join(mutation for chunk in chunks for mutation in chunk.mutations)


def test_what_is_put_holds_nothing_hidden_and_merges_to_the_same() -> None:
    rng = random.Random(7)
    site = Site()
    mutations = []
    for key in range(8):
        document = f'{{"n": "{MARKER} {key}"}}'
        values: dict[str, Any] = {"email": MARKER, "phone": MARKER, "token": MARKER, "age": key, "doc": document}
        chosen = {name: values[name] for name in values if rng.random() < 0.8}
        mutations.append(site.mutation(site.ruled, key, note="shown", **chosen))
    (chunk,) = site.send(*mutations)
    assert MARKER.encode() not in _everything([chunk])
    assert b"shown" in _everything([chunk])
    assert (chunk.end, chunk.offsets) == (Position(3, 200), list(range(100, 108)))
    # The loader that takes them as they are holds what one would that hides them itself.
    shape = site.ruled.shape(replicated=True)
    behind = Rewriter(site.rules).shape(shape)
    taken = Batcher(lambda: {shape.id: behind}, lambda _: False, batch_rows=100, batch_s=1.0)
    taken.add(chunk)
    itself = Batcher(
        lambda: {shape.id: shape},
        lambda _: False,
        batch_rows=100,
        batch_s=1.0,
        excluded=excluded_columns([target_of(site.ruled, site.rules)], {shape.id: site.rules}),
        rewriting=rewriting_of([site.rules]),
    )
    itself.add(Chunk("node", 7, Position(3, 200), 1.0, mutations, list(range(8))))
    rows, same = (each.take().fold.tables[shape.id].rows for each in (taken, itself))
    assert rows.keys() == same.keys()
    assert [row.cells for row in rows.values()] == [row.cells for row in same.values()]


def test_other_tables_stay_as_they_are() -> None:
    site = Site()
    mutation = site.mutation(site.plain, email=MARKER)
    (chunk,) = site.send(mutation, site.mutation(site.ruled))
    assert chunk.mutations[0] == mutation
    (chunk,) = site.send(mutation)
    assert chunk.mutations == [mutation]


def test_what_can_not_be_rewritten_leaves_a_note() -> None:
    site = Site()
    damaged = site.mutation(site.ruled, email=MARKER)[:-3]
    notes, shown = site.send(site.mutation(site.ruled, doc=MARKER), damaged, site.mutation(site.ruled, email=MARKER))
    assert notes.version == WITHHELD
    assert (notes.end, notes.offsets, len(shown.mutations)) == (START, [100, 101], 1)
    assert MARKER.encode() not in _everything([notes, shown])
    batcher = Batcher(dict, lambda _: False, batch_rows=100, batch_s=1.0)
    batcher.add(replace(notes, source="topic/0", origin="node"))
    letters = batcher.take().dead_letters
    assert [letter.event_id for letter in letters] == ["node:3:100", "node:3:101"]
    assert letters[0].code == "rule_failed"
    assert "json_path" in letters[0].message


def test_a_table_that_is_new_is_looked_up_before_anything_of_it_is_sent() -> None:
    site = Site()
    chunks = site.send(site.mutation(site.new, email=MARKER))
    assert site.refreshed == 1
    assert MARKER.encode() not in _everything(chunks)
    gone = people("gone")
    (chunk,) = site.send(*[site.mutation(gone, email=MARKER)] * 3)
    assert chunk.mutations == []
    assert chunk.end == Position(3, 200)
    assert site.skipped["table_gone"] == 3
    assert site.refreshed == 2


def test_rows_that_no_condition_on_the_key_wants_are_left_out() -> None:
    site = Site()
    (chunk,) = site.send(site.mutation(site.ruled, 9, email="x"), site.mutation(site.ruled, 1, email="x"))
    assert len(decode_any(chunk.mutations[-1], 7, {site.ruled.id.bytes: site.ruled.shape(True)})) == 1
    assert site.skipped == {"filtered": 1}


def test_it_is_for_kafka_alone() -> None:
    config = configuration({})
    assert not hides_at_capture(config)
    capture = config.model_copy(update={"rules": RulesSection(apply="capture")})
    assert not hides_at_capture(capture)
    kafka = config.transport.model_copy(update={"kind": "kafka"})
    assert hides_at_capture(capture.model_copy(update={"transport": kafka}))


def test_damaged_bytes_are_not_sent() -> None:
    site = Site()
    notice = Notice(GAP, "node", "key", "section_corrupt", content=MARKER.encode())
    chunk = Chunk("node", 7, Position(3, 200), 1.0, notices=[notice])
    assert site.door.put(chunk, threading.Event())
    assert [each.content for each in site.outlet.chunks[0].notices] == [b"\x00"]
    batcher = Batcher(dict, lambda _: False, batch_rows=10, batch_s=1.0)
    batcher.add(site.outlet.chunks[0])
    assert [letter.code for letter in batcher.take().dead_letters] == ["section_corrupt"]
    # A loader that hides values itself sets them aside without their bytes, too.
    rewriting = rewriting_of([site.rules])
    batcher = Batcher(dict, lambda _: False, batch_rows=10, batch_s=1.0, rewriting=rewriting)
    batcher.add(chunk)
    (letter,) = batcher.take().dead_letters
    assert letter.mutation == b""


@pytest.mark.parametrize(
    "entry",
    [{"transforms": [{"mask": {"columns": ["*email*"], "with": "redact"}}]}, {"columns": {"include": ["v"]}}],
)
def test_a_column_that_comes_is_hidden_before_anything_of_it_is_sent(entry: dict[str, Any]) -> None:
    config = configuration(entry)
    columns = [Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("int")), Column("v", ColumnKind.REGULAR, -1, TEXT)]
    before = assign_indexes(Table(uuid.uuid4(), "ks", "t", tuple(columns)), {})
    after = assign_indexes(replace(before, columns=(*columns, Column("email", ColumnKind.REGULAR, -1, TEXT))), {})
    known = [before]
    refreshed: list[int] = []

    def refresh() -> None:
        refreshed.append(1)
        known[0] = after

    rules = resolve_tables(config, [("ks", "t")])
    outlet = Outlet()
    door = HidingOutlet(outlet, ChunkHider(lambda: hider_of(config, rules, known), refresh))
    row = Row(b"", [])
    column = after.column("email")
    assert column is not None
    row.cells[column.index] = live_cell(5, MARKER.encode())
    update = PartitionUpdate(after.shape(replicated=True), (1).to_bytes(4, "big"))
    update.rows = [row]
    mutation = encode_mutation([update], 7)
    assert door.put(Chunk("node", 7, Position(3, 9), 1.0, [mutation], [1]), threading.Event())
    assert refreshed == [1]
    assert len(_everything(outlet.chunks)) > 20
    assert MARKER.encode() not in _everything(outlet.chunks)
