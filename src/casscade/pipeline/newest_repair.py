"""Repairs rows of tables that may be altered meanwhile: each row by the version that its table has just then.

Invariant: what was read by one version of a table and stored by another is thrown away and read again, so that no
column is taken for deleted because an older version does not have it.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import psycopg
from psycopg import Connection

from casscade.core.errors import BadDataError, RetryableError
from casscade.load.batch import BatchWriter
from casscade.load.control import ControlStore
from casscade.load.schema_history import SchemaHistory
from casscade.load.sources import Sources
from casscade.pipeline.row_repair import PointReader, RowRepair
from casscade.rules.table import TableRules
from casscade.schema.faults import OUTDATED
from casscade.schema.mapping import Relation, Target
from casscade.snapshot.rows import TableScan
from casscade.verify.compare import TABLE_ALTERED

# A change is known within a second; PostgreSQL may have it before, and so may Cassandra.
TRIES_MAX: Final = 50
PAUSE_S: Final = 0.1


class Newest(Protocol):
    """Who knows the tables as they are: `casscade.pipeline.catalog.Catalog`."""

    @property
    def readable(self) -> Sequence[Target]:
        """The tables that can be read in Cassandra."""

    @property
    def rules(self) -> dict[bytes, TableRules]:
        """The rules of the tables that have any, by table id."""

    def version(self, target: Target) -> int:
        """The version of the table that its target was made for."""


class NewestRepair:
    """Repairs rows one by one; one thread uses it. `connection` and `rows` are in autocommit."""

    def __init__(
        self,
        newest: Newest,
        control: ControlStore,
        connection: Connection[Any],
        rows: Connection[Any],
        reader: PointReader,
        scan_of: Callable[[Target], TableScan],
        stop: threading.Event,
    ) -> None:
        self._newest = newest
        self._control = control
        self._history = SchemaHistory(control)
        self._connection = connection
        self._rows = rows
        self._reader = reader
        self._scan_of = scan_of
        self._stop = stop
        self._made: tuple[Target, RowRepair] | None = None

    def target(self, table_id: uuid.UUID) -> Target | None:
        """The table as it is now; None when it was dropped."""
        return next((target for target in self._newest.readable if target.table.id == table_id), None)

    def of(self, target: Target) -> RowRepair:
        """What repairs rows of a table as it is in `target`."""
        if self._made is None or self._made[0] is not target:
            # It knows how rows are stored; nothing is written with it.
            writer = BatchWriter(self._control, Sources())
            writer.add_target(self._connection, target, 0, rules=self._newest.rules.get(target.table.id.bytes))
            scans = {target.table.id: self._scan_of(target)}
            self._made = target, RowRepair(self._control, writer, self._rows, self._reader, scans)
        return self._made[1]

    def repair(self, table_id: uuid.UUID, relation: Relation, key: Sequence[bytes]) -> bytes | None:
        """As `RowRepair.repair`. Raises RetryableError also when the table does not come to rest."""
        for _ in range(TRIES_MAX):
            target = self.target(table_id)
            if target is None or (relation.static and target.statics is None):
                return None
            outdated: Exception | None = None
            mutation = None
            try:
                mutation = self.of(target).repair(target, relation, key)
            except (RetryableError, BadDataError, psycopg.ProgrammingError, psycopg.DataError) as error:
                outdated = error
            if self._is(target):
                if outdated is None:
                    return mutation
                if not isinstance(outdated, RetryableError) or outdated.code != OUTDATED:
                    raise outdated
            if self._stop.wait(PAUSE_S):
                return None
        raise RetryableError(
            TABLE_ALTERED,
            "A table is altered again and again while its rows are repaired after a gap",
            now="its comparison begins again",
            hint="casscade schema history tells what changes, and who records it",
        )

    def _is(self, target: Target) -> bool:
        """Whether a target still is what its table is, here and in PostgreSQL."""
        table_id = target.table.id
        if self.target(table_id) is not target:
            return False
        recorded = self._history.numbers(self._connection, [table_id]).get(table_id)
        return recorded is None or recorded <= self._newest.version(target)
