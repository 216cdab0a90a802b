"""The agent under measurement, in a process of its own: the follower and the producer of `casscade capture`.

Invariant: in memory is what `casscade capture` has in it; only Cassandra's schema is told instead of read.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any, Final

from casscade.bench.child import costs, say
from casscade.capture.follower import Follower
from casscade.config import PipelineConfig
from casscade.core.position import Position
from casscade.observability.logs import configure_logging
from casscade.pipeline import agent
from casscade.pipeline.kafka import kafka_settings
from casscade.pipeline.process import settle_collector, spare_memory
from casscade.transport.kafka.outlet import KafkaOutlet
from casscade.transport.kafka.topic import ensure_topic

_POLL_S: Final = agent.POLL_S
_CLOSE_S: Final = 2.0


class MeasuredAgent:
    """Reads one segment after the other, each to its last acknowledgement."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._config = PipelineConfig.model_validate(document["config"])
        self._source = str(document["source"])
        self._tables = frozenset({bytes.fromhex(document["table"])})
        settings = kafka_settings(self._config)
        ensure_topic(settings)
        self._outlet = KafkaOutlet(settings)

    def run(self, segment: int, mutations: int) -> dict[str, Any]:
        """Send a segment that lies in the CDC directory; what it cost, from its first byte to the last acknowledgement.

        The memory is the most that was seen while it ran.
        """
        capture, outlet = self._config.capture, self._outlet
        stop = threading.Event()
        follower = Follower(
            self._source,
            capture.cdc_directory,
            capture.state_directory,
            lambda: self._tables,
            outlet,
            Position(segment, 0),
            stop,
            unwanted=frozenset,
        )
        thread = threading.Thread(target=follower.run, name="capture", daemon=True)
        before = most = costs()
        thread.start()
        while follower.counters.mutations_forwarded < mutations or outlet.messages_waiting:
            outlet.poll(_POLL_S)
            most = max(most, costs(), key=_memory)
        after = costs()
        stop.set()
        thread.join()
        memory = {name: most[name] for name in ("private_bytes", "resident_bytes")}
        return {"started": before["at"], "ended": after["at"], "cpu": after["cpu"] - before["cpu"], **memory}

    def close(self) -> None:
        """End the producer."""
        self._outlet.close(_CLOSE_S)


def _memory(measured: dict[str, Any]) -> int:
    return int(measured["private_bytes"])


def main() -> None:
    """Serve until standard input ends."""
    configure_logging("warning", "json")
    spare_memory()
    measured = MeasuredAgent(json.loads(sys.argv[1]))
    settle_collector()
    say({"ready": True}, sys.stdout)
    for line in sys.stdin:
        wanted = json.loads(line)
        say(measured.run(wanted["segment"], wanted["mutations"]), sys.stdout)
    measured.close()


if __name__ == "__main__":
    main()
