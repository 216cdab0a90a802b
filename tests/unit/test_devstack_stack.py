"""Ports, state and commands of the stack; the servers themselves are in the integration tests."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from casscade.cli.dev import dev
from casscade.config.transport import TransportSection
from casscade.core.errors import ConfigurationError
from casscade.devstack import stack as stack_module
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.places import free_port
from casscade.devstack.postgres import PostgresServer
from casscade.devstack.processes import ServiceStatus
from casscade.devstack.server import Server
from casscade.devstack.stack import DEFAULT_PORTS, Stack, StackPorts


class Servers:
    """Stands in for all servers: remembers what was called; `broken` names one that does not come up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.running: set[str] = set()
        self.broken = ""
        self.calls: list[str] = []
        servers = self

        def start(service: Server, *, owner: int | None = None) -> None:
            servers.calls.append(f"start {service.directory.name}")
            servers.running.add(service.directory.name)

        def wait_ready(service: Server, timeout_s: float = 1.0) -> None:
            if service.directory.name == servers.broken:
                raise ConfigurationError("broken", f"{service.directory.name} ended", hint="look")

        def stop(service: Server, timeout_s: float = 1.0) -> None:
            servers.calls.append(f"stop {service.directory.name}")
            servers.running.discard(service.directory.name)

        def status(service: Server) -> ServiceStatus:
            up = service.directory.name in servers.running
            return ServiceStatus(
                service.name, "1", service.address, service.port, 7 if up else None, up, 0, service.directory
            )

        for kind in (CassandraNode, PostgresServer, KafkaBroker):
            monkeypatch.setattr(kind, "start", start)
            monkeypatch.setattr(kind, "wait_ready", wait_ready)
            monkeypatch.setattr(kind, "stop", stop)
            monkeypatch.setattr(kind, "kill", stop)
            monkeypatch.setattr(kind, "status", status)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    return Servers(monkeypatch)


@pytest.mark.usefixtures("servers")
def test_the_ports_are_kept_for_later_processes(tmp_path: Path) -> None:
    stack = Stack(tmp_path, cassandra_port=19042, postgres_port=15432, cache=tmp_path)
    stack.up()
    again = Stack(tmp_path, cache=tmp_path)
    assert again.ports == stack.ports
    assert again.cassandra.port == 19042
    assert again.postgres.dsn("shop") == "postgresql://postgres@127.0.0.1:15432/shop"


@pytest.mark.usefixtures("servers")
def test_a_taken_default_gives_way_to_a_free_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setattr(stack_module, "DEFAULT_PORTS", StackPorts(taken, taken, taken))
        stack = Stack(tmp_path, cache=tmp_path)
        stack.up()
    assert taken not in (stack.ports.cassandra, stack.ports.storage, stack.ports.postgres)


def test_up_twice_starts_once(tmp_path: Path, servers: Servers) -> None:
    Stack(tmp_path, cache=tmp_path).up()
    Stack(tmp_path, cache=tmp_path).up()
    assert sorted(servers.calls) == ["start cassandra", "start postgres"]


@pytest.mark.usefixtures("servers")
def test_other_ports_while_it_runs_are_refused(tmp_path: Path) -> None:
    Stack(tmp_path, cassandra_port=19042, cache=tmp_path).up()
    with pytest.raises(ConfigurationError) as caught:
        Stack(tmp_path, cassandra_port=19043, cache=tmp_path).up()
    assert caught.value.code == "stack_running"


@pytest.mark.usefixtures("servers")
def test_the_versions_are_kept_for_later_processes(tmp_path: Path) -> None:
    Stack(tmp_path, cassandra_version="4.1", postgres_version="12", cache=tmp_path).up()
    again = Stack(tmp_path, cache=tmp_path)
    assert (again.cassandra.version, again.postgres.version) == ("4.1.10", "12")
    assert again.cassandra.release.java == 11


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("wanted", [{"cassandra_version": "4.0"}, {"postgres_version": "12"}])
def test_data_of_another_version_is_never_opened(tmp_path: Path, wanted: dict[str, str]) -> None:
    Stack(tmp_path, cache=tmp_path).up()
    with pytest.raises(ConfigurationError) as caught:
        Stack(tmp_path, cache=tmp_path, **wanted)  # type: ignore[arg-type] # versions alone
    assert caught.value.code == "stack_other_version"
    assert "casscade dev reset" in caught.value.hint


def test_when_one_does_not_come_up_the_other_is_stopped(tmp_path: Path, servers: Servers) -> None:
    servers.broken = "cassandra"
    with pytest.raises(ConfigurationError, match="cassandra ended"):
        Stack(tmp_path, cache=tmp_path).up()
    assert servers.running == set()


def test_what_ran_before_a_failed_up_goes_on(tmp_path: Path, servers: Servers) -> None:
    servers.running.add("postgres")
    servers.broken = "cassandra"
    with pytest.raises(ConfigurationError):
        Stack(tmp_path, cache=tmp_path).up()
    assert servers.running == {"postgres"}


def test_reset_stops_and_removes_the_data_only(tmp_path: Path, servers: Servers) -> None:
    stack = Stack(tmp_path, cache=tmp_path)
    stack.up()
    (tmp_path / "cassandra").mkdir()
    (tmp_path / "mine").write_text("kept")
    stack.reset()
    assert servers.running == set()
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "mine"}


def test_an_unknown_version_is_named_with_those_there_are(tmp_path: Path) -> None:
    result = CliRunner().invoke(dev, ["up", "--directory", str(tmp_path), "--cassandra-version", "2.1"])
    assert (result.exit_code, "3.11.19, 4.0.19, 4.1.10, 5.0.6" in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", '{"ports": {"other": 1}}', '{"ports": {"cassandra": "x"}}'])
def test_a_damaged_state_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "stack.json").write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        Stack(tmp_path, cache=tmp_path)
    assert caught.value.code == "stack_state_damaged"


@pytest.mark.usefixtures("servers")
def test_the_commands_in_order(tmp_path: Path) -> None:
    runner = CliRunner()
    where = ["--directory", str(tmp_path)]
    first = runner.invoke(dev, ["up", *where, "--cassandra-port", "19042"])
    assert first.exit_code == 0
    assert "CQL:           127.0.0.1:19042" in first.stdout
    shown = runner.invoke(dev, ["status", *where])
    assert (shown.exit_code, "cassandra   1      up on 127.0.0.1:19042" in shown.stdout) == (0, True)
    assert runner.invoke(dev, ["down", *where]).exit_code == 0
    ended = runner.invoke(dev, ["status", *where])
    assert (ended.exit_code, ended.stdout.count("down")) == (1, 2)
    assert runner.invoke(dev, ["reset", *where], input="n\n").exit_code == 1
    assert json.loads((tmp_path / "stack.json").read_text())["ports"]["cassandra"] == 19042
    assert runner.invoke(dev, ["reset", *where, "--yes"]).exit_code == 0
    assert not (tmp_path / "stack.json").exists()


def test_an_error_is_one_block_and_status_2(tmp_path: Path, servers: Servers) -> None:
    servers.broken = "postgres"
    result = CliRunner().invoke(dev, ["up", "--directory", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr == "error: postgres ended [broken]\n  try:   look\n"


@pytest.mark.parametrize("command", ["up", "down", "status", "reset"])
def test_every_command_shows_an_example(command: str) -> None:
    result = CliRunner().invoke(dev, [command, "--help"])
    assert f"casscade dev {command}" in result.stdout


def test_the_usual_ports() -> None:
    assert (DEFAULT_PORTS.cassandra, DEFAULT_PORTS.postgres) == (9042, 5432)


@pytest.mark.usefixtures("servers")
def test_several_nodes_have_an_address_and_a_token_each(tmp_path: Path) -> None:
    stack = Stack(tmp_path, nodes=3, cassandra_port=19042, cache=tmp_path)
    nodes = stack.cluster.nodes
    assert [node.address for node in nodes] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    assert len({node.port for node in nodes}) == 1
    assert [node.directory.name for node in nodes] == ["cassandra", "cassandra-2", "cassandra-3"]
    assert [node.settings.token for node in nodes] == [0, 6148914691236517205, -6148914691236517206]
    assert [node.settings.joins for node in nodes] == [False, True, True]
    assert {node.settings.seeds for node in nodes[1:]} == {(f"127.0.0.1:{nodes[0].settings.storage_port}",)}


def test_several_nodes_are_started_behind_the_first_and_found_again(tmp_path: Path, servers: Servers) -> None:
    Stack(tmp_path, nodes=3, cassandra_port=19042, cache=tmp_path).up()
    assert set(servers.calls[:2]) == {"start cassandra", "start postgres"}
    assert set(servers.calls[2:]) == {"start cassandra-2", "start cassandra-3"}
    again = Stack(tmp_path, cache=tmp_path)
    assert [status.ready for status in again.status()] == [True] * 4
    again.down()
    assert not any(status.ready for status in again.status())
    again.reset()
    assert list(tmp_path.glob("cassandra*")) == []


@pytest.mark.usefixtures("servers")
def test_a_ring_with_data_does_not_grow(tmp_path: Path) -> None:
    Stack(tmp_path, cassandra_port=19042, cache=tmp_path).up()
    with pytest.raises(ConfigurationError) as refused:
        Stack(tmp_path, nodes=3, cache=tmp_path)
    assert refused.value.code == "stack_other_nodes"


def test_a_node_that_does_not_join_takes_the_others_with_it(tmp_path: Path, servers: Servers) -> None:
    servers.broken = "cassandra-3"
    with pytest.raises(ConfigurationError):
        Stack(tmp_path, nodes=3, cassandra_port=19042, cache=tmp_path).up()
    assert servers.running == set()


def test_kafka_is_a_part_when_it_is_wanted_and_from_then_on(tmp_path: Path, servers: Servers) -> None:
    Stack(tmp_path, kafka=True, kafka_port=19092, kafka_version="3.9.1", cache=tmp_path).up()
    assert set(servers.calls) == {"start cassandra", "start postgres", "start kafka"}
    again = Stack(tmp_path, cache=tmp_path)
    assert again.kafka is not None
    assert (again.kafka.bootstrap, again.kafka.version) == ("127.0.0.1:19092", "3.9.1")
    assert again.kafka.controller_port == again.ports.kafka_controller
    assert [status.name for status in again.status()] == ["cassandra", "postgres", "kafka"]
    again.down()
    assert servers.running == set()
    (tmp_path / "kafka").mkdir()
    again.reset()
    assert not (tmp_path / "kafka").exists()
    assert Stack(tmp_path, cache=tmp_path).kafka is None


@pytest.mark.parametrize("running", [True, False])
def test_kafka_joins_a_stack_that_exists(tmp_path: Path, servers: Servers, running: bool) -> None:
    Stack(tmp_path, cassandra_port=19042, cache=tmp_path).up()
    if not running:
        servers.running.clear()
    servers.calls.clear()
    port = free_port()
    joined = Stack(tmp_path, kafka=True, kafka_port=port, kafka_version="3.9.1", cache=tmp_path)
    joined.up()
    assert joined.cassandra.port == 19042
    assert ("start cassandra" in servers.calls, "start kafka" in servers.calls) == (not running, True)
    saved = json.loads((tmp_path / "stack.json").read_text())
    assert (saved["kafka"], saved["ports"]["kafka"], saved["versions"]["kafka"]) == (True, port, "3.9.1")


@pytest.mark.usefixtures("servers")
def test_a_stack_from_before_kafka_is_found(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(
        json.dumps(
            {
                "format": 1,
                "versions": {"cassandra": "4.1.10", "postgres": "18"},
                "ports": {"cassandra": 19042, "storage": 17000, "postgres": 15432},
                "nodes": 1,
            }
        )
    )
    found = Stack(tmp_path, cache=tmp_path)
    assert (found.kafka, found.cassandra.port, found.cassandra.version) == (None, 19042, "4.1.10")
    assert Stack(tmp_path, kafka=True, cache=tmp_path).kafka is not None


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"kafka_port": 19093}, "stack_running"),
        ({"kafka_version": "3.9.1"}, "stack_other_version"),
    ],
)
def test_another_kafka_than_the_one_there_is_refused(tmp_path: Path, wanted: dict[str, Any], code: str) -> None:
    Stack(tmp_path, kafka=True, kafka_port=19092, cache=tmp_path).up()
    with pytest.raises(ConfigurationError) as caught:
        Stack(tmp_path, cache=tmp_path, **wanted).up()
    assert caught.value.code == code


@pytest.mark.parametrize("wanted", [["--kafka-port", "19092"], ["--kafka-version", "3.9.1"]])
def test_options_of_kafka_without_it_are_refused(tmp_path: Path, wanted: list[str]) -> None:
    result = CliRunner().invoke(dev, ["up", "--directory", str(tmp_path), *wanted])
    assert (result.exit_code, "stack_without_kafka" in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("servers")
def test_what_a_configuration_needs_of_kafka_is_printed(tmp_path: Path) -> None:
    where = ["--directory", str(tmp_path)]
    result = CliRunner().invoke(dev, ["up", *where, "--kafka", "--kafka-port", "19092"])
    assert result.exit_code == 0
    assert "Kafka:         127.0.0.1:19092" in result.stdout
    (hint,) = (line for line in result.stdout.splitlines() if "transport:" in line)
    section = TransportSection.model_validate(yaml.safe_load(hint)["transport"])
    assert (section.kind, section.bootstrap_servers) == ("kafka", ("127.0.0.1:19092",))
    shown = CliRunner().invoke(dev, ["status", *where])
    assert "kafka       1      up on 127.0.0.1:19092" in shown.stdout
    assert "memory:    0 MB in all" in shown.stdout


def test_a_broker_answers_when_it_answers(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        broker = KafkaBroker(tmp_path, port=listening.getsockname()[1], cache=tmp_path)

        def serve(answer: bytes) -> None:
            connection, _ = listening.accept()
            with connection:
                assert len(connection.recv(64)) == 14
                connection.sendall(answer)

        for answer, expected in ((b"\x00\x00\x00\x20\x00\x00\xca\x5c\x00\x00", True), (b"HTTP/1.1", False)):
            thread = threading.Thread(target=serve, args=(answer,))
            thread.start()
            assert broker.answers() is expected
            thread.join()
    assert not broker.answers()
