"""An outage of PostgreSQL with the direct transport: the loader, its refuge and the journal together."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from psycopg import errors

from casscade.core.limits import MIB
from casscade.core.position import Position
from casscade.core.retry import RetryPolicy
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.contents import Batch
from casscade.load.counters import BatchCounts
from casscade.load.loader import Loader
from casscade.load.observer import Observer
from casscade.load.session import SessionOptions
from casscade.load.sources import Sources
from casscade.pipeline.outage import Outage
from casscade.transport.chunk import Chunk
from casscade.transport.direct import DirectTransport
from casscade.transport.journal import Journal

WAIT_S = 10.0
# Tries every few milliseconds, gives up within a fiftieth of a second.
HASTY = SessionOptions(RetryPolicy(0.001, 0.002, 0.02), failures_max=1000)


@pytest.fixture(autouse=True)
def _busy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing each batch to a busy disk would take most of the time; `test_transport_journal` does it."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Postgres:
    """Takes batches (as the numbers of their chunks) unless it is away, or refuses certain ones for ever."""

    def __init__(self) -> None:
        self.sources = Sources.single("node", 1)
        self.away = threading.Event()
        self.refused: set[int] = set()
        self.applied: list[int] = []
        self.set_aside_numbers: list[int] = []

    def _fail(self, batch: Batch | None = None) -> None:
        numbers = set() if batch is None else {chunk.end.offset for chunk in batch.chunks}
        if self.away.is_set() or numbers & self.refused:
            raise errors.DiskFull

    def prepare(self, _connection: Any) -> None:
        self._fail()

    def encode_ahead(self, _batch: Batch) -> None: ...

    def apply(self, _connection: Any, batch: Batch) -> BatchCounts:
        self._fail(batch)
        self.applied += [chunk.end.offset for chunk in batch.chunks]
        self.sources.advanced(batch.positions)
        return BatchCounts()

    def set_aside(self, _connection: Any, batch: Batch, cause: str, _retries: int) -> BatchCounts:
        self._fail()
        self.set_aside_numbers += [chunk.end.offset for chunk in batch.chunks]
        self.sources.advanced(batch.positions)
        return BatchCounts()

    def reap(self, _connection: Any) -> BatchCounts:
        self._fail()
        return BatchCounts()

    def purge(self, _connection: Any) -> None:
        self._fail()

    def checkpoint(self, _connection: Any) -> None:
        self._fail()

    def close(self) -> None: ...


class Site:
    """One life: journal, transport, loader; `put` is what capture does."""

    def __init__(self, postgres: Postgres, directory: Path, journal_bytes: int = 64 * MIB, keeps: bool = True) -> None:
        self.stop = threading.Event()
        self.transport = DirectTransport(64 * MIB)
        self.journal = Journal(directory, bytes_max=journal_bytes, free_bytes=0)
        self.outage = Outage(self.journal, self.transport, self.stop, keeps=keeps)
        batcher = Batcher(dict, lambda _: False, batch_rows=1, batch_s=0.001)
        self.loader = Loader(
            self.transport,
            batcher,
            cast(BatchWriter, postgres),
            cast(Any, lambda: postgres),
            self.stop,
            Observer(),
            refuge=self.outage,
            options=HASTY,
        )

    def put(self, *numbers: int) -> None:
        for number in numbers:
            chunk = Chunk("node", 8, Position(1, number), 0.0, [b""], [number])
            assert self.outage.put(chunk, self.stop)

    @property
    def acknowledged(self) -> int:
        return self.outage.acknowledged("node").offset


@contextmanager
def living(postgres: Postgres, directory: Path, journal_bytes: int = 64 * MIB, keeps: bool = True) -> Iterator[Site]:
    site = Site(postgres, directory, journal_bytes, keeps)
    site.loader.start()
    site.outage.start()
    yield site
    site.stop.set()
    site.loader.join(WAIT_S)
    site.outage.join(WAIT_S)
    assert (site.loader.failure, site.outage.failure) == (None, None)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.requirement("SC-009")
@pytest.mark.requirement("FR-021")
@pytest.mark.requirement("US-5")
def test_an_outage_longer_than_the_retries_goes_to_the_journal_and_comes_back_by_itself(tmp_path: Path) -> None:
    postgres = Postgres()
    with living(postgres, tmp_path) as site:
        site.put(1)
        wait_for(lambda: site.acknowledged == 1)
        postgres.away.set()
        site.put(2, 3, 4)
        wait_for(lambda: site.acknowledged == 4)
        assert (postgres.applied, site.journal.waiting) == ([1], 3)
        assert site.outage.status()["journal"] == "filling"
        postgres.away.clear()
        site.put(5)
        wait_for(lambda: site.journal.waiting == 0 and 5 in postgres.applied)
        site.put(6)
        wait_for(lambda: 6 in postgres.applied)
        assert sorted(postgres.applied) == [1, 2, 3, 4, 5, 6]
        assert site.journal.bytes_held == 0
        assert site.acknowledged == 6


@pytest.mark.requirement("FR-023")
@pytest.mark.requirement("SC-007")
def test_the_journal_of_an_earlier_life_is_applied_first_and_in_order(tmp_path: Path) -> None:
    postgres = Postgres()
    postgres.away.set()
    with living(postgres, tmp_path) as site:
        site.put(1, 2, 3)
        wait_for(lambda: site.acknowledged == 3)
    assert postgres.applied == []
    postgres.away.clear()
    with living(postgres, tmp_path) as site:
        assert site.journal.covered("node") == Position(1, 3)
        site.put(4)
        wait_for(lambda: 4 in postgres.applied)
        wait_for(lambda: site.journal.waiting == 0)
    assert postgres.applied == [1, 2, 3, 4]


@pytest.mark.requirement("SC-009")
def test_a_second_outage_while_the_journal_is_read_back_loses_nothing(tmp_path: Path) -> None:
    postgres = Postgres()
    postgres.away.set()
    numbers = range(1, 101)
    with living(postgres, tmp_path) as site:
        site.put(*numbers[:80])
        wait_for(lambda: site.acknowledged == 80)
        for until in (20, 50):
            postgres.away.clear()
            wait_for(lambda until=until: len(postgres.applied) >= until)  # type: ignore[misc]
            postgres.away.set()
            wait_for(lambda: site.loader.session.spent)
        site.put(*numbers[80:])
        wait_for(lambda: site.acknowledged == 100)
        postgres.away.clear()
        wait_for(lambda: site.journal.waiting == 0 and set(numbers) <= set(postgres.applied))


@pytest.mark.requirement("FR-024")
@pytest.mark.parametrize("keeps", [True, False])
def test_without_room_or_by_choice_it_waits(tmp_path: Path, keeps: bool) -> None:
    postgres = Postgres()
    postgres.away.set()
    with living(postgres, tmp_path, journal_bytes=1, keeps=keeps) as site:
        site.put(1)
        wait_for(lambda: site.loader.session.spent)
        assert (site.acknowledged, site.journal.waiting) == (0, 0)
        postgres.away.clear()
        wait_for(lambda: postgres.applied == [1])
        assert site.acknowledged == 1


@pytest.mark.requirement("FR-021")
@pytest.mark.requirement("FR-022")
def test_what_fails_again_although_postgres_works_becomes_dead_letters(tmp_path: Path) -> None:
    postgres = Postgres()
    postgres.refused = {2}
    with living(postgres, tmp_path) as site:
        site.put(1, 2, 3)
        wait_for(lambda: 2 in postgres.set_aside_numbers)
        wait_for(lambda: site.journal.waiting == 0 and site.acknowledged == 3)
        site.put(4)
        wait_for(lambda: 4 in postgres.applied)
    # What shares its batch shares its fate; nothing is missing.
    assert set(postgres.applied) | set(postgres.set_aside_numbers) == {1, 2, 3, 4}
