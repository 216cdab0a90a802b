"""What passes the door: chunks of raw mutations of one source, in its order.

Invariant: a chunk's `end` covers everything of its source up to that position, whether it was forwarded or left out
(tables that are not replicated); once `end` is durable downstream, the source may forget what lies before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casscade.core.errors import BadDataError
from casscade.core.notice import Notice
from casscade.core.position import Position


@dataclass(frozen=True, slots=True)
class SnapshotProgress:
    """How far a snapshot task has come when the rows of its chunk are durable.

    `token` is the last token whose partition is complete in this and earlier chunks of the task (the task resumes
    behind it), `rows` the rows read since the previous chunk of the task, `done` tells that the range is finished.
    """

    task_id: int
    token: int
    rows: int
    done: bool


@dataclass(frozen=True, slots=True)
class RecheckProgress:
    """Rows that were read again by their keys: the requests `ids` are answered when their chunk is durable."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RepairProgress:
    """Rows of a gap's repair: `rows` of them are in this chunk; with `done` the gaps `ids` are repaired with it."""

    ids: tuple[int, ...]
    rows: int
    done: bool


ReadProgress = SnapshotProgress | RecheckProgress | RepairProgress
"""Of chunks that were read from a table."""


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """Dead letters that are applied again: the letters `ids` are settled when their chunk is durable.

    `streamed`: the chunk came by a Kafka partition, whose position it moves.
    """

    ids: tuple[int, ...]
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class JournalProgress:
    """A chunk that waited in the journal (`casscade.transport.journal`): its `number` there, in the `round` of reading.

    `inner` is the progress that the chunk had when it went in.
    """

    round: int
    number: int
    inner: ReadProgress | ReplayProgress | None = None


Progress = ReadProgress | ReplayProgress | JournalProgress


@dataclass(slots=True)
class Chunk:
    """Raw mutations, one after another as they lie in their source.

    - `source`: whose position `end` is: a commit log (`<host id>`), a Kafka partition (`<topic>/<number>`) or a
      snapshot task (`snapshot`). `origin`: the host id of the commit log where the mutations lie; the same unless it is
      a Kafka partition.
    - `version`: the commit-log version whose encoding the mutations have (6, 7 or 8), or that of mutations with
      observations (`commitlog.observations`).
    - `mutations`: the serialized mutations. `offsets`: for each the offset in `segment` that, with the origin, makes
      its event id. Both lists have the same length, possibly 0: then the chunk only moves the position.
    - `end`: the position behind the chunk. `segment`: where the mutations lie; that of `end`, unless the segment came
      late and its chunks don't move the position.
    - `captured_at`: Unix time in seconds when the chunk was read.
    - `size`: bytes of the mutations plus a constant for each, as the queue counts them.
    - `refused`: what came as a message and is none of ours: its event id, its bytes and the reason; to be set aside.
    - `misplaced`: messages that lie in another Kafka partition than their key says: another loader may own the key.
    - `notices`: what the agent tells beside mutations; they are applied with the position.
    - `scanned`: read from a table, not from a commit log: CQL does not show the liveness of such rows.
    - `progress`: what is completed when the chunk is durable. For chunks of a snapshot, a recheck, a repair or a replay
      `end` is not a position in a commit log and is ignored (`moves`).
    - `places`: for each mutation the offset of its message in the Kafka partition `source`; empty without Kafka.
    """

    source: str
    version: int
    end: Position
    captured_at: float
    mutations: list[bytes] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    size: int = 0
    progress: Progress | None = None
    segment: int = -1
    origin: str = ""
    scanned: bool = False
    misplaced: int = 0
    refused: list[tuple[str, bytes, BadDataError]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.origin = self.origin or self.source
        self.scanned = self.scanned or isinstance(self.progress, ReadProgress)
        if self.segment < 0:
            self.segment = self.end.segment

    @property
    def own_progress(self) -> ReadProgress | ReplayProgress | None:
        """The progress without the journal's."""
        return self.progress.inner if isinstance(self.progress, JournalProgress) else self.progress

    @property
    def own_ids(self) -> tuple[int, ...]:
        """The dead letters that the chunk is a replay of."""
        own = self.own_progress
        return own.ids if isinstance(own, ReplayProgress) else ()

    @property
    def moves(self) -> bool:
        """Whether `end` is the position of a source."""
        own = self.own_progress
        return own is None or (isinstance(own, ReplayProgress) and own.streamed)
