"""Every metric of Casscade as data; registry, documentation and dashboards are made from this one table.

Invariant: names follow one rule, `casscade_<name>_<unit>` and `_total` behind counters, where the unit is a base unit
(seconds, bytes, ratio), the plural of what is counted, `flag` (0 or 1) or `info` (always 1). Label values come from
bounded sets and never from the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

PREFIX: Final = "casscade"
PIPELINE_LABEL: Final = "pipeline"

# The user's bounds are 2 s (P95) and 5 s; below 50 ms the commit log's own sync dominates. Around 1 to 2 s, where
# P95 is judged, neighbours lie close together, since a percentile is only as exact as its bucket.
LATENCY_BUCKETS_S: Final = (
    0.05,
    0.1,
    0.2,
    0.35,
    0.5,
    0.75,
    1.0,
    1.25,
    1.5,
    1.75,
    2.0,
    2.5,
    3.5,
    5.0,
    7.5,
    10.0,
    30.0,
    60.0,
)
# One transaction: milliseconds for a small batch, tens for 1,000 rows, seconds when PostgreSQL struggles.
BATCH_BUCKETS_S: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: `name` and `unit` make its full name, `help` is its HELP line, `meaning` tells what to read from it.

    `labels` are its labels beside `pipeline`; `buckets` are the upper bounds of a histogram, in its unit.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    help: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """The name that Prometheus sees."""
        return f"{PREFIX}_{self.name}_{self.unit}" + ("_total" if self.kind == "counter" else "")


METRICS: Final = (
    Metric(
        "capture_read",
        "counter",
        "mutations",
        "Mutations framed in the commit log.",
        "Its rate is the write load that the node shows to CDC.",
    ),
    Metric(
        "capture_forwarded",
        "counter",
        "mutations",
        "Mutations handed to the transport.",
        "Its rate is the input of the pipeline.",
    ),
    Metric(
        "capture_skipped",
        "counter",
        "mutations",
        "Mutations and segments left out, by reason.",
        "`not_replicated` is normal; every other reason has a runbook.",
        ("reason",),
    ),
    Metric(
        "capture_read", "counter", "bytes", "Bytes of mutations framed.", "Divided by the mutations: their mean size."
    ),
    Metric(
        "capture_forwarded",
        "counter",
        "bytes",
        "Bytes of mutations handed to the transport.",
        "Its rate is the pressure on the queue.",
    ),
    Metric(
        "capture_lag",
        "gauge",
        "segments",
        "Segments in cdc_raw that are not wholly durable downstream.",
        "1 is normal (the one being written); growth means that the load is behind.",
    ),
    Metric(
        "capture_finished",
        "counter",
        "segments",
        "Segments read to their end.",
        "Stands still while Cassandra writes little.",
    ),
    Metric(
        "capture_deleted",
        "counter",
        "segments",
        "Segments deleted after all of them was durable.",
        "Falls behind the finished ones when PostgreSQL is slow.",
    ),
    Metric(
        "capture_quarantined",
        "counter",
        "segments",
        "Segments kept aside because a part of them is damaged.",
        "Any growth needs a human.",
    ),
    Metric(
        "capture_quarantine",
        "gauge",
        "bytes",
        "Space of the segments kept aside.",
        "Delete them when they are understood.",
    ),
    Metric(
        "capture_gaps",
        "counter",
        "segments",
        "Segments missing before the capture could read them.",
        "Any growth means lost input: a new snapshot is due.",
    ),
    Metric(
        "capture_cdc_space",
        "gauge",
        "ratio",
        "Part of Cassandra's cdc_total_space in use.",
        "At 1 Cassandra refuses writes to CDC tables, or drops segments.",
    ),
    Metric(
        "capture_anomalies",
        "counter",
        "anomalies",
        "Things in the input that are not as they should be, by code.",
        "Any growth is reported with its position in the log.",
        ("code",),
    ),
    Metric(
        "queue",
        "gauge",
        "bytes",
        "Bytes between capture and load.",
        "Near its limit the load is the bottleneck and capture waits.",
    ),
    Metric(
        "queue_limit",
        "gauge",
        "bytes",
        "Bound of the bytes between capture and load.",
        "What the queue is compared with.",
    ),
    Metric(
        "queue",
        "gauge",
        "mutations",
        "Mutations between capture and load.",
        "The backlog in events; a steady growth means the load is too slow.",
    ),
    Metric(
        "kafka_unacknowledged",
        "gauge",
        "messages",
        "Messages of the agent that the brokers have not acknowledged.",
        "Grows while the brokers are away or slow; capture waits when they fill its buffer.",
    ),
    Metric(
        "kafka_assigned",
        "gauge",
        "partitions",
        "Partitions of the topic that this loader owns.",
        "The sum over all loaders is the number of partitions; less for longer than a rebalance needs a look.",
    ),
    Metric(
        "kafka_lag",
        "gauge",
        "events",
        "Mutations of a partition that are not applied yet.",
        "The backlog, by topic partition; growth in all of them means that more loaders are needed.",
        ("partition",),
    ),
    Metric(
        "kafka_paused",
        "gauge",
        "flag",
        "Whether fetching pauses because the queue is full.",
        "1 for long: PostgreSQL is the bottleneck.",
    ),
    Metric(
        "load_upserted",
        "counter",
        "rows",
        "Rows written and visible afterwards.",
        "Its rate is the throughput into PostgreSQL.",
    ),
    Metric("load_deleted", "counter", "rows", "Rows that are not visible any more.", "Deletions of all kinds."),
    Metric(
        "load_expired",
        "counter",
        "rows",
        "Rows removed or changed because a TTL ended.",
        "Follows the TTLs of the tables.",
    ),
    Metric(
        "load_decided",
        "counter",
        "rows",
        "Rows by how they were merged: `fast` by SQL alone, `merged` with their stored state.",
        "A large part of `merged` costs throughput.",
        ("path",),
    ),
    Metric(
        "load_applied",
        "counter",
        "truncations",
        "Truncated tables whose copies were emptied.",
        "Follows the TRUNCATE statements; `casscade status` has the time of the newest.",
    ),
    Metric(
        "load_inexact",
        "counter",
        "values",
        "Values that PostgreSQL can't show exactly, by table and by what became of them.",
        "`keep`: the exact value stays in the row's state; `convert`: only what is shown; `dead_letter`: the row is "
        "set aside.",
        ("table", "policy"),
    ),
    Metric(
        "load_undetermined",
        "counter",
        "rows",
        "Rows that events of Debezium's did not determine, and that are read again from Cassandra.",
        "Each costs a point read; many of them are better captured by Casscade itself.",
    ),
    Metric(
        "load_committed",
        "counter",
        "batches",
        "Transactions committed.",
        "Zero for long while the queue holds bytes: stuck.",
    ),
    Metric(
        "load_batch",
        "histogram",
        "seconds",
        "Time of one transaction, begin to commit.",
        "Grows with the batch and with PostgreSQL's load.",
        buckets=BATCH_BUCKETS_S,
    ),
    Metric(
        "load",
        "counter",
        "retries",
        "Attempts made again after a failure, by code.",
        "Bursts are failovers; a steady rate is a fault.",
        ("code",),
    ),
    Metric("load_dead", "counter", "letters", "Mutations set aside, by code.", "Each waits for a decision.", ("code",)),
    Metric(
        "replication_latency",
        "histogram",
        "seconds",
        "Time from the write in Cassandra to the commit in PostgreSQL.",
        "P95 is to stay below 2 s.",
        buckets=LATENCY_BUCKETS_S,
    ),
    Metric(
        "replication_lag",
        "gauge",
        "seconds",
        "Age of the newest write that is committed, while more is waiting; else 0.",
        "Growth means falling behind.",
    ),
    Metric(
        "snapshot_read",
        "counter",
        "rows",
        "Existing rows read from Cassandra.",
        "Its rate is the speed of the snapshot.",
    ),
    Metric(
        "snapshot_finished",
        "gauge",
        "ranges",
        "Token ranges whose rows are all durable.",
        "Against the planned ones: the progress.",
    ),
    Metric("snapshot_planned", "gauge", "ranges", "Token ranges of the snapshot.", "Zero without a snapshot."),
    Metric(
        "snapshot_remaining",
        "gauge",
        "seconds",
        "Estimated time until the snapshot ends, over all who read; NaN while unknown.",
        "From the progress of the last minute.",
    ),
    Metric("snapshot_paused", "gauge", "flag", "1 while a table waits for `casscade snapshot resume`.", "By hand."),
    Metric(
        "tombstones",
        "gauge",
        "tombstones",
        "Tombstones kept in the control schema.",
        "Purged after gc_grace_seconds and a margin.",
    ),
    Metric(
        "process",
        "counter",
        "errors",
        "Errors by code, retried ones included.",
        "The code is the name of the runbook.",
        ("code",),
    ),
    Metric(
        "build",
        "gauge",
        "info",
        "Always 1; the labels tell what runs.",
        "`compiled` is yes when the hot modules are machine code.",
        ("version", "python", "compiled"),
    ),
    Metric(
        "source",
        "gauge",
        "info",
        "Always 1; the label is the host id of the node whose commit log is read.",
        "Tells the processes of one pipeline apart, one for each node.",
        ("source",),
    ),
    Metric("live", "gauge", "flag", "1 while every thread beats.", "0: restart the process."),
    Metric("ready", "gauge", "flag", "1 while the pipeline makes progress.", "0: look at the components."),
    Metric(
        "component_ok", "gauge", "flag", "1 while the component is well.", "Names the part to look at.", ("component",)
    ),
)
