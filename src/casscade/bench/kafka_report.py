"""The report of a run over Kafka, for people and for machines.

Invariant: both hold the same figures; a cost that is unknown is left out, not shown as zero.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from casscade.bench import report as base
from casscade.bench.kafka_run import KafkaReport, Scale
from casscade.bench.model import HEADROOM, Need, need, predicted_rate

# The order in which an event passes the parts.
PARTS = ("agent", "broker", "loaders", "postgres")


def to_json(report: KafkaReport) -> str:
    """The report as one JSON document: that of the direct path, with the costs, the loaders and the model."""
    document: dict[str, Any] = json.loads(base.to_json(report))
    document |= {
        "cpu_us": {key: {part: round(us, 2) for part, us in spent.items()} for key, spent in report.cpu_us.items()},
        "agent_private_bytes": report.agent_private_bytes,
        "agent_resident_bytes": report.agent_resident_bytes,
        "loader_private_bytes": report.loader_private_bytes,
        "loaders": [asdict(scale) for scale in report.scales],
    }
    if report.scales:
        document["need"] = asdict(needed(report))
    return json.dumps(document, indent=2) + "\n"


def needed(report: KafkaReport) -> Need:
    """The model, from the costs of one loader."""
    scale = report.scales[0]
    return need(scale.cpu_us, scale.wal_bytes, scale.topic_bytes)


def show(report: KafkaReport, console: Console) -> None:
    """Print the ratios, what a row costs, what more loaders bring, and what a hundred thousand a second need."""
    base.show(report, console)
    console.print(
        f"memory: agent {report.agent_private_bytes / 1e6:.0f} MB of its own "
        f"({report.agent_resident_bytes / 1e6:.0f} MB with the pages of shared libraries), "
        f"loader {report.loader_private_bytes / 1e6:.0f} MB",
        highlight=False,
    )
    _show_costs(report, console)
    if report.scales:
        _show_scales(report.scales, int(str(report.circumstances["cores"])), console)
        _show_need(needed(report), console)


def _show_costs(report: KafkaReport, console: Console) -> None:
    table = Table(title="microseconds of CPU a row, one loader")
    table.add_column("workload, rows a batch")
    for part in PARTS:
        table.add_column(part, justify="right")
    for key, spent in report.cpu_us.items():
        table.add_row(key, *(f"{spent[part]:.1f}" if part in spent else "" for part in PARTS))
    console.print(table)


def _show_scales(scales: list[Scale], cores: int, console: Console) -> None:
    table = Table(title=f"inserts by number of loaders: microseconds of CPU a row, and what {cores} cores could do")
    for name in ("loaders", "rows/s", *PARTS, "busy cores", "limit"):
        table.add_column(name, justify="right")
    for scale in scales:
        busy = scale.rows_per_second * sum(scale.cpu_us.values()) / 1e6
        table.add_row(
            str(scale.loaders),
            f"{scale.rows_per_second:,.0f}",
            *(f"{scale.cpu_us[part]:.1f}" if part in scale.cpu_us else "" for part in PARTS),
            f"{busy:.2f}",
            f"{predicted_rate(scale.cpu_us, cores):,.0f}",
        )
    console.print(table)


def _show_need(need: Need, console: Console) -> None:
    cores = ", ".join(f"{part} {need.cores[part]:.1f}" for part in PARTS if part in need.cores)
    console.print(
        f"{need.events_per_second:,} events/s with {need.instances} loaders need, by these costs: {cores} cores busy "
        f"in all (each loader {need.loader_cores_each:.2f}; plan {HEADROOM} times as many), {need.partitions} "
        f"partitions, {need.wal_bandwidth / 1e6:.0f} MB/s of WAL, {need.topic_bandwidth / 1e6:.0f} MB/s into the topic "
        "and as much out of it, times its replicas",
        highlight=False,
    )
