"""The follower on segments of real nodes: as they were while the node ran, and as it left them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from casscade.capture.follower import Follower
from casscade.core.errors import ConfigurationError
from casscade.core.position import START
from tests.support.capture import MemoryOutlet
from tests.support.sidecar import GoldenSet, golden_sets

READABLE = [found for found in golden_sets() if not found.name.endswith(("encrypted", "two-node"))]


def name_of(golden: GoldenSet) -> str:
    """The id of a test."""
    return golden.name


def restore(golden: GoldenSet, state: str, raw: Path, own: Path | None) -> None:
    """Write the segments of `state` over those in `raw`; with `own` as hard links of a running node."""
    for file, entry in golden.manifest.items():
        if not file.startswith(f"{state}/"):
            continue
        path = raw / Path(file).name
        path.touch()
        if own is not None:
            os.link(path, own / path.name)
        path.write_bytes(golden.segment(file))
        if entry["idx"] is not None:
            path.with_name(path.stem + "_cdc.idx").write_text(entry["idx"])


def read_entries(golden: GoldenSet, state: str) -> int:
    """Mutations in the segments of `state` that hold CDC data."""
    return sum(
        entry["mutations"]
        for file, entry in golden.manifest.items()
        if file.startswith(f"{state}/") and (entry["idx"] is not None or entry["descriptor_version"] == 6)
    )


@pytest.mark.requirement("FR-001")
@pytest.mark.parametrize("golden", READABLE, ids=name_of)
def test_a_node_is_followed_from_its_life_to_its_end(golden: GoldenSet, tmp_path: Path) -> None:
    raw, own = tmp_path / "cdc_raw", tmp_path / "commitlog"
    raw.mkdir()
    own.mkdir()
    outlet = MemoryOutlet()
    tables = set(golden.tables())
    follower = Follower("node", raw, tmp_path / "state", lambda: tables, outlet, START, threading.Event(), unwanted=set)

    def read() -> int:
        while follower.step():
            pass
        return sum(len(chunk.mutations) for chunk in outlet.chunks)

    restore(golden, "live", raw, own)
    live = read()
    assert live == read_entries(golden, "live")
    for path in own.iterdir():
        path.unlink()
    restore(golden, "final", raw, None)
    assert read() == read_entries(golden, "final") >= live
    assert follower.counters.anomalies == {}
    outlet.acknowledge()
    read()
    assert [path.name for path in raw.glob("*_cdc.idx")] == []
    ends = [chunk.end for chunk in outlet.chunks]
    assert ends == sorted(ends)


@pytest.mark.requirement("FR-001")
@pytest.mark.parametrize("eager", [False, True], ids=["synced", "eager"])
def test_the_live_commit_log_of_3_11_is_followed_into_cdc_raw(tmp_path: Path, eager: bool) -> None:
    (golden,) = (found for found in golden_sets() if found.name.startswith("3.11"))
    raw, own = tmp_path / "cdc_raw", tmp_path / "commitlog"
    raw.mkdir()
    own.mkdir()
    outlet = MemoryOutlet()
    now = 0.0
    follower = Follower(
        "node",
        raw,
        tmp_path / "state",
        set,
        outlet,
        START,
        threading.Event(),
        unwanted=set,
        eager=eager,
        commitlog_directory=own,
        clock=lambda: now,
    )

    def read() -> int:
        nonlocal now
        for _ in range(3):
            now += 1.0
            while follower.step():
                pass
        return sum(len(chunk.mutations) for chunk in outlet.chunks)

    restore(golden, "live", raw, None)
    restore(golden, "live_commitlog", own, None)
    entries = golden.manifest.items()
    live = sum(entry["mutations"] for file, entry in entries if file.startswith(("live/", "live_commitlog/")))
    assert read() == live, "as far as the markers go"
    kept = sorted(path.name for path in own.iterdir())
    outlet.acknowledge()
    read()
    assert sorted(path.name for path in own.iterdir()) == kept
    assert list(raw.iterdir()) == []
    newest = {Path(file).name for file, _ in entries if file.startswith("final/")} & set(kept)
    for name in newest:
        # The node goes on writing, then moves the file.
        (own / name).write_bytes(golden.segment(f"final/{name}"))
        read()
        (own / name).rename(raw / name)
    total = sum(entry["mutations"] for file, entry in entries if file.startswith("final/"))
    rest = sum(golden.manifest[f"live_commitlog/{name}"]["mutations"] for name in set(kept) - newest)
    assert read() == total + rest
    assert follower.counters.anomalies == {}
    assert follower.counters.gaps == 0
    ends = [chunk.end for chunk in outlet.chunks]
    assert ends == sorted(ends)
    follower.close()


def test_an_encrypted_log_stops_capture_and_stays(tmp_path: Path) -> None:
    (golden,) = (found for found in golden_sets() if found.name.endswith("encrypted"))
    restore(golden, "final", tmp_path, None)
    before = sorted(path.name for path in tmp_path.iterdir())
    stop = threading.Event()
    follower = Follower("node", tmp_path, tmp_path.parent / "state", set, MemoryOutlet(), START, stop)
    with pytest.raises(ConfigurationError) as caught:
        follower.step()
    assert caught.value.code == "segment_encrypted"
    follower.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == before
