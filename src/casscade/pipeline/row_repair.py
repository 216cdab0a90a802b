"""Rows that differ after a gap become what Cassandra shows, deletions that were lost included.

Invariant: a deletion is made up only for what PostgreSQL held, shown or hidden, before all replicas were asked and none
of them shows.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from cassandra import ConsistencyLevel
from psycopg import Connection

from casscade.commitlog.observations import encode_observing
from casscade.core.errors import BadDataError
from casscade.core.keys import join_partition_key, pack_values
from casscade.core.mutation import PartitionUpdate, Row
from casscade.load.batch import BatchWriter
from casscade.load.control import ControlStore
from casscade.load.doubts import Doubt, request_rechecks
from casscade.load.hidden import HiddenRows
from casscade.load.key_encoder import KeyEncoder
from casscade.load.raw import Raw, int8
from casscade.load.relation_writer import RelationWriter
from casscade.load.tombstones import RowTombstone, row_key, row_of
from casscade.merge.lost import complete
from casscade.merge.paths import unify_paths
from casscade.schema.faults import reading
from casscade.schema.mapping import Relation, Target
from casscade.snapshot.page import Page
from casscade.snapshot.rows import TableScan

_NEWEST: Final = (1 << 63) - 1
# What is stored of a key is one row.
_PAGE_ROWS: Final = 2


class PointReader(Protocol):
    """Where rows come from: `casscade.snapshot.wire.RawSession`."""

    def prepare(self, query: str, consistency: int) -> Any: ...

    def read(self, statement: Any, key: Sequence[bytes]) -> Page: ...


class RowRepair:
    """Repairs rows of the tables of `targets` one by one; `connection` is in autocommit. One thread uses it."""

    def __init__(
        self,
        control: ControlStore,
        writer: BatchWriter,
        connection: Connection[Any],
        reader: PointReader,
        scans: Mapping[uuid.UUID, TableScan],
    ) -> None:
        self._control = control
        self._writer = writer
        self._connection = connection
        self._reader = reader
        self._scans = scans
        self._statements: dict[tuple[uuid.UUID, bool], Any] = {}

    def repair(self, target: Target, relation: Relation, key: Sequence[bytes]) -> bytes | None:
        """The mutation that makes the row with the values `key` equal; None when there is nothing to say.

        Columns whose cells CQL hides are asked for as a recheck. Raises RetryableError when a replica does not answer,
        or when Cassandra refuses to read the table by this description of it.
        """
        table = target.table
        scan = self._scans[table.id]
        writers = self._writer.target(table.id.bytes)
        writer = writers.rows if writers.statics is None or not relation.static else writers.statics
        width = len(table.partition_key)
        partition_key, clustering = join_partition_key(key[:width]), list(key[width:])
        stored = self._stored(writer, partition_key, clustering)
        page = self._read(table.id, scan, partition_key, clustering, static=relation.static)
        shown: Row | None = None
        for part in scan.read_page(page.rows, page.now, page.read_at):
            shown = part.update.static_row if relation.static else next(iter(part.update.rows), None)
        hidden = scan.hidden(static=relation.static)
        if hidden and (shown is not None or relation.static):
            doubt = Doubt(row_key(partition_key, writer.clustering_key([*clustering])), partition_key, [*clustering])
            doubt.columns.update(hidden)
            with self._connection.transaction():
                request_rechecks(self._control, self._connection, table.id, [doubt], static=relation.static)
        if shown is not None and writer.layout.loose_paths:
            unify_paths(shown, writer.layout.loose_paths, writer.layout.older_ties)
        row = shown if stored is None else complete(stored, shown, page.now, static=relation.static)
        if row is None:
            return None
        row.observed = None
        update = PartitionUpdate(scan.shape, partition_key)
        if relation.static:
            update.static_row = row
        else:
            update.rows.append(row)
        return encode_observing(update)

    def hidden_rows(self, target: Target) -> HiddenRows | None:
        """The rows of `target` that its condition hides; None where it has none."""
        return self._writer.target(target.table.id.bytes).rows.hidden

    def _stored(self, writer: RelationWriter, partition_key: bytes, clustering: Sequence[bytes]) -> Row | None:
        out: list[bytes] = []
        try:
            KeyEncoder(writer.layout).put(out, partition_key, Row(b"", [*clustering]))
        except BadDataError:
            return None  # a key that PostgreSQL can't hold has no row there
        # The primary key comes first, each field behind its length.
        fields = out[1::2][: len(writer.relation.primary_key)]
        with self._connection.transaction():
            # A row may go from one place to the other meanwhile: both are seen as they were at one moment.
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            query = writer.sql.select_partition(len(fields))
            parameters = (*(Raw(field) for field in fields), int8(_NEWEST))
            pages = list(writer.read_pages(self._connection, query, parameters, _PAGE_ROWS))
            row = next((stored.row for page in pages for stored in page), None)
            return self._stored_aside(writer, partition_key, clustering) if row is None else row

    def _stored_aside(
        self, writer: RelationWriter, partition_key: bytes, clustering: Sequence[bytes | None]
    ) -> Row | None:
        """A row that the condition of its table hides."""
        if writer.hidden is None:
            return None
        row = Row(writer.clustering_key([*clustering]), [*clustering])
        found = writer.hidden.find(self._connection, [row_key(partition_key, row.key)])
        return row_of(RowTombstone(*found[0]), row) if found else None

    def _read(
        self, table_id: uuid.UUID, scan: TableScan, partition_key: bytes, clustering: Sequence[bytes], *, static: bool
    ) -> Page:
        with reading("asking all replicas for a row"):
            statement = self._statements.get((table_id, static))
            if statement is None:
                query = scan.static_query if static else scan.point_query
                statement = self._reader.prepare(query, ConsistencyLevel.ALL)
                self._statements[table_id, static] = statement
            return self._reader.read(statement, scan.key_values(partition_key, pack_values(clustering)))
