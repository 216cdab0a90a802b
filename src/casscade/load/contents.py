"""What is committed together, before it is written.

Invariant: the positions cover exactly what the fold, the dead letters and the batches before hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from casscade.core.notice import Notice
from casscade.core.position import Position
from casscade.debezium.decoder import Reread
from casscade.load.ahead import Ahead
from casscade.load.letters import DeadLetter
from casscade.merge.fold import Fold
from casscade.transport.chunk import Chunk, Progress


def _as_it_is(letter: DeadLetter) -> DeadLetter:
    return letter


@dataclass(slots=True)
class Batch:
    """What is to be committed together: a fold, what could not be decoded, and how far that brings each source.

    `mutations` counts the streamed ones; `write_times` has a write time (microseconds) of each that tells one, for the
    latency. `rereads` are rows that events of Debezium's did not determine. `notices` are what agents told. `alone`:
    other writers must stay out of its tables, because a key of it may be theirs. `chunks` is what it was made from.
    `arrived`: the newest time given out in order of arrival, or 0. `ahead`: rows by table id, encoded already.
    """

    fold: Fold
    positions: dict[str, Position] = field(default_factory=dict)
    progress: list[Progress] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    rereads: list[Reread] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    write_times: list[int] = field(default_factory=list)
    mutations: int = 0
    alone: bool = False
    arrived: int = 0
    chunks: list[Chunk] = field(default_factory=list)
    ahead: dict[bytes, Ahead] = field(default_factory=dict)
    shown: Callable[[DeadLetter], DeadLetter] = _as_it_is

    @property
    def items(self) -> int:
        """What a share of dead letters is taken of: rows and deletions, and what could not be decoded."""
        return self.fold.row_count() + len(self.dead_letters)
