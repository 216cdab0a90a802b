"""The pipeline under measurement: its stages one after another, and the whole path as `casscade run` has it.

Invariant: what runs here is what runs in production: the follower, the transport, the loader's two threads and the
batch writer are the same objects, with the same bounds; only Cassandra and the configuration are missing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from psycopg import Connection

from casscade.bench.workload import SEGMENT_VERSION, bench_table
from casscade.capture.follower import Follower
from casscade.commitlog.decoder import decode_mutation
from casscade.commitlog.reader import FINISHED, SegmentFile
from casscade.commitlog.writer import encode_segment
from casscade.core.errors import InvariantError, RetryableError
from casscade.core.limits import QUEUE_BYTES_DEFAULT
from casscade.core.mutation import PartitionUpdate
from casscade.core.position import Position
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.contents import Batch
from casscade.load.control import ControlStore
from casscade.load.loader import Loader
from casscade.load.observer import Committed, Observer
from casscade.load.sources import Sources
from casscade.merge.fold import Fold
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import build_target
from casscade.schema.model import Table
from casscade.transport.direct import DirectTransport

CONTROL_SCHEMA: Final = "casscade_bench_control"
STAGES: Final = ("frame", "decode", "fold", "write")
# A sync of the commit log once a second at some thousand writes a second.
_MUTATIONS_PER_SECTION: Final = 4096
_MARGIN_S: Final = 3600
_DONE_TIMEOUT_S: Final = 120.0
_BATCH_S: Final = 0.2


def write_segment(path: Path, segment: int, mutations: list[bytes]) -> Path:
    """A completed segment and its index in the directory `path`; returns the segment's file."""
    data = encode_segment(segment, SEGMENT_VERSION, mutations, mutations_per_section=_MUTATIONS_PER_SECTION)
    file = path / f"CommitLog-{SEGMENT_VERSION}-{segment}.log"
    file.write_bytes(data)
    (path / f"CommitLog-{SEGMENT_VERSION}-{segment}_cdc.idx").write_text(f"{len(data)}\nCOMPLETED", encoding="ascii")
    return file


class PipelineTable:
    """One target table with its writer; `source` is a source of its own in the control schema."""

    def __init__(self, connection: Connection[Any], name: str) -> None:
        self.table: Table = bench_table(name)
        self.source = name
        self.shape = self.table.shape(replicated=True)
        self.tables = {self.shape.id: self.shape}
        control = ControlStore("bench", CONTROL_SCHEMA)
        control.migrate(connection)
        target = build_target(self.table)
        for statement in plan_target(target, ExistingSchema(exists=True)):
            connection.execute(statement.sql)
        with connection.transaction():
            epoch, position = control.acquire(connection, self.source)
            self.writer = BatchWriter(control, Sources.single(self.source, epoch, position))
            self.writer.add_target(connection, target, _MARGIN_S)


class Stages:
    """The stages one by one, on one thread; each is given what the one before it left."""

    def __init__(self, connection: Connection[Any], table: PipelineTable) -> None:
        self._connection = connection
        self._table = table
        table.writer.prepare(connection)

    def run(self, segment: Path, batch_rows: int) -> dict[str, float]:
        """Seconds for each stage of `STAGES`; the segment's mutations are written in batches of `batch_rows`."""
        seconds: dict[str, float] = {}
        started = time.perf_counter()
        mutations: list[bytes] = []
        with SegmentFile(segment) as file:
            while not file.finished:
                for section in file.poll(FINISHED):
                    mutations += section.mutations
        seconds["frame"] = time.perf_counter() - started
        decode = fold_up = write = 0.0
        tables = self._table.tables
        for first in range(0, len(mutations), batch_rows):
            started = time.perf_counter()
            decoded: list[list[PartitionUpdate]] = [
                decode_mutation(mutation, SEGMENT_VERSION, tables) for mutation in mutations[first : first + batch_rows]
            ]
            decode += time.perf_counter() - started
            started = time.perf_counter()
            fold = Fold()
            for updates in decoded:
                fold.add(updates)
            fold_up += time.perf_counter() - started
            del decoded
            started = time.perf_counter()
            self._table.writer.apply(self._connection, Batch(fold))
            write += time.perf_counter() - started
        return {**seconds, "decode": decode, "fold": fold_up, "write": write}


class _Progress(Observer):
    """Counts committed mutations; `done` is set when `wanted` of them are durable."""

    def __init__(self) -> None:
        self.wanted = 0
        self.committed_at = 0.0
        self.merged = 0
        self.done = threading.Event()
        self._mutations = 0
        self.retries = 0

    def expect(self, mutations: int) -> None:
        """Wait for so many more."""
        self.wanted = self._mutations + mutations
        self.done.clear()

    def committed(self, committed: Committed) -> None:
        """Count a batch."""
        self._mutations += committed.mutations
        self.merged += committed.counts.merged
        if self._mutations >= self.wanted:
            self.committed_at = time.perf_counter()
            self.done.set()

    def retrying(self, code: str, wait_s: float, failures: int) -> None:  # noqa: ARG002 the loader's signature
        """A run in which PostgreSQL failed measures nothing."""
        self.retries += 1


class WholePath:
    """Capture and load around the direct transport; the loader runs until `close`."""

    def __init__(
        self, connect: Callable[[], Connection[Any]], table: PipelineTable, directory: Path, batch_rows: int
    ) -> None:
        self._table = table
        self._cdc = directory / "cdc_raw"
        self._state = directory / "state"
        self._cdc.mkdir(parents=True)
        self._stop = threading.Event()
        self._progress = _Progress()
        self._transport = DirectTransport(QUEUE_BYTES_DEFAULT)
        batcher = Batcher(lambda: table.tables, lambda _: False, batch_rows=batch_rows, batch_s=_BATCH_S)
        self._loader = Loader(self._transport, batcher, table.writer, connect, self._stop, self._progress)
        self._loader.start()

    def run(self, segment_id: int, mutations: list[bytes]) -> tuple[float, int]:
        """Seconds from the first byte of a segment to the commit of its last row; and rows merged in Python.

        Raises InvariantError when the loader or capture stopped, or did not finish in time.
        """
        write_segment(self._cdc, segment_id, mutations)
        merged = self._progress.merged
        self._progress.expect(len(mutations))
        stop = threading.Event()
        start = max(self._table.writer.sources.position(self._table.source), Position(segment_id, 0))
        shape = self._table.shape
        follower = Follower(
            self._table.source, self._cdc, self._state, lambda: {shape.id}, self._transport, start, stop
        )
        failures: list[RetryableError] = []

        def follow() -> None:
            try:
                follower.run()
            except RetryableError as error:
                failures.append(error)

        thread = threading.Thread(target=follow, name="capture", daemon=True)
        started = time.perf_counter()
        thread.start()
        deadline = started + _DONE_TIMEOUT_S
        while not self._progress.done.wait(0.5):
            if self._loader.failure is not None or failures or time.perf_counter() > deadline:
                raise InvariantError("bench_stopped", "the measured pipeline did not finish") from (
                    self._loader.failure or (failures[0] if failures else None)
                )
        stop.set()
        thread.join()
        if self._progress.retries:
            raise InvariantError("bench_retried", "PostgreSQL failed during a measurement")
        return self._progress.committed_at - started, self._progress.merged - merged

    def close(self) -> None:
        """Stop the loader; its connection is closed."""
        self._stop.set()
        self._loader.join(_DONE_TIMEOUT_S)
        self._transport.close()
