"""A follower on a `FakeNode` with everything around it in memory, driven step by step."""

from __future__ import annotations

import threading
from collections.abc import Callable

from casscade.capture.counters import Anomaly
from casscade.capture.follower import Follower
from casscade.core.notice import Notice
from casscade.core.position import START, Position
from casscade.transport.chunk import Chunk
from tests.support.fake_node import TABLE, FakeNode, number_of

SOURCE = "host"


class MemoryOutlet:
    """Takes every chunk; `durable` of them count as acknowledged."""

    def __init__(self, start: Position = START) -> None:
        self.chunks: list[Chunk] = []
        self.notices: list[Notice] = []
        self.position = start

    def put(self, chunk: Chunk, stop: threading.Event) -> bool:
        """Take the chunk; of one that brings notices and moves nothing, these."""
        self.notices += chunk.notices
        before = self.chunks[-1].end if self.chunks else self.position
        if chunk.mutations or not chunk.notices or chunk.end > before:
            self.chunks.append(chunk)
        return True

    def acknowledged(self, source: str) -> Position:
        """The position of `acknowledge`."""
        return self.position

    def acknowledge(self) -> None:
        """Everything taken so far is durable."""
        if self.chunks:
            self.position = max(self.position, self.chunks[-1].end)


class Capture:
    """A follower and what it said. `now` is the clock."""

    def __init__(
        self,
        node: FakeNode,
        start: Position = START,
        outlet: MemoryOutlet | None = None,
        unwanted: set[bytes] | None = None,
        eager: bool = False,
        commitlog: bool = False,
        released: Callable[[], Position] | None = None,
        evicting: Callable[[], bool] = lambda: False,
        halt_on_damage: bool = False,
    ) -> None:
        self.now = 0.0
        self.outlet = MemoryOutlet(start) if outlet is None else outlet
        self.anomalies: list[Anomaly] = []
        self.stop = threading.Event()
        self.follower = Follower(
            SOURCE,
            node.raw,
            node.state,
            lambda: {TABLE},
            self.outlet,
            start,
            self.stop,
            unwanted=None if unwanted is None else lambda: unwanted,
            on_anomaly=self.anomalies.append,
            eager=eager,
            commitlog_directory=node.commitlog if commitlog else None,
            released=released,
            evicting=evicting,
            halt_on_damage=halt_on_damage,
            clock=lambda: self.now,
            wall_clock=lambda: 1000.0 + self.now,
        )

    def steps(self, limit: int = 100) -> None:
        """Step until there is nothing more to do; a follower that never rests fails the test."""
        for _ in range(limit):
            if not self.follower.step():
                return
        raise AssertionError(f"still busy after {limit} steps")

    @property
    def numbers(self) -> list[int]:
        """The keys of all mutations forwarded, in order."""
        return [number_of(mutation) for chunk in self.outlet.chunks for mutation in chunk.mutations]

    @property
    def position(self) -> Position:
        """The end of the last chunk."""
        return self.outlet.chunks[-1].end

    @property
    def reasons(self) -> list[str]:
        """The reasons of the anomalies reported."""
        return [anomaly.reason for anomaly in self.anomalies]
