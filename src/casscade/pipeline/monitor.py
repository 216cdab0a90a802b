"""What the parts tell becomes metrics, health, log lines and the status document.

Invariant: nothing here slows the data path: parts count for themselves, and are read when somebody asks.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from casscade.core.position import Position
from casscade.load.counters import BatchCounts
from casscade.load.observer import Committed, Observer
from casscade.observability.health import Health, State
from casscade.observability.latency import LatencyHistogram
from casscade.observability.logs import get_logger
from casscade.observability.metrics import Metrics
from casscade.pipeline.checkpoints import Checkpoints
from casscade.pipeline.gap_status import copy_gaps, gap_status
from casscade.pipeline.load_status import copy_load, load_status
from casscade.pipeline.snapshot_status import progress_document

if TYPE_CHECKING:  # An agent is watched without the loader's modules, and PostgreSQL's client, in its memory.
    from casscade.capture.counters import Anomaly
    from casscade.capture.follower import Follower
    from casscade.capture.space import SpaceReading
    from casscade.core.gap import Gap, GapCounts
    from casscade.load.batcher import Batcher
    from casscade.snapshot.pace import Pace, Speed
    from casscade.snapshot.store import TableProgress
    from casscade.transport.direct import DirectTransport
    from casscade.transport.kafka.outlet import KafkaOutlet
    from casscade.transport.kafka.source import KafkaSource

log = get_logger("casscade.pipeline")

# Throughput is shown over the last seconds; one entry a batch, at most some hundred batches a second.
_RECENT_S: Final = 5.0
_RECENT_MAX: Final = 5000
# Write times far from now were set by clients for reasons of their own and say nothing about latency.
_LATENCY_S_MAX: Final = 3600.0


class Shown(Protocol):
    """A part that tells for itself what is shown of it."""

    def status(self) -> dict[str, Any]:
        """For the status document."""

    def copy(self, metrics: Metrics) -> None:
        """Bring what it counts into the metrics."""


class Monitor(Observer):
    """Everything that can be seen of one pipeline; it outlives the parts when they are built anew."""

    def __init__(self, pipeline: str) -> None:
        self.metrics = Metrics(pipeline)
        self.health = Health(time.monotonic, time.time)
        self.latency = LatencyHistogram()
        self.started_at = time.time()
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._totals = BatchCounts()
        self._batches = 0
        self._mutations = 0
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT_MAX)
        self._newest_write = 0
        self._committed_at: float | None = None
        self._follower: Follower | None = None
        self._transport: DirectTransport | None = None
        self._batcher: Batcher | None = None
        self._outlet: KafkaOutlet | None = None
        self._kafka: KafkaSource | None = None
        self._space: SpaceReading | None = None
        self._snapshot: list[tuple[TableProgress, Speed]] = []
        self._snapshot_rows = 0
        self._snapshot_remaining: float | None = None
        self._left_out: Counter[str] = Counter()
        self._misplaced = 0
        self._gaps: list[Gap] = []
        self._gap_counts: GapCounts = {}
        self._truncations = 0
        self._truncated_at: float | None = None
        self.checkpoints = Checkpoints(time.time)
        self._parts: dict[str, Shown] = {"checkpoints": self.checkpoints}
        self.metrics.before_scrape(self._copy)

    def watch(self, follower: Follower, transport: DirectTransport, batcher: Batcher) -> None:
        """Read these parts from now on."""
        self._keep_counts()
        self._follower, self._transport, self._batcher = follower, transport, batcher

    def watch_agent(self, follower: Follower, outlet: KafkaOutlet) -> None:
        """Read the parts of a capture agent from now on."""
        self._follower, self._outlet = follower, outlet

    def watch_load(self, source: KafkaSource, transport: DirectTransport, batcher: Batcher) -> None:
        """Read the parts of a loader from now on."""
        self._keep_counts()
        self._kafka, self._transport, self._batcher = source, transport, batcher

    def show(self, name: str, part: Shown) -> None:
        """Show `part` under `name` in the status document, and its metrics, from now on."""
        self._parts[name] = part

    def _keep_counts(self) -> None:
        """What the parts of an earlier life counted is not forgotten with them."""
        if self._batcher is not None:
            self._left_out.update(self._batcher.left_out)
            self._misplaced += self._batcher.misplaced

    def _left_out_now(self) -> Counter[str]:
        return self._left_out + Counter({} if self._batcher is None else self._batcher.left_out)

    def committed(self, committed: Committed) -> None:
        counts = committed.counts
        with self._lock:
            self._totals.add(counts)
            self._batches += 1
            self._mutations += committed.mutations
            self._committed_at = committed.at
            self._recent.append((committed.at, committed.mutations))
            for write_time in committed.write_times:
                latency = committed.at - write_time / 1e6
                if -_LATENCY_S_MAX < latency < _LATENCY_S_MAX:
                    self.latency.record(latency)
                    self.metrics.observe("casscade_replication_latency_seconds", max(latency, 0.0))
                    self._newest_write = max(self._newest_write, write_time)
        self.metrics.observe("casscade_load_batch_seconds", committed.seconds)
        if counts.replayed:
            self.metrics.count("casscade_load_replayed_letters_total", counts.replayed)
            log.info("dead letters were applied", letters=counts.replayed)
        self._set_aside(counts)
        self.health.progressed()

    def _set_aside(self, counts: BatchCounts) -> None:
        for code, count in counts.dead_letters.items():
            self.metrics.count("casscade_load_dead_letters_total", count, code=code)
            log.error("set aside as dead letters", code=code, mutations=count)

    def checkpointed(self, positions: Mapping[str, Position], *, whole: bool) -> None:
        self.checkpoints.add(positions, whole=whole)

    def reaped(self, counts: BatchCounts) -> None:
        with self._lock:
            self._totals.add(counts)
        self._set_aside(counts)

    def retrying(self, code: str, wait_s: float, failures: int) -> None:
        self.metrics.count("casscade_load_retries_total", code=code)
        self.health.set("postgres", State.DOWN, f"failed {failures} times in a row, last with {code}")
        log.warning(
            "PostgreSQL failed, the batch is tried again", code=code, wait_s=round(wait_s, 1), failures=failures
        )

    def recovered(self) -> None:
        self.health.set("postgres", State.OK)
        log.info("PostgreSQL works again")

    def freed(self, sessions: int) -> None:
        log.warning("ended sessions of stopped processes, which held locks in PostgreSQL", sessions=sessions)

    def anomaly(self, anomaly: Anomaly) -> None:
        """Damage or a gap in the commit log."""
        log.error(
            "commit log anomaly",
            code=anomaly.reason,
            segment=anomaly.position.segment,
            offset=anomaly.position.offset,
            detail=anomaly.detail,
        )

    def space(self, reading: SpaceReading) -> None:
        """The fill level of cdc_raw, as last read."""
        self._space = reading

    def space_crossed(self, reading: SpaceReading) -> None:
        """The fill level crossed a threshold."""
        log.warning(
            "cdc_raw fills up: when it is full, Cassandra refuses writes to CDC tables"
            if reading.threshold
            else "cdc_raw has room again",
            used_ratio=round(reading.ratio, 3),
            threshold=reading.threshold,
            total_bytes=reading.total_bytes,
            seconds_left=None if reading.seconds_left is None else round(reading.seconds_left),
        )

    def snapshot(self, progress: list[TableProgress], pace: Pace) -> None:
        """How far the snapshot is, and how fast it goes on."""
        before = {table.table_id: table.rows for table, _ in self._snapshot}
        for table in progress:
            # A table that was started again counts from nothing.
            known = before.get(table.table_id, 0)
            self._snapshot_rows += table.rows - (known if table.rows >= known else 0)
        self._snapshot = [(table, pace.speed(table.table_id)) for table in progress]
        self._snapshot_remaining = pace.remaining()

    def gaps(self, newest: list[Gap], counts: GapCounts) -> None:
        """The newest gaps, and how many there are of each reason and state."""
        self._gaps, self._gap_counts = newest, counts

    def truncated(self, at: float) -> None:
        """A truncation was applied; `at` is the Unix time that the node recorded."""
        with self._lock:
            self._truncations += 1
            self._truncated_at = max(at, self._truncated_at or at)

    def status(self) -> dict[str, Any]:
        """The status document: plain values, no key and no value of any row."""
        with self._lock:
            totals, now = self._totals, time.time()
            recent = sum(count for at, count in self._recent if at > now - _RECENT_S)
            percentiles = {f"p{p}": self.latency.percentile(p) for p in (50, 95, 99)}
            document: dict[str, Any] = {
                "pipeline": self._pipeline,
                "pid": os.getpid(),
                "uptime_seconds": round(now - self.started_at, 1),
                "events_per_second": round(recent / _RECENT_S, 1),
                "latency_seconds": percentiles,
                "latency_histogram": self.latency.to_json(),
                "lag_seconds": self._lag(),
                **load_status(totals, self._mutations, self._left_out_now()["filtered"]),
                "batches": self._batches,
                "dead_letters": dict(totals.dead_letters),
                "committed_at": self._committed_at,
            }
            document["truncations"] = {"applied": self._truncations, "truncated_at": self._truncated_at}
        document["capture"] = self._capture_status()
        document["gaps"] = [gap_status(gap) for gap in self._gaps]
        if self._outlet is not None:
            document["kafka"] = {"unacknowledged_messages": self._outlet.messages_waiting}
        if self._kafka is not None:
            lags = self._kafka.lag()
            document["kafka"] = {
                "partitions": self._kafka.assigned,
                "paused": self._kafka.paused,
                "lag_events": {lag.source: lag.events for lag in lags},
            }
        for name, part in list(self._parts.items()):
            document[name] = part.status()
        document["snapshot"] = [progress_document(progress, speed) for progress, speed in self._snapshot]
        return document

    def _capture_status(self) -> dict[str, Any]:
        if self._follower is None:
            return {}
        status, counters = self._follower.status(), self._follower.counters
        return {
            "source": self._follower.source,
            "position": str(status.position),
            "acknowledged": str(status.acknowledged),
            "caught_up": status.caught_up,
            "segments_waiting": status.segments_waiting,
            "mutations_read": counters.mutations_read,
            "mutations_forwarded": counters.mutations_forwarded,
            "skipped": dict(counters.skipped),
            "anomalies": dict(counters.anomalies),
            "cdc_off": self._follower.losses.off,
            **_space_status(self._space),
        }

    def _lag(self) -> float:
        """Age of the newest committed write while more is waiting."""
        waiting = self._transport is not None and self._transport.chunks_queued > 0
        behind = self._follower is not None and not self._follower.status().caught_up
        if not (waiting or behind) or not self._newest_write:
            return 0.0
        return round(max(0.0, time.time() - self._newest_write / 1e6), 3)

    def _copy(self) -> None:
        """Bring what the parts count into the metrics."""
        metrics = self.metrics
        copy_load(metrics, self._totals, self._mutations)
        metrics.set_total("casscade_load_committed_batches_total", self._batches)
        metrics.set("casscade_replication_lag_seconds", self._lag())
        if self._transport is not None:
            metrics.set("casscade_queue_bytes", self._transport.bytes_queued)
            metrics.set("casscade_queue_limit_bytes", self._transport.queue_bytes)
        if self._kafka is not None:
            metrics.set("casscade_kafka_assigned_partitions", self._kafka.assigned)
            metrics.set("casscade_kafka_paused_flag", int(self._kafka.paused))
            misplaced = self._misplaced + (0 if self._batcher is None else self._batcher.misplaced)
            metrics.set_total("casscade_kafka_misplaced_mutations_total", misplaced)
            lags = {lag.source: lag.events for lag in self._kafka.lag()}
            metrics.set_each("casscade_kafka_lag_events", "partition", lags)
        if self._outlet is not None:
            metrics.set("casscade_kafka_unacknowledged_messages", self._outlet.messages_waiting)
        if self._space is not None:
            metrics.set("casscade_capture_cdc_space_ratio", self._space.ratio)
            left = self._space.seconds_left
            metrics.set("casscade_capture_cdc_space_left_seconds", math.inf if left is None else left)
        metrics.set_total("casscade_load_applied_truncations_total", self._truncations)
        for reason, mutations in self._left_out_now().items():
            metrics.set_total("casscade_capture_skipped_mutations_total", mutations, reason=reason)
        for part in list(self._parts.values()):
            part.copy(metrics)
        self._copy_capture()
        copy_gaps(metrics, self._gap_counts)
        tables = [progress for progress, _ in self._snapshot]
        metrics.set("casscade_snapshot_finished_ranges", sum(table.ranges_done for table in tables))
        metrics.set("casscade_snapshot_planned_ranges", sum(table.ranges_total for table in tables))
        metrics.set_total("casscade_snapshot_read_rows_total", self._snapshot_rows)
        remaining = self._snapshot_remaining
        metrics.set("casscade_snapshot_remaining_seconds", math.nan if remaining is None else remaining)
        metrics.set("casscade_snapshot_paused_flag", int(any(table.paused and table.fraction < 1 for table in tables)))

    def _copy_capture(self) -> None:
        if self._follower is None:
            return
        metrics, counters = self.metrics, self._follower.counters
        metrics.set("casscade_source_info", 1, source=self._follower.source)
        metrics.set_total("casscade_capture_read_mutations_total", counters.mutations_read)
        metrics.set_total("casscade_capture_forwarded_mutations_total", counters.mutations_forwarded)
        metrics.set_total("casscade_capture_read_bytes_total", counters.bytes_read)
        metrics.set_total("casscade_capture_forwarded_bytes_total", counters.bytes_forwarded)
        metrics.set_total("casscade_capture_finished_segments_total", counters.segments_finished)
        metrics.set_total("casscade_capture_deleted_segments_total", counters.segments_deleted)
        metrics.set_total("casscade_capture_quarantined_segments_total", counters.segments_quarantined)
        metrics.set_total("casscade_capture_gaps_gaps_total", counters.gaps)
        metrics.set("casscade_capture_quarantine_bytes", counters.quarantine_bytes)
        metrics.set("casscade_capture_lag_segments", self._follower.status().segments_waiting)
        for reason, count in list(counters.skipped.items()):
            metrics.set_total("casscade_capture_skipped_mutations_total", count, reason=reason)
        for code, count in list(counters.anomalies.items()):
            metrics.set_total("casscade_capture_anomalies_anomalies_total", count, code=code)


def _space_status(reading: SpaceReading | None) -> dict[str, Any]:
    """How full cdc_raw is, the highest threshold that it reached, and the time left; nulls where that is unknown."""
    left = None if reading is None else reading.seconds_left
    return {
        "cdc_space_ratio": None if reading is None else round(reading.ratio, 4),
        "cdc_space_total_bytes": None if reading is None else reading.total_bytes,
        "cdc_space_threshold": None if reading is None else reading.threshold,
        "cdc_space_seconds_left": None if left is None else round(left),
    }
