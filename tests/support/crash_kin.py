"""Two tables with constraints for a life that dies at a failpoint: a row waits for its parent, one is refused.

Invariant: the child comes long before its parent, so that it waits in every life; what the CHECK refuses becomes a dead
letter, and is replayed once the CHECK is gone.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

import psycopg

from casscade.core.cell import live_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.cql.types import CqlType
from casscade.load.batch import BatchWriter
from casscade.load.catalog import execute_ddl, read_existing
from casscade.schema.ddl import plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes

_INT: Final = CqlType("int")
_WAIT_MS: Final = 600_000
_CONSTRAINTS: Final = (
    "ALTER TABLE ks.child ADD FOREIGN KEY (v) REFERENCES ks.parent (p)",
    "ALTER TABLE ks.parent ADD CONSTRAINT small CHECK (v < 100)",
)
_PARENT, _REFUSED, _CHILD = (5, 1), (7, 1000), (1, 5)
# In the order of coming: these first, the parent in the last segment.
COUNT: Final = 3


def _table(name: str, number: int) -> Table:
    columns = (Column("p", ColumnKind.PARTITION_KEY, 0, _INT), Column("v", ColumnKind.REGULAR, -1, _INT))
    return assign_indexes(Table(uuid.UUID(int=number, version=4), "ks", name, columns), {})


TARGETS: Final[Sequence[Target]] = tuple(build_target(_table(name, i)) for i, name in ((91, "parent"), (92, "child")))
SHAPES: Final = {target.table.id.bytes: target.table.shape(replicated=True) for target in TARGETS}


def _update(target: Target, row: tuple[int, int]) -> PartitionUpdate:
    key, value = (number.to_bytes(4, "big") for number in row)
    update = PartitionUpdate(target.table.shape(replicated=True), key)
    written = Row(b"", [])
    written.liveness_ts = 1
    written.cells = {0: live_cell(1, value)}
    update.rows.append(written)
    return update


def updates(*, last: bool) -> list[PartitionUpdate]:
    """What comes in the last segment, or in the first."""
    parents, children = TARGETS
    return [_update(parents, _PARENT)] if last else [_update(children, _CHILD), _update(parents, _REFUSED)]


def prepare(connection: psycopg.Connection[Any], writer: BatchWriter) -> None:
    """The relations, with their constraints when they are new, in the caller's transaction."""
    new = False
    for target in TARGETS:
        statements = plan_target(target, read_existing(connection, target))
        new = new or bool(statements)
        execute_ddl(connection, statements)
    for statement in _CONSTRAINTS if new else ():
        connection.execute(statement.encode())
    for target in TARGETS:
        writer.add_target(connection, target, 3600, parent_wait_ms=_WAIT_MS)


def release(connection: psycopg.Connection[Any]) -> None:
    """What another process claimed that is dead: as if the time of its claim were over."""
    connection.execute("UPDATE casscade.dead_letters SET claimed_until = DEFAULT")


def settled(connection: psycopg.Connection[Any]) -> bool:
    """Whether nothing waits and nothing of it is a dead letter; asks for the replay as soon as it can succeed."""
    left = connection.execute("SELECT count(*) FROM casscade.waiting_rows").fetchone()
    if left != (0,):
        return False
    refused = "FROM casscade.dead_letters WHERE source_name = 'ks.parent'"
    if connection.execute(f"SELECT count(*) {refused}".encode()).fetchone() == (0,):
        return True
    connection.execute("ALTER TABLE ks.parent DROP CONSTRAINT IF EXISTS small")
    connection.execute(
        b"UPDATE casscade.dead_letters SET state = 'requested' WHERE source_name = 'ks.parent' AND state = 'waiting'"
    )
    return False


def differences(connection: psycopg.Connection[Any]) -> list[str]:
    """What is not as it has to be in the end."""
    found = [connection.execute(f"SELECT p, v FROM ks.{t.rows.name} ORDER BY p".encode()).fetchall() for t in TARGETS]
    return [] if found == [[_PARENT, _REFUSED], [_CHILD]] else [f"parents and children {found}"]
