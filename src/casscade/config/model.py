"""The keys of a pipeline's configuration file, with their defaults, limits and meaning.

Invariant: a configuration that exists is complete and within its limits; it never changes, and printing it shows no
secret. `docs/configuration.md` is rendered from these models, so a description is written for the user.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PrivateAttr, model_validator

from casscade.config.entries import TableEntry
from casscade.config.load_section import DeadLettersSection, LoadSection
from casscade.config.postgres import PostgresSection
from casscade.config.problems import KeyPath, key_text
from casscade.config.rules import RulesSection
from casscade.config.section import Section
from casscade.config.transport import TransportSection
from casscade.config.values import (
    FilePath,
    Host,
    ListenAddress,
    PipelineName,
    SecretText,
    Text,
    WholeNumber,
    refuse,
    split_listen,
)
from casscade.core.limits import MIB

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
    on_gap: Literal["resnapshot", "stop", "ignore"] = Field(
        default="resnapshot",
        description="What follows when input was lost before it was read (see docs/gaps.md). `resnapshot`: the node's "
        "token ranges are read again, then all rows of the tables are compared and repaired; `stop`: the process that "
        "writes to PostgreSQL ends with an error; `ignore`: it is only recorded",
    )
    on_corruption: Literal["continue", "halt"] = Field(
        default="continue",
        description="What follows when a part of a segment is damaged. `continue`: the part becomes a dead letter and "
        "a gap, the rest is read; `halt`: capture stops before it with an error",
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

    @model_validator(mode="after")
    def _arrives_once(self) -> PipelineConfig:
        if self.transport.format == "debezium" and any(each.conflicts == "arrival_order" for each in self.tables):
            refuse("conflicts: arrival_order and transport.format: debezium exclude each other", "choose dead_letter")
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
