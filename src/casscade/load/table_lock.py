"""One writer at a time for each table, whatever process it is in.

Invariant: from `take` until the end of its transaction a writer is the only one that changes the rows and tombstones of
the tables it took, and what it reads after that is what it merges with.

Several sources (one for each Cassandra node) write the same rows, because every replica has a copy of each mutation.
Merging reads a row before it writes it, so two of them must not do that at once. All take their locks in one order, so
that no deadlock comes of them. They are PostgreSQL's advisory locks: gone with the transaction or the connection, and
nobody who only reads the tables ever waits for one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, TypeVar

from psycopg import Connection, sql

from casscade.core.errors import RetryableError
from casscade.load.control import ControlStore
from casscade.load.relation_writer import RelationWriter

T = TypeVar("T")
# The code of the error that makes the pipeline read the schema and build its parts anew.
SCHEMA_BEHIND: Final = "schema_behind"


class TableLock:
    """The locks of the tables of one control schema, and what another writer may have changed since the last time."""

    def __init__(self, control: ControlStore) -> None:
        # Targets are numbered by control schema; the first half of the key tells one from another.
        self._space = int.from_bytes(zlib.crc32(control.schema.encode()).to_bytes(4, "big"), "big", signed=True)
        self._look = sql.SQL(
            "SELECT t.target_no, EXISTS (SELECT FROM {rows} r WHERE r.target_no = t.target_no), "
            "EXISTS (SELECT FROM {ranges} r WHERE r.target_no = t.target_no), "
            "(SELECT coalesce(max(v.version), 0) FROM {versions} v WHERE v.table_id = t.table_id) FROM {targets} t "
            "WHERE t.target_no IN "
        ).format(
            rows=control.name("row_tombstones"),
            ranges=control.name("range_tombstones"),
            versions=control.name("schema_versions"),
            targets=control.name("targets"),
        )

    def take(
        self, connection: Connection[Any], tables: Collection[Sequence[RelationWriter]], *, alone: bool = True
    ) -> None:
        """Lock tables, each given as the writers of its relations, until the caller's transaction ends.

        Without `alone` other writers that want no more than that go on beside this one: their keys must be others.

        Afterwards the writers know whether there are tombstones. The transaction must be READ COMMITTED: each statement
        then sees what was committed before the lock was free. Raises RetryableError (`schema_behind`) when another
        process recorded a version of a table that these writers do not know.
        """
        if not tables:
            return
        locks = sorted(writers[0].tombstones.target_no for writers in tables)
        by_number = {writer.tombstones.target_no: writer for writers in tables for writer in writers}
        # Plain numbers of our own, so that one way to the server and back is enough for all statements.
        look = f"{self._look.as_string(connection)} ({', '.join(str(number) for number in by_number)})"
        statements = [self._statement(number, alone=alone) for number in locks]
        cursor = connection.execute("; ".join([*statements, look]).encode(), prepare=False)
        while cursor.nextset():
            pass
        for number, rows_exist, ranges_exist, version in cursor.fetchall():
            writer = by_number[number]
            writer.tombstones.rows_exist = rows_exist
            writer.tombstones.ranges_exist = ranges_exist
            if writer.schema_version is not None and version > writer.schema_version:
                raise _behind(writer)

    def hold(self, connection: Connection[Any], target_numbers: Sequence[int]) -> None:
        """Keep all writers out of tables, given by the numbers of their (not static) relations, as `take` does."""
        for number in sorted(target_numbers):
            connection.execute(self._statement(number).encode())

    def _statement(self, number: int, *, alone: bool = True) -> str:
        return f"SELECT pg_advisory_xact_lock{'' if alone else '_shared'}({self._space}, {number})"


def with_newest(work: Callable[[], T], catch_up: Callable[[], object] | None) -> T:
    """Do `work`; where another process brought a table to a version that is not known here, catch up and do it again.

    Raises what `work` raises then.
    """
    try:
        return work()
    except RetryableError as error:
        if error.code != SCHEMA_BEHIND or catch_up is None:
            raise
    catch_up()
    return work()


def _behind(writer: RelationWriter) -> RetryableError:
    return RetryableError(
        SCHEMA_BEHIND,
        f"Another process brought {writer.relation.full_name} to a schema that this one does not know yet",
        now="the schema is read again and the pipeline goes on with it; nothing of what was read is lost",
        hint="wait until all nodes of Cassandra agree on the schema (nodetool describecluster)",
    )
