"""Looking at cdc_raw: names, order, links, the lock, and directories that can't be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from casscade.capture.directory import check_directories, list_directory, lock_directory
from casscade.core.errors import ConfigurationError


def test_segments_are_sorted_by_number_not_by_name(tmp_path: Path) -> None:
    for name in ("CommitLog-8-1000.log", "CommitLog-8-999.log", "CommitLog-7-20.log"):
        (tmp_path / name).write_bytes(b"x" * 10)
    listing = list_directory(tmp_path)
    assert [(entry.version, entry.id) for entry in listing.segments] == [(7, 20), (8, 999), (8, 1000)]
    assert {entry.size for entry in listing.segments} == {10}


def test_indexes_and_links_are_seen(tmp_path: Path) -> None:
    raw = tmp_path / "cdc_raw"
    raw.mkdir()
    (tmp_path / "CommitLog-8-1.log").write_bytes(b"")
    os.link(tmp_path / "CommitLog-8-1.log", raw / "CommitLog-8-1.log")
    (raw / "CommitLog-8-2.log").write_bytes(b"")
    (raw / "CommitLog-8-2_cdc.idx").write_text("20")
    (raw / "CommitLog-8-0_cdc.idx").write_text("20\nCOMPLETED")
    listing = list_directory(raw)
    assert [(entry.id, entry.links, entry.indexed) for entry in listing.segments] == [(1, 2, False), (2, 1, True)]
    assert listing.lone_indexes == [(0, raw / "CommitLog-8-0_cdc.idx")]
    assert listing.segments[1].index_path == raw / "CommitLog-8-2_cdc.idx"


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("CommitLog-1.log", "commitlog-8-1.log", "CommitLog-8-1.log.bak", "README", "CommitLog-8-x.log"):
        (tmp_path / name).write_bytes(b"")
    assert list_directory(tmp_path).segments == []


def test_a_missing_directory_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        list_directory(tmp_path / "nowhere")
    assert caught.value.code == "capture_directory"
    assert "does not exist" in caught.value.what
    assert "cdc_raw_directory" in caught.value.hint


def test_a_file_in_the_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="not a directory"):
        list_directory(tmp_path / "file")
    with pytest.raises(ConfigurationError, match="not a directory"), lock_directory(tmp_path / "file"):
        pass


def test_missing_rights_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ConfigurationError, match="read and cleaned") as caught:
        check_directories(tmp_path, tmp_path / "state")
    assert caught.value.code == "capture_directory"


def test_the_state_directory_is_made_but_not_inside_cdc_raw(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    check_directories(raw, tmp_path / "state" / "deep")
    assert (tmp_path / "state" / "deep").is_dir()
    with pytest.raises(ConfigurationError) as caught:
        check_directories(raw, raw / "state")
    assert caught.value.code == "capture_state_directory"
    assert list(raw.iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="can't be created"):
        check_directories(raw, tmp_path / "file" / "state")


def test_two_agents_never_share_a_directory(tmp_path: Path) -> None:
    with lock_directory(tmp_path):
        with pytest.raises(ConfigurationError) as caught, lock_directory(tmp_path):
            pass
        assert caught.value.code == "capture_locked"
        assert str(tmp_path) in caught.value.where
        assert caught.value.hint
    with lock_directory(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from casscade.capture.directory import lock_directory\n"
        "with lock_directory(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConfigurationError), lock_directory(tmp_path):
            pass
        holder.kill()
    with lock_directory(tmp_path):
        pass
