"""What goes wrong between Kafka and a pipeline: a broker with logins and rights, hand-made messages, a lone source.

Invariant: a broker of one test module is its own; topics and users are those of one test.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined] # re-exported without saying so
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from casscade.core.position import START, Position
from casscade.devstack.kafka import KafkaBroker
from casscade.security.secret import Secret
from casscade.transport.chunk import Chunk
from casscade.transport.direct import DirectTransport
from casscade.transport.envelope import seal
from casscade.transport.kafka.client import KafkaSecurity, KafkaSettings
from casscade.transport.kafka.outlet import KafkaOutlet
from casscade.transport.kafka.source import KafkaSource
from casscade.transport.kafka.topic import beginnings, ensure_topic

USERS: Final = 24
HOST: Final = uuid.UUID(int=7)
KEY: Final = b"k"
# As much of a mutation as the transport looks at: one update, a table id, the partition key.
MUTATION: Final = b"\x01" + bytes(range(16)) + b"\x01" + KEY + b"rest"
WAIT_S: Final = 20.0

Right = tuple[ResourceType, AclOperation]
"""A right on the topic, the group, or the cluster."""

# What docs/kafka.md lists. Write and Read bring Describe with them.
AGENT: Final = {
    "Write": (ResourceType.TOPIC, AclOperation.WRITE),
    "Create": (ResourceType.TOPIC, AclOperation.CREATE),
    "DescribeConfigs": (ResourceType.TOPIC, AclOperation.DESCRIBE_CONFIGS),
}
LOADER: Final = {
    **AGENT,
    "Read": (ResourceType.TOPIC, AclOperation.READ),
    "Group": (ResourceType.GROUP, AclOperation.READ),
}


def secured_settings(port: int, login_port: int, controller_port: int, address: str = "127.0.0.1") -> dict[str, str]:
    """Properties of a broker with a second listener, on which users log in and have no right that is not granted."""
    users = " ".join(f'user_u{number}="secret{number}"' for number in range(USERS))
    clients = f"PLAINTEXT://{address}:{port},SASL_PLAINTEXT://{address}:{login_port}"
    return {
        "listeners": f"{clients},CONTROLLER://{address}:{controller_port}",
        "advertised.listeners": clients,
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }


class Secured:
    """The users of a broker with `secured_settings`, each used once."""

    def __init__(self, broker: KafkaBroker, login: str) -> None:
        self.broker = broker
        self.login = login
        self._number = 0
        self._admin = AdminClient({"bootstrap.servers": broker.bootstrap})

    def settings(self, rights: Mapping[str, Right], without: str = "") -> KafkaSettings:
        """A topic and a user that has `rights` except one."""
        self._number += 1
        name = f"t-{uuid.uuid4().hex[:12]}"
        bindings = [
            AclBinding(
                resource, name, ResourcePatternType.LITERAL, f"User:u{self._number}", "*", operation,
                AclPermissionType.ALLOW,
            )
            for title, (resource, operation) in rights.items()
            if title != without
        ]  # fmt: skip
        for future in self._admin.create_acls(bindings).values():
            future.result(WAIT_S)
        password = Secret(f"secret{self._number}")
        security = KafkaSecurity("sasl_plaintext", mechanism="PLAIN", username=f"u{self._number}", password=password)
        return KafkaSettings((self.login,), name, name, 2, 1, security=security)

    def unguarded(self, settings: KafkaSettings) -> KafkaSettings:
        """The same topic, as a user who may do everything."""
        return replace(settings, bootstrap_servers=(self.broker.bootstrap,), security=KafkaSecurity())


class Positions:
    """An owner of partitions (see `casscade.transport.kafka.source.Owner`) that applies whatever is handed over."""

    def __init__(self, start: Position = START) -> None:
        self._start = start

    def acquire(self, _source: str) -> Position:
        return self._start

    def drain(self, _handed: Mapping[str, Position]) -> None: ...

    def release(self, _sources: Sequence[str]) -> bool:
        return False

    def interrupted(self) -> Sequence[str] | None:
        return None

    def applied(self, _source: str) -> Position:
        return self._start


def act_as_agent(settings: KafkaSettings) -> None:
    """What an agent asks of Kafka, for one mutation."""
    ensure_topic(settings)
    outlet = KafkaOutlet(settings)
    try:
        assert outlet.put(Chunk(str(HOST), 8, Position(1, 9), 1.0, [MUTATION], [9]), threading.Event())
        while outlet.acknowledged(str(HOST)) < Position(1, 9):
            outlet.poll(0.1)
    finally:
        outlet.close(0.1)


def act_as_loader(settings: KafkaSettings, start: Position = START) -> Chunk:
    """What a loader asks of Kafka, up to the first chunk; a row of a snapshot is sent before."""
    act_as_agent(settings)
    assert beginnings(settings, 2) == [0, 0]
    return read_one(settings, start)


def read_one(settings: KafkaSettings, start: Position = START) -> Chunk:
    """The first chunk of the topic from `start` on; raises what ends the source before."""
    stop = threading.Event()
    queue = DirectTransport(32 << 20)
    source = KafkaSource(settings, Positions(start), queue, stop)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            source.run()
        except BaseException as error:
            failures.append(error)
        finally:
            queue.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    chunk = queue.get(WAIT_S)
    stop.set()
    thread.join(WAIT_S)
    if failures:
        raise failures[0]
    assert chunk is not None, f"nothing came within {WAIT_S} s"
    return chunk


def produce(
    bootstrap: str, topic: str, messages: Sequence[tuple[bytes | None, bytes | None]], partition: int = 0
) -> None:
    """Keys and values, as any client could write them."""
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 20 << 20})
    failed: list[Any] = []

    def delivered(error: Any, _message: Any) -> None:
        if error is not None:
            failed.append(error)

    for key, value in messages:
        producer.produce(topic, value, key, partition, on_delivery=delivered)
    assert producer.flush(WAIT_S) == 0
    assert failed == []


def sealed(mutation: bytes, offset: int = 1, encoding: int = 8) -> bytes:
    """A mutation as an agent sends it."""
    return seal(encoding, HOST.bytes, Position(1, offset), 1_000_000, mutation)
