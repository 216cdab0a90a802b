"""Which Cassandra tables go where: the configuration resolved against the schema, in PostgreSQL's terms too.

Invariant: the shapes that decoding uses are those of the newest schema that was read or that another instance recorded,
with column numbers that are stored in PostgreSQL before the first row that refers to them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from psycopg import Connection

from casscade.config import PipelineConfig, TableRule, resolve_tables
from casscade.config.tables import matches
from casscade.core.errors import ConfigurationError, RetryableError
from casscade.core.table import TableShape
from casscade.load.blocked import Blocked
from casscade.load.catalog import lock_ddl, read_existing, require_extensions
from casscade.load.control import ControlStore
from casscade.load.schema_history import Version
from casscade.observability.logs import get_logger
from casscade.pipeline.table_plan import Planner, TablePlan, mark_dropped, statements_text
from casscade.rules.rewriter import Rewriter
from casscade.rules.table import TableRules
from casscade.schema.checks import require_replicable
from casscade.schema.conflict_rules import ARRIVAL_ORDER, require_arrival_once
from casscade.schema.ddl import DdlStatement
from casscade.schema.mapping import Target, check_targets
from casscade.schema.model import SchemaSnapshot, Table, assign_indexes
from casscade.schema.reader import read_schema

log = get_logger("casscade.schema")

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
        self.planner = Planner(config, control)
        self._shapes: dict[bytes, TableShape] = {}
        self._replicated: frozenset[bytes] = frozenset()
        self._unwanted: dict[bytes, TableShape] = {}
        self._plans: dict[uuid.UUID, TablePlan] = {}
        self._versions: dict[uuid.UUID, int] = {}
        self._rules: dict[uuid.UUID, TableRule] = {}
        self._known: list[tuple[str, str]] = []
        self._told: set[tuple[uuid.UUID, str]] = set()
        self._snapshot = SchemaSnapshot({}, {}, {})
        # Tables that were dropped: what was written before may still come.
        self.departed: list[Target] = []

    @property
    def targets(self) -> list[Target]:
        """The tables that are replicated, without the columns that are blocked."""
        return [plan.target for plan in self._plans.values()]

    @property
    def rules(self) -> dict[bytes, TableRules]:
        """The rules on rows and values of the tables that have any, by table id."""
        return {table_id.bytes: plan.rules for table_id, plan in self._plans.items() if plan.rules is not None}

    @property
    def written(self) -> list[Target]:
        """The tables whose mutations are applied: also those that are gone."""
        return [*self.targets, *self.departed]

    @property
    def readable(self) -> list[Target]:
        """The tables that can be read in Cassandra."""
        return [target for target in self.targets if target.table.id in self._snapshot.tables]

    @property
    def plans(self) -> list[TablePlan]:
        """The newest plan of each table."""
        return list(self._plans.values())

    @property
    def blocked(self) -> Blocked:
        """The columns that PostgreSQL can't take just now."""
        return {table_id.bytes: plan.blocked for table_id, plan in self._plans.items() if plan.blocked}

    def resolve(self, connection: Connection[Any], *, strict: bool = True) -> list[Target]:
        """Read the schema and plan every table that the configuration selects; changes nothing in PostgreSQL.

        Raises ConfigurationError for whatever stands in the way. Without `strict`, for a process that ran already,
        tables that are gone or can't be replicated (any more) are told of, and do not stand in the way of the others.
        """
        snapshot = self.read()
        history = self.planner.history
        recorded = history.newest(connection, list(snapshot.tables))
        living = history.living(connection)
        gone = [table_id for table_id in living if table_id not in snapshot.tables]
        gone += [version.table.id for version, _ in history.departed(connection)]
        self._plans.clear()
        # A source that names a table which is gone is wrong at the start of a process, and not while it runs.
        self._known = [] if strict else history.names(connection)
        for rule, table in self._selected(snapshot):
            if not self._replicable(snapshot, table, strict=strict, known=table.id in recorded):
                continue
            if strict and rule.conflicts == ARRIVAL_ORDER:
                require_arrival_once(snapshot, table)
            newest = recorded.get(table.id)
            numbered = self._numbered(connection, table, newest)
            self._rules[table.id] = rule
            self._plans[table.id] = self.planner.plan(connection, rule, numbered, newest, gone)
            self._versions[table.id] = 0 if newest is None else newest.number
        check_targets(self.targets)
        require_extensions(connection, self.targets)
        self._find_departed(connection)
        self.publish(snapshot)
        return self.targets

    def read(self) -> SchemaSnapshot:
        """The schema as Cassandra has it now. Raises as `read_schema` does."""
        return read_schema(self._session, wanted=self._wanted)

    def _wanted(self, keyspace: str) -> bool:
        """Whether a source of the configuration may be in the keyspace."""
        return any(matches(entry.source.partition(".")[0], keyspace) for entry in self._config.tables)

    def _selected(self, snapshot: SchemaSnapshot) -> list[tuple[TableRule, Table]]:
        names = [*((table.keyspace, table.name) for table in snapshot.tables.values()), *self._known]
        found: list[tuple[TableRule, Table]] = []
        for rule in resolve_tables(self._config, names):
            table = snapshot.find(rule.keyspace, rule.table)
            if table is not None:
                found.append((rule, table))
        return found

    def _replicable(self, snapshot: SchemaSnapshot, table: Table, *, strict: bool, known: bool) -> bool:
        """Whether to replicate a table that the configuration selects; tells once why not."""
        try:
            require_replicable(snapshot, table)
        except ConfigurationError as error:
            if strict:
                raise
            if (table.id, error.code) not in self._told:
                self._told.add((table.id, error.code))
                what = "writes are missing until it is captured again" if known else "it is left out"
                log.error("a table can't be replicated", table=table.full_name, code=error.code, now=what)
            return known
        return True

    def _numbered(self, connection: Connection[Any], table: Table, newest: Version | None) -> Table:
        """The table as it was read, or as another instance recorded it, if that is newer."""
        if newest is not None and newest.table.altered_at > table.altered_at:
            return newest.table
        return assign_indexes(table, self._control.column_indexes(connection, table.id))

    def _find_departed(self, connection: Connection[Any]) -> None:
        self.departed = []
        departed = self.planner.history.departed(connection)
        tables = [version.table for version, _ in departed] + [target.table for target in self.targets]
        if not departed or not self._plans:
            return
        rules = resolve_tables(self._config, [(table.keyspace, table.name) for table in tables])
        by_name = {(rule.keyspace, rule.table): rule for rule in rules}
        for version, name in departed:
            table = version.table
            rule = by_name.get((table.keyspace, table.name))
            if rule is None or table.id in self._plans:
                continue
            target, _ = self.planner.target(rule, table, name)
            present = read_existing(connection, target).relations
            if all(relation.name in present for relation in target.relations):  # unless somebody dropped them
                self._versions[table.id] = version.number
                self.departed.append(target)

    def plan(self, connection: Connection[Any]) -> list[DdlStatement]:  # noqa: ARG002 plans are made by resolve
        """The DDL that PostgreSQL still needs."""
        statements: dict[str, DdlStatement] = {}
        for plan in self._plans.values():
            for statement in plan.statements:
                statements.setdefault(statement.sql, statement)
        return list(statements.values())

    def apply(self, connection: Connection[Any], *, allowed: bool | None = None) -> list[DdlStatement]:
        """Carry out the plans, store the column numbers and record the versions, in the caller's transaction.

        Returns what was done. Raises ConfigurationError (`ddl_pending`) where `postgres.ddl` (or `allowed`) forbids it.
        """
        lock_ddl(connection)
        pending = self.plan(connection)
        if not (self._config.postgres.ddl == "apply" if allowed is None else allowed) and pending:
            raise ConfigurationError(
                "ddl_pending",
                f"PostgreSQL lacks {len(pending)} changes, and postgres.ddl is verify: {statements_text(pending[:5])}",
                where="postgres.ddl",
                now="nothing was changed",
                hint="have a database administrator run casscade plan --apply",
            )
        done: list[DdlStatement] = []
        for plan in list(self._plans.values()):
            current = self._replanned(connection, plan)
            self.carry_out(connection, current)
            done += current.statements
        # What the caller does besides may wait for a batch of another writer.
        connection.execute("SET LOCAL lock_timeout = '10s'")
        self._find_departed(connection)
        self.publish()
        return done

    def _replanned(self, connection: Connection[Any], plan: TablePlan) -> TablePlan:
        """The plan under the lock: what another instance did while this one waited for it is not done again."""
        table = plan.target.table
        newest = self.planner.history.newest(connection, [table.id]).get(table.id)
        if newest is not None and (plan.recorded is None or newest.number > plan.recorded.number):
            return self.planner.plan(connection, self._rules[table.id], newest.table, newest)
        if not plan.statements:
            return plan
        return self.planner.plan(connection, self._rules[table.id], table, plan.recorded, plan.recreated)

    def carry_out(self, connection: Connection[Any], plan: TablePlan) -> None:
        """Carry out one plan, and go on with its target."""
        table = plan.target.table
        self._versions[table.id] = self.planner.carry_out(connection, plan)
        self._plans[table.id] = plan

    def alter(self, connection: Connection[Any], table: Table, *, allowed: bool) -> TablePlan:
        """Go on with `table` as it was read now, or as another instance recorded it. Takes the lock of DDL.

        Where DDL is not `allowed` the columns that PostgreSQL lacks are blocked.
        """
        lock_ddl(connection)
        newest = self.planner.history.newest(connection, [table.id]).get(table.id)
        numbered = self._numbered(connection, table, newest)
        plan = self.planner.plan(connection, self._rules[table.id], numbered, newest)
        if allowed or not plan.statements:
            self.carry_out(connection, plan)
        else:
            assert newest is not None
            plan = self.planner.without_ddl(connection, plan, newest)
            self._plans[table.id] = plan
        return plan

    def drop(self, connection: Connection[Any], table_id: uuid.UUID) -> bool:
        """Note that a table is gone in Cassandra; its rows stay. Returns whether nobody had noted it."""
        version = self.planner.history.newest(connection, [table_id]).get(table_id)
        return version is not None and mark_dropped(
            self.planner.history, connection, version, self._plans[table_id].target
        )

    def newer(self, connection: Connection[Any]) -> list[Version]:
        """The versions that other instances recorded since.

        Raises RetryableError when the parts must be built anew, because a table is in another place now.
        """
        history = self.planner.history
        numbers = history.numbers(connection, list(self._plans))
        behind = [table_id for table_id, number in numbers.items() if number > self._versions[table_id]]
        newer = list(history.newest(connection, behind).values()) if behind else []
        for version in newer:
            if version.target != self._plans[version.table.id].target.rows.full_name:
                raise changed(f"{version.table.full_name} was made again by another table of its name")
        return newer

    def version(self, target: Target) -> int:
        """The version of the table that its target was made for."""
        return self._versions[target.table.id]

    def numbers(self) -> dict[bytes, int]:
        """The versions of all tables, by table id."""
        return {table_id.bytes: number for table_id, number in self._versions.items()}

    def added(self, snapshot: SchemaSnapshot) -> list[Table]:
        """Tables that the configuration selects, that can be replicated, and that are not replicated yet."""
        known = {target.table.id for target in self.targets}
        tables = [*snapshot.tables.values(), *(target.table for target in self.targets)]
        available = [*((table.keyspace, table.name) for table in tables), *self._known]
        found = []
        for rule in resolve_tables(self._config, available):
            table = snapshot.find(rule.keyspace, rule.table)
            if table is not None and table.id not in known:
                found.append(table)
        return [table for table in found if self._replicable(snapshot, table, strict=False, known=False)]

    def capturable(self, snapshot: SchemaSnapshot, table: Table) -> None:
        """Tell once of a replicated table of which writes are missing."""
        self._replicable(snapshot, table, strict=False, known=True)
        if table.cdc:
            self._told.discard((table.id, "table_without_cdc"))

    def tables(self) -> Mapping[bytes, TableShape]:
        """Shapes by table id: those that are replicated and all others, which decoding steps over."""
        return self._shapes

    def replicated(self) -> frozenset[bytes]:
        """Ids of the replicated tables."""
        return self._replicated

    def unwanted(self) -> Mapping[bytes, TableShape]:
        """Shapes of the known tables that are not replicated."""
        return self._unwanted

    def publish(self, snapshot: SchemaSnapshot | None = None) -> None:
        """Give out the shapes of the targets as they are now, and of all other tables of the newest snapshot."""
        if snapshot is not None:
            self._snapshot = snapshot
        replicated = {target.table.id.bytes: target.table for target in self.written}
        unwanted = {
            table.id.bytes: table.shape(replicated=False)
            for table in self._snapshot.tables.values()
            if table.id.bytes not in replicated
        }
        shapes = {table_id: self._shape(table) for table_id, table in replicated.items()}
        numbers = self.numbers()
        for table_id, shape in shapes.items():
            shape.version = numbers.get(table_id, 0)
        self._shapes = unwanted | shapes
        self._unwanted = unwanted
        self._replicated = frozenset(replicated)

    def _shape(self, table: Table) -> TableShape:
        shape = table.shape(replicated=True)
        rules = self.rules.get(table.id.bytes)
        return Rewriter(rules).shape(shape) if self._hidden_before and rules is not None else shape


def changed(what: str) -> RetryableError:
    """What makes the parts be built anew."""
    return RetryableError(
        SCHEMA_CHANGED, what, now="the pipeline goes on with the new schema; nothing of what was read is lost"
    )


def as_known(table: Table, before: Table) -> Table:
    """A table that was just read, numbered like the version before as far as that goes, to be compared with it."""
    numbers = {column.name: column.index for column in before.columns if column.index >= 0}
    return replace(assign_indexes(table, numbers), altered_at=table.altered_at)
