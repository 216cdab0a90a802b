"""The space guard goes by what the node says, and shows what it sees; mutations too large for messages are named."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from casscade.capture.counters import CaptureCounters, CaptureStatus
from casscade.capture.space import SpaceReading, default_total_bytes
from casscade.config import PipelineConfig
from casscade.config.load import parse_config
from casscade.core.position import START
from casscade.pipeline.monitor import Monitor
from casscade.pipeline.node_limits import space_guard, warn_of_large_mutations

HEAD = """\
name: shop
cassandra: {contact_points: [127.0.0.1], local_datacenter: dc1}
postgres: {dsn: postgresql://loader@127.0.0.1/warehouse}
tables: [{source: shop.orders}]
"""


def config(tmp_path: Path, space: str = "") -> PipelineConfig:
    """A configuration with `tmp_path` as cdc_raw."""
    capture = f"capture: {{cdc_directory: {tmp_path}, state_directory: /c/state{space}}}\n"
    return parse_config(f"{HEAD}{capture}".encode(), "p.yaml", {}, Path("/etc"))


def test_the_space_is_that_of_the_configuration_or_of_the_node_or_the_default(tmp_path: Path) -> None:
    monitor = Monitor("shop")
    settings = {"cdc_total_space": "512MiB"}
    own = config(tmp_path, ", cdc_total_space_bytes: 2000000")
    assert space_guard(own, settings, monitor).check().total_bytes == 2_000_000
    assert space_guard(config(tmp_path), settings, monitor).check().total_bytes == 512 << 20
    assert space_guard(config(tmp_path), {}, monitor).check().total_bytes == default_total_bytes(tmp_path)


class Followed:
    """What the monitor reads of a follower."""

    source = "node"
    counters = CaptureCounters()

    losses = SimpleNamespace(off=[])

    def status(self) -> CaptureStatus:
        return CaptureStatus(0, START, START, 0, 0, True)


@pytest.mark.requirement("FR-026")
@pytest.mark.parametrize(("left", "shown", "measured"), [(1234.4, 1234, 1234.4), (None, None, math.inf)])
def test_ratio_threshold_and_time_left_are_shown(left: float | None, shown: int | None, measured: float) -> None:
    monitor = Monitor("shop")
    monitor.watch_agent(Followed(), None)  # type: ignore[arg-type]
    assert monitor.status()["capture"]["cdc_space_ratio"] is None
    monitor.space(SpaceReading(760, 1000, 0.76, 0.75, left))
    capture = monitor.status()["capture"]
    found = {name: value for name, value in capture.items() if name.startswith("cdc_space")}
    assert found == {
        "cdc_space_ratio": 0.76,
        "cdc_space_total_bytes": 1000,
        "cdc_space_threshold": 0.75,
        "cdc_space_seconds_left": shown,
    }
    lines = monitor.metrics.render().decode().splitlines()
    (line,) = [line for line in lines if line.startswith("casscade_capture_cdc_space_left_seconds{")]
    assert float(line.rpartition(" ")[2]) == measured


@pytest.mark.parametrize(
    ("settings", "warned"),
    [({"max_mutation_size": "16MiB"}, False), ({"commitlog_segment_size": "64MiB"}, True), ({}, False)],
)
def test_a_node_whose_mutations_no_message_holds_is_named(settings: dict[str, str | None], *, warned: bool) -> None:
    assert warn_of_large_mutations(settings) is warned
