"""Tables and columns as `system_schema` describes them, without a driver.

Invariant: a column's `index` is given once and stays with its name while the table id lives; stored row states refer
to it, so a dropped column keeps its number and a column added again gets the old one back.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from casscade.core.cell import NO_TIMESTAMP
from casscade.core.errors import InvariantError
from casscade.core.keys import Canonical
from casscade.core.table import ColumnShape, TableShape
from casscade.cql.canonical import canonical_of
from casscade.cql.types import CqlType, UdtDefinition

NO_INDEX = -1


class ColumnKind(enum.Enum):
    """What a column is for; the values are those of `system_schema.columns.kind`."""

    PARTITION_KEY = "partition_key"
    CLUSTERING = "clustering"
    STATIC = "static"
    REGULAR = "regular"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    `position` orders partition key and clustering columns (0, 1, ...; -1 for the others). `reversed` marks a
    clustering column with `CLUSTERING ORDER BY ... DESC`. `index` numbers static and regular columns together and is
    `NO_INDEX` for key columns and before `assign_indexes`. `dropped` columns are kept for old mutations.
    `dropped_at` is the drop time in microseconds, also of a column that was dropped and added again; cells at or
    below it are not shown. It is `NO_TIMESTAMP` for a column that was never dropped. `former_length` is the
    fixed length of the type that a column had before it was dropped and added again (None: that of its type).
    """

    name: str
    kind: ColumnKind
    position: int
    type: CqlType
    reversed: bool = False
    index: int = NO_INDEX
    dropped: bool = False
    dropped_at: int = NO_TIMESTAMP
    former_length: int | None = None

    def shape(self) -> ColumnShape:
        """The framing facts of a static or regular column."""
        return ColumnShape(
            self.name.encode(),
            self.index,
            fixed_length=self.type.fixed_length,
            multi_cell=self.type.multi_cell,
            static=self.kind is ColumnKind.STATIC,
            counter=self.type.name == "counter",
            dropped=self.dropped,
            dropped_at=self.dropped_at,
            former_length=self.former_length,
        )


@dataclass(frozen=True, slots=True)
class Table:
    """One table id.

    `columns` holds all columns, dropped ones included, in the order partition key, clustering, static by name,
    regular by name. `flags` are those of `system_schema.tables` (`compound`, `dense`, `super`, `counter`).
    `older_ties`: the cluster runs 3.11, which tells cells of one timestamp apart by rules of its own. `altered_at` is
    the time of its newest ALTER, by Cassandra's clock in microseconds (0: not known); it is no part of what a table is.
    """

    id: uuid.UUID
    keyspace: str
    name: str
    columns: tuple[Column, ...]
    cdc: bool = False
    gc_grace_seconds: int = 864000
    default_time_to_live: int = 0
    flags: frozenset[str] = frozenset({"compound"})
    is_view: bool = False
    older_ties: bool = False
    altered_at: int = field(default=0, compare=False)

    @property
    def full_name(self) -> str:
        """`keyspace.table`."""
        return f"{self.keyspace}.{self.name}"

    @property
    def partition_key(self) -> tuple[Column, ...]:
        """The partition key columns in key order."""
        return self._living(ColumnKind.PARTITION_KEY)

    @property
    def clustering(self) -> tuple[Column, ...]:
        """The clustering columns in key order."""
        return self._living(ColumnKind.CLUSTERING)

    @property
    def statics(self) -> tuple[Column, ...]:
        """The static columns by name, without dropped ones."""
        return self._living(ColumnKind.STATIC)

    @property
    def regulars(self) -> tuple[Column, ...]:
        """The regular columns by name, without dropped ones."""
        return self._living(ColumnKind.REGULAR)

    @property
    def is_counter(self) -> bool:
        """Whether the table holds counters; such a table has no other static or regular columns."""
        return "counter" in self.flags or any(column.type.name == "counter" for column in self.columns)

    @property
    def is_super(self) -> bool:
        """A Thrift super column family."""
        return "super" in self.flags

    @property
    def is_compact(self) -> bool:
        """A table made by Thrift or `WITH COMPACT STORAGE` (`TableMetadata.isCompactTable`)."""
        return not self.is_view and ("compound" not in self.flags or "dense" in self.flags or self.is_super)

    @property
    def has_plain_rows(self) -> bool:
        """Whether rows are as CQL shows them: all of a table that is not compact, and the simplest compact ones.

        `WITH COMPACT STORAGE`, one clustering column and one value: the row is visible while the value is, since no
        liveness is written for it (`CFMetaData.isCQLTable` of 3.11, `UpdateStatement.addUpdateForKey`).
        """
        if not self.is_compact:
            return True
        values = [column.type.name for column in self.regulars]
        return self.flags == {"dense"} and len(self.clustering) == len(values) == 1 and values != ["empty"]

    def column(self, name: str) -> Column | None:
        """The column of that name, dropped ones included."""
        return next((column for column in self.columns if column.name == name), None)

    def shape(self, replicated: bool) -> TableShape:
        """What a decoder needs; every static and regular column must have its index by now.

        Raises `InvariantError` for a table whose columns were not numbered.
        """
        counted = [column for column in self.columns if column.kind in _COUNTED]
        if any(column.index == NO_INDEX for column in counted):
            raise InvariantError("schema_not_numbered", f"columns of {self.full_name} have no index yet")
        shape = TableShape(
            self.id.bytes,
            self.keyspace,
            self.name,
            [column.type.fixed_length for column in self.clustering],
            [column.shape() for column in counted],
            replicated=replicated,
            loose_clusterings=self.loose_clusterings,
            loose_paths=self.loose_paths,
            older_ties=self.older_ties,
        )
        # Of tables that are stepped over nobody needs to know whether a column is back.
        return shape if replicated or not any(column.dropped for column in counted) else shape.lenient()

    @property
    def loose_clusterings(self) -> tuple[Canonical | None, ...]:
        """For each clustering column what makes equal values equal bytes (2.7 and 2.70 are one row); () for none."""
        found = tuple(canonical_of(column.type) for column in self.clustering)
        return found if any(canonical is not None for canonical in found) else ()

    @property
    def loose_paths(self) -> dict[int, Canonical]:
        """The same for the elements of non-frozen sets and the keys of non-frozen maps, by column index."""
        found = {
            column.index: canonical_of(column.type.args[0])
            for column in self.columns
            if column.type.multi_cell and column.type.name in ("set", "map")
        }
        return {index: canonical for index, canonical in found.items() if canonical is not None}

    def _living(self, kind: ColumnKind) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.kind is kind and not column.dropped)


_COUNTED = (ColumnKind.STATIC, ColumnKind.REGULAR)


@dataclass(frozen=True, slots=True)
class Keyspace:
    """A keyspace; mutations of one without durable writes never reach the commit log."""

    name: str
    durable_writes: bool = True
    replication: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SchemaSnapshot:
    """All that `system_schema` said at one moment: keyspaces by name, tables (views too) by id, UDTs by keyspace."""

    keyspaces: Mapping[str, Keyspace]
    tables: Mapping[uuid.UUID, Table]
    udts: Mapping[str, Mapping[str, UdtDefinition]]

    def find(self, keyspace: str, name: str) -> Table | None:
        """The table of that name as it is now, or None."""
        for table in self.tables.values():
            if table.keyspace == keyspace and table.name == name:
                return table
        return None


def ordered_columns(columns: list[Column]) -> tuple[Column, ...]:
    """The columns in the order that `Table.columns` promises."""
    ranks = {kind: rank for rank, kind in enumerate(ColumnKind)}
    return tuple(sorted(columns, key=lambda column: (ranks[column.kind], column.position, column.name)))


def assign_indexes(table: Table, previous: Mapping[str, int]) -> Table:
    """Number the static and regular columns, dropped ones included.

    Names in `previous` (what an earlier version of the same table id was given) keep their numbers; new names get the
    next ones: regular columns by name, then static ones, so that the numbers of a new table's regular columns have no
    gaps. Numbers of `previous` whose columns are gone are not given out again.
    """
    numbers = dict(previous)
    following = max(numbers.values(), default=NO_INDEX) + 1
    counted = [column for column in table.columns if column.kind in _COUNTED]
    for column in sorted(counted, key=lambda column: (column.kind is ColumnKind.STATIC, column.name)):
        if column.name not in numbers:
            numbers[column.name] = following
            following += 1
    columns = tuple(
        replace(column, index=numbers[column.name]) if column.kind in _COUNTED else column for column in table.columns
    )
    return replace(table, columns=columns)


def column_indexes(table: Table) -> dict[str, int]:
    """Name -> index of the numbered columns: the `previous` of the table's next version."""
    return {column.name: column.index for column in table.columns if column.index != NO_INDEX}
