"""The parts of one life of a loader over Kafka, from their start to their end.

Invariant: however a life ends, its partitions are given up in order and every thread has ended (or was waited for as
long as it may take) before the next life begins; what ended it is raised.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from casscade.core.part import Part
from casscade.deadletter.replayer import Replayer
from casscade.load.loader import Loader
from casscade.pipeline.evolution import Evolution
from casscade.pipeline.gap_repair import GapRepair
from casscade.pipeline.gaps import GapWatch
from casscade.pipeline.reading import Reading
from casscade.pipeline.snapshot_outlet import SnapshotOutlet
from casscade.pipeline.topic_identity import IDENTITY_JOIN_S, TopicIdentityWatch
from casscade.pipeline.topic_outage import Resubmitter, TopicOutage
from casscade.pipeline.topic_truncations import TopicWatch
from casscade.transport.kafka.source import KafkaSource

JOIN_TIMEOUT_S: Final = 20.0


class Consuming(Part):
    """The member of the group."""

    def __init__(self, source: KafkaSource, stop: threading.Event) -> None:
        super().__init__("consume", stop)
        self.source = source

    def work(self) -> None:
        """Read until the source is told to leave."""
        self.source.run()


@dataclass(slots=True)
class LoadParts:
    """What a loader consists of; `stop` ends all of them, also when one fails."""

    consuming: Consuming
    loader: Loader
    outlet: SnapshotOutlet
    outage: TopicOutage
    resubmitter: Resubmitter | None
    replayer: Replayer
    reader: Reading | None
    evolution: Evolution
    repair: GapRepair | None
    gap_watch: GapWatch
    watch: TopicWatch
    identity: TopicIdentityWatch
    stop: threading.Event

    @property
    def source(self) -> KafkaSource:
        """What reads the topic."""
        return self.consuming.source

    def start(self) -> None:
        """Start all threads; raises RetryableError or ConfigurationError when Cassandra refuses to be read."""
        self.loader.start()
        self.outlet.start()
        self.replayer.start()
        if self.resubmitter is not None:
            self.resubmitter.start()
        self.consuming.start()
        self.watch.start()
        self.identity.start()
        self.gap_watch.start()
        self.evolution.start()
        if self.reader is not None:
            self.reader.start()
        if self.repair is not None:
            self.repair.start()

    def beats(self) -> dict[str, float]:
        """When each thread that health watches was last at work (monotonic seconds)."""
        return {**self.loader.beats, "consume": self.source.beat}

    def shut_down(self) -> None:
        """End all of them in their order, each whatever the end of another raised; raises what ended one by itself."""
        threads = (self.loader, self.watch, self.gap_watch, self.repair, self.replayer, self.resubmitter)
        steps: list[Callable[[], object]] = [
            *([] if self.reader is None else [partial(self.reader.shut_down, JOIN_TIMEOUT_S)]),
            # Leave the group before the loader ends, so that what was handed over is still applied.
            self.source.leave,
            partial(self.consuming.join, JOIN_TIMEOUT_S),
            self.stop.set,
            *(partial(part.join, JOIN_TIMEOUT_S) for part in threads if part is not None),
            partial(self.identity.join, IDENTITY_JOIN_S),
            self.outage.close,
            partial(self.evolution.join, JOIN_TIMEOUT_S),
            partial(self.outlet.close, JOIN_TIMEOUT_S),
            self._raise_failure,
        ]
        with ExitStack() as ending:
            for step in reversed(steps):
                ending.callback(step)

    def _raise_failure(self) -> None:
        watched = (self.watch, self.identity, self.repair, self.gap_watch, self.evolution)
        for part in (self.loader, self.outlet, *watched, self.replayer, self.resubmitter, self.consuming):
            if part is not None and part.failure is not None:
                raise part.failure
