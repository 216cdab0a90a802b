"""What the control schema knows of the pipeline's topic: the one that its positions belong to.

Invariant: it is written once, by the loader that comes first, and all loaders go by it: they reckon the place of a key
by the same number of partitions, and none reads another topic of the same name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg import Connection, sql

from casscade.core import failpoints
from casscade.core.position import START, Position
from casscade.load.control import ControlStore


class KnownTopic(NamedTuple):
    """`partitions`: how many there were at first; `beginnings`: the offset at which each of them began then."""

    id: str
    partitions: int
    beginnings: Sequence[int]

    def beginning(self, number: int) -> Position:
        """From where a partition is read of which nothing was applied; one that was added begins at its start."""
        return Position(0, self.beginnings[number]) if number < len(self.beginnings) else START


class TopicStore:
    """The statements on the topics of one pipeline; every method runs in the caller's transaction."""

    def __init__(self, control: ControlStore) -> None:
        self._pipeline = control.pipeline
        self._table = control.name("topics")

    def known(self, connection: Connection[Any], topic: str) -> KnownTopic | None:
        """What is known of a topic, None before the first loader saw it."""
        row = connection.execute(
            sql.SQL("SELECT topic_id, partitions, beginnings FROM {} WHERE pipeline = %s AND topic = %s").format(
                self._table
            ),
            (self._pipeline, topic),
        ).fetchone()
        return None if row is None else KnownTopic(str(row[0]), int(row[1]), tuple(row[2]))

    def save(self, connection: Connection[Any], topic: str, found: KnownTopic) -> KnownTopic:
        """Keep what was found, unless another loader was first; returns what is in force."""
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (pipeline, topic, topic_id, partitions, beginnings) VALUES (%s, %s, %s, %s, %s) "
                "ON CONFLICT (pipeline, topic) DO NOTHING"
            ).format(self._table),
            (self._pipeline, topic, found.id, found.partitions, list(found.beginnings)),
        )
        known = self.known(connection, topic)
        assert known is not None
        if failpoints.ARMED:
            failpoints.reach("topic_known")
        return known
