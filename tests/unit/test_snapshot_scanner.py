"""The scan without servers: what a chunk's progress promises, retries, stopping, page sizes."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from cassandra import InvalidRequest, OperationTimedOut
from psycopg import OperationalError

from casscade.commitlog.observations import decode_any
from casscade.core.errors import RetryableError
from casscade.core.keys import pack_values
from casscade.cql.types import CqlType
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes, ordered_columns
from casscade.snapshot import scanner as scanner_module
from casscade.snapshot.page import Page
from casscade.snapshot.rows import TableScan
from casscade.snapshot.scanner import PAGE_BYTES_MAX, ChunkBuilder, RateLimit, Scanner, ScanOptions, next_page_rows
from casscade.snapshot.store import SnapshotStore, SnapshotTask
from casscade.transport.chunk import Chunk, SnapshotProgress

TABLE = assign_indexes(
    Table(
        uuid.uuid4(),
        "k",
        "t",
        ordered_columns(
            [
                Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("int")),
                Column("c", ColumnKind.CLUSTERING, 0, CqlType("int")),
                Column("v", ColumnKind.REGULAR, -1, CqlType("text")),
            ]
        ),
        cdc=True,
    ),
    {},
)
TASK = SnapshotTask(7, TABLE.id, range_start=0, range_end=1000, last_token=0)
Raw = list[bytes | None]


def raw_row(token: int, key: int, clustering: int, size: int = 1) -> Raw:
    i32 = [number.to_bytes(4, "big") for number in (key, clustering)]
    return [token.to_bytes(8, "big"), *i32, b"x" * size, (100).to_bytes(8, "big"), None]


def page_of(rows: list[Raw], paging_state: bytes | None = None) -> Page:
    data = pack_values([value for row in rows for value in row])
    return Page(data, len(rows), 6, now=1_700_000_000, read_at=0, paging_state=paging_state)


class FakePages:
    """Serves prepared pages in order, with a failure before each page for as long as `failures` lasts."""

    def __init__(self, pages: list[list[Raw]], failures: int = 0, refusals: int = 0) -> None:
        self.pages = pages
        self.refusals = refusals
        self.failures = failures
        self.asked: list[tuple[tuple[int, int], int, bytes | None]] = []

    def prepare(self, query: str, consistency: int) -> str:
        if self.refusals > 0:
            self.refusals -= 1
            raise InvalidRequest("Undefined column name")
        return query

    def fetch(self, statement: Any, bounds: tuple[int, int], rows: int, paging_state: bytes | None) -> Page:
        self.asked.append((bounds, rows, paging_state))
        if self.failures > 0:
            self.failures -= 1
            raise OperationTimedOut
        at = int.from_bytes(paging_state or b"\0", "big")
        following = bytes([at + 1]) if at + 1 < len(self.pages) else None
        return page_of(self.pages[at], following)


class FakeStore(SnapshotStore):
    """Hands out one task once, and remembers what came back."""

    def __init__(self) -> None:
        super().__init__("p", "casscade")
        self.tasks = [TASK]
        self.orphans: list[SnapshotTask] = []
        self.released: list[int] = []
        self.pauses: list[frozenset[str]] = []
        self.resets = 0
        self.failures = 0

    def claim(self, connection: Any, owner: str, tables: Collection[uuid.UUID]) -> SnapshotTask | None:
        return self.tasks.pop() if self.tasks else None

    def release(self, connection: Any, task_id: int, owner: str) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise OperationalError
        self.released.append(task_id)

    def reset_claims(self, connection: Any, owner: str) -> int:
        self.resets += 1
        return 0

    def finished(self, connection: Any, tables: Collection[uuid.UUID] | None = None) -> bool:
        """Another process has a task for as long as `orphans` are to come; then it is dead and its task free."""
        if not self.orphans:
            return not self.tasks
        self.tasks.append(self.orphans.pop())
        return False

    def paused(self, connection: Any) -> frozenset[str]:
        return self.pauses.pop(0) if self.pauses else frozenset()


def no_connection() -> AbstractContextManager[Any]:
    return nullcontext()


class Run:
    """A scanner over fakes; `chunks` is what it put."""

    def __init__(
        self, pages: FakePages, *, puts_max: int = 1000, endless: bool = False, rate: float | None = None
    ) -> None:
        self.chunks: list[Chunk] = []
        self.puts_max = puts_max
        self.store = FakeStore()
        self.heard: list[int] = []
        self.pages = pages
        self.done = threading.Event()
        self.scanner = Scanner(
            pages,
            {TABLE.id: TableScan(TABLE)},
            self.store,
            no_connection,
            self.put,
            ScanOptions(consistency=6, page_rows=1000, workers=1, rows_per_second=rate, endless=endless),
            owner="me",
            on_page=lambda task, rows: self.heard.append(rows),
        )

    def put(self, chunk: Chunk, stop: threading.Event) -> bool:
        if len(self.chunks) >= self.puts_max:
            self.scanner.stop()
            return False
        self.chunks.append(chunk)
        if isinstance(chunk.progress, SnapshotProgress) and chunk.progress.done:
            self.done.set()
        return True

    def finish(self) -> None:
        self.scanner.start()
        assert self.scanner.join(10)


def rows_of(chunks: list[Chunk]) -> list[tuple[int, int]]:
    """(partition key, clustering) of every row in the chunks."""
    shape = TABLE.shape(replicated=True)
    found = []
    for chunk in chunks:
        for mutation in chunk.mutations:
            (update,) = decode_any(mutation, chunk.version, {shape.id: shape})
            for row in update.rows:
                found.append((int.from_bytes(update.key, "big"), int.from_bytes(row.clustering[0] or b"", "big")))
    return found


def progress_of(chunks: list[Chunk]) -> list[tuple[int, int, bool]]:
    return [
        (c.progress.token, c.progress.rows, c.progress.done) for c in chunks if isinstance(c.progress, SnapshotProgress)
    ]


@pytest.mark.requirement("FR-023")
def test_progress_never_names_a_token_whose_partition_may_go_on() -> None:
    pages = [
        [raw_row(10, 1, 1), raw_row(20, 2, 1)],
        [raw_row(20, 2, 2), raw_row(20, 3, 1), raw_row(30, 4, 1)],
        [raw_row(30, 4, 2)],
    ]
    run = Run(FakePages(pages))
    run.finish()
    assert progress_of(run.chunks) == [(10, 2, False), (20, 3, False), (1000, 1, True)]
    assert rows_of(run.chunks) == [(1, 1), (2, 1), (2, 2), (3, 1), (4, 1), (4, 2)]
    assert run.store.released == []
    assert run.heard == [2, 3, 1]


def test_an_empty_range_is_done_with_an_empty_chunk() -> None:
    run = Run(FakePages([[]]))
    run.finish()
    assert progress_of(run.chunks) == [(1000, 0, True)]
    assert run.chunks[0].mutations == []


def test_chunks_end_by_mutations_and_number_them_within_the_task() -> None:
    run = Run(FakePages([[raw_row(10 + i, i, 1) for i in range(600)]]))
    run.finish()
    assert [len(chunk.mutations) for chunk in run.chunks] == [512, 88]
    assert progress_of(run.chunks) == [(10 + 510, 512, False), (1000, 88, True)]
    assert run.chunks[1].offsets == list(range(512, 600))
    assert run.chunks[1].end == (7, 600)
    assert run.chunks[0].size == sum(len(mutation) for mutation in run.chunks[0].mutations)
    assert run.chunks[0].source == "snapshot"


def test_chunks_end_by_bytes() -> None:
    builder = ChunkBuilder(TASK)
    parts = TableScan(TABLE).encode_page(page_of([raw_row(10 + i, i, 1, size=600_000) for i in range(3)]))
    chunks = [*builder.add(parts, 5.0), builder.flush(done=True)]
    assert [len(chunk.mutations) for chunk in chunks] == [2, 1]


@pytest.mark.requirement("FR-019")
def test_a_page_is_asked_for_again_with_the_same_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner_module, "PAUSE_SECONDS_FIRST", 0.001)
    pages = FakePages([[raw_row(10, 1, 1)], [raw_row(20, 2, 1)]], failures=3)
    run = Run(pages)
    run.finish()
    assert rows_of(run.chunks) == [(1, 1), (2, 1)]
    assert [state for _, _, state in pages.asked] == [None, None, None, None, b"\1"]
    assert pages.asked[0][0] == (0, 1000)


def test_a_page_that_never_comes_ends_the_scan_and_frees_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner_module, "PAUSE_SECONDS_FIRST", 0.0001)
    pages = FakePages([[]], failures=1000)
    run = Run(pages)
    run.scanner.start()
    with pytest.raises(RetryableError, match="OperationTimedOut"):
        run.scanner.join(10)
    assert len(pages.asked) == scanner_module.ATTEMPTS_MAX
    assert run.store.released == [7]


def test_a_column_that_the_node_does_not_take_yet_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema tables show a new column before the node can read it."""
    monkeypatch.setattr(scanner_module, "PAUSE_SECONDS_FIRST", 0.001)
    run = Run(FakePages([[raw_row(10, 1, 1)]], refusals=2))
    run.finish()
    assert rows_of(run.chunks) == [(1, 1)]


def test_a_table_that_was_altered_ends_the_scan_as_what_passes_with_a_new_schema(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scanner_module, "PAUSE_SECONDS_FIRST", 0.001)
    pages = FakePages([[]], refusals=1000)
    run = Run(pages)
    run.scanner.start()
    with pytest.raises(RetryableError) as raised:
        run.scanner.join(10)
    assert raised.value.code == "cassandra_schema_outdated"
    assert 1000 - pages.refusals == scanner_module.OUTDATED_ATTEMPTS_MAX
    assert run.store.released == [7]


def test_the_task_of_a_dead_process_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner_module, "LOOK_AGAIN_S", 0.0)
    run = Run(FakePages([[]]))
    run.store.tasks, run.store.orphans = [], [TASK]
    run.finish()
    assert progress_of(run.chunks) == [(1000, 0, True)]


@pytest.mark.parametrize("name", ["k.t", ""])
def test_a_paused_table_is_given_back_after_the_page_and_resumed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner_module, "LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(scanner_module, "PAUSE_CHECK_S", 0.0)
    run = Run(FakePages([[raw_row(10, 1, 1)], [raw_row(20, 2, 1)]]))
    run.store.pauses = [frozenset(), frozenset({name})]
    # What the loader made durable meanwhile: the task goes on behind the first page.
    run.store.orphans = [SnapshotTask(7, TABLE.id, 0, 1000, last_token=5)]
    run.finish()
    assert run.store.released == [7]
    assert [bounds for bounds, _, _ in run.pages.asked] == [(0, 1000), (5, 1000), (5, 1000)]
    assert progress_of(run.chunks)[-1] == (1000, 1, True)


def test_another_table_that_is_paused_stops_nobody() -> None:
    run = Run(FakePages([[raw_row(10, 1, 1)]]))
    run.store.pauses = [frozenset({"k.other"})]
    run.finish()
    assert run.store.released == []


def test_endless_workers_take_tasks_that_are_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner_module, "LOOK_AGAIN_S", 0.001)
    run = Run(FakePages([[raw_row(10, 1, 1)]]), endless=True)
    run.scanner.start()
    assert run.done.wait(10)
    run.done.clear()
    assert run.scanner.running
    run.store.tasks.append(SnapshotTask(8, TABLE.id, 0, 1000, last_token=0))
    assert run.done.wait(10)
    run.scanner.stop()
    assert run.scanner.join(10)
    assert [chunk.end.segment for chunk in run.chunks] == [7, 8]


def test_a_task_that_can_not_be_given_back_is_given_back_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner_module, "LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(scanner_module, "PAUSE_SECONDS_FIRST", 0.001)
    run = Run(FakePages([[raw_row(10, 1, 1)]]))
    run.store.pauses = [frozenset({"k.t"})]
    run.store.failures = 2
    run.finish()
    assert run.store.released == [7]


def test_rows_are_as_old_as_the_read_of_their_page() -> None:
    builder = ChunkBuilder(TASK)
    parts = TableScan(TABLE).encode_page(page_of([raw_row(10, 1, 1)]))
    assert [*builder.add(parts, 5.0), builder.flush(done=True)][0].captured_at == 5.0


def test_pages_are_no_longer_than_the_rate_allows_in_a_second() -> None:
    run = Run(FakePages([[], []]), rate=7.0)
    run.finish()
    assert [rows for _, rows, _ in run.pages.asked] == [7, 7]


def test_a_stopped_scan_frees_its_task() -> None:
    run = Run(FakePages([[raw_row(10, 1, 1)], [raw_row(20, 2, 1)]]), puts_max=1)
    run.finish()
    assert rows_of(run.chunks) == [(1, 1)]
    assert run.store.released == [7]
    assert run.store.resets == 1


def test_wide_rows_make_pages_shorter_and_narrow_ones_longer() -> None:
    assert next_page_rows(1000, PAGE_BYTES_MAX + 1, 1000) == 500
    assert next_page_rows(1, PAGE_BYTES_MAX + 1, 1000) == 1
    assert next_page_rows(100, 1000, 1000) == 200
    assert next_page_rows(800, 1000, 1000) == 1000
    assert next_page_rows(100, PAGE_BYTES_MAX // 2, 1000) == 100


def test_the_rate_is_kept_over_all_callers() -> None:
    limit = RateLimit(1000.0)
    waits: list[float] = []

    class Recorder(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return False

    for _ in range(3):
        limit.wait(100, Recorder())
    assert [round(wait, 1) for wait in waits] == [0.0, 0.1, 0.2]


@pytest.mark.requirement("FR-019")
def test_a_claim_waits_until_postgresql_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner_module, "PAUSE_SECONDS_FIRST", 0.001)
    run = Run(FakePages([[raw_row(10, 1, 1)]]))
    claim = run.store.claim
    errors = [OperationalError("down"), OperationalError("still down")]

    def failing_claim(*arguments: Any) -> SnapshotTask | None:
        if errors:
            raise errors.pop()
        return claim(*arguments)

    monkeypatch.setattr(run.store, "claim", failing_claim)
    run.finish()
    assert rows_of(run.chunks) == [(1, 1)]
