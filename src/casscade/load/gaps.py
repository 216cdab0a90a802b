"""Gaps in the control schema: input that was lost before it was applied, and how far its repair is.

Invariant: a gap is recorded in the transaction that moves the position past it, once; it is repaired only when the
rows of its repair are durable.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

from psycopg import Connection, sql

from casscade.core import failpoints
from casscade.core.gap import DUE, REPAIRED, UNCOMPARED, Gap, GapCounts
from casscade.core.notice import BEGIN, GAP, NODE_GONE, STATE_LOST, Notice
from casscade.core.position import START, Position
from casscade.load.control import ControlStore

LEASE_S: Final = 30.0
"""A repair that was not renewed for so long belongs to a dead process: the living renew theirs every second or so."""

# Of all gaps ever, those shown: the newest; counts cover all.
_SHOWN_MAX: Final = 20


class GapStore:
    """The statements on the gaps of one pipeline; every method runs in the caller's transaction."""

    def __init__(self, control: ControlStore) -> None:
        self._control = control
        self._table = control.name("gaps")

    def record(self, connection: Connection[Any], notice: Notice) -> bool:
        """Take a notice in; whether it brought a gap that nobody knew."""
        if notice.kind == BEGIN:
            others = self._begun(connection, notice)
            if not notice.reason and not others:
                return False
            detail = notice.detail or "the agent's state directory is gone, and with it the position"
            notice = notice._replace(kind=GAP, key=f"{STATE_LOST}:{notice.key}", reason=STATE_LOST, detail=detail)
        cursor = connection.execute(
            sql.SQL(
                "INSERT INTO {} (pipeline, source, gap_key, reason, segment, segment_offset, detail, table_id) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (pipeline, source, gap_key) DO NOTHING"
            ).format(self._table),
            (
                self._control.pipeline,
                notice.source,
                notice.key,
                notice.reason,
                *notice.position,
                notice.detail,
                notice.table,
            ),
        )
        new = cursor.rowcount == 1
        if failpoints.ARMED and new:
            failpoints.reach("gap_recorded")
        return new

    def _begun(self, connection: Connection[Any], notice: Notice) -> bool:
        """Note a run; whether the source had another one before."""
        pipeline, runs = self._control.pipeline, self._control.name("captures")
        connection.execute(
            sql.SQL("INSERT INTO {} (pipeline, source, run) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING").format(runs),
            (pipeline, notice.source, notice.key),
        )
        row = connection.execute(
            sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE pipeline = %s AND source = %s AND run <> %s)").format(runs),
            (pipeline, notice.source, notice.key),
        ).fetchone()
        assert row is not None
        return bool(row[0])

    def sources(self, connection: Connection[Any]) -> set[str]:
        """The nodes of which an agent has told something."""
        rows = connection.execute(
            sql.SQL("SELECT DISTINCT source FROM {} WHERE pipeline = %s").format(self._control.name("captures")),
            (self._control.pipeline,),
        ).fetchall()
        return {source for (source,) in rows}

    def gone(self, connection: Connection[Any], source: str) -> bool:
        """A node left the cluster: what it had not handed over yet is lost. Whether that is new."""
        detail = "the node is no longer in the cluster, and what its agent had not read went with it"
        return self.record(connection, Notice(GAP, source, NODE_GONE, NODE_GONE, START, detail))

    def due(self, connection: Connection[Any]) -> list[Gap]:
        """The gaps that are not repaired, oldest first."""
        return self._select(connection, "AND state = ANY(%s) ORDER BY gap_id", list(DUE))

    def exists(self, connection: Connection[Any]) -> bool:
        """Whether the control schema knows gaps yet."""
        row = connection.execute("SELECT to_regclass(%s)", (self._table.as_string(),)).fetchone()
        return row is not None and row[0] is not None

    def free(self, connection: Connection[Any], owner: str) -> list[Gap]:
        """Those of them that `owner` may repair: no other living process does."""
        return self._select(
            connection,
            "AND state = ANY(%s) AND (owner IS NULL OR owner = %s OR updated_at < now() - make_interval(secs => %s)) "
            "ORDER BY gap_id FOR UPDATE",
            list(DUE),
            owner,
            LEASE_S,
        )

    def newest(self, connection: Connection[Any]) -> list[Gap]:
        """The newest gaps of any state."""
        return self._select(connection, "ORDER BY gap_id DESC LIMIT %s", _SHOWN_MAX)

    def _select(self, connection: Connection[Any], condition: str, *parameters: object) -> list[Gap]:
        rows = connection.execute(
            sql.SQL(
                "SELECT gap_id, source, reason, segment, segment_offset, detail, table_id, state, rows_repaired, "
                "extract(epoch FROM detected_at)::float8 FROM {} WHERE pipeline = %s "
            ).format(self._table)
            + sql.SQL(condition),
            (self._control.pipeline, *parameters),
        ).fetchall()
        return [Gap(row[0], row[1], row[2], Position(row[3], row[4]), *row[5:]) for row in rows]

    def counts(self, connection: Connection[Any]) -> GapCounts:
        """How many gaps there are of each reason and state, and how many rows their repair has changed."""
        rows = connection.execute(
            sql.SQL(
                "SELECT reason, state, count(*), sum(rows_repaired)::bigint FROM {} WHERE pipeline = %s GROUP BY 1, 2"
            ).format(self._table),
            (self._control.pipeline,),
        ).fetchall()
        return {(reason, state): (count, repaired) for reason, state, count, repaired in rows}

    def move(self, connection: Connection[Any], ids: Sequence[int], state: str, owner: str | None = None) -> None:
        """Bring unrepaired gaps to another state."""
        connection.execute(
            sql.SQL(
                "UPDATE {} SET state = %s, owner = %s, updated_at = now() WHERE gap_id = ANY(%s) AND state = ANY(%s)"
            ).format(self._table),
            (state, owner, list(ids), list(DUE)),
        )

    def uncompared(self, connection: Connection[Any], ids: Sequence[int], table_id: uuid.UUID, name: str) -> None:
        """Say of those of the gaps that concern a table that its lost deletions are not found; once."""
        note = f"; {UNCOMPARED} {name}"
        connection.execute(
            sql.SQL(
                "UPDATE {} SET detail = detail || %s WHERE gap_id = ANY(%s) AND position(%s IN detail) = 0 "
                "AND (table_id IS NULL OR table_id = %s)"
            ).format(self._table),
            (note, list(ids), note, table_id),
        )

    def renew(self, connection: Connection[Any], owner: str) -> None:
        """Say that the repair of `owner` goes on."""
        connection.execute(
            sql.SQL("UPDATE {} SET updated_at = now() WHERE pipeline = %s AND owner = %s AND state = ANY(%s)").format(
                self._table
            ),
            (self._control.pipeline, owner, list(DUE)),
        )

    def abandoned(self, connection: Connection[Any], owner: str) -> bool:
        """Whether a gap waits that no living process repairs, other than `owner`."""
        row = connection.execute(
            sql.SQL(
                "SELECT EXISTS (SELECT FROM {} WHERE pipeline = %s AND state = ANY(%s) "
                "AND owner IS DISTINCT FROM %s AND updated_at < now() - make_interval(secs => %s))"
            ).format(self._table),
            (self._control.pipeline, list(DUE), owner, LEASE_S),
        ).fetchone()
        assert row is not None
        return bool(row[0])

    def repaired(self, connection: Connection[Any], ids: Sequence[int], rows: int, *, done: bool) -> None:
        """Count `rows` that were repaired in the caller's transaction; with `done` nothing is left to do."""
        connection.execute(
            sql.SQL(
                "UPDATE {} SET rows_repaired = rows_repaired + %s, updated_at = now(), "
                "state = CASE WHEN %s THEN %s ELSE state END WHERE gap_id = ANY(%s) AND state = ANY(%s)"
            ).format(self._table),
            (rows, done, REPAIRED, list(ids), list(DUE)),
        )
        if failpoints.ARMED:
            failpoints.reach("gap_repaired")
