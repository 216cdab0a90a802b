"""State files: whole whatever stops, and durable in this order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casscade.core import failpoints
from casscade.core.state_file import replace_file


def test_the_file_and_its_directory_are_made(tmp_path: Path) -> None:
    path = tmp_path / "state" / "position.json"
    replace_file(path, "one")
    replace_file(path, "two")
    assert path.read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["position.json"]


def test_the_content_is_durable_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "position.json"
    path.write_text("before")
    seen: list[tuple[str, str]] = []

    def fsync(descriptor: int) -> None:
        seen.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, path.read_text()))

    monkeypatch.setattr(os, "fsync", fsync)
    replace_file(path, "after")
    assert seen == [("position.part", "before"), (tmp_path.name, "after")]


@pytest.mark.parametrize("step", ["written", "synced"])
def test_a_stop_before_the_rename_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "position.json"
    path.write_text("before")

    def stop(name: str) -> None:
        raise KeyboardInterrupt(name)

    monkeypatch.setattr(failpoints, "ARMED", True)
    monkeypatch.setattr(failpoints, "reach", stop)
    with pytest.raises(KeyboardInterrupt, match="the_point"):
        replace_file(path, "after", **{step: "the_point"})
    assert path.read_text() == "before"
    monkeypatch.undo()
    replace_file(path, "after")
    assert path.read_text() == "after"


def test_what_stands_in_the_way_is_an_error_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "position.json"
    path.write_text("before")
    path.with_suffix(".part").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(path, "after")
    assert path.read_text() == "before"
