"""The parts of one life of a pipeline in one process, from their start to their end.

Invariant: what stops one part stops all; however a life ends, every thread has ended (or was waited for as long as it
may take) before the next life begins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from casscade.capture.follower import Follower
from casscade.capture.space import SpaceGuard
from casscade.deadletter.replayer import Replayer
from casscade.load.loader import Loader
from casscade.pipeline.capturing import Capturing
from casscade.pipeline.cdc_watch import CdcWatch
from casscade.pipeline.evolution import Evolution
from casscade.pipeline.gap_repair import GapRepair
from casscade.pipeline.gaps import GapWatch
from casscade.pipeline.outage import Outage
from casscade.pipeline.reading import Reading
from casscade.pipeline.truncations import TruncationWatch

JOIN_TIMEOUT_S: Final = 15.0


@dataclass(slots=True)
class RunParts:
    """What runs; built anew when the schema of a replicated table changed, or one was truncated."""

    capturing: Capturing
    loader: Loader
    outage: Outage
    replayer: Replayer
    reader: Reading | None
    evolution: Evolution
    repair: GapRepair | None
    gap_watch: GapWatch
    watch: TruncationWatch
    cdc_watch: CdcWatch
    space: SpaceGuard
    stop: threading.Event

    @property
    def follower(self) -> Follower:
        """What reads the commit log."""
        return self.capturing.follower

    def start(self) -> None:
        """Start all threads; raises RetryableError or ConfigurationError when Cassandra refuses to be read."""
        self.loader.start()
        self.outage.start()
        self.replayer.start()
        self.capturing.start()
        self.watch.start()
        self.gap_watch.start()
        self.cdc_watch.start()
        self.evolution.start()
        if self.reader is not None:
            self.reader.start()
        if self.repair is not None:
            self.repair.start()

    def raise_failure(self) -> None:
        """Raise what ended one of them by itself, if anything did."""
        watches = (self.watch, self.gap_watch, self.cdc_watch)
        for part in (self.loader, self.outage, *watches, self.repair, self.evolution, self.replayer, self.capturing):
            if part is not None and part.failure is not None:
                raise part.failure

    def shut_down(self) -> None:
        """End all of them, each whatever the end of another raised."""
        watches = (self.watch, self.gap_watch, self.cdc_watch)
        threads = (self.loader, self.capturing, self.outage, self.replayer, *watches, self.repair, self.evolution)
        steps: list[Callable[[], object]] = [
            self.stop.set,
            *(partial(part.join, JOIN_TIMEOUT_S) for part in threads if part is not None),
            *([] if self.reader is None else [partial(self.reader.shut_down, JOIN_TIMEOUT_S)]),
        ]
        with ExitStack() as ending:
            for step in reversed(steps):
                ending.callback(step)
