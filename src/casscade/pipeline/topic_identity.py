"""Whether the topic is still the one that positions were kept for.

Invariant: neither an agent nor a loader goes on with another topic of the same name: what the first one held may be
gone, and positions of the one say nothing about the other.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from casscade.core.errors import ConfigurationError, RetryableError
from casscade.core.state_file import replace_file
from casscade.pipeline.watch import Watch
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.topic import ensure_topic, look_again
from casscade.transport.kafka.topic_checks import TopicShape

# One small request; topics are deleted by people.
LOOK_EVERY_S: Final = 10.0
# Its thread may be waiting for brokers that are away, and nobody needs its answer any more.
IDENTITY_JOIN_S: Final = 0.5


class TopicFile:
    """`topic.json` in the agent's state directory: the topic that its acknowledged position belongs to."""

    def __init__(self, directory: Path, topic: str) -> None:
        self.path = directory / "topic.json"
        self._topic = topic
        self._saved = ""

    def load(self) -> str:
        """The id of the topic, empty when it was not seen yet; raises ConfigurationError (`topic_file_damaged`)."""
        try:
            content = json.loads(self.path.read_text(encoding="ascii"))
            self._saved = str(content["id"]) if content["topic"] == self._topic else ""
        except FileNotFoundError:
            self._saved = ""
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                "topic_file_damaged",
                "the file with the agent's topic can't be read",
                where=str(self.path),
                now="nothing was started",
                hint="delete it: the topic is taken for the right one then",
            ) from error
        return self._saved

    def save(self, topic_id: str) -> None:
        """Keep the id, if it is another one; RetryableError (`topic_unwritable`) when that fails."""
        if topic_id == self._saved:
            return
        try:
            replace_file(self.path, json.dumps({"topic": self._topic, "id": topic_id}), synced="topic_file_written")
        except OSError as error:
            raise RetryableError(
                "topic_unwritable",
                f"the identity of the topic can't be saved: {error.strerror or type(error).__name__}",
                where=str(self.path),
                now="it is tried again before anything is sent",
                hint="free space in the state directory, or give the agent's user the right to write there",
            ) from error
        self._saved = topic_id


class TopicGate:
    """Checks the topic at the start of each life of a process.

    Brokers that do not answer are an error of the configuration where none was ever reached, and an outage otherwise.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._reached = False

    def ensure(self, known_id: str) -> TopicShape:
        """As `ensure_topic`."""
        shape = ensure_topic(self._settings, known_id, reached=self._reached or bool(known_id))
        self._reached = True
        return shape


class TopicIdentityWatch(Watch):
    """A thread that looks from time to time; it then sets `stop` and says so in `failure`."""

    name = "topic"

    def __init__(
        self,
        settings: KafkaSettings,
        known_id: str,
        stop: threading.Event,
        look: Callable[[KafkaSettings, str], None] = look_again,
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        super().__init__(stop, every_s)
        self._settings = settings
        self._known_id = known_id
        self._ask = look

    def look(self) -> None:
        """Ask once. Raises ConfigurationError (`topic_gone`, `topic_recreated`)."""
        self._ask(self._settings, self._known_id)
