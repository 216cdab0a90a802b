"""Which Cassandra tables go where: the configuration resolved against the schema, in PostgreSQL's terms too.

Invariant: the shapes that decoding uses are those of the newest schema that was read, with column numbers that are
stored in PostgreSQL before the first row that refers to them.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from psycopg import Connection

from casscade.config import PipelineConfig, resolve_tables
from casscade.config.tables import matches
from casscade.core.errors import RetryableError
from casscade.core.limits import UNKNOWN_TABLES_MAX
from casscade.core.table import TableShape
from casscade.load.catalog import execute_ddl, lock_ddl, read_existing, require_extensions
from casscade.load.control import ControlStore
from casscade.rules.rewriter import Rewriter
from casscade.rules.table import TableRules, excluded_names, read_rules
from casscade.schema.checks import require_replicable
from casscade.schema.choices import ColumnChoices
from casscade.schema.conflict_rules import ARRIVAL_ORDER, ConflictRule, require_arrival_once
from casscade.schema.ddl import DdlStatement, plan_target
from casscade.schema.mapping import Target, build_target, check_targets
from casscade.schema.model import SchemaSnapshot, Table, assign_indexes, column_indexes
from casscade.schema.reader import read_schema

# A burst of mutations of one new table must not read the schema over and over.
REFRESH_PAUSE_S: Final = 1.0
SCHEMA_CHANGED: Final = "schema_changed"


class Catalog:
    """Targets and shapes of one pipeline. `tables()` may be called by any thread at any time."""

    def __init__(
        self, config: PipelineConfig, session: Any, control: ControlStore, *, hidden_before: bool = False
    ) -> None:
        """`hidden_before`: mutations come with what rules hide hidden already."""
        self._hidden_before = hidden_before
        self._config = config
        self._session = session
        self._control = control
        self._lock = threading.Lock()
        self._shapes: dict[bytes, TableShape] = {}
        self._replicated: frozenset[bytes] = frozenset()
        self._unwanted: dict[bytes, TableShape] = {}
        self._missing: dict[bytes, None] = {}
        self._read_at = float("-inf")
        self.targets: list[Target] = []
        self.rules: dict[bytes, TableRules] = {}
        self._numbered: dict[uuid.UUID, int] = {}

    def resolve(self, connection: Connection[Any]) -> list[Target]:
        """Read the schema and map every table that the configuration selects; changes nothing in PostgreSQL.

        Raises ConfigurationError for whatever stands in the way.
        """
        snapshot = read_schema(self._session, wanted=self._wanted)
        rules = resolve_tables(self._config, [(table.keyspace, table.name) for table in snapshot.tables.values()])
        targets: list[Target] = []
        found: dict[bytes, TableRules] = {}
        foreign = self._config.transport.format == "debezium"
        for rule in rules:
            table = snapshot.find(rule.keyspace, rule.table)
            assert table is not None
            require_replicable(snapshot, table)
            if rule.conflicts == ARRIVAL_ORDER:
                require_arrival_once(snapshot, table)
            known = self._control.column_indexes(connection, table.id)
            numbered = assign_indexes(table, known)
            self._numbered[table.id] = len(known | column_indexes(numbered))
            excluded = excluded_names(rule, numbered)
            ruled = read_rules(rule, numbered, self._config.rules, excluded, foreign=foreign)
            if ruled.active:
                found[table.id.bytes] = ruled
            target = build_target(
                numbered,
                schema=rule.target_schema,
                name=rule.target_table,
                exclude=excluded | ruled.dropped,
                key=rule.key,
                choices=ColumnChoices(rule.types, rule.column_inexact, rule.inexact, ruled.results, ruled.renames),
            )
            targets.append(replace(target, conflicts=ConflictRule(rule.conflicts, rule.conflicts_after_s)))
        check_targets(targets)
        require_extensions(connection, targets)
        self.targets = targets
        self.rules = found
        self._publish(snapshot)
        return targets

    def _wanted(self, keyspace: str) -> bool:
        """Whether a source of the configuration may be in the keyspace."""
        return any(matches(entry.source.partition(".")[0], keyspace) for entry in self._config.tables)

    def plan(self, connection: Connection[Any]) -> list[DdlStatement]:
        """The DDL that PostgreSQL still needs; raises ConfigurationError where something else stands in its place."""
        statements: dict[str, DdlStatement] = {}
        for target in self.targets:
            for statement in plan_target(target, read_existing(connection, target)):
                statements.setdefault(statement.sql, statement)
        return list(statements.values())

    def apply(self, connection: Connection[Any]) -> list[DdlStatement]:
        """Carry out the plan and store the column numbers, in the caller's transaction; returns what was done."""
        lock_ddl(connection)
        done: list[DdlStatement] = []
        for target in self.targets:
            statements = plan_target(target, read_existing(connection, target))
            execute_ddl(connection, statements)
            done += statements
            numbers = {column.name: column.index for column in target.table.columns if column.index >= 0}
            self._control.save_column_indexes(connection, target.table.id, numbers)
        return done

    def columns_numbered(self, target: Target) -> int:
        """How many columns of the table have had a number since its first day."""
        return self._numbered[target.table.id]

    def tables(self) -> Mapping[bytes, TableShape]:
        """Shapes by table id: those that are replicated and all others, which decoding steps over."""
        return self._shapes

    def replicated(self) -> frozenset[bytes]:
        """Ids of the replicated tables."""
        return self._replicated

    def unwanted(self) -> Mapping[bytes, TableShape]:
        """Shapes of the known tables that are not replicated."""
        return self._unwanted

    def refresh(self, table_id: bytes) -> bool:
        """Read the schema again because of an unknown table or column; returns whether it was read now.

        A table id that is still missing afterwards is remembered (boundedly), so that the mutations of a dropped
        table do not read the schema one by one.
        """
        with self._lock:
            if table_id in self._missing:
                return False
            pause = self._read_at + REFRESH_PAUSE_S - time.monotonic()
            if table_id in self._shapes and pause > 0:
                time.sleep(pause)
            snapshot = _with_patience(lambda: read_schema(self._session, wanted=self._wanted))
            self._require_same_tables(snapshot)
            self._publish(snapshot)
            if table_id not in self._shapes:
                while len(self._missing) >= UNKNOWN_TABLES_MAX:
                    del self._missing[next(iter(self._missing))]
                self._missing[table_id] = None
            return True

    def _require_same_tables(self, snapshot: SchemaSnapshot) -> None:
        """Raise RetryableError when a replicated table changed its columns: the pipeline is then built anew."""
        for target in self.targets:
            now = snapshot.tables.get(target.table.id)
            if now is not None and _column_facts(now) != _column_facts(target.table):
                raise RetryableError(
                    SCHEMA_CHANGED,
                    f"The columns of {target.table.full_name} changed",
                    now="the pipeline goes on with the new schema; nothing of what was read is lost",
                )

    def _publish(self, snapshot: SchemaSnapshot) -> None:
        replicated = {target.table.id.bytes: target.table for target in self.targets}
        unwanted = {
            table.id.bytes: table.shape(replicated=False)
            for table in snapshot.tables.values()
            if table.id.bytes not in replicated
        }
        self._shapes = unwanted | {table_id: self._shape(table) for table_id, table in replicated.items()}
        self._unwanted = unwanted
        self._replicated = frozenset(replicated)
        self._read_at = time.monotonic()

    def _shape(self, table: Table) -> TableShape:
        shape = table.shape(replicated=True)
        rules = self.rules.get(table.id.bytes)
        return Rewriter(rules).shape(shape) if self._hidden_before and rules is not None else shape


def _column_facts(table: Table) -> set[tuple[str, str, str, bool]]:
    return {(column.name, column.kind.value, column.type.cql(), column.dropped) for column in table.columns}


def _with_patience(
    read: Callable[[], SchemaSnapshot], attempts: int = 5, sleep: Callable[[float], None] = time.sleep
) -> SchemaSnapshot:
    """Read the schema although a node may be away for a moment."""
    for attempt in range(attempts - 1):
        try:
            return read()
        except RetryableError:
            sleep(0.5 * 2**attempt)
    return read()
