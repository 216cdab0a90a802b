"""One run of the benchmark: limit and pipeline turn about, round after round.

Invariant: every ratio is that of two measurements made one after the other with the same rows; medians are taken of
ratios, so that a machine that others use as well shifts both sides.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from psycopg import Connection, sql

from casscade.bench import machine
from casscade.bench.limit import Limit
from casscade.bench.path import CONTROL_SCHEMA, STAGES, PipelineTable, Stages, WholePath, write_segment
from casscade.bench.workload import KEYSPACE, WORKLOADS, Workload, copy_buffers, mutations
from casscade.core.limits import CHUNK_MUTATIONS_MAX

LIMIT: Final = "limit"
WHOLE: Final = "whole path"
ROUNDS: Final = 5
BATCH_ROWS: Final = (1000, 5000)
ROWS_DEFAULT: Final = 100_000
ROWS_QUICK: Final = 10_000

Connect = Callable[[], Connection[Any]]
Told = Callable[[str], None]


@dataclass(slots=True)
class Figure:
    """One line of the report: rows a second (median), as a ratio to the limit (median of the rounds' ratios)."""

    workload: str
    batch_rows: int
    what: str
    rows_per_second: float
    ratio: float


@dataclass(slots=True)
class Report:
    """All figures of a run; `peak_bytes` is the most memory that the process held while the whole path ran."""

    circumstances: dict[str, object]
    rows: int
    rounds: int
    figures: list[Figure] = field(default_factory=list)
    merged_share: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0


def batch_size(batch_rows: int) -> int:
    """Rows in a batch as it is committed: a batch ends with the chunk that fills it."""
    return -(-batch_rows // CHUNK_MUTATIONS_MAX) * CHUNK_MUTATIONS_MAX


def run(connect: Connect, directory: Path, rows: int, told: Told, batches: tuple[int, ...] = BATCH_ROWS) -> Report:
    """Measure everything with about `rows` rows for each workload and batch size (a whole number of batches)."""
    with connect() as connection:
        report = Report(machine.describe(connection), rows, ROUNDS)
        for batch_rows in batches:
            with schemas(connection):
                _Bench(connect, connection, directory / str(batch_rows), batch_rows, report, told).run(rows)
    return report


@contextmanager
def schemas(connection: Connection[Any]) -> Iterator[None]:
    """The schemas of a measurement, new and empty; dropped at the end of the block."""
    _clear(connection)
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(KEYSPACE)))
    try:
        yield
    finally:
        _clear(connection)


def _clear(connection: Connection[Any]) -> None:
    for schema in (KEYSPACE, CONTROL_SCHEMA):
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


class _Bench:
    """All workloads at one batch size, over three tables of the same rows: limit, stages, whole path."""

    def __init__(
        self,
        connect: Connect,
        connection: Connection[Any],
        directory: Path,
        batch_rows: int,
        report: Report,
        told: Told,
    ) -> None:
        directory.mkdir(parents=True)
        self._connection = connection
        self._directory = directory
        self._batch_rows = batch_rows
        self._size = batch_size(batch_rows)
        self._report = report
        self._told = told
        self._limit = Limit(connection)
        self._limit.create()
        self._staged = PipelineTable(connection, "staged_rows")
        self._stages = Stages(connection, self._staged)
        self._table = PipelineTable(connection, "path_rows")
        self._path = WholePath(connect, self._table, directory, batch_rows)
        self._segment = 0

    def run(self, rows: int) -> None:
        count = max(1, round(rows / ROUNDS / self._size)) * self._size
        try:
            for workload in WORKLOADS:
                self._limit.prepare(workload)
                rounds = [self._round(workload, number * count, count) for number in range(ROUNDS)]
                self._add(workload, rounds, count)
        finally:
            self._path.close()

    def _round(self, workload: Workload, first: int, count: int) -> dict[str, float]:
        """Seconds for the same rows: the limit, the stages, the whole path; every other round in another order."""
        seconds: dict[str, float] = {}

        def limit() -> None:
            buffers = copy_buffers(workload, first, count, self._size)
            started = time.perf_counter()
            self._limit.write(workload, buffers)
            seconds[LIMIT] = time.perf_counter() - started

        def whole() -> None:
            self._segment += 1
            encoded = mutations(self._table.table, workload, first, count)
            machine.reset_peak()
            taken, merged = self._path.run(self._segment, encoded)
            seconds[WHOLE] = taken
            self._report.peak_bytes = max(self._report.peak_bytes, machine.peak_bytes())
            key = f"{workload.name} {self._batch_rows}"
            self._report.merged_share[key] = self._report.merged_share.get(key, 0.0) + merged / count / ROUNDS

        first_to_last = (limit, whole) if first // count % 2 == 0 else (whole, limit)
        for measure in first_to_last:
            measure()
        encoded = mutations(self._staged.table, workload, first, count)
        file = write_segment(self._directory, self._segment, encoded)
        del encoded
        seconds.update(self._stages.run(file, self._size))
        file.unlink()
        return seconds

    def _add(self, workload: Workload, rounds: list[dict[str, float]], count: int) -> None:
        for what in (LIMIT, *STAGES, WHOLE):
            rate = statistics.median(count / seconds[what] for seconds in rounds)
            ratio = statistics.median(seconds[LIMIT] / seconds[what] for seconds in rounds)
            self._report.figures.append(Figure(workload.name, self._batch_rows, what, rate, ratio))
        whole = self._report.figures[-1]
        self._told(
            f"{workload.name}, {self._batch_rows} rows a batch: {whole.rows_per_second:,.0f} rows/s, "
            f"{whole.ratio:.0%} of the limit"
        )
