"""One run of the benchmark over Kafka: PostgreSQL's limit and the pipeline turn about, then more and more loaders.

Invariant: as in `casscade.bench.run`, every ratio is that of two measurements made one after the other with the same
rows, and the limit is the same as that of the direct path.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from psycopg import Connection

from casscade.bench import machine
from casscade.bench.kafka_path import KafkaPath, Round, Servers
from casscade.bench.limit import Limit
from casscade.bench.path import PipelineTable
from casscade.bench.run import LIMIT, ROUNDS, WHOLE, Connect, Figure, Report, Told, batch_size, schemas
from casscade.bench.workload import WORKLOADS, Workload, copy_buffers, mutations

CAPTURE: Final = "capture"
# One to four loaders: with two cores, the third and fourth show what more of them cost.
LOADERS: Final = (1, 2, 4)
SCALED_BATCH_ROWS: Final = 1000
_SCALE_ROUNDS: Final = 3


@dataclass(slots=True)
class Scale:
    """Inserts with so many loaders: rows a second, microseconds of CPU a row by part, bytes of WAL and topic a row."""

    loaders: int
    rows_per_second: float
    cpu_us: dict[str, float]
    wal_bytes: float
    topic_bytes: float


@dataclass(slots=True)
class KafkaReport(Report):
    """The figures over Kafka; `cpu_us` has those of one loader by workload and batch size, then by part."""

    cpu_us: dict[str, dict[str, float]] = field(default_factory=dict)
    agent_private_bytes: int = 0
    agent_resident_bytes: int = 0
    loader_private_bytes: int = 0
    scales: list[Scale] = field(default_factory=list)


def run_kafka(
    connect: Connect,
    servers: Servers,
    directory: Path,
    rows: int,
    told: Told,
    batches: Sequence[int],
    loaders: Sequence[int] = LOADERS,
) -> KafkaReport:
    """Measure with about `rows` rows for each workload, batch size and number of loaders."""
    with connect() as connection:
        report = KafkaReport(machine.describe(connection), rows, ROUNDS)
        for batch_rows in batches:
            with schemas(connection):
                _Ratios(connection, servers, directory / str(batch_rows), batch_rows, report, told).run(rows)
        with schemas(connection):
            for number in loaders:
                _scale(connection, servers, directory / f"scale{number}", number, rows, report)
                told(_scale_line(report.scales[-1]))
    return report


class _Ratios:
    """All workloads at one batch size with one loader: the limit, and the path over Kafka."""

    def __init__(
        self,
        connection: Connection[Any],
        servers: Servers,
        directory: Path,
        batch_rows: int,
        report: KafkaReport,
        told: Told,
    ) -> None:
        self._limit = Limit(connection)
        self._limit.create()
        self._table = PipelineTable(connection, "path_rows")
        self._path = KafkaPath(servers, self._table, directory, batch_rows)
        self._batch_rows = batch_rows
        self._size = batch_size(batch_rows)
        self._report = report
        self._told = told
        self._segment = 0

    def run(self, rows: int) -> None:
        count = max(1, round(rows / ROUNDS / self._size)) * self._size
        with closing(self._path):
            for workload in WORKLOADS:
                self._limit.prepare(workload)
                rounds = [self._round(workload, number * count, count) for number in range(ROUNDS)]
                self._add(workload, rounds, count)

    def _round(self, workload: Workload, first: int, count: int) -> tuple[float, Round]:
        """Seconds of the limit, and the pipeline's round with the same rows; every other time in another order."""
        taken: list[float] = []
        measured: list[Round] = []

        def limit() -> None:
            buffers = copy_buffers(workload, first, count, self._size)
            started = time.perf_counter()
            self._limit.write(workload, buffers)
            taken.append(time.perf_counter() - started)

        def whole() -> None:
            self._segment += 1
            measured.append(self._path.run(self._segment, mutations(self._table.table, workload, first, count)))

        first_to_last: tuple[Callable[[], None], ...] = (limit, whole)
        for measure in first_to_last if first // count % 2 == 0 else reversed(first_to_last):
            measure()
        return taken[0], measured[0]

    def _add(self, workload: Workload, rounds: list[tuple[float, Round]], count: int) -> None:
        report = self._report
        seconds = {
            LIMIT: [limit for limit, _ in rounds],
            CAPTURE: [measured.capture_s for _, measured in rounds],
            WHOLE: [measured.seconds for _, measured in rounds],
        }
        for what, each in seconds.items():
            rate = statistics.median(count / taken for taken in each)
            ratio = statistics.median(limit / taken for (limit, _), taken in zip(rounds, each, strict=True))
            report.figures.append(Figure(workload.name, self._batch_rows, what, rate, ratio))
        key = f"{workload.name} {self._batch_rows}"
        measured = [each for _, each in rounds]
        report.merged_share[key] = sum(each.merged for each in measured) / count / ROUNDS
        report.cpu_us[key] = cpu_us(measured, count)
        report.agent_private_bytes = max(report.agent_private_bytes, *(each.agent_private_bytes for each in measured))
        report.agent_resident_bytes = max(
            report.agent_resident_bytes, *(each.agent_resident_bytes for each in measured)
        )
        report.loader_private_bytes = max(
            report.loader_private_bytes, *(each.loader_private_bytes for each in measured)
        )
        whole = report.figures[-1]
        self._told(
            f"{workload.name}, {self._batch_rows} rows a batch: {whole.rows_per_second:,.0f} rows/s, "
            f"{whole.ratio:.0%} of the limit; agent {report.cpu_us[key]['agent']:.1f} us of CPU a mutation"
        )


def cpu_us(rounds: Sequence[Round], count: int) -> dict[str, float]:
    """Microseconds of CPU a row by part, medians over the rounds; parts whose time is unknown are left out."""
    spent: dict[str, float] = {}
    for part in rounds[0].cpu:
        each = [used / count * 1e6 for used in (one.cpu[part] for one in rounds) if used is not None]
        if len(each) == len(rounds):
            spent[part] = statistics.median(each)
    return spent


def _scale(
    connection: Connection[Any], servers: Servers, directory: Path, loaders: int, rows: int, report: KafkaReport
) -> None:
    """Inserts of `rows` rows a round with so many loaders, into a table of their own."""
    insert = WORKLOADS[0]
    table = PipelineTable(connection, f"scale{loaders}_rows")
    count = max(1, round(rows / batch_size(SCALED_BATCH_ROWS))) * batch_size(SCALED_BATCH_ROWS)
    rounds: list[Round] = []
    wal: list[float] = []
    with closing(KafkaPath(servers, table, directory, SCALED_BATCH_ROWS, loaders)) as path:
        for number in range(_SCALE_ROUNDS):
            before = _wal_position(connection)
            rounds.append(path.run(number + 1, mutations(table.table, insert, number * count, count)))
            wal.append((_wal_position(connection) - before) / count)
        topic_bytes = path.topic_bytes() / count / _SCALE_ROUNDS
    rate = statistics.median(count / each.seconds for each in rounds)
    report.scales.append(Scale(loaders, rate, cpu_us(rounds, count), statistics.median(wal), topic_bytes))


def _wal_position(connection: Connection[Any]) -> int:
    row = connection.execute("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint").fetchone()
    assert row is not None
    return int(row[0])


def _scale_line(scale: Scale) -> str:
    parts = ", ".join(f"{part} {spent:.1f}" for part, spent in scale.cpu_us.items())
    return f"{scale.loaders} loaders: {scale.rows_per_second:,.0f} inserts/s; us of CPU a row: {parts}"
