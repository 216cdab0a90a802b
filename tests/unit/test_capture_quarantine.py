"""Damaged segments are kept: complete copies under their own names, replaced only by whole ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casscade.capture.quarantine import Quarantine
from casscade.core.errors import RetryableError


def test_files_are_copied_and_counted(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "state")
    log, index = tmp_path / "CommitLog-8-1.log", tmp_path / "CommitLog-8-1_cdc.idx"
    log.write_bytes(b"l" * 1000)
    index.write_bytes(b"20")
    assert quarantine.size() == 0
    assert not quarantine.holds(log)
    assert quarantine.keep(log, index) == 1002
    assert quarantine.holds(log)
    assert quarantine.size() == 1002
    assert (quarantine.directory / log.name).read_bytes() == b"l" * 1000
    assert sorted(path.name for path in quarantine.directory.iterdir()) == [log.name, index.name]
    assert log.exists()


def test_a_later_copy_replaces_the_earlier_one(tmp_path: Path) -> None:
    quarantine = Quarantine(tmp_path / "state")
    log = tmp_path / "CommitLog-8-1.log"
    log.write_bytes(b"short")
    quarantine.keep(log)
    log.write_bytes(b"longer than before")
    quarantine.keep(log, tmp_path / "CommitLog-8-1_cdc.idx")
    assert (quarantine.directory / log.name).read_bytes() == b"longer than before"
    assert quarantine.size() == len(b"longer than before")


def test_a_copy_that_fails_leaves_the_original_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "CommitLog-8-1.log"
    log.write_bytes(b"x")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    quarantine = Quarantine(tmp_path / "state")
    with pytest.raises(RetryableError, match="No space left") as caught:
        quarantine.keep(log)
    assert caught.value.code == "capture_quarantine"
    assert log.exists()
    assert not quarantine.holds(log)
