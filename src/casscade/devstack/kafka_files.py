"""What a Kafka broker of the dev stack is configured with.

Invariant: a pure function of its arguments; the broker is its own controller (KRaft), on loopback, without TLS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

# Any 16 bytes in base64 of URLs; brokers of different directories never meet.
CLUSTER_ID: Final = "Y2Fzc2NhZGUtZGV2LWthZg"
NODE_ID: Final = 1

# The broker's own log goes to its standard output, which the stack keeps as a file.
LOG4J2: Final = """<Configuration status="WARN">
  <Appenders><Console name="console"><PatternLayout pattern="%d %p %c - %m%n"/></Console></Appenders>
  <Loggers><Root level="INFO"><AppenderRef ref="console"/></Root></Loggers>
</Configuration>
"""
RELOAD4J: Final = """log4j.rootLogger=INFO, console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d %p %c - %m%n
"""


def server_properties(
    data_directory: Path, address: str, port: int, controller_port: int, settings: Mapping[str, str]
) -> str:
    """The broker's `server.properties`; `settings` come last and win."""
    properties = {
        "process.roles": "broker,controller",
        "node.id": str(NODE_ID),
        "controller.quorum.voters": f"{NODE_ID}@{address}:{controller_port}",
        "listeners": f"PLAINTEXT://{address}:{port},CONTROLLER://{address}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{address}:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(data_directory),
        # One broker can't hold the copies that Kafka wants of its own topics by default.
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # Groups of a test or a demo need not wait for further members.
        "group.initial.rebalance.delay.ms": "0",
        # ... and may give up a member that was killed sooner than in production.
        "group.min.session.timeout.ms": "1000",
        # A broker that was killed is registered for as long; its next start waits for that to end.
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "2000",
        "group.consumer.min.heartbeat.interval.ms": "500",
        "group.consumer.heartbeat.interval.ms": "1000",
        "auto.create.topics.enable": "false",
        **settings,
    }
    return "".join(f"{key}={value}\n" for key, value in properties.items())


def jvm_arguments(directory: Path, jars: Sequence[Path]) -> list[str]:
    """The options of the JVM: a small heap, and compilation that starts fast."""
    return [
        "-Xms128m",
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        f"-Djava.io.tmpdir={directory / 'scratch'}",
        f"-Dlog4j2.configurationFile={directory / 'conf' / 'log4j2.xml'}",
        f"-Dlog4j.configuration=file:{directory / 'conf' / 'log4j.properties'}",
        "-cp",
        ":".join(str(jar) for jar in jars),
    ]
