"""The pipeline over Kafka under measurement: an agent and loaders in processes of their own, a broker between them.

Invariant: a round begins with the first byte that the agent reads and ends with the commit of the last row; the
processor time of each part is that of the round alone.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from casscade.bench.child import ANSWER_TIMEOUT_S, Child
from casscade.bench.machine import cpu_seconds
from casscade.bench.path import CONTROL_SCHEMA, PipelineTable, write_segment
from casscade.bench.workload import KEYSPACE
from casscade.core.errors import InvariantError

# Enough for four loaders to have the same share each.
PARTITIONS: Final = 12
_LOOK_S: Final = 0.01
_ASSIGN_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Servers:
    """What the parts work with; a pid is None where the server is not ours, and its processor time unknown.

    `broker_data` is the directory in which the broker keeps the partitions.
    """

    dsn: str
    bootstrap: str
    postgres_pid: int | None
    broker_pid: int | None
    broker_data: Path


@dataclass(slots=True)
class Round:
    """One measurement: seconds from the first byte to the last commit, and seconds of CPU by part.

    `capture_s` is how long the agent took to its last acknowledgement, beside the loaders. The bytes of memory are the
    most that the agent, and the largest loader, held.
    """

    seconds: float
    capture_s: float
    merged: int
    cpu: dict[str, float | None] = field(default_factory=dict)
    agent_private_bytes: int = 0
    agent_resident_bytes: int = 0
    loader_private_bytes: int = 0


class KafkaPath:
    """An agent and `loaders` on a topic of their own, for one table; ends with `close`."""

    def __init__(
        self, servers: Servers, table: PipelineTable, directory: Path, batch_rows: int, loaders: int = 1
    ) -> None:
        directory.mkdir(parents=True)
        self._servers = servers
        self._cdc = directory / "cdc_raw"
        (directory / "state").mkdir()
        self._cdc.mkdir()
        config = configuration(servers, directory, batch_rows)
        self._topic = str(config["transport"]["topic"])
        document: dict[str, Any] = {"config": config, "table": table.shape.id.hex(), "source": str(uuid.uuid4())}
        self._children: list[Child] = []
        self._loaders: list[Child] = []
        try:
            self._agent = Child("casscade.bench.agent_child", document, directory / "agent.log")
            self._children.append(self._agent)
            self._agent.hear()
            for number in range(loaders):
                child = Child(
                    "casscade.bench.loader_child",
                    document | {"table": table.source},
                    directory / f"loader{number}.log",
                )
                self._children.append(child)
                self._loaders.append(child)
            self._await_assignment()
        except BaseException:
            self.close()
            raise

    def _await_assignment(self) -> None:
        """Return when every loader has its share of the partitions, so that joining is no part of a measurement."""
        assigned = dict.fromkeys(self._loaders, 0)
        deadline = time.monotonic() + _ASSIGN_TIMEOUT_S
        share = PARTITIONS // len(self._loaders)
        while any(number != share for number in assigned.values()):
            if time.monotonic() > deadline:
                raise InvariantError("bench_assignment", f"the loaders share {list(assigned.values())} partitions")
            for loader in self._loaders:
                for message in loader.heard():
                    assigned[loader] = message.get("assigned", assigned[loader])
            time.sleep(_LOOK_S)

    def run(self, segment: int, mutations: list[bytes]) -> Round:
        """Measure so many mutations; InvariantError when a process ends, or does not finish in time."""
        write_segment(self._cdc, segment, mutations)
        before, loaders_before = self._server_cpu(), self._loader_costs()
        self._agent.tell({"segment": segment, "mutations": len(mutations)})
        ended, merged = self._await_commits(len(mutations))
        agent = self._agent.hear()
        after, loaders = self._server_cpu(), self._loader_costs()
        cpu: dict[str, float | None] = {name: _spent(before[name], after[name]) for name in after}
        cpu["agent"] = agent["cpu"]
        cpu["loaders"] = sum(cost["cpu"] for cost in loaders) - sum(cost["cpu"] for cost in loaders_before)
        return Round(
            seconds=ended - agent["started"],
            capture_s=agent["ended"] - agent["started"],
            merged=merged,
            cpu=cpu,
            agent_private_bytes=agent["private_bytes"],
            agent_resident_bytes=agent["resident_bytes"],
            loader_private_bytes=max(cost["private_bytes"] for cost in loaders),
        )

    def _await_commits(self, mutations: int) -> tuple[float, int]:
        """When the last of so many mutations was committed (monotonic seconds), and how many rows were merged."""
        done = merged = 0
        ended = 0.0
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while done < mutations:
            for loader in self._loaders:
                for message in loader.heard():
                    done += message.get("mutations", 0)
                    merged += message.get("merged", 0)
                    ended = max(ended, message.get("at", 0.0))
            if time.monotonic() > deadline:
                raise InvariantError("bench_stopped", f"{done} of {mutations} mutations were loaded in time")
            time.sleep(_LOOK_S)
        return ended, merged

    def _loader_costs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for loader in self._loaders:
            loader.tell({})
            message = loader.hear()
            while "costs" not in message:
                message = loader.hear()
            found.append(message["costs"])
        return found

    def topic_bytes(self) -> int:
        """What the messages so far take on the broker's disk, compressed."""
        return sum(file.stat().st_size for file in self._servers.broker_data.glob(f"{self._topic}-*/*.log"))

    def close(self) -> None:
        """End the processes, loaders first."""
        for child in reversed(self._children):
            child.close()

    def _server_cpu(self) -> dict[str, float | None]:
        return {
            "broker": cpu_seconds(self._servers.broker_pid),
            "postgres": cpu_seconds(self._servers.postgres_pid),
        }


def _spent(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def configuration(servers: Servers, directory: Path, batch_rows: int) -> dict[str, Any]:
    """The document of the measured pipeline; each has a topic and a group of its own."""
    return {
        "name": "bench",
        # Only its schema would be asked for, which the processes are told instead.
        "cassandra": {"contact_points": ["127.0.0.1"], "local_datacenter": "none"},
        "capture": {"cdc_directory": str(directory / "cdc_raw"), "state_directory": str(directory / "state")},
        "postgres": {"dsn": servers.dsn, "control_schema": CONTROL_SCHEMA},
        "tables": [{"source": f"{KEYSPACE}.*"}],
        "transport": {
            "kind": "kafka",
            "bootstrap_servers": [servers.bootstrap],
            "topic": f"bench.{uuid.uuid4()}",
            "partitions": PARTITIONS,
            "replication_factor": 1,
        },
        "load": {"batch_rows": batch_rows, "pool": {"min": 1, "max": 4}},
    }
