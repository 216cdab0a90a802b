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
_ALONE: Final = b"SELECT pg_advisory_xact_lock(%s::int, %s::int)"
_SHARED: Final = b"SELECT pg_advisory_xact_lock_shared(%s::int, %s::int)"
# The code of the error that makes the pipeline read the schema and build its parts anew.
SCHEMA_BEHIND: Final = "schema_behind"


class TableLock:
    """The locks of the tables of one control schema, and what another writer may have changed since the last time."""

    def __init__(self, control: ControlStore) -> None:
        # Targets are numbered by control schema; the first half of the key tells one from another.
        self._space = int.from_bytes(zlib.crc32(control.schema.encode()).to_bytes(4, "big"), "big", signed=True)
        # Each reads the first entry of an index, whatever statistics say: the plan is made once and stays.
        look = sql.SQL(
            "SELECT (SELECT true FROM {rows} r WHERE r.target_no = t.target_no ORDER BY r.target_no, r.key LIMIT 1), "
            "(SELECT true FROM {ranges} r WHERE r.target_no = t.target_no "
            "ORDER BY r.target_no, r.partition_key LIMIT 1), "
            "(SELECT coalesce(max(v.version), 0) FROM {versions} v WHERE v.table_id = t.table_id) FROM {targets} t "
            "WHERE t.target_no = %s"
        )
        self._look = look.format(
            rows=control.name("row_tombstones"),
            ranges=control.name("range_tombstones"),
            versions=control.name("schema_versions"),
            targets=control.name("targets"),
        ).as_bytes()

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
        writers = [writer for each in tables for writer in each]
        # One way to the server and back is enough for all statements, which are planned once for the connection.
        with connection.pipeline():
            for number in sorted(each[0].tombstones.target_no for each in tables):
                connection.execute(self._statement(alone=alone), (self._space, number), prepare=True)
            looks = [connection.execute(self._look, (writer.tombstones.target_no,), prepare=True) for writer in writers]
        for writer, look in zip(writers, looks, strict=True):
            row = look.fetchone()
            assert row is not None, "the numbers of targets stay"
            writer.tombstones.rows_exist, writer.tombstones.ranges_exist = bool(row[0]), bool(row[1])
            if writer.schema_version is not None and row[2] > writer.schema_version:
                raise _behind(writer)

    def hold(self, connection: Connection[Any], target_numbers: Sequence[int]) -> None:
        """Keep all writers out of tables, given by the numbers of their (not static) relations, as `take` does."""
        for number in sorted(target_numbers):
            connection.execute(self._statement(alone=True), (self._space, number))

    @staticmethod
    def _statement(*, alone: bool) -> bytes:
        return _ALONE if alone else _SHARED


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
