"""Checkpoints: every source is committed in time, also when nothing comes, and shown with its age."""

from __future__ import annotations

import pytest

from casscade.core.position import Position
from casscade.load import loader as module
from casscade.observability.metrics import Metrics
from casscade.pipeline.checkpoints import Checkpoints
from casscade.transport.direct import DirectTransport
from tests.unit.test_load_loader import Writer, chunk, loading, wait_for


class CountingWriter(Writer):
    """Counts checkpoints; with `gone` the source has another owner."""

    def __init__(self) -> None:
        super().__init__()
        self.checkpoints = 0

    def checkpoint(self, _connection: object) -> None:
        self._check("checkpoint")
        self.checkpoints += 1


@pytest.mark.requirement("FR-005")
def test_a_source_of_which_nothing_comes_is_committed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_INTERVAL_S", 0.01)
    writer, transport = CountingWriter(), DirectTransport(1 << 20)
    with loading(writer, transport) as loader:
        wait_for(lambda: writer.checkpoints >= 3)
        transport.put(chunk(1), loader._stop)
        wait_for(lambda: writer.applied == [1])
        seen = writer.checkpoints
        wait_for(lambda: writer.checkpoints > seen)
    assert loader.failure is None


@pytest.mark.requirement("FR-003")
def test_an_idle_loader_finds_out_that_it_is_fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_INTERVAL_S", 0.01)
    writer = CountingWriter()
    with loading(writer, DirectTransport(1 << 20)) as loader:
        writer.fence = "checkpoint"
        wait_for(lambda: loader.failure is not None)


@pytest.mark.requirement("FR-005")
def test_age_and_position_are_shown_and_what_was_given_up_is_forgotten() -> None:
    now = [100.0]
    checkpoints = Checkpoints(lambda: now[0])
    metrics = Metrics("p")
    checkpoints.copy(metrics)
    checkpoints.add({"a/0": Position(0, 7), "a/1": Position(0, 9)}, whole=False)
    now[0] = 104.0
    checkpoints.add({"a/1": Position(0, 12)}, whole=False)
    now[0] = 105.5
    assert checkpoints.status() == {"a/0": "0:7 committed 5.5 s ago", "a/1": "0:12 committed 1.5 s ago"}
    checkpoints.copy(metrics)
    assert b'casscade_checkpoint_age_seconds{pipeline="p"} 5.5' in metrics.render()
    checkpoints.add({"a/1": Position(0, 12)}, whole=True)
    assert list(checkpoints.status()) == ["a/1"]
