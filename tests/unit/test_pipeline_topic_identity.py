"""The topic that positions belong to: known again after a restart, and watched while the parts run."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from casscade.core.errors import ConfigurationError, RetryableError
from casscade.pipeline import topic_identity
from casscade.pipeline.topic_identity import TopicFile, TopicGate, TopicIdentityWatch
from casscade.transport.kafka import topic
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.topic import look_again
from casscade.transport.kafka.topic_checks import TopicShape

SETTINGS = KafkaSettings(("broker:9092",), "shop.mutations", "g")


def error(code: str) -> ConfigurationError:
    return ConfigurationError(code, "what happened", where="broker:9092", hint="what to do")


def test_the_file_remembers_one_topic(tmp_path: Path) -> None:
    assert TopicFile(tmp_path, "one").load() == ""
    TopicFile(tmp_path, "one").save("id1")
    assert TopicFile(tmp_path, "one").load() == "id1"
    assert TopicFile(tmp_path, "two").load() == ""
    (tmp_path / "topic.part").mkdir()
    with pytest.raises(RetryableError) as failed:
        TopicFile(tmp_path, "one").save("id2")
    assert failed.value.code == "topic_unwritable"
    assert TopicFile(tmp_path, "one").load() == "id1"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"topic": "one"}', "{}"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "topic.json").write_text(content)
    with pytest.raises(ConfigurationError) as refused:
        TopicFile(tmp_path, "one").load()
    assert refused.value.code == "topic_file_damaged"


@pytest.mark.requirement("FR-019")
def test_brokers_away_are_an_outage_only_where_they_were_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def ensure(_settings: KafkaSettings, known_id: str, *, reached: bool) -> TopicShape:
        asked.append((known_id, reached))
        if len(asked) == 1:
            raise error("kafka_unreachable")
        return TopicShape(12, 3, "id")

    monkeypatch.setattr(topic_identity, "ensure_topic", ensure)
    gate = TopicGate(SETTINGS)
    with pytest.raises(ConfigurationError):
        gate.ensure("")
    assert gate.ensure("") == TopicShape(12, 3, "id")
    gate.ensure("")
    TopicGate(SETTINGS).ensure("id")  # an earlier process saw the topic
    assert asked == [("", False), ("", False), ("", True), ("id", True)]


def test_the_watch_ends_the_parts_when_the_topic_is_another() -> None:
    stop = threading.Event()
    asked: list[str] = []

    def look(settings: KafkaSettings, known_id: str) -> None:
        asked.append(known_id)
        if len(asked) == 3:
            raise error("topic_recreated")

    watch = TopicIdentityWatch(SETTINGS, "id", stop, look, every_s=0.001)
    watch.start()
    assert stop.wait(10.0)
    watch.join(10.0)
    assert asked == ["id"] * 3
    assert isinstance(watch.failure, ConfigurationError)


@pytest.mark.parametrize(
    ("found", "raises"),
    [
        (TopicShape(12, 3, "id"), False),
        (TopicShape(12, 3, "other"), True),
        (None, True),
        (RetryableError("kafka_unavailable", "x"), False),
        (error("kafka_rights"), True),
    ],
)
def test_an_outage_is_no_other_topic(monkeypatch: pytest.MonkeyPatch, found: object, *, raises: bool) -> None:
    class Admin:
        def __init__(self, _settings: KafkaSettings, *, reached: bool) -> None:
            assert reached

        def shape(self) -> object:
            if isinstance(found, Exception):
                raise found
            return found

    monkeypatch.setattr(topic, "_Admin", Admin)
    if not raises:
        look_again(SETTINGS, "id")
        return
    with pytest.raises(ConfigurationError):
        look_again(SETTINGS, "id")
