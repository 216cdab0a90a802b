"""The journal: order, torn tails, bounds, and which files go when."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from casscade.core.errors import ConfigurationError, RetryableError
from casscade.core.limits import MIB
from casscade.core.notice import BEGIN, GAP, Notice
from casscade.core.position import Position
from casscade.transport import journal as module
from casscade.transport.chunk import (
    Chunk,
    JournalProgress,
    RecheckProgress,
    RepairProgress,
    ReplayProgress,
    SnapshotProgress,
)
from casscade.transport.journal import Journal

ROOM = 1 << 40


_journals: list[Journal] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _journals:
        _journals.pop().close()


def opened(directory: Path, bytes_max: int = 64 * MIB, free: int = ROOM) -> Journal:
    _journals.append(Journal(directory, bytes_max=bytes_max, free_bytes=MIB, free=lambda _: free))
    return _journals[-1]


BEGIN_NOTICE = Notice(BEGIN, "node", "run")
GAP_NOTICE = Notice(
    GAP, "node", "7:9", "frame_checksum", Position(7, 9), "one frame", uuid.UUID(int=5), b"\x00bytes", 7
)


def chunk(number: int, size: int = 10) -> Chunk:
    mutations = [bytes([number % 256]) * size, b"", b"\x00\xff"]
    return Chunk("node", 7, Position(3, number), 12.5, mutations, [number, number + 1, number + 2], 3 * size)


def ends(journal: Journal) -> list[int]:
    return [chunk.end.offset for _, chunk in journal.read()]


@pytest.mark.requirement("SC-009")
def test_chunks_come_back_whole_and_in_order_in_another_life(tmp_path: Path) -> None:
    chunks = [
        chunk(1),
        Chunk("snapshot", 108, Position(9, 4), 1.0, [b"row"], [3], 3, SnapshotProgress(9, -(1 << 63), 1, True)),
        Chunk("snapshot", 108, Position(0, 0), 1.0, [], [], 0, RecheckProgress((1, 2))),
        Chunk("replay", 8, Position(0, 0), 1.0, [b"x"], [5], 1, ReplayProgress((7,)), 12, "host"),
        Chunk("repair", 108, Position(0, 0), 1.0, [b"row"], [5], 1, RepairProgress((3, 4), 1, done=True)),
        replace(chunk(2), origin="other", segment=1, scanned=True, notices=[BEGIN_NOTICE, GAP_NOTICE]),
    ]
    assert opened(tmp_path / "journal").append(chunks)
    again = opened(tmp_path / "journal")
    assert [each for _, each in again.read()] == chunks
    assert [number for number, _ in again.read()] == [0, 1, 2, 3, 4, 5]
    assert again.waiting == 6
    assert again.covered("node") == Position(3, 2)
    assert again.covered("snapshot") is None


def test_the_journals_own_progress_stays_outside(tmp_path: Path) -> None:
    inner = SnapshotProgress(9, 5, 1, False)
    journal = opened(tmp_path)
    journal.append([replace(chunk(1), progress=JournalProgress(3, 4, inner))])
    assert [each.progress for _, each in journal.read()] == [inner]


@pytest.mark.requirement("FR-023")
def test_a_torn_tail_is_dropped_whatever_its_length(tmp_path: Path) -> None:
    opened(tmp_path).append([chunk(1), chunk(2)])
    (path,) = tmp_path.glob("*.journal")
    whole = path.read_bytes()
    first = len(whole) // 2
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])
        journal = opened(tmp_path)
        assert ends(journal) == [1], length
        assert path.stat().st_size == first
    path.write_bytes(whole[:-1] + b"?")
    journal = opened(tmp_path)
    assert ends(journal) == [1]
    # What follows goes into a file of its own, behind the part that is whole.
    journal.append([chunk(3)])
    assert ends(opened(tmp_path)) == [1, 3]


def test_damage_before_the_end_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOURNAL_FILE_BYTES", 1)
    opened(tmp_path).append([chunk(1), chunk(2)])
    first = min(tmp_path.glob("*.journal"))
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    with pytest.raises(ConfigurationError, match="damaged") as caught:
        opened(tmp_path)
    assert (caught.value.code, str(first) in caught.value.where) == ("journal_damaged", True)


def test_files_go_when_everything_in_them_is_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOURNAL_FILE_BYTES", 200)
    journal = opened(tmp_path)
    for number in range(10):
        journal.append([chunk(number)])
    files = len(list(tmp_path.glob("*.journal")))
    assert files > 3
    journal.applied(5)
    assert 0 < len(list(tmp_path.glob("*.journal"))) < files
    assert ends(journal) == [5, 6, 7, 8, 9]
    journal.append([chunk(10)])
    journal.applied(11)
    assert (list(tmp_path.glob("*.journal")), journal.bytes_held, journal.waiting) == ([], 0, 0)
    assert journal.covered("node") is None
    journal.append([chunk(11)])
    assert ends(journal) == [11]
    assert ends(opened(tmp_path)) == [11]


def test_a_reader_sees_what_is_appended_meanwhile(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append([chunk(1), chunk(2)])
    reading = journal.read()
    assert next(reading)[1].end.offset == 1
    journal.append([chunk(3)])
    assert [each.end.offset for _, each in reading] == [2, 3]


@pytest.mark.requirement("FR-024")
def test_it_takes_nothing_beyond_its_bound_and_leaves_the_disk_its_rest(tmp_path: Path) -> None:
    journal = opened(tmp_path / "bounded", bytes_max=4 * MIB)
    taken = 0
    while journal.append([chunk(taken, size=MIB)]):
        taken += 1
    assert (taken, journal.waiting) == (3, 3)
    assert journal.bytes_held <= 4 * MIB
    journal.applied(3)
    assert journal.append([chunk(9, size=MIB)])
    assert not opened(tmp_path / "full", free=MIB + 100).append([chunk(1, size=MIB)])


def test_a_failed_write_leaves_what_was_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path)
    journal.append([chunk(1)])

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RetryableError, match="No space") as caught:
            journal.append([chunk(2)])
    assert caught.value.code == "journal_unwritable"
    journal.append([chunk(3)])
    # Chunk 2 may be there or not: it was not acknowledged, so it comes again from the commit log.
    assert [each for each in ends(journal) if each != 2] == [1, 3]
    assert ends(opened(tmp_path)) == ends(journal)
