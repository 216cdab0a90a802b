"""`casscade tail`: what it asks Kafka and Cassandra for, and what reaches the terminal."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from casscade.cli import tail as command
from casscade.core.errors import ConfigurationError
from casscade.core.position import Position
from casscade.transport.envelope import seal
from casscade.transport.topic_message import TopicMessage

HEAD = """
name: shop
cassandra: {contact_points: ["127.0.0.1"], local_datacenter: dc1}
capture: {cdc_directory: /cdc, state_directory: /state}
postgres: {dsn: postgresql://u@127.0.0.1/db}
tables: [{source: shop.*}]
"""
KAFKA = HEAD + "transport: {kind: kafka, bootstrap_servers: ['127.0.0.1:9092']}\n"
DEBEZIUM = HEAD + "transport: {kind: kafka, bootstrap_servers: ['b:9092'], format: debezium, topic_prefix: shop}\n"


class Readers:
    """Stands in for the reader; remembers what was asked for, and that it was closed."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.closed = 0
        self.interrupt = False

    def __call__(self, settings: Any, topic: str, start: Any, *, partition: int | None, follow: bool) -> Any:
        self.asked.append((topic, start, partition, follow))
        return SimpleNamespace(read=self.read, close=self.close)

    def read(self, stop: threading.Event) -> Iterator[TopicMessage]:
        for offset in range(3):
            yield TopicMessage("t", 0, offset, None, b"key", seal(8, bytes(range(16)), Position(1, offset), 0, b"m"))
        yield TopicMessage("t", 0, 3, None, None, b"none of ours")
        if self.interrupt:
            raise KeyboardInterrupt

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Readers:
    def away(_settings: Any) -> None:
        raise ConfigurationError("cassandra_unreachable", "no contact point answers")

    readers = Readers()
    monkeypatch.setattr(command, "TopicReader", readers)
    monkeypatch.setattr(command, "connect", away)
    return readers


def call(tmp_path: Path, *arguments: str, config: str = KAFKA) -> Result:
    file = tmp_path / "casscade.yaml"
    file.write_text(config, encoding="utf-8")
    return CliRunner().invoke(command.tail, ["-c", str(file), *arguments])


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ([], ("shop.mutations", "end", None, True)),
        (["--no-follow"], ("shop.mutations", "beginning", None, False)),
        (["--from", "beginning", "--partition", "3"], ("shop.mutations", "beginning", 3, True)),
        (["--from", "end", "--no-follow", "--topic", "other"], ("other", "end", None, False)),
        (["--from", "1970-01-01T00:00:02"], ("shop.mutations", 2000, None, True)),
        (["--from", "1970-01-01T01:00:02.5+01:00"], ("shop.mutations", 2500, None, True)),
    ],
)
def test_what_is_read(tmp_path: Path, readers: Readers, arguments: list[str], asked: tuple[Any, ...]) -> None:
    assert call(tmp_path, *arguments).exit_code == 0
    assert readers.asked == [asked]
    assert readers.closed == 1


def test_one_object_a_line_and_a_note_that_nothing_is_decoded(tmp_path: Path, readers: Readers) -> None:
    result = call(tmp_path, "--no-follow")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["offset"] for line in lines] == [0, 1, 2, 3]
    assert [line.get("error", {}).get("code") for line in lines] == [None, None, None, "envelope_foreign"]
    assert "only envelopes are shown" in result.stderr
    assert "cassandra_unreachable" in result.stderr


def test_a_limit_ends_it(tmp_path: Path, readers: Readers) -> None:
    assert call(tmp_path, "--limit", "2").stdout.count("\n") == 2
    assert readers.closed == 1


def test_cassandra_is_not_asked_without_need(tmp_path: Path, readers: Readers) -> None:
    assert call(tmp_path, "--no-decode").stderr == ""
    result = call(tmp_path, "--topic", "shop.shop.orders", config=DEBEZIUM)
    assert result.stderr == ""
    assert json.loads(result.stdout.splitlines()[0])["error"]["code"] == "debezium_json"


def test_beside_debezium_the_topic_of_the_pipeline_is_its_own(tmp_path: Path, readers: Readers) -> None:
    result = call(tmp_path, "--no-decode", config=DEBEZIUM)
    assert "event_id" in json.loads(result.stdout.splitlines()[0])


def test_it_ends_by_ctrl_c(tmp_path: Path, readers: Readers) -> None:
    readers.interrupt = True
    assert call(tmp_path).exit_code == 130
    assert readers.closed == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--from", "yesterday"], "neither beginning, end nor a time"), (["--limit", "0"], "--limit")],
)
def test_what_can_not_be_is_refused(tmp_path: Path, readers: Readers, arguments: list[str], said: str) -> None:
    result = call(tmp_path, *arguments)
    assert (result.exit_code, said in result.stderr, readers.asked) == (2, True, [])


def test_a_pipeline_without_kafka_has_no_topic(tmp_path: Path, readers: Readers) -> None:
    result = call(tmp_path, config=HEAD)
    assert (result.exit_code, "transport_direct" in result.stderr) == (2, True)
