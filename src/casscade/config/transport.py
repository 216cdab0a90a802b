"""The keys of `transport`: what carries mutations from capture to load.

Invariant: the keys of Kafka stand in the file only where the transport is Kafka, so none is without effect.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from casscade.config.section import Section
from casscade.config.values import BootstrapServer, FilePath, SecretText, Text, TopicName, WholeNumber, refuse


class KafkaSecuritySection(Section):
    """How the brokers are spoken to: TLS, and a login by SASL."""

    protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        default="plaintext", description="Protocol of the brokers' listener"
    )
    ca_file: FilePath | None = Field(default=None, description="PEM file of the authorities that sign brokers")
    certificate_file: FilePath | None = Field(default=None, description="PEM file of the client's certificate")
    key_file: FilePath | None = Field(default=None, description="PEM file of the client's key")
    key_password: SecretText | None = Field(default=None, description="Password of the key; use a reference")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="Mechanism of SASL"
    )
    username: Text | None = Field(default=None, description="Name that logs in")
    password: SecretText | None = Field(default=None, description="Its password; use a reference")

    @model_validator(mode="after")
    def _fitting(self) -> KafkaSecuritySection:
        sasl = self.protocol.startswith("sasl")
        given = [self.mechanism, self.username, self.password]
        if sasl and None in given:
            refuse(f"the protocol {self.protocol} needs mechanism, username and password", "give all three")
        if not sasl and any(value is not None for value in given):
            refuse(
                f"the protocol {self.protocol} has no login, but mechanism, username or password is given",
                "write sasl_ssl, or remove the keys",
            )
        tls = [self.ca_file, self.certificate_file, self.key_file, self.key_password]
        if not self.protocol.endswith("ssl") and any(value is not None for value in tls):
            refuse(f"the protocol {self.protocol} has no TLS, but files for it are given", "write ssl or sasl_ssl")
        if (self.certificate_file is None) != (self.key_file is None):
            refuse("needs certificate_file and key_file together", "give both keys, or none of them")
        return self


_KAFKA_ONLY: Final = (
    "bootstrap_servers",
    "format",
    "topic_prefix",
    "topic",
    "dead_letter_topic",
    "partitions",
    "replication_factor",
    "retention_hours",
    "compression",
    "session_timeout_ms",
    "instance",
    "security",
)


class TransportSection(Section):
    """What carries mutations from capture to load."""

    kind: Literal["direct", "kafka"] = Field(
        default="direct",
        description="`direct`: capture and load in one process (`casscade run`), with a bounded queue between them; "
        "`kafka`: `casscade capture` beside every node, `casscade load` as often as needed",
    )
    bootstrap_servers: tuple[BootstrapServer, ...] | None = Field(
        default=None, min_length=1, max_length=64, description="Brokers that are asked first, each host:port"
    )
    format: Literal["casscade", "debezium"] = Field(
        default="casscade",
        description="Who captures: `casscade capture` beside every node, or a Debezium connector (docs/debezium.md)",
    )
    topic_prefix: TopicName | None = Field(
        default=None,
        description="The topic.prefix of the Debezium connector; its topics are `<prefix>.<keyspace>.<table>`",
    )
    topic: TopicName | None = Field(
        default=None, description="Topic of the pipeline's mutations; by default the pipeline's name with `.mutations`"
    )
    dead_letter_topic: TopicName | None = Field(
        default=None,
        description="Topic of dead letters; by default the pipeline's name with `.dead_letters`",
    )
    partitions: WholeNumber = Field(
        default=12,
        ge=1,
        le=10_000,
        description="Partitions of the topic, which bound the number of loaders; docs/kafka.md tells what more of them "
        "mean later",
    )
    replication_factor: WholeNumber = Field(default=3, ge=1, le=10, description="Copies of each partition")
    retention_hours: WholeNumber = Field(
        default=168, ge=1, le=8760, description="Time that loaders may be away before mutations are lost, in hours"
    )
    compression: Literal["none", "lz4", "zstd", "snappy", "gzip"] = Field(
        default="lz4", description="Compression of messages"
    )
    session_timeout_ms: WholeNumber = Field(
        default=10_000,
        ge=1000,
        le=300_000,
        description="Time after which a loader that was killed or cut off loses its partitions to the others, in "
        "milliseconds; brokers allow 6000 and more unless their group.min.session.timeout.ms says otherwise",
    )
    instance: TopicName | None = Field(
        default=None,
        description="Name of a loader in its group that outlives its process and that no other loader has, such as "
        "`${env:HOSTNAME}` in a stateful set; one that was killed and is started again within session_timeout_ms has "
        "its partitions back at once",
    )
    security: KafkaSecuritySection = KafkaSecuritySection()

    @model_validator(mode="after")
    def _fitting(self) -> TransportSection:
        if self.kind == "kafka" and self.bootstrap_servers is None:
            refuse("the transport kafka needs bootstrap_servers", "add bootstrap_servers: [host:9092]")
        if (self.format == "debezium") != (self.topic_prefix is not None):
            refuse("the format debezium and topic_prefix belong together", "give both keys, or none of them")
        if self.kind == "direct":
            given = [key for key in _KAFKA_ONLY if key in self.model_fields_set]
            if given:
                refuse(f"{given[0]} belongs to the transport kafka, and kind is direct", "write kind: kafka")
        return self
