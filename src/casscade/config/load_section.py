"""The keys of `load` and `dead_letters`: batches, what becomes of failures, connections.

Invariant: as in `casscade.config.model`: what exists is complete and within its limits.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from casscade.config.section import Section
from casscade.config.values import WholeNumber, refuse
from casscade.core.limits import (
    JOURNAL_BYTES_DEFAULT,
    JOURNAL_FREE_BYTES_DEFAULT,
    LOCK_TIMEOUT_MS_DEFAULT,
    MIB,
    QUEUE_BYTES_DEFAULT,
)


class RetrySection(Section):
    """How work that PostgreSQL did not take is tried again."""

    first_ms: WholeNumber = Field(default=1000, ge=10, le=60_000, description="First wait, in milliseconds; it doubles")
    max_ms: WholeNumber = Field(default=60_000, ge=10, le=600_000, description="Longest wait, in milliseconds")
    for_seconds: WholeNumber = Field(
        default=300, ge=1, le=86_400, description="Time for retries, in seconds; then `on_outage` decides"
    )

    @model_validator(mode="after")
    def _ordered(self) -> RetrySection:
        if self.first_ms > self.max_ms:
            refuse("first_ms is greater than max_ms", "raise max_ms or lower first_ms")
        return self


class CircuitSection(Section):
    """The circuit breaker before PostgreSQL."""

    failures: WholeNumber = Field(default=5, ge=1, le=1000, description="Failures in a row after which it opens")
    open_seconds: WholeNumber = Field(
        default=60,
        ge=1,
        le=3600,
        description="Time until one attempt is let through, in seconds; sooner when PostgreSQL answers a light test",
    )


class DeadLettersSection(Section):
    """What can't be applied: see docs/dead-letters.md."""

    journal_bytes: WholeNumber = Field(
        default=JOURNAL_BYTES_DEFAULT,
        ge=16 * MIB,
        le=1 << 40,
        description="Bytes that wait in capture.state_directory at most while PostgreSQL is away (direct transport)",
    )
    disk_free_bytes: WholeNumber = Field(
        default=JOURNAL_FREE_BYTES_DEFAULT, ge=0, le=1 << 40, description="Bytes of that disk which are left free"
    )


class PoolSection(Section):
    """Connections to PostgreSQL."""

    min: WholeNumber = Field(default=5, ge=1, le=50, description="Connections that are kept open")
    max: WholeNumber = Field(default=50, ge=1, le=50, description="Connections at most")

    @model_validator(mode="after")
    def _ordered(self) -> PoolSection:
        if self.min > self.max:
            refuse("min is greater than max", "raise max or lower min")
        return self


class LoadSection(Section):
    """Batches: one transaction each."""

    batch_rows: WholeNumber = Field(default=1000, ge=1, le=50_000, description="Rows after which a batch is committed")
    batch_ms: WholeNumber = Field(
        default=200, ge=1, le=10_000, description="Time after which a batch is committed, in milliseconds"
    )
    queue_bytes: WholeNumber = Field(
        default=QUEUE_BYTES_DEFAULT,
        ge=4 * MIB,
        le=1024 * MIB,
        description="Bytes that wait between capture and load at most; capture pauses when they are reached",
    )
    pool: PoolSection = Field(default=PoolSection(), description="Connections to PostgreSQL")
    statement_timeout_ms: WholeNumber = Field(
        default=60_000, ge=1000, le=3_600_000, description="Time that one statement may take, in milliseconds"
    )
    lock_timeout_ms: WholeNumber = Field(
        default=LOCK_TIMEOUT_MS_DEFAULT,
        ge=100,
        le=3_600_000,
        description="Time that a batch waits for a lock that another session holds, in milliseconds; then it lets go "
        "of its own locks and is tried again",
    )
    retry: RetrySection = RetrySection()
    circuit: CircuitSection = CircuitSection()
    on_outage: Literal["dead_letter", "pause"] = Field(
        default="dead_letter",
        description="What becomes of a batch that still fails after the time for retries. `dead_letter`: it is kept in "
        "the journal of the state directory, or in the topic of dead letters, and comes back by itself when PostgreSQL "
        "is back; `pause`: it is tried on, and the commit log or the topic fills",
    )
    dead_letter_percent_max: WholeNumber = Field(
        default=10,
        ge=0,
        le=100,
        description="Percentage of the last rows and mutations that may become dead letters, once they are 500; beyond "
        "it the pipeline stops. 100: any number may",
    )
    tombstone_margin_seconds: WholeNumber = Field(
        default=86_400,
        ge=0,
        le=2_592_000,
        description="Time that tombstones are kept beyond the table's gc_grace_seconds, in seconds",
    )
