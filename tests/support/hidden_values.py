"""A table whose rules hide values in all ways, and mutations that hold a marker wherever it must not be seen."""

from __future__ import annotations

import threading
import uuid
from typing import Any

from casscade.commitlog.encoder import clustering_key, encode_mutation
from casscade.core.cell import expiring_cell, live_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.position import START, Position
from casscade.cql.types import CqlType
from casscade.load.batcher import Batcher
from casscade.load.rewriting import rewriting_of
from casscade.pipeline.hiding import ChunkHider, HidingOutlet
from casscade.rules.concealment import excluded_columns
from casscade.rules.hider import Hider
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from casscade.transport.chunk import Chunk
from tests.support.ruled import rules_of, target_of

MARKER = "Xq7Marker"
ENTRY: dict[str, Any] = {
    "where": "k < 9",
    "transforms": [
        {"mask": {"columns": ["age", "email"], "with": "hmac-sha256"}},
        {"json_path": {"columns": ["doc"], "path": "$.n"}},
        {"mask": {"columns": ["doc"], "with": "partial"}},
        {"null": {"columns": ["phone"]}},
        {"drop": {"columns": ["token"]}},
        {"hash": {"columns": ["p"]}},
    ],
}


def people(name: str = "people") -> Table:
    columns = [Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("text"))]
    columns.append(Column("k", ColumnKind.CLUSTERING, 0, CqlType("int")))
    texts = ("doc", "email", "note", "phone", "token")
    columns += [Column(each, ColumnKind.REGULAR, -1, CqlType("text")) for each in texts]
    columns.append(Column("age", ColumnKind.REGULAR, -1, CqlType("int")))
    return assign_indexes(Table(uuid.uuid4(), "ks", name, tuple(columns)), {})


class Outlet:
    """Keeps what was put."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []

    def put(self, chunk: Chunk, stop: threading.Event) -> bool:
        self.chunks.append(chunk)
        return True

    def acknowledged(self, source: str) -> Position:
        return START


class Site:
    """A table with rules, another without, and one that only a refreshed schema has."""

    def __init__(self) -> None:
        self.ruled, self.plain, self.new = people(), people("plain"), people("new")
        self.rules = rules_of(self.ruled, ENTRY)
        self.known = [self.ruled, self.plain]
        self.outlet = Outlet()
        self.refreshed = 0
        self.skipped: dict[str, int] = {}
        hider = ChunkHider(lambda: self.hider, self._refresh)
        hider.skip = lambda reason, count: self.skipped.update({reason: self.skipped.get(reason, 0) + count})
        self._read()
        self.door = HidingOutlet(self.outlet, hider)

    def _read(self) -> None:
        rules = [self.rules]
        targets = [target_of(self.ruled, self.rules)]
        if self.new in self.known:
            rules.append(rules_of(self.new, ENTRY))
            targets.append(target_of(self.new, rules[-1]))
        shapes = {table.id.bytes: table.shape(replicated=True) for table in self.known}
        self.hider = Hider(rules, shapes, excluded_columns(targets, {r.table.id.bytes: r for r in rules}))

    def _refresh(self) -> None:
        self.refreshed += 1
        if self.refreshed == 1:
            self.known.append(self.new)
            self._read()

    def mutation(self, table: Table, key: int = 1, **values: str | int) -> bytes:
        clustering: list[bytes | None] = [key.to_bytes(4, "big")]
        row = Row(clustering_key(clustering, [4]), clustering)
        row.liveness_ts = 5
        for name, value in values.items():
            column = table.column(name)
            assert column is not None
            content = value.encode() if isinstance(value, str) else value.to_bytes(4, "big")
            cell = expiring_cell(5, 2_000_000_100, 100, content) if name == "note" else live_cell(5, content)
            row.cells[column.index] = cell
        partition = b"plain" if table is self.plain else MARKER.encode()
        update = PartitionUpdate(table.shape(replicated=True), partition)
        update.rows = [row]
        return encode_mutation([update], 7)

    def send(self, *mutations: bytes) -> list[Chunk]:
        self.outlet.chunks = []
        offsets = [100 + number for number in range(len(mutations))]
        assert self.door.put(Chunk("node", 7, Position(3, 200), 1.0, list(mutations), offsets), threading.Event())
        return self.outlet.chunks

    def batcher(self) -> Batcher:
        """A loader's, which hides values itself."""
        shapes = {table.id.bytes: table.shape(replicated=True) for table in (self.ruled, self.plain)}
        return Batcher(
            lambda: shapes,
            lambda _: False,
            batch_rows=1000,
            batch_s=1e9,
            excluded=excluded_columns([target_of(self.ruled, self.rules)], {self.ruled.id.bytes: self.rules}),
            rewriting=rewriting_of([self.rules]),
        )
