"""Who runs the demo's pipeline: one process, or over Kafka an agent and two loaders.

Invariant: of a member that was killed nothing that its earlier life said counts as the state of now.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from casscade.demo.child import PipelineChild
from casscade.demo.ledger import Document, Ledger
from casscade.demo.site import PARTITIONS, Site
from casscade.demo.view import MemberView, View
from casscade.devstack.places import free_port
from casscade.observability.latency import LatencyHistogram

LOADERS: Final = 2

Life = tuple[str, LatencyHistogram]


class Crew(ABC):
    """The processes of one pipeline; `ledger` holds what those that write to PostgreSQL said."""

    def __init__(self, ledger: Ledger, members: Mapping[str, PipelineChild], config_file: Path) -> None:
        """`config_file` is one that all of them could run with."""
        self.ledger = ledger
        self.config_file = config_file
        self._members = members

    def start(self) -> None:
        """Begin the first life of each."""
        for member in self._members.values():
            member.start()

    @property
    def answering(self) -> bool:
        """Whether every member has told its state."""
        return all(member.status is not None for member in self._members.values())

    def watch(self, *, now: bool = False) -> None:
        """Ask them how they are, when that is due. Raises InvariantError if one has ended."""
        for member in self._members.values():
            member.watch(now=now)

    def stop(self) -> None:
        """End all of them, whatever becomes of one."""
        try:
            for member in self._members.values():
                member.stop()
        finally:
            for member in self._members.values():
                member.end()

    def log_tail(self) -> str:
        """The ends of their logs."""
        return "\n".join(member.log_tail() for member in self._members.values())

    @property
    def kills(self) -> int:
        return sum(member.kills for member in self._members.values())

    @property
    def peaks(self) -> dict[str, int]:
        """The most memory that each had resident, in bytes."""
        return {name: member.peak_rss_bytes for name, member in self._members.items()}

    @property
    @abstractmethod
    def started(self) -> str:
        """What was started, for people."""

    @abstractmethod
    def kill(self) -> str:
        """SIGKILL in the middle, and start again; says what was done."""

    @abstractmethod
    def caught_up(self) -> bool:
        """Whether the lives after the kill have done something, and nothing is waiting."""

    @abstractmethod
    def back(self, seconds: float) -> str:
        """That it caught up `seconds` after the kill."""

    @abstractmethod
    def lives(self) -> list[Life]:
        """From write to commit, for each life."""

    @abstractmethod
    def view(self) -> View:
        """The state of the processes; everything else in it is as if nothing were known."""

    @property
    def lag_peaks(self) -> Sequence[int]:
        """For each Kafka partition the most events that were seen waiting."""
        return ()


class OneProcess(Crew):
    """`casscade run`."""

    def __init__(self, site: Site, directory: Path) -> None:
        config_file = directory / "casscade.yaml"
        port = free_port()
        site.write_config(config_file, directory / "state", port)
        self._child = PipelineChild(config_file, directory, port)
        super().__init__(self._child.ledger, {"pipeline": self._child}, config_file)

    @property
    def started(self) -> str:
        return f"pipeline started: casscade run -c {self.config_file.name}, pid {self._child.pid}"

    def kill(self) -> str:
        pid = self._child.pid
        self._child.kill()
        self._child.start()
        return f"pipeline killed by SIGKILL (pid {pid}); writes go on, and it is started again"

    def caught_up(self) -> bool:
        status = self._child.status
        if status is None or not status["batches"] or status["lag_seconds"]:
            return False
        return bool(status["capture"].get("caught_up"))

    def back(self, seconds: float) -> str:
        return f"pipeline is back as pid {self._child.pid}: {seconds:.1f} s after the kill it has caught up"

    def lives(self) -> list[Life]:
        names = ("before the kill", "after it, with what had piled up")
        return [(names[min(number, 1)], life) for number, life in enumerate(self.ledger.latencies())]

    def view(self) -> View:
        child, status = self._child, self._child.status
        return View(
            lag_s=None if status is None else status["lag_seconds"],
            position="" if status is None else status["capture"].get("position", ""),
            pid=child.pid,
            answering=status is not None,
            rss_bytes=child.peak_rss_bytes,
            kills=child.kills,
        )


class AgentAndLoaders(Crew):
    """`casscade capture` and two `casscade load`; the agent and the first loader are killed together."""

    def __init__(self, site: Site, directory: Path) -> None:
        ledger = Ledger()
        self._agent = _member(site, directory, "capture", "agent", Ledger())
        self._loaders = [_member(site, directory, "load", f"loader-{number + 1}", ledger) for number in range(LOADERS)]
        self._lag_peaks = [0] * PARTITIONS
        members = {"agent": self._agent}
        members |= {f"loader {number + 1}": loader for number, loader in enumerate(self._loaders)}
        super().__init__(ledger, members, directory / "agent.yaml")

    @property
    def answering(self) -> bool:
        """Whether the parts of each are at work."""
        return all(_kafka(member.status) for member in self._members.values())

    @property
    def started(self) -> str:
        pids = " and ".join(str(loader.pid) for loader in self._loaders)
        return f"pipeline started: casscade capture, pid {self._agent.pid}, and two casscade load, pids {pids}"

    def kill(self) -> str:
        victims = (self._agent, self._loaders[0])
        pids = [victim.pid for victim in victims]
        for victim in victims:
            victim.kill()
        for victim in victims:
            victim.start()
        return (
            f"agent (pid {pids[0]}) and loader 1 (pid {pids[1]}) killed by SIGKILL; writes go on, and both are started "
            "again"
        )

    def watch(self, *, now: bool = False) -> None:
        super().watch(now=now)
        for number, events in enumerate(self._lags()):
            self._lag_peaks[number] = max(self._lag_peaks[number], events or 0)

    def caught_up(self) -> bool:
        agent = self._agent.status
        if agent is None or not agent["capture"].get("caught_up") or _kafka(agent)["unacknowledged_messages"]:
            return False
        for loader in self._loaders:
            if loader.status is None or not _kafka(loader.status).get("partitions") or loader.status["lag_seconds"]:
                return False
        return all(events == 0 for events in self._lags())

    def back(self, seconds: float) -> str:
        return (
            f"agent and loader 1 are back as pids {self._agent.pid} and {self._loaders[0].pid}: {seconds:.1f} s after "
            "the kill all partitions have caught up"
        )

    def lives(self) -> list[Life]:
        found: list[Life] = []
        for number, loader in enumerate(self._loaders, 1):
            whens = [f"loader {number}"]
            if len(loader.pids) > 1:
                whens = [f"loader {number}, before the kill", f"loader {number}, after it"]
            for when, pid in zip(whens, loader.pids, strict=False):
                latency = self.ledger.latency_of(pid)
                if latency is not None:
                    found.append((when, latency))
        return found

    def view(self) -> View:
        agent = self._agent.status
        lags = [loader.status["lag_seconds"] for loader in self._loaders if loader.status is not None]
        return View(
            lag_s=max(lags, default=None),
            position="" if agent is None else agent["capture"].get("position", ""),
            answering=self.answering,
            kills=self.kills,
            members=tuple(
                MemberView(name, member.pid, bool(_kafka(member.status)), member.peak_rss_bytes, member.kills)
                for name, member in self._members.items()
            ),
            partition_lags=tuple(self._lags()),
        )

    @property
    def lag_peaks(self) -> Sequence[int]:
        return self._lag_peaks

    def _lags(self) -> list[int | None]:
        """Events that wait in each partition, None where no loader that runs says so."""
        found: list[int | None] = [None] * PARTITIONS
        for loader in self._loaders:
            for source, events in _kafka(loader.status).get("lag_events", {}).items():
                found[int(source.rpartition("/")[2])] = events
        return found


def _kafka(status: Document | None) -> Mapping[str, Any]:
    """What a process says of Kafka: nothing before its parts are built."""
    found: Mapping[str, Any] = {} if status is None else status.get("kafka", {})
    return found


def _member(site: Site, directory: Path, command: str, name: str, ledger: Ledger) -> PipelineChild:
    """A process with a configuration of its own, because each has its own status server."""
    config_file = directory / f"{name}.yaml"
    port = free_port()
    site.write_config(config_file, directory / "state", port, instance=name)
    return PipelineChild(config_file, directory, port, command=command, name=name, ledger=ledger)
