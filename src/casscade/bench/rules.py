"""What each rule costs: the same rows through the loader with it and without, in turns.

Invariant: a price is the median of ratios of two measurements made one after the other with the same rows, so that a
machine that others use as well shifts both sides.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection
from rich.console import Console
from rich.table import Table as ShownTable

from casscade.bench import machine
from casscade.bench.path import CONTROL_SCHEMA
from casscade.bench.run import schemas
from casscade.bench.workload import SEGMENT_VERSION, WORKLOADS, Workload, bench_table, mutations
from casscade.config.rules import RulesSection, Transform
from casscade.config.tables import Choice, PlacedTransform, TableRule
from casscade.core.limits import CHUNK_MUTATIONS_MAX
from casscade.core.position import START, Position
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.control import ControlStore
from casscade.load.rewriting import rewriting_of
from casscade.load.sources import Sources
from casscade.rules.concealment import excluded_columns
from casscade.rules.table import read_rules
from casscade.schema.choices import ColumnChoices
from casscade.schema.ddl import ExistingSchema, plan_target
from casscade.schema.mapping import build_target
from casscade.transport.chunk import Chunk

ROUNDS: Final = 5
BATCH_ROWS: Final = 1000
NONE: Final = "no rule"
_MARGIN_S: Final = 3600
_WORKLOADS: Final = (WORKLOADS[0], WORKLOADS[2])

# Name -> conditions and transforms. The columns and their values are those of `bench.workload`.
CASES: Final[dict[str, tuple[tuple[str, ...], tuple[dict[str, Any], ...]]]] = {
    NONE: ((), ()),
    "where on the key": (("line >= 0",), ()),
    "where, all match": (("counted is not null or status = 'none'",), ()),
    "where, half match": (("open",), ()),
    "mask redact": ((), ({"mask": {"columns": ["note"], "with": "redact"}},)),
    "mask partial": ((), ({"mask": {"columns": ["note"], "with": "partial"}},)),
    "mask format": ((), ({"mask": {"columns": ["note"], "with": "format"}},)),
    "mask hmac-sha256": ((), ({"mask": {"columns": ["note"], "with": "hmac-sha256"}},)),
    "hash of the key": ((), ({"hash": {"columns": ["id"]}},)),
    "constant": ((), ({"constant": {"columns": ["note"], "value": "x"}},)),
    "null": ((), ({"null": {"columns": ["note"]}},)),
    "drop": ((), ({"drop": {"columns": ["note"]}},)),
    "rename": ((), ({"rename": {"column": "note", "to": "text"}},)),
    "trim": ((), ({"trim": {"columns": ["note"]}},)),
    "case": ((), ({"case": {"columns": ["note"], "to": "upper"}},)),
    "cast": ((), ({"cast": {"columns": ["stamp"], "to": "text"}},)),
}


@dataclass(frozen=True, slots=True)
class Price:
    """One line: rows a second with the rule, and the time of a row as a multiple of that without any."""

    workload: str
    rule: str
    rows_per_second: float
    factor: float


def measure(connection: Connection[Any], rows: int, told: Callable[[str], None]) -> list[Price]:
    """The price of each rule, with about `rows` rows for each workload."""
    count = max(1, rows // ROUNDS)
    with schemas(connection):
        loads = {name: _Load(connection, number, *CASES[name]) for number, name in enumerate(CASES)}
        prices: list[Price] = []
        for workload in _WORKLOADS:
            told(f"{workload.name}: {count * ROUNDS:,} rows for each of {len(CASES)} rules")
            seconds: dict[str, list[float]] = {name: [] for name in CASES}
            factors: dict[str, list[float]] = {name: [] for name in CASES}
            for number in range(ROUNDS):
                for name, load in loads.items():
                    # The rows are the same for all, so each is measured beside rows without a rule.
                    without = loads[NONE].run(connection, workload, number * count, count)
                    taken = without if name == NONE else load.run(connection, workload, number * count, count)
                    seconds[name].append(taken)
                    factors[name].append(taken / without)
            prices += [
                Price(workload.name, name, count / statistics.median(seconds[name]), statistics.median(factors[name]))
                for name in CASES
            ]
    return prices


class _Load:
    """The loader's work on one table with one rule, on one thread."""

    def __init__(
        self,
        connection: Connection[Any],
        number: int,
        conditions: tuple[str, ...],
        transforms: tuple[dict[str, Any], ...],
    ) -> None:
        self._table = bench_table(f"ruled_{number}")
        self._shape = self._table.shape(replicated=True)
        self._applied = 0
        self._round = 0
        rule = TableRule(
            self._table.keyspace,
            self._table.name,
            self._table.keyspace,
            self._table.name,
            None,
            (),
            conditions=tuple(Choice(text, "bench") for text in conditions),
            transforms=tuple(PlacedTransform(Transform.model_validate(each), "bench") for each in transforms),
        )
        shared = RulesSection.model_validate({"key": "the key of a measurement"})
        rules = read_rules(rule, self._table, shared)
        choices = ColumnChoices(results=rules.results, renames=rules.renames)
        target = build_target(self._table, exclude=rules.dropped, choices=choices)
        control = ControlStore("bench", CONTROL_SCHEMA)
        control.migrate(connection)
        for statement in plan_target(target, ExistingSchema(exists=True)):
            connection.execute(statement.sql.encode())
        epoch, _ = control.acquire(connection, self._table.name)
        self._writer = BatchWriter(control, Sources.single(self._table.name, epoch, START))
        self._writer.add_target(connection, target, _MARGIN_S, rules=rules)
        self._writer.prepare(connection)
        table_id = self._table.id.bytes
        self._batcher = Batcher(
            lambda: {self._shape.id: self._shape},
            lambda _: False,
            batch_rows=BATCH_ROWS,
            batch_s=float("inf"),
            excluded=excluded_columns([target], {table_id: rules}),
            rewriting=rewriting_of([rules]),
        )

    def run(self, connection: Connection[Any], workload: Workload, first: int, count: int) -> float:
        """Seconds for rows; each run writes them anew, newer than before."""
        self._round += 1
        later = Workload(workload.name, workload.sets, workload.insert, self._round)
        encoded = mutations(self._table, later, first, count)
        started = time.perf_counter()
        for start in range(0, count, CHUNK_MUTATIONS_MAX):
            part = encoded[start : start + CHUNK_MUTATIONS_MAX]
            self._applied += 1
            chunk = Chunk(
                self._table.name, SEGMENT_VERSION, Position(1, self._applied), 0.0, part, list(range(len(part)))
            )
            self._batcher.add(chunk)
            if self._batcher.full():
                self._writer.apply(connection, self._batcher.take())
        if self._batcher.waiting:
            self._writer.apply(connection, self._batcher.take())
        return time.perf_counter() - started


def to_json(prices: list[Price], connection: Connection[Any]) -> str:
    """The prices as one JSON document."""
    figures = [
        {
            "workload": price.workload,
            "rule": price.rule,
            "rows_per_second": round(price.rows_per_second),
            "factor": round(price.factor, 3),
        }
        for price in prices
    ]
    return json.dumps({**machine.describe(connection), "rules": figures}, indent=2) + "\n"


def show(prices: list[Price], console: Console) -> None:
    """Print a line for each rule: rows a second, and the time of a row as a multiple of that without a rule."""
    table = ShownTable(title="rows a second through the loader (time of a row, 1.00 without a rule)")
    table.add_column("rule")
    workloads = list(dict.fromkeys(price.workload for price in prices))
    for workload in workloads:
        table.add_column(workload, justify="right")
    for rule in CASES:
        found = {price.workload: price for price in prices if price.rule == rule}
        cells = [f"{found[name].rows_per_second:,.0f} ({found[name].factor:.2f})" for name in workloads]
        table.add_row(rule, *cells)
    console.print(table)
