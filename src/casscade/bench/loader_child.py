"""A loader under measurement, in a process of its own: the parts of `casscade load`, whose schema is told.

Invariant: what runs here is what runs in production: the member of the group, the partitions with their epochs, the
loader's two threads and the batch writer, with the bounds of the configuration.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any, Final

from psycopg import Connection

from casscade.bench.child import costs, say
from casscade.bench.workload import bench_table
from casscade.config import PipelineConfig
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.control import ControlStore
from casscade.load.loader import Loader
from casscade.load.observer import Committed, Observer
from casscade.load.sources import Sources
from casscade.observability.logs import configure_logging
from casscade.pipeline.database import Database
from casscade.pipeline.kafka import kafka_settings
from casscade.pipeline.partitions import Partitions
from casscade.pipeline.process import settle_collector
from casscade.schema.mapping import build_target
from casscade.transport.direct import DirectTransport
from casscade.transport.kafka.source import KafkaSource

_LOOK_S: Final = 0.05
_JOIN_S: Final = 20.0
_MARGIN_S: Final = 3600


class _Telling(Observer):
    """Says what was committed, and when."""

    def committed(self, committed: Committed) -> None:
        counts = committed.counts
        say({"mutations": committed.mutations, "merged": counts.merged, "at": time.monotonic()}, sys.stdout)


class MeasuredLoader:
    """One member of the group, until `close`."""

    def __init__(self, document: dict[str, Any]) -> None:
        config = PipelineConfig.model_validate(document["config"])
        self._stop = threading.Event()
        self._database = Database(config)
        self._database.open()
        control = ControlStore(config.name, config.postgres.control_schema)
        table = bench_table(document["table"])
        shape = table.shape(replicated=True)
        tables = {shape.id: shape}
        sources = Sources()
        writer = BatchWriter(control, sources, alone=False)
        with self._database.transaction() as connection:
            writer.add_target(connection, build_target(table), _MARGIN_S)
        transport = DirectTransport(config.load.queue_bytes)
        batcher = Batcher(
            lambda: tables,
            lambda _: False,
            batch_rows=config.load.batch_rows,
            batch_s=config.load.batch_ms / 1000,
        )
        loader: Loader
        partitions = Partitions(self._database, control, sources, lambda: loader, self._stop, _unchanged)
        loader = self._loader = Loader(
            transport,
            batcher,
            writer,
            self._database.connect,
            self._stop,
            _Telling(),
            on_fenced=partitions.fenced,
        )
        self._source = KafkaSource(kafka_settings(config), partitions, transport, self._stop)
        self._failure: BaseException | None = None
        self._consuming = threading.Thread(target=self._consume, name="consume", daemon=True)

    def run(self) -> None:
        """Load until standard input ends; say how many partitions are assigned whenever that changes."""
        self._loader.start()
        self._consuming.start()
        threading.Thread(target=self._serve, name="serve", daemon=True).start()
        assigned = -1
        while not self._stop.wait(_LOOK_S):
            if self._source.assigned != assigned:
                assigned = self._source.assigned
                say({"assigned": assigned}, sys.stdout)
        self._consuming.join(_JOIN_S)
        self._loader.join(_JOIN_S)
        self._database.close()
        for failure in (self._failure, self._loader.failure):
            if failure is not None:
                raise failure

    def _consume(self) -> None:
        try:
            self._source.run()
        except BaseException as error:
            self._failure = error
            self._stop.set()

    def _serve(self) -> None:
        """Tell the costs whenever a line asks for them; at the end of the input leave the group, then end."""
        for _ in sys.stdin:
            say({"costs": costs()}, sys.stdout)
        self._source.leave()
        self._consuming.join(_JOIN_S)
        self._stop.set()


def _unchanged(_connection: Connection[Any]) -> None:
    """Nothing is truncated while it is measured."""


def main() -> None:
    """Serve until standard input ends."""
    configure_logging("warning", "json")
    measured = MeasuredLoader(json.loads(sys.argv[1]))
    settle_collector()
    measured.run()


if __name__ == "__main__":
    main()
