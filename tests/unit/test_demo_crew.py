"""The processes of the demo over Kafka: when they have caught up, and what is told of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from casscade.config import load_config
from casscade.demo import crew as crew_module
from casscade.demo.crew import AgentAndLoaders, OneProcess
from casscade.demo.ledger import Ledger
from casscade.demo.site import PARTITIONS, Site
from casscade.observability.latency import LatencyHistogram


class Child:
    """Stands in for a process; `told` is its newest document."""

    calls: list[str]

    def __init__(self, file: Path, directory: Path, port: int, **options: Any) -> None:
        self.file, self.command = file, options.get("command", "run")
        self.name = options.get("name", "pipeline")
        self.ledger = options.get("ledger") or Ledger()
        self.pids: list[int] = []
        self.kills, self.peak_rss_bytes = 0, 50_000_000
        self.told: dict[str, Any] | None = None
        self.broken = False

    @property
    def pid(self) -> int | None:
        return self.pids[-1] if self.pids else None

    @property
    def status(self) -> dict[str, Any] | None:
        return self.told

    def start(self) -> None:
        self.calls.append(f"start {self.name}")
        self.pids.append(1000 + len(self.calls))

    def kill(self) -> None:
        self.calls.append(f"kill {self.name}")
        self.kills += 1
        self.told = None

    def watch(self, *, now: bool = False) -> None:
        """Nothing new."""

    def stop(self) -> bool:
        self.calls.append(f"stop {self.name}")
        if self.broken:
            raise OSError(self.name)
        return True

    def end(self) -> None:
        self.calls.append(f"end {self.name}")

    def log_tail(self) -> str:
        return f"log of {self.name}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(crew_module, "PipelineChild", Child)
    Child.calls = []
    return Site("127.0.0.1", 9042, tmp_path / "cdc", "postgresql://u@127.0.0.1/db", bootstrap="127.0.0.1:19092")


def loader(lags: dict[int, int], *, lag_s: float = 0.0) -> dict[str, Any]:
    events = {f"demo.mutations/{number}": count for number, count in lags.items()}
    return {"lag_seconds": lag_s, "kafka": {"partitions": len(lags), "lag_events": events}}


def agent(*, caught_up: bool = True, unacknowledged: int = 0) -> dict[str, Any]:
    capture = {"caught_up": caught_up, "position": "5:77"}
    return {"capture": capture, "kafka": {"unacknowledged_messages": unacknowledged}}


def members(crew: AgentAndLoaders) -> Any:
    return SimpleNamespace(agent=crew._agent, first=crew._loaders[0], second=crew._loaders[1])


def test_each_has_a_configuration_that_loads(site: Site, tmp_path: Path) -> None:
    crew = AgentAndLoaders(site, tmp_path)
    found = members(crew)
    assert [each.command for each in (found.agent, found.first, found.second)] == ["capture", "load", "load"]
    configs = [load_config(each.file) for each in (found.agent, found.first, found.second)]
    assert {config.transport.bootstrap_servers for config in configs} == {("127.0.0.1:19092",)}
    assert {config.transport.partitions for config in configs} == {PARTITIONS}
    assert len({config.http.address for config in configs}) == 3
    assert load_config(crew.config_file).transport.kind == "kafka"


def test_without_kafka_there_is_one_process_and_no_word_of_it(site: Site, tmp_path: Path) -> None:
    direct = Site(site.address, site.port, site.cdc_directory, site.dsn)
    crew = OneProcess(direct, tmp_path)
    assert "transport" not in yaml.safe_load(crew.config_file.read_text(encoding="utf-8"))
    crew.start()
    assert crew.started == "pipeline started: casscade run -c casscade.yaml, pid 1001"
    assert crew.kill() == "pipeline killed by SIGKILL (pid 1001); writes go on, and it is started again"
    assert crew.back(1.24) == "pipeline is back as pid 1003: 1.2 s after the kill it has caught up"
    assert (crew.lag_peaks, crew.kills) == ((), 1)


def test_the_agent_and_one_loader_are_killed_and_come_back(site: Site, tmp_path: Path) -> None:
    crew = AgentAndLoaders(site, tmp_path)
    crew.start()
    Child.calls.clear()
    assert "agent (pid 1001) and loader 1 (pid 1002) killed" in crew.kill()
    assert Child.calls == ["kill agent", "kill loader-1", "start agent", "start loader-1"]
    assert crew.kills == 2


@pytest.mark.parametrize(
    ("agent_says", "first_says", "second_says", "caught_up"),
    [
        (agent(), loader({0: 0, 1: 0}), loader({2: 0, 3: 0}), True),
        (agent(), loader({0: 0}), loader({1: 0, 2: 0, 3: 0}), True),
        (None, loader({0: 0, 1: 0}), loader({2: 0, 3: 0}), False),
        (agent(), None, loader({0: 0, 1: 0, 2: 0, 3: 0}), False),
        (agent(), loader({}), loader({0: 0, 1: 0, 2: 0, 3: 0}), False),
        (agent(caught_up=False), loader({0: 0, 1: 0}), loader({2: 0, 3: 0}), False),
        (agent(unacknowledged=1), loader({0: 0, 1: 0}), loader({2: 0, 3: 0}), False),
        (agent(), loader({0: 0, 1: 5}), loader({2: 0, 3: 0}), False),
        (agent(), loader({0: 0, 1: 0}), loader({2: 0}), False),
        (agent(), loader({0: 0, 1: 0}, lag_s=0.5), loader({2: 0, 3: 0}), False),
        ({"capture": {}}, {"lag_seconds": 0.0}, {"lag_seconds": 0.0}, False),
        (agent(), {"lag_seconds": 0.0}, loader({0: 0, 1: 0, 2: 0, 3: 0}), False),
    ],
)
def test_it_has_caught_up_when_nothing_waits_anywhere(
    site: Site, tmp_path: Path, agent_says: Any, first_says: Any, second_says: Any, caught_up: bool
) -> None:
    crew = AgentAndLoaders(site, tmp_path)
    found = members(crew)
    found.agent.told, found.first.told, found.second.told = agent_says, first_says, second_says
    assert crew.caught_up() is caught_up


def test_it_answers_when_the_parts_of_each_are_at_work(site: Site, tmp_path: Path) -> None:
    crew = AgentAndLoaders(site, tmp_path)
    found = members(crew)
    found.agent.told = {"capture": {}}
    found.first.told = found.second.told = {"lag_seconds": 0.0}
    crew.watch()
    assert not crew.answering
    assert [member.answering for member in crew.view().members] == [False] * 3
    found.agent.told, found.first.told, found.second.told = agent(), loader({}), loader({0: 1})
    assert crew.answering


def test_the_view_has_every_member_and_every_partition(site: Site, tmp_path: Path) -> None:
    crew = AgentAndLoaders(site, tmp_path)
    found = members(crew)
    found.agent.told, found.second.told = agent(), loader({1: 12, 3: 0}, lag_s=0.7)
    crew.watch()
    view = crew.view()
    assert (view.lag_s, view.position, view.answering) == (0.7, "5:77", False)
    assert view.partition_lags == (None, 12, None, 0)
    assert [(member.name, member.answering) for member in view.members] == [
        ("agent", True),
        ("loader 1", False),
        ("loader 2", True),
    ]
    found.second.told = loader({1: 3, 3: 4})
    crew.watch()
    assert crew.lag_peaks == [0, 12, 0, 4]
    assert set(crew.peaks) == {"agent", "loader 1", "loader 2"}


def test_lives_are_told_by_their_loader(site: Site, tmp_path: Path) -> None:
    crew = AgentAndLoaders(site, tmp_path)
    crew.start()
    crew.kill()
    found = members(crew)
    assert found.first.ledger is found.second.ledger is crew.ledger
    for count, pid in enumerate((*found.first.pids, *found.second.pids), 1):
        histogram = LatencyHistogram()
        for _ in range(count):
            histogram.record(0.5)
        crew.ledger.observe({"pid": pid, "latency_histogram": histogram.to_json(), "snapshot": []})
    assert [(name, life.count) for name, life in crew.lives()] == [
        ("loader 1, before the kill", 1),
        ("loader 1, after it", 2),
        ("loader 2", 3),
    ]


def test_all_are_ended_also_when_one_can_not_be_stopped(site: Site, tmp_path: Path) -> None:
    crew = AgentAndLoaders(site, tmp_path)
    crew.start()
    members(crew).agent.broken = True
    Child.calls.clear()
    with pytest.raises(OSError, match="agent"):
        crew.stop()
    assert {"end agent", "end loader-1", "end loader-2"} <= set(Child.calls)
