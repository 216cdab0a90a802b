"""The part of the table of metrics that is about outages of PostgreSQL, checkpoints and dead letters.

Invariant: all of them are at rest (0, or standing still) while nothing is wrong.
"""

from __future__ import annotations

from typing import Final

from casscade.observability.metric import Metric

OUTAGE_METRICS: Final = (
    Metric(
        "load_replayed",
        "counter",
        "letters",
        "Dead letters that were replayed and applied.",
        "What `casscade dlq replay` asked for and what has come of it.",
    ),
    Metric(
        "load_reap_postponed",
        "counter",
        "tables",
        "Times a table was held by somebody else when what expired in it was to be applied.",
        "It is tried again half a second later; growth for long means that another session keeps a lock on the table.",
    ),
    Metric(
        "circuit_open",
        "gauge",
        "flag",
        "Whether the circuit breaker keeps work from PostgreSQL.",
        "1: it failed some times in a row; nothing is tried until it answers again.",
    ),
    Metric(
        "circuit_opened",
        "counter",
        "times",
        "How often the circuit breaker opened.",
        "Each is an outage; many short ones point at the network or at failovers.",
    ),
    Metric(
        "load_failing",
        "gauge",
        "attempts",
        "Attempts in a row that failed.",
        "0 in normal operation; `load.circuit.failures` of them open the circuit.",
    ),
    Metric(
        "load_failing",
        "gauge",
        "seconds",
        "Time since the first of these failures.",
        "Beyond `load.retry.for_seconds` what comes goes to the journal or to the topic of dead letters.",
    ),
    Metric(
        "load_next_try",
        "gauge",
        "seconds",
        "Time until PostgreSQL is tried again.",
        "0 in normal operation.",
    ),
    Metric(
        "checkpoint_age",
        "gauge",
        "seconds",
        "Time since the position of a source was committed, of the source where it is longest ago.",
        "Below 10 s, also when nothing is written; growth means that PostgreSQL or the loader is stuck.",
    ),
    Metric(
        "journal",
        "gauge",
        "bytes",
        "Bytes of the journal in which chunks wait for PostgreSQL.",
        "0 in normal operation; at dead_letters.journal_bytes capture waits.",
    ),
    Metric(
        "journal_waiting",
        "gauge",
        "chunks",
        "Chunks in the journal that are not applied yet.",
        "Falls to 0 by itself when PostgreSQL is back.",
    ),
    Metric(
        "kafka_set_aside",
        "counter",
        "messages",
        "Messages that went to the topic of dead letters because PostgreSQL was away.",
        "Each comes back by itself when PostgreSQL is back.",
    ),
    Metric(
        "kafka_resubmitted",
        "counter",
        "messages",
        "Messages that were put back from the topic of dead letters.",
        "Over all loaders it follows the ones that were set aside.",
    ),
)
