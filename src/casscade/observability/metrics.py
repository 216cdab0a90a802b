"""The metrics of one pipeline: Prometheus objects made from the table, in a registry of their own.

Invariant: only names and labels of the table exist, and the label sets of a metric are bounded: a value that is too
long, of other characters, or one too many is counted as `other`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from casscade.core.errors import InvariantError
from casscade.observability.metric import PIPELINE_LABEL, Metric
from casscade.observability.metric_table import METRICS

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER: Final = "other"
# All codes of errors and all reasons together are a few dozen; more label sets than that in one metric are a mistake.
LABEL_SETS_MAX: Final = 100

_VALUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}")
# Names that users give are longer than our codes: tables (twice 63 characters), constraints, partitions (topics: 249).
_NAMES: Final = {
    "table": re.compile(r"[A-Za-z0-9_]{1,63}\.[A-Za-z0-9_]{1,63}"),
    "rule": re.compile(r"[A-Za-z0-9_]{1,63}"),
    "partition": re.compile(r"[A-Za-z0-9._-]{1,249}/[0-9]{1,5}"),
}
# One loader alone has all partitions; a thousand series are nothing to Prometheus, and no pipeline needs more.
_PARTITIONS_MAX: Final = 1000


class Metrics:
    """Every metric of the table for one pipeline; any thread may call any method."""

    def __init__(self, pipeline: str) -> None:
        self.registry: CollectorRegistry = CollectorRegistry()
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._specs: dict[str, Metric] = {}
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._seen: dict[str, set[tuple[str, ...]]] = {}
        self._totals: dict[tuple[str, tuple[str, ...]], float] = {}
        self._sources: list[Callable[[], None]] = []
        for metric in METRICS:
            self._add(metric)
        ProcessCollector(registry=self.registry)

    def _add(self, metric: Metric) -> None:
        name, labels = metric.full_name, (PIPELINE_LABEL, *metric.labels)
        self._specs[name] = metric
        self._seen[name] = set()
        if metric.kind == "counter":
            self._counters[name] = Counter(name, metric.help, labels, registry=self.registry)
        elif metric.kind == "gauge":
            self._gauges[name] = Gauge(name, metric.help, labels, registry=self.registry)
        else:
            self._histograms[name] = Histogram(
                name, metric.help, labels, registry=self.registry, buckets=metric.buckets
            )
        if not metric.labels and metric.kind != "gauge":
            # A series that exists from the start at 0 lets `rate()` see the first event too.
            (self._counters.get(name) or self._histograms[name]).labels(self._pipeline)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add `amount` >= 0 to a counter. Raises `InvariantError` for a name or labels that the table lacks."""
        values = self._labels(name, labels, self._counters)
        self._counters[name].labels(*values).inc(amount)

    def set_total(self, name: str, total: float, **labels: str) -> None:
        """Bring a counter to `total`, which some part of the pipeline counts itself; a lower total changes nothing."""
        values = self._labels(name, labels, self._counters)
        with self._lock:
            # By the labels as given: two values that both became `other` must not pull at one total.
            key = (name, tuple(sorted(labels.values())))
            grown = total - self._totals.get(key, 0)
            if grown > 0:
                self._totals[key] = total
                self._counters[name].labels(*values).inc(grown)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        values = self._labels(name, labels, self._gauges)
        self._gauges[name].labels(*values).set(value)

    def set_each(self, name: str, label: str, values: Mapping[str, float]) -> None:
        """Set a gauge for each value of its only label; series of others are gone afterwards."""
        with self._lock:
            self._seen[name].clear()
        self._gauges[name].clear()
        for each, value in values.items():
            self.set(name, value, **{label: each})

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put one value into a histogram."""
        values = self._labels(name, labels, self._histograms)
        self._histograms[name].labels(*values).observe(value)

    def before_scrape(self, source: Callable[[], None]) -> None:
        """Call `source` before each exposition: it copies what a part counts itself into the metrics."""
        self._sources.append(source)

    def render(self) -> bytes:
        """The exposition in Prometheus' text format, `CONTENT_TYPE`."""
        for source in self._sources:
            source()
        return generate_latest(self.registry)

    def _labels(self, name: str, labels: dict[str, str], kind: Mapping[str, object]) -> tuple[str, ...]:
        metric = self._specs.get(name)
        if metric is None or name not in kind or set(labels) != set(metric.labels):
            raise InvariantError("metric_unknown", f"the table has no such metric: {name} with {sorted(labels)}")
        values = tuple(_shown(label, labels[label]) for label in metric.labels)
        most = _PARTITIONS_MAX if metric.labels == ("partition",) else LABEL_SETS_MAX
        with self._lock:
            seen = self._seen[name]
            if values not in seen:
                if len(seen) >= most:
                    values = (OTHER,) * len(values)
                else:
                    seen.add(values)
        return (self._pipeline, *values)


def _shown(label: str, value: str) -> str:
    """The value as a label may have it, `OTHER` for one that may be data."""
    allowed = _VALUE.fullmatch(value) or (label in _NAMES and _NAMES[label].fullmatch(value))
    return value if allowed else OTHER
