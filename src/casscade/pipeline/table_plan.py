"""One table on its way to PostgreSQL: rule and schema make a target, and the target a plan against what is there.

Invariant: a plan is carried out in the transaction that made it, under the lock of DDL, and records the version of the
table with it; carried out by several instances one after the other, it changes nothing the second time.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from psycopg import Connection

from casscade.config import PipelineConfig, TableRule
from casscade.core.errors import ConfigurationError
from casscade.load.catalog import execute_ddl, read_existing
from casscade.load.control import ControlStore
from casscade.load.schema_history import SchemaHistory, Version
from casscade.load.table_lock import TableLock
from casscade.pipeline.present import present_part
from casscade.rules.table import TableRules, excluded_names, read_rules
from casscade.schema.choices import ColumnChoices
from casscade.schema.conflict_rules import ConflictRule
from casscade.schema.ddl import VIEW, DdlStatement, ExistingSchema, plan_target
from casscade.schema.mapping import Relation, Target, build_target
from casscade.schema.model import Table
from casscade.schema.names import quote_identifier, quote_qualified, relation_identifier
from casscade.schema.reconcile import is_void, reconcile, without
from casscade.schema.versions import AGAIN, DROPPED, Change, changes, renamed_keys, version_label

FIRST: Final = "replicated from now on"
LONG_STATEMENTS: Final = "SET LOCAL statement_timeout = '1h'"
"""For one statement over a whole table: an hour for some hundred million rows."""


@dataclass(slots=True)
class TablePlan:
    """What a table needs: `target` has no blocked column, `blocked` says by index why. `recreated` has the ids of
    tables of the same name that are gone, `aside` the name that their relation gets. `empties`: columns begin anew."""

    target: Target
    statements: list[DdlStatement]
    changes: list[Change]
    recorded: Version | None
    blocked: dict[int, str] = field(default_factory=dict)
    recreated: tuple[uuid.UUID, ...] = ()
    aside: str = ""
    rules: TableRules | None = None
    empties: bool = False

    @property
    def ddl(self) -> list[str]:
        """The statements as text."""
        return [statement.sql for statement in self.statements]

    @property
    def ends_columns(self) -> bool:
        """Whether what was written to some column is void with this version."""
        return self.recorded is not None and any(change.kind in (AGAIN, DROPPED) for change in self.changes)


class Planner:
    """Plans tables and carries plans out; every method runs in the caller's transaction."""

    def __init__(self, config: PipelineConfig, control: ControlStore) -> None:
        self._config = config
        self._control = control
        self.history = SchemaHistory(control)
        self._lock = TableLock(control)

    def target(
        self, rule: TableRule, table: Table, name: str = "", pinned: Table | None = None
    ) -> tuple[Target, TableRules | None]:
        """What the configuration makes of a numbered table, and its rules if it has any.

        `name` is another name for it, `pinned` a version that has the columns that are wanted. Raises
        ConfigurationError.
        """
        excluded = excluded_names(rule, table)
        if pinned is not None:
            known = {column.name for column in pinned.columns if not column.dropped}
            excluded |= {column.name for column in (*table.statics, *table.regulars)} - known
        foreign = self._config.transport.format == "debezium"
        ruled = read_rules(rule, table, self._config.rules, excluded, foreign=foreign)
        choices = ColumnChoices(
            rule.types, rule.column_inexact, rule.inexact, ruled.results, ruled.renames, rule.retyped
        )
        target = build_target(
            table,
            schema=rule.target_schema,
            name=name or rule.target_table,
            exclude=excluded | ruled.dropped,
            key=rule.key,
            choices=choices,
        )
        target = replace(target, conflicts=ConflictRule(rule.conflicts, rule.conflicts_after_s))
        return target, ruled if ruled.active else None

    def plan(
        self,
        connection: Connection[Any],
        rule: TableRule,
        table: Table,
        recorded: Version | None,
        gone: Collection[uuid.UUID] = (),
    ) -> TablePlan:
        """The plan for a numbered table; `gone` are the ids of the tables that Cassandra does not have any more.

        Raises ConfigurationError: `target_mismatch`, `table_recreated`, and those of the mapping.
        """
        wanted, rules = self.target(rule, table, pinned=self.history.pinned(connection, table.id))
        existing = read_existing(connection, wanted)
        found = [] if recorded is None else changes(recorded.table, table)
        renamed = {} if recorded is None else renamed_keys(recorded.table, table)
        before: list[DdlStatement] = []
        recreated: tuple[uuid.UUID, ...] = ()
        aside = ""
        if recorded is None and wanted.rows.name in existing.relations:
            recreated = tuple(self._left_behind(connection, wanted, gone))
            if recreated:
                if rule.on_recreate == "stop":
                    raise _recreated(wanted)
                aside = _free_name(connection, wanted.rows)
                before, existing = _move_aside(wanted, existing, aside)
        reached = reconcile(wanted, existing, renamed)
        blocked = {conflict.column.column.index: conflict.what for conflict in reached.conflicts}
        target = without(wanted, {conflict.column.column.name for conflict in reached.conflicts})
        void = _void(target, existing, found)
        statements = [*before, *void, *reached.statements, *plan_target(target, reached.existing)]
        return TablePlan(target, statements, found, recorded, blocked, recreated, aside, rules, bool(void))

    def carry_out(self, connection: Connection[Any], plan: TablePlan) -> int:
        """Run the plan and record it; returns the version of the table."""
        table = plan.target.table
        if plan.recorded is not None and (plan.changes or plan.statements):
            # Whoever writes the table is done with the version before, and looks for the new one before the next batch.
            self._hold(connection, plan.target, table)
        left = self.history.newest(connection, plan.recreated)
        for version in left.values():
            self._hold(connection, plan.target, version.table)
        if plan.ends_columns or plan.empties:
            connection.execute(LONG_STATEMENTS)
        execute_ddl(connection, plan.statements)
        numbers = {column.name: column.index for column in table.columns if column.index >= 0}
        self._control.save_column_indexes(connection, table.id, numbers)
        for table_id in plan.recreated:
            self.history.kept_aside(connection, table_id, plan.aside)
        for version in left.values():
            # Who still writes to the old table finds that it is not where it was.
            place = f"{plan.target.rows.schema}.{plan.aside}"
            self.history.add(connection, version.table, place, [f"dropped; its rows are kept in {place}"], [])
        if plan.recorded is not None and not plan.changes and not plan.statements:
            return plan.recorded.number
        words = [change.what for change in plan.changes] or ([] if plan.recorded is not None else [FIRST])
        words += [f"the table of the name before is {plan.aside} in PostgreSQL"] if plan.recreated else []
        return self.history.add(connection, table, plan.target.rows.full_name, words, plan.ddl)

    def go_back(
        self, connection: Connection[Any], rule: TableRule, newest: Version, number: int | None, words: Sequence[str]
    ) -> list[DdlStatement]:
        """Leave out the columns that version `number` does not have (None: none), and record that as a version.

        Returns what was run for it. The caller holds the lock of DDL.
        """
        self.history.pin(connection, newest.table.id, number)
        plan = self.plan(connection, rule, newest.table, newest)
        self._hold(connection, plan.target, newest.table)
        connection.execute(LONG_STATEMENTS)
        execute_ddl(connection, plan.statements)
        self.history.add(connection, newest.table, newest.target, words, plan.ddl)
        return plan.statements

    def _hold(self, connection: Connection[Any], target: Target, table: Table) -> None:
        """Keep all writers of a table out until the transaction ends."""
        place = (target.rows.schema, target.rows.name)
        self._lock.hold(connection, [self._control.target_number(connection, table, place, static=False)])

    def without_ddl(self, connection: Connection[Any], plan: TablePlan, version: Version) -> TablePlan:
        """The plan for a PostgreSQL that this pipeline may not alter: what it lacks is blocked.

        Key columns keep the names that they have. Raises ConfigurationError (`table_missing`) without its relation.
        """
        table = plan.target.table
        present = present_part(connection, plan.target, renamed_keys(version.table, table))
        if present.target is None:
            raise _keyless(plan.target)
        label = version_label(table.id.bytes, version.number)
        reasons = {
            index: f"{table.full_name}: PostgreSQL has no column for {name!r} as it is since version {label}. Run "
            "casscade plan --apply, which tells what stands in its way, and replay the dead letters"
            for name, index in present.missing.items()
        }
        return TablePlan(present.target, [], plan.changes, plan.recorded, plan.blocked | reasons, rules=plan.rules)

    def _left_behind(self, connection: Connection[Any], target: Target, gone: Collection[uuid.UUID]) -> list[uuid.UUID]:
        place = (target.rows.schema, target.rows.name)
        return [each for each in self.history.rows_in(connection, place) if each in gone]


def _keyless(target: Target) -> ConfigurationError:
    return ConfigurationError(
        "table_missing",
        f"{target.rows.full_name} is not there any more, or has another key than {target.table.full_name}",
        where=target.rows.full_name,
        now="the pipeline stops; nothing was changed",
        hint="see what is missing with casscade plan, and run casscade plan --apply",
    )


def sweep(connection: Connection[Any], plan: TablePlan) -> int:
    """Have the reaper look again at rows that may have nothing left but what a drop made void; returns how many.

    A row that was made by an UPDATE of a column alone is gone with the column.
    """
    rows = 0
    for relation in plan.target.relations if plan.ends_columns else ():
        bare = [f"{quote_identifier(column.name)} IS NULL" for column in relation.value_columns]
        name = quote_qualified(relation.schema, relation.name)
        condition = " AND ".join(["_cdc_state IS NOT NULL", *bare])
        text = f"UPDATE {name} SET _cdc_expires_at = 'epoch' WHERE {condition}"  # noqa: S608 quoted identifiers alone
        rows += connection.execute(text.encode()).rowcount
    return rows


def _void(target: Target, existing: ExistingSchema, found: Sequence[Change]) -> list[DdlStatement]:
    """Columns that are back begin empty, as in Cassandra: nobody can have written to them since.

    So do those that took no values for a time: a row that was written meanwhile would give them its newest write time.
    """
    back = {change.column for change in found if change.kind == AGAIN}
    statements: list[DdlStatement] = []
    for relation in target.relations:
        present = existing.relations.get(relation.name)
        there = {} if present is None else {column.name: column for column in present.columns}
        for column in relation.value_columns:
            was = there.get(column.name)
            if was is not None and (column.column.name in back or is_void(was)):
                name, quoted = quote_qualified(relation.schema, relation.name), quote_identifier(column.name)
                text = f"UPDATE {name} SET {quoted} = NULL WHERE {quoted} IS NOT NULL"  # noqa: S608 quoted identifiers
                statements.append(DdlStatement(text, f"values of {column.name} from before it took no more"))
    return statements


def mark_dropped(history: SchemaHistory, connection: Connection[Any], version: Version, target: Target) -> bool:
    """Keep the rows of a table that is gone, and say so; returns whether that is new."""
    if not history.dropped(connection, version.table.id, target.rows.name):
        return False
    for relation in target.relations:
        name = quote_qualified(relation.schema, relation.name)
        text = f"COMMENT ON TABLE {name} IS 'casscade: dropped in Cassandra; takes no more rows'"
        connection.execute(text.encode())
    return True


def _recreated(target: Target) -> ConfigurationError:
    return ConfigurationError(
        "table_recreated",
        f"{target.table.full_name} was dropped and made again in Cassandra; PostgreSQL has the rows of the old one",
        where=target.rows.full_name,
        now="nothing was changed",
        hint="rename the table in PostgreSQL, or set on_recreate: keep for it",
    )


def _free_name(connection: Connection[Any], relation: Relation) -> str:
    """The name with today's date, and a number where that is taken."""
    today = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d")
    for number in range(1, 1000):
        name = relation_identifier(f"{relation.name}__{today}" + (f"_{number}" if number > 1 else ""))
        taken = connection.execute("SELECT to_regclass(%s)", (quote_qualified(relation.schema, name),)).fetchone()
        if taken == (None,):
            return name
    raise ConfigurationError(
        "names_exhausted",
        f"a thousand tables were kept for {relation.full_name} today",
        where=relation.full_name,
        now="nothing was changed",
        hint="drop those that are not needed",
    )


def _move_aside(target: Target, existing: ExistingSchema, aside: str) -> tuple[list[DdlStatement], ExistingSchema]:
    """Rename the relations of a table that is gone; those of the new one then are not there yet."""
    schema, base = target.rows.schema, target.rows.name
    names = {
        base: aside,
        relation_identifier(f"{base}_static"): relation_identifier(f"{aside}_static"),
        relation_identifier(f"{base}_with_static"): relation_identifier(f"{aside}_with_static"),
    }
    statements: list[DdlStatement] = []
    relations = dict(existing.relations)
    for old, new in names.items():
        found = relations.pop(old, None)
        if found is not None:
            kind = "VIEW" if found.kind == VIEW else "TABLE"
            text = f"ALTER {kind} {quote_qualified(schema, old)} RENAME TO {quote_identifier(new)}"
            statements.append(DdlStatement(text, f"{old}, whose table in Cassandra is gone, is kept as {new}"))
    return statements, replace(existing, relations=relations)


def statements_text(statements: Sequence[DdlStatement]) -> str:
    """The statements for a terminal or an error."""
    return " ".join(f"{statement.sql};" for statement in statements)
