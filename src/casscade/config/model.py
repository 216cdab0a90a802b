"""The keys of a pipeline's configuration file, with their defaults, limits and meaning.

Invariant: a configuration that exists is complete and within its limits; it never changes, and printing it shows no
secret. `docs/configuration.md` is rendered from these models, so a description is written for the user.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PrivateAttr, model_validator

from casscade.config.dsn import holds_password
from casscade.config.entries import TableEntry
from casscade.config.problems import KeyPath, key_text
from casscade.config.rules import RulesSection
from casscade.config.section import Section
from casscade.config.transport import TransportSection
from casscade.config.values import (
    Dsn,
    FilePath,
    Host,
    Identifier,
    ListenAddress,
    PipelineName,
    SecretText,
    Text,
    WholeNumber,
    refuse,
    split_listen,
)
from casscade.core.limits import JOURNAL_BYTES_DEFAULT, JOURNAL_FREE_BYTES_DEFAULT, MIB, QUEUE_BYTES_DEFAULT

Consistency = Literal["ONE", "TWO", "THREE", "LOCAL_ONE", "LOCAL_QUORUM", "QUORUM", "ALL"]


class CassandraSection(Section):
    """The cluster: read for schemas, snapshots and verification. Changes themselves come from the commit log."""

    contact_points: tuple[Host, ...] = Field(
        min_length=1, max_length=64, description="Hosts of the cluster that are asked first, without port"
    )
    port: WholeNumber = Field(default=9042, ge=1, le=65535, description="Port of CQL on every host")
    local_datacenter: Text = Field(description="Data center whose hosts are asked")
    consistency: Consistency = Field(
        default="QUORUM", description="Consistency of the reads of snapshots and comparisons"
    )
    username: Text | None = Field(default=None, description="Role that reads; none when the cluster asks for none")
    password: SecretText | None = Field(default=None, description="Password of the role; use a reference")
    request_timeout_ms: WholeNumber = Field(
        default=10_000, ge=100, le=600_000, description="Time that one request may take, in milliseconds"
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> CassandraSection:
        if (self.username is None) != (self.password is None):
            refuse("needs username and password together", "give both keys, or none of them")
        return self


class CaptureSection(Section):
    """The commit log of the node on this host."""

    cdc_directory: FilePath = Field(description="Directory of the node's cdc_raw (`cdc_raw_directory`)")
    state_directory: FilePath = Field(
        description="Directory of the agent's own files (lock, position), outside cdc_directory"
    )
    commitlog_directory: FilePath | None = Field(
        default=None,
        description="Commit log directory of a node of Cassandra 3.11 (`commitlog_directory`), to read segments while "
        "they are written; only read, never changed. Without effect on later releases, whose cdc_raw is live",
    )
    mode: Literal["synced", "eager"] = Field(
        default="synced",
        description="`synced`: only what Cassandra has synced; `eager`: also mutations of uncompressed segments that "
        "are complete but not synced yet (see docs/latency.md)",
    )
    poll_ms: WholeNumber = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Longest pause between two looks at the directories, in milliseconds; while data flows they are "
        "looked at every 20 ms at the latest, or as often as this says if that is more often",
    )

    cdc_total_space_bytes: WholeNumber | None = Field(
        default=None,
        ge=MIB,
        le=1 << 50,
        description="Space of cdc_raw (`cdc_total_space` of cassandra.yaml) by which the space guard warns, in bytes; "
        "by default what the node says (4.0 and later), or Cassandra's own default: 4 GiB, or 1/8 of the volume",
    )

    @model_validator(mode="after")
    def _apart(self) -> CaptureSection:
        if self.state_directory.is_relative_to(self.cdc_directory):
            refuse("state_directory must not lie in cdc_directory", "Cassandra counts all files in cdc_raw")
        if self.commitlog_directory is not None:
            if self.commitlog_directory == self.cdc_directory:
                refuse("commitlog_directory and cdc_directory are the same", "give the two of cassandra.yaml")
            if self.state_directory.is_relative_to(self.commitlog_directory):
                refuse("state_directory must not lie in commitlog_directory", "give it a directory of its own")
        return self


class PostgresSection(Section):
    """The database that receives the rows."""

    dsn: Dsn = Field(description="Connection string: postgresql://user@host:5432/database, or keyword=value")
    password: SecretText | None = Field(default=None, description="Password, when it is not in dsn; use a reference")
    control_schema: Identifier = Field(
        default="casscade", description="Schema of Casscade's own tables (positions, tombstones, tasks)"
    )

    @model_validator(mode="after")
    def _one_password(self) -> PostgresSection:
        if self.password is not None and holds_password(self.dsn.reveal()):
            refuse("the password is given twice, in dsn and in password", "remove one of the two")
        return self


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


class SnapshotSection(Section):
    """The copy of the rows that existed before capture began."""

    mode: Literal["initial", "never", "when_needed"] = Field(
        default="initial",
        description="`initial`: once for each table; `never`; `when_needed`: also after a gap in the commit log",
    )
    page_rows: WholeNumber = Field(default=1000, ge=1, le=10_000, description="Rows of one page of a scan")
    workers: WholeNumber = Field(default=2, ge=1, le=32, description="Token ranges that are read at the same time")
    rows_per_second: WholeNumber | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="Rows that one process reads in a second at most, over all its workers; no limit by default",
    )
    ranges_per_table: WholeNumber = Field(
        default=64, ge=1, le=4096, description="Token ranges into which a table is split; each is a task of its own"
    )


class HttpSection(Section):
    """Health, metrics and the status page."""

    listen: ListenAddress = Field(
        default="127.0.0.1:8080", description="Address of /livez, /readyz, /healthz, /metrics and the status page"
    )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; port 0 lets the system choose."""
        return split_listen(self.listen)


class LogSection(Section):
    """What the process writes to its standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level written")
    format: Literal["json", "console"] = Field(
        default="json", description="`json`: one object a line; `console`: for people"
    )


class PipelineConfig(Section):
    """One pipeline: the whole file."""

    name: PipelineName = Field(
        description="Name of the pipeline; a label on every metric and a prefix of everything it creates"
    )
    cassandra: CassandraSection
    capture: CaptureSection
    postgres: PostgresSection
    tables: tuple[TableEntry, ...] = Field(min_length=1, max_length=1000)
    transport: TransportSection = TransportSection()
    load: LoadSection = LoadSection()
    rules: RulesSection = RulesSection()
    dead_letters: DeadLettersSection = DeadLettersSection()
    snapshot: SnapshotSection = SnapshotSection()
    http: HttpSection = HttpSection()
    log: LogSection = LogSection()

    @model_validator(mode="after")
    def _hiding_by_whom(self) -> PipelineConfig:
        if self.rules.apply == "capture" and self.transport.format == "debezium":
            refuse("rules.apply is capture, and Debezium captures", "hide values in the connector, or set it to load")
        return self

    _file: str = PrivateAttr("")
    _lines: dict[KeyPath, int] = PrivateAttr(default_factory=dict)

    def remember(self, file: str, lines: dict[KeyPath, int]) -> None:
        """Keep where each key stands, for the messages of later checks."""
        self._file = file
        self._lines = lines

    def location(self, *path: str | int) -> str:
        """`file:line` of a key, or the key alone where the configuration comes from no file."""
        line = self._lines.get(path)
        return f"{self._file}:{line}" if line is not None else key_text(path)
