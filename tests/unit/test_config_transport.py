"""The keys of `transport`: what Kafka needs, and what does not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

from casscade.config.load import parse_config
from casscade.config.model import PipelineConfig
from casscade.core.errors import ConfigurationError

HEAD = """\
name: shop
cassandra: {contact_points: [127.0.0.1], local_datacenter: dc1}
capture: {cdc_directory: /c/cdc_raw, state_directory: /c/state}
postgres: {dsn: postgresql://loader@127.0.0.1/warehouse}
tables: [{source: shop.orders}]
"""


def load(transport: str) -> PipelineConfig:
    """A configuration with this `transport`."""
    return parse_config(f"{HEAD}transport: {transport}\n".encode(), "p.yaml", {"KAFKA": "s3cret"}, Path("/etc"))


def test_kafka_with_its_defaults() -> None:
    transport = load("{kind: kafka, bootstrap_servers: ['broker-1:9092', '[::1]:9093']}").transport
    assert transport.bootstrap_servers == ("broker-1:9092", "[::1]:9093")
    assert (transport.partitions, transport.replication_factor, transport.retention_hours) == (12, 3, 168)
    assert (transport.topic, transport.compression, transport.security.protocol) == (None, "lz4", "plaintext")


def test_topics_of_debezium_have_the_prefix_of_the_connector() -> None:
    transport = load("{kind: kafka, bootstrap_servers: ['b:9092'], format: debezium, topic_prefix: cdc}").transport
    assert (transport.format, transport.topic_prefix) == ("debezium", "cdc")
    for keys in ("format: debezium", "topic_prefix: cdc", "format: casscade, topic_prefix: cdc"):
        with pytest.raises(ConfigurationError, match="belong together"):
            load(f"{{kind: kafka, bootstrap_servers: ['b:9092'], {keys}}}")
    with pytest.raises(ConfigurationError, match="kind is direct"):
        load("{format: debezium, topic_prefix: cdc}")


def test_the_password_stays_hidden() -> None:
    config = load(
        "{kind: kafka, bootstrap_servers: ['b:9092'], security: {protocol: sasl_ssl, mechanism: SCRAM-SHA-512, "
        "username: casscade, password: '${env:KAFKA}'}}"
    )
    password = config.transport.security.password
    assert password is not None
    assert password.reveal() == "s3cret"
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("transport", "what"),
    [
        ("{kind: kafka}", "needs bootstrap_servers"),
        ("{kind: direct, topic: t}", "topic belongs to the transport kafka"),
        ("{kind: kafka, bootstrap_servers: [broker]}", "must be host:port"),
        ("{kind: kafka, bootstrap_servers: ['broker:0']}", "must be host:port"),
        ("{kind: kafka, bootstrap_servers: ['b:1'], topic: 'a b'}", "must be 1 to 249 letters"),
        ("{kind: kafka, bootstrap_servers: ['b:1'], partitions: 0}", "must be at least 1"),
        ("{kind: kafka, bootstrap_servers: ['b:1'], compression: brotli}", "must be"),
        (
            "{kind: kafka, bootstrap_servers: ['b:1'], security: {protocol: sasl_ssl}}",
            "mechanism, username and password",
        ),
        ("{kind: kafka, bootstrap_servers: ['b:1'], security: {username: u}}", "has no login"),
        ("{kind: kafka, bootstrap_servers: ['b:1'], security: {ca_file: /ca.pem}}", "has no TLS"),
        (
            "{kind: kafka, bootstrap_servers: ['b:1'], security: {protocol: ssl, key_file: /k.pem}}",
            "certificate_file and key_file together",
        ),
    ],
)
def test_what_does_not_fit_is_refused(transport: str, what: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(transport)
    assert what in refused.value.explain()
    assert "p.yaml:6" in refused.value.explain()


@pytest.mark.requirement("FR-025")
def test_events_of_debezium_have_no_order_of_arrival() -> None:
    debezium = "transport: {kind: kafka, bootstrap_servers: ['b:9092'], format: debezium, topic_prefix: cdc}"
    text = f"{HEAD.replace('shop.orders', 'shop.orders, conflicts: arrival_order')}{debezium}\n"
    with pytest.raises(ConfigurationError, match="exclude each other"):
        parse_config(text.encode(), "p.yaml", {}, Path("/etc"))


def test_a_loader_may_have_a_name() -> None:
    assert load("{kind: kafka, bootstrap_servers: ['b:9092'], instance: loader-1}").transport.instance == "loader-1"
    with pytest.raises(ConfigurationError, match="instance"):
        load("{kind: kafka, bootstrap_servers: ['b:9092'], instance: 'loader 1'}")
    with pytest.raises(ConfigurationError, match="instance belongs to the transport kafka"):
        load("{kind: direct, instance: loader-1}")
