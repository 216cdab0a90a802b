"""Cassandra's side of a comparison: the rows of a table as raw values, by token range and by key.

Invariant: a row stays the bytes of the wire here; what they mean is decided in `casscade.verify.normal` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from cassandra.cluster import EXEC_PROFILE_DEFAULT
from cassandra.concurrent import execute_concurrent
from cassandra.protocol import ProtocolHandler, ResultMessage, read_int
from cassandra.query import BoundStatement, tuple_factory

from casscade.core.errors import BadDataError
from casscade.cql.types import quote_name
from casscade.rules.table import TableRules
from casscade.schema.mapping import Relation, Target
from casscade.schema.model import Column
from casscade.schema.pg_types import PgType
from casscade.verify.keys import RawKey
from casscade.verify.normal import Key, cassandra_form

RING_START: Final = -(1 << 63)
RING_END: Final = (1 << 63) - 1
# Reads by key under way at once: enough to hide the way to the node, few enough not to disturb it.
READS_AT_ONCE: Final = 32

RawRow = list[bytes | None]


class _RawResult(ResultMessage):  # type: ignore[misc] # the driver has no types
    """A RESULT message whose rows stay bytes."""

    def recv_results_rows(self, f: Any, *arguments: Any) -> None:
        self.recv_results_metadata(f, arguments[1])
        metadata = self.column_metadata or arguments[2]
        self.column_names = [column[2] for column in metadata]
        self.column_types = [column[3] for column in metadata]
        self.parsed_rows = [[_read_value(f) for _ in metadata] for _ in range(read_int(f))]


def _read_value(f: Any) -> bytes | None:
    length = read_int(f)
    if length < 0:
        return None
    value: bytes = f.read(length)
    return value


class RawProtocol(ProtocolHandler):  # type: ignore[misc] # the driver has no types
    """The protocol of a session whose results are rows of raw values."""

    message_types_by_opcode = {  # noqa: RUF012 # the driver's own class attribute
        **ProtocolHandler.message_types_by_opcode,
        _RawResult.opcode: _RawResult,
    }


class CassandraTable:
    """Reads one table over a session of its own on the cluster of `session`; `close` ends that session.

    The columns of a row are: partition key, clustering, all statics, the replicated regular columns; of these the
    relations of `target` may lack some, which are not compared. Raises the driver's exceptions.
    """

    def __init__(
        self, session: Any, target: Target, consistency: int, page_rows: int, rules: TableRules | None = None
    ) -> None:
        table = target.table
        self._rules = rules
        self.partition = table.partition_key
        self.clustering = table.clustering
        self.statics = table.statics
        excluded = {column.name for column in target.excluded}
        self.regulars = tuple(column for column in table.regulars if column.name not in excluded)
        self._shown = _places(self.regulars, target.rows)
        self._shown_statics = [] if target.statics is None else _places(table.statics, target.statics)
        shown = {place for place, _ in self._shown_statics}
        self._telling = [i for i, each in enumerate(table.statics) if i in shown or each.name in excluded]
        self._consistency = consistency
        self._page_rows = page_rows
        self._session = session.cluster.connect()
        try:
            self._prepare_reads(target)
        except BaseException:
            self.close()
            raise

    def _prepare_reads(self, target: Target) -> None:
        table = target.table
        self._session.client_protocol_handler = RawProtocol
        self._profile = self._session.execution_profile_clone_update(EXEC_PROFILE_DEFAULT, row_factory=tuple_factory)
        name = f"{quote_name(table.keyspace)}.{quote_name(table.name)}"
        shown = _names((*self.partition, *self.clustering, *self.statics, *self.regulars))
        token = f"token({_names(self.partition)})"
        keys = " AND ".join(f"{quote_name(column.name)} = ?" for column in (*self.partition, *self.clustering))
        partition = " AND ".join(f"{quote_name(column.name)} = ?" for column in self.partition)
        self._by_token = self._prepare(f"SELECT {shown} FROM {name} WHERE {token} > ? AND {token} <= ?")  # noqa: S608
        self._by_key = self._prepare(f"SELECT {shown} FROM {name} WHERE {keys}")  # noqa: S608
        # The first row shows the statics; without any row there is one that has nothing else.
        self._by_partition = self._prepare(f"SELECT {shown} FROM {name} WHERE {partition} LIMIT 1")  # noqa: S608

    def close(self) -> None:
        """Close the session; the cluster stays open."""
        self._session.shutdown()

    def pages(self, start: int, end: int) -> Iterator[list[RawRow]]:
        """The rows of the token range (start, end], page by page."""
        bound = self._by_token.bind((start, end))
        bound.fetch_size = self._page_rows
        result = self._session.execute(bound, execution_profile=self._profile)
        while True:
            yield list(result.current_rows)
            if not result.has_more_pages:
                return
            result.fetch_next_page()

    def find(self, keys: Sequence[RawKey], *, static: bool) -> list[RawRow | None]:
        """The row of each key (None: it has none); with `static` keys are partition keys, rows hold their statics."""
        prepared = self._by_partition if static else self._by_key
        statements = []
        for key in keys:
            bound = BoundStatement(prepared)
            bound.values = list(key)
            statements.append((bound, ()))
        outcomes = execute_concurrent(
            self._session, statements, concurrency=READS_AT_ONCE, execution_profile=self._profile
        )
        found: list[RawRow | None] = []
        for _, result in outcomes:
            rows = list(result.current_rows)
            row = rows[0] if rows else None
            visible = row is not None and (self.has_statics(row) if static else self.is_row(row))
            found.append(row if visible else None)
        return found

    def is_row(self, row: RawRow) -> bool:
        """Whether it is more than the statics of a partition without rows."""
        first = len(self.partition)
        return (not self.clustering or row[first] is not None) and self._is_wanted(row)

    def has_statics(self, row: RawRow) -> bool:
        """Whether the partition of the row shows any static value."""
        values = self._static_values(row)
        return any(values[i] is not None for i in self._telling) and self._is_wanted(row, static=True)

    def raw_key(self, row: RawRow, *, static: bool) -> RawKey:
        """The bytes of the key."""
        width = len(self.partition) + (0 if static else len(self.clustering))
        return tuple(value or b"" for value in row[:width])

    def value_forms(self, row: RawRow, *, static: bool) -> Key:
        """The normal forms of the columns that are not in the key, in the order of the relation."""
        if static:
            values = self._static_values(row)
            return tuple(self._form(self.statics[i], values[i], pg) for i, pg in self._shown_statics)
        values = row[len(row) - len(self.regulars) :]
        return tuple(self._form(self.regulars[i], values[i], pg) for i, pg in self._shown)

    def _form(self, column: Column, value: bytes | None, pg: PgType) -> Any:
        """The normal form of a value, behind its rules; one on which a rule fails has none that could be there."""
        if self._rules is None or value is None:
            return cassandra_form(column.type, value, pg)
        if column.name in self._rules.nulled:
            return None
        chain = self._rules.chains.get(column.name)
        if chain is None:
            return cassandra_form(column.type, value, pg)
        try:
            return cassandra_form(chain.result, chain.apply(value), pg)
        except BadDataError as error:
            return error.code

    def _is_wanted(self, row: RawRow, *, static: bool = False) -> bool:
        """Whether the row matches the table's conditions; of a static row, those on the partition key."""
        conditions = None if self._rules is None else self._rules.conditions
        if conditions is None:
            return True
        tests = conditions.partition if static else (*conditions.partition, *conditions.key, *conditions.row)
        columns = (*self.partition, *self.clustering, *self.statics, *self.regulars)
        values = {column.name: value for column, value in zip(columns, row, strict=True)}
        try:
            return all(test.matches([values[name] for name in test.columns]) for test in tests)
        except BadDataError:
            return False

    def _static_values(self, row: RawRow) -> RawRow:
        first = len(self.partition) + len(self.clustering)
        return row[first : first + len(self.statics)]

    def _prepare(self, query: str) -> Any:
        statement = self._session.prepare(query)
        statement.consistency_level = self._consistency
        statement.is_idempotent = True
        return statement


def _places(read: Sequence[Column], relation: Relation) -> list[tuple[int, PgType]]:
    """Where the values of a relation's columns stand among those that are read, and what they become."""
    places = {column.name: place for place, column in enumerate(read)}
    return [(places[column.column.name], column.pg_type) for column in relation.value_columns]


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(quote_name(column.name) for column in columns)
