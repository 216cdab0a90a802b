"""The loader between the transport and the writer: what is given up is not applied, what follows is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
import pytest

from casscade.core.backoff import Backoff
from casscade.core.errors import FencedError
from casscade.core.position import Position
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.contents import Batch
from casscade.load.counters import BatchCounts
from casscade.load.loader import Loader
from casscade.load.observer import Observer
from casscade.load.sources import Sources
from casscade.transport.chunk import Chunk
from casscade.transport.direct import DirectTransport

WAIT_S = 10.0


class Connection:
    """Asked for sessions that are stuck, it ends one."""

    def execute(self, _statement: str, *, prepare: bool) -> Connection:
        assert not prepare
        return self

    def fetchone(self) -> tuple[int]:
        return (1,)

    def close(self) -> None: ...


class Freed(Observer):
    """Counts what was ended, and the times that work was tried again."""

    def __init__(self) -> None:
        self.sessions = 0
        self.postponed = 0
        self.codes: list[str] = []

    def freed(self, sessions: int) -> None:
        self.sessions += sessions

    def reaped(self, counts: BatchCounts) -> None:
        self.postponed += counts.postponed

    def retrying(self, code: str, wait_s: float, failures: int) -> None:
        self.codes.append(code)


class Writer:
    """Remembers the chunks it was given (their end is their number); `fence` makes the next call of a kind fail."""

    def __init__(self) -> None:
        self.sources = Sources.single("topic/0", 1)
        self.ahead: list[int] = []
        self.applied: list[int] = []
        self.fence = ""
        self.errors: list[psycopg.Error] = []
        self.reaped = 0
        self.postponed = 0

    def prepare(self, _connection: Any) -> None: ...

    def purge(self, _connection: Any) -> None: ...

    def encode_ahead(self, batch: Batch) -> None:
        self.ahead.append(batch.positions["topic/0"].offset)

    def _check(self, kind: str) -> None:
        if self.fence == kind:
            self.fence = ""
            raise FencedError("epoch_superseded", "another owner", where="topic/0")

    def apply(self, _connection: Any, batch: Batch) -> BatchCounts:
        self._check("apply")
        if self.errors:
            raise self.errors.pop(0)
        self.applied.append(batch.positions["topic/0"].offset)
        return BatchCounts()

    def reap(self, _connection: Any) -> BatchCounts:
        self._check("reap")
        self.reaped += 1
        return BatchCounts(postponed=self.postponed)


def chunk(number: int) -> Chunk:
    return Chunk("topic/0", 8, Position(0, number), 0.0)


class Transport(DirectTransport):
    """Tells when somebody waits for a chunk."""

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self.waiting = threading.Event()

    def take(self, timeout_s: float) -> tuple[int, Chunk | None]:
        self.waiting.set()
        return super().take(timeout_s)


@contextmanager
def loading(
    writer: Writer,
    transport: DirectTransport,
    on_fenced: Callable[[FencedError], None] | None = None,
    observer: Observer | None = None,
) -> Iterator[Loader]:
    stop = threading.Event()
    batcher = Batcher(dict, lambda _: False, batch_rows=100, batch_s=0.01)
    connect = cast("Callable[[], Any]", Connection)
    observer = observer or Observer()
    loader = Loader(transport, batcher, cast(BatchWriter, writer), connect, stop, observer, on_fenced=on_fenced)
    loader.start()
    yield loader
    stop.set()
    loader.join(WAIT_S)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.requirement("FR-003")
def test_what_comes_right_after_a_discard_is_applied() -> None:
    writer, transport = Writer(), Transport()
    with loading(writer, transport) as loader:
        for number in range(1, 16):
            transport.waiting.clear()
            assert transport.waiting.wait(WAIT_S)
            # The decoding thread is about to wait for a chunk, or waits already.
            loader.discard()
            transport.put(chunk(number), threading.Event())
            wait_for(lambda n=number: n in writer.applied)  # type: ignore[misc]
    assert loader.failure is None
    assert writer.ahead == writer.applied, "each batch is encoded ahead, once"


@pytest.mark.requirement("FR-003")
@pytest.mark.parametrize("kind", ["apply", "reap"])
def test_a_loader_that_is_fenced_halts_and_goes_on_after_a_discard(kind: str) -> None:
    writer, transport = Writer(), DirectTransport(1 << 20)
    fenced: list[FencedError] = []
    with loading(writer, transport, fenced.append) as loader:
        writer.fence = kind
        if kind == "apply":
            transport.put(chunk(1), threading.Event())
        wait_for(lambda: bool(fenced))
        assert (fenced[0].where, loader.halted) == ("topic/0", True)
        transport.put(chunk(2), threading.Event())
        wait_for(lambda: transport.chunks_queued == 0)
        loader.discard()
        transport.put(chunk(3), threading.Event())
        wait_for(lambda: 3 in writer.applied)
    assert writer.applied == [3]
    assert loader.failure is None


def test_without_anybody_to_go_on_a_fenced_loader_ends() -> None:
    writer = Writer()
    with loading(writer, DirectTransport(1 << 20)) as loader:
        writer.fence = "reap"
        wait_for(lambda: loader.failure is not None)
    assert isinstance(loader.failure, FencedError)


def test_what_timed_out_frees_what_it_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "fail", lambda _: 0.0)
    writer, transport, freed = Writer(), DirectTransport(1 << 20), Freed()
    writer.errors = [psycopg.errors.DeadlockDetected(), psycopg.errors.QueryCanceled()]
    with loading(writer, transport, observer=freed):
        transport.put(chunk(1), threading.Event())
        wait_for(lambda: writer.applied == [1])
    assert freed.codes == ["40P01", "57014"]
    assert freed.sessions == 1


def test_what_holds_a_table_that_the_reaper_wants_is_looked_at() -> None:
    writer, freed = Writer(), Freed()
    writer.postponed = 1
    with loading(writer, DirectTransport(1 << 20), observer=freed):
        wait_for(lambda: freed.postponed > 0)
    assert freed.sessions > 0
