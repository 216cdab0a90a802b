"""A table with a column of every type in every form that it may have, and rows of random values for it.

Invariant: a row is told by its seed; its values are bytes that Cassandra takes.
"""

from __future__ import annotations

import random
import uuid
from typing import Any

import psycopg

from casscade.config.tables import Choice
from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP, Cell, live_cell
from casscade.core.mutation import ComplexColumn, PartitionUpdate, Row
from casscade.cql.elements import split_collection, split_tuple
from casscade.cql.types import SIMPLE_TYPES, CqlType, UdtDefinition, parse_type
from casscade.load.batch import BatchWriter
from casscade.load.catalog import read_composite_oids
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.counters import BatchCounts
from casscade.load.layout import RowLayout
from casscade.load.layouts import build_layout
from casscade.load.raw import fields, register
from casscade.load.row_reader import StoredRow, read_row
from casscade.load.sources import Sources
from casscade.merge.fold import Fold
from casscade.schema.choices import ColumnChoices
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from casscade.schema.pg_types import allowed_forms
from casscade.verify.read_postgres import adapt, postgres_form
from tests.support.random_rows import NOW, copy_row
from tests.support.value_bytes import random_bytes

SIMPLE = sorted(SIMPLE_TYPES - {"counter", "empty"})
UDTS = {
    "inner": UdtDefinition("ks", "inner", ("when", "Numbers", "ip"), ("date", "frozen<list<decimal>>", "inet")),
    "outer": UdtDefinition("ks", "outer", ("a", "b", "c", "s"), ("text", "frozen<inner>", "time", "frozen<set<text>>")),
    "holder": UdtDefinition("ks", "holder", ("m", "i"), ("frozen<map<text, int>>", "frozen<inner>")),
    "all": UdtDefinition("ks", "all", tuple(f"{name}_" for name in SIMPLE), tuple(SIMPLE)),
}
FROZEN = (
    *SIMPLE,
    *(f"frozen<list<{name}>>" for name in SIMPLE),
    *(f"frozen<set<{name}>>" for name in SIMPLE if name != "duration"),
    *(f"vector<{name}, 2>" for name in SIMPLE),
    "frozen<map<text, blob>>",
    "tuple<int, text>",
    "frozen<outer>",
    "frozen<holder>",
    "frozen<all>",
    "frozen<list<frozen<map<int, text>>>>",
    "vector<frozen<list<int>>, 2>",
)
MULTI_CELL = ("list<text>", "list<date>", "set<time>", "set<varint>", "map<int, text>", "map<double, date>", "outer")


def choices_of(types: tuple[str, ...]) -> list[tuple[str, str, CqlType]]:
    """(column, form, type) for each type in each of its forms but pgvector's, which needs the extension."""
    chosen: list[tuple[str, str, CqlType]] = []
    for text in types:
        type_ = parse_type(text, "ks", UDTS)
        single = text in SIMPLE or text in MULTI_CELL or type_.name in {"udt", "map"} or "<text" in text
        for form in allowed_forms(type_):
            if form != "vector" and (single or form == "array"):
                chosen.append((f"c{len(chosen)}", form, type_))
    return chosen


class FormsTable:
    """Such a table in PostgreSQL, written as a pipeline writes it."""

    def __init__(self, connection: psycopg.Connection[Any], types: tuple[str, ...], policy: str = "keep") -> None:
        register(connection)
        self.connection = connection
        chosen = choices_of(types)
        columns = [Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("int"))]
        columns += [Column(name, ColumnKind.REGULAR, -1, type_) for name, _, type_ in chosen]
        self.table = assign_indexes(Table(uuid.uuid4(), "ks", "forms", tuple(columns)), {})
        words = {name: Choice(form, "here") for name, form, _ in chosen if form != "plain"}
        self.target: Target = build_target(self.table, choices=ColumnChoices(words, inexact=policy))
        self.columns = self.target.rows.value_columns
        control = ControlStore("test", "casscade")
        control.migrate(connection)
        for statement in plan_target(self.target, ExistingSchema()):
            connection.execute(statement.sql.encode())
        epoch, _ = control.acquire(connection, "node")
        self.writer = BatchWriter(control, Sources.single("node", epoch), clock=lambda: float(NOW))
        self.writer.add_target(connection, self.target, 3600)
        self.writer.prepare(connection)

    def random_values(self, rng: random.Random) -> dict[int, bytes]:
        """A value for most columns, by column index."""
        return {
            column.column.index: random_bytes(rng, column.column.type) for column in self.columns if rng.random() < 0.9
        }

    def row(self, values: dict[int, bytes], ts: int = 5, *, insert: bool = True) -> Row:
        """A row with these values; those of multi-cell columns are given as frozen ones."""
        row = Row(b"", [])
        row.liveness_ts = ts if insert else NO_TIMESTAMP
        for column in self.columns:
            value = values.get(column.column.index)
            if value is None:
                continue
            if not column.column.type.multi_cell:
                row.cells[column.column.index] = live_cell(ts, value)
            elif cells := cells_of(column.column.type, value, ts):
                row.complex = row.complex or {}
                row.complex[column.column.index] = ComplexColumn(NO_TIMESTAMP, cells)
        return row

    def write(self, rows: dict[int, Row]) -> BatchCounts:
        """One batch of rows by their key."""
        batch = Batch(Fold())
        for key, row in rows.items():
            update = PartitionUpdate(self.table.shape(replicated=True), key.to_bytes(4, "big"))
            update.rows.append(copy_row(row))
            batch.fold.add([update])
        return self.writer.apply(self.connection, batch)

    def layout(self) -> RowLayout:
        """The layout of its rows."""
        return build_layout(self.target, self.target.rows, read_composite_oids(self.connection, self.target))

    def stored(self) -> dict[int, Row]:
        """The rows as the loader reads them back."""
        layout = self.layout()
        found = fields(self.connection.execute("SELECT * FROM ks.forms", binary=True))
        rows: list[StoredRow] = [read_row(layout, each) for each in found]
        return {int.from_bytes(each.partition_key, "big"): each.row for each in rows}

    def shown(self) -> dict[int, list[Any]]:
        """What a client of PostgreSQL reads, in the normal forms of the comparison, in the order of `columns`."""
        with self.connection.cursor(binary=True) as cursor:
            adapt(cursor)
            cursor.execute("SELECT * FROM ks.forms")
            return {
                row[0]: [
                    postgres_form(column.column.type, value, column.pg_type)
                    for column, value in zip(self.columns, row[1:-3], strict=True)
                ]
                for row in cursor
            }


def cells_of(type_: CqlType, value: bytes, ts: int) -> dict[bytes, Cell]:
    """The cells of a multi-cell column that CQL shows as `value`."""
    cells: dict[bytes, bytes] = {}
    if type_.name == "udt":
        parts = split_tuple(value, len(type_.args), "udt")
        cells = {i.to_bytes(2, "big"): part for i, part in enumerate(parts) if part is not None}
    else:
        found = [part or b"" for part in split_collection(value, 2 if type_.name == "map" else 1, type_.name)]
        if type_.name == "map":
            cells = dict(zip(found[::2], found[1::2], strict=True))
        elif type_.name == "set":
            cells = dict.fromkeys(found, b"")
        else:
            cells = {bytes((0, 0, 0, i)) + b"\0\0\x10\0" + bytes(8): part for i, part in enumerate(found)}
    return {path: (ts, NO_EXPIRY, 0, part) for path, part in cells.items()}
