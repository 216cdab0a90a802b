"""The direct transport: order, the bound in bytes, stopping, closing and acknowledgements."""

from __future__ import annotations

import threading
import time

import pytest

from casscade.core.errors import InvariantError
from casscade.core.position import START, Position
from casscade.transport.chunk import Chunk
from casscade.transport.direct import CHUNK_OVERHEAD_BYTES, DirectTransport, chunk_cost


def make_chunk(number: int, size: int = 100, source: str = "node") -> Chunk:
    """A chunk whose `end` tells which one it is."""
    return Chunk(source=source, version=8, end=Position(1, number), captured_at=0.0, size=size)


def never() -> threading.Event:
    """A stop event that nobody sets."""
    return threading.Event()


def test_chunks_leave_in_the_order_of_their_arrival() -> None:
    transport = DirectTransport(1 << 20)
    chunks = [make_chunk(i) for i in range(5)]
    for chunk in chunks:
        assert transport.put(chunk, never())
    assert [transport.get(0) for _ in range(6)] == [*chunks, None]


def test_bytes_are_accounted_exactly() -> None:
    transport = DirectTransport(1 << 20)
    assert (transport.bytes_queued, transport.chunks_queued) == (0, 0)
    transport.put(make_chunk(1, 100), never())
    transport.put(make_chunk(2, 0), never())
    assert (transport.bytes_queued, transport.chunks_queued) == (100 + 2 * CHUNK_OVERHEAD_BYTES, 2)
    transport.get(0)
    assert (transport.bytes_queued, transport.chunks_queued) == (CHUNK_OVERHEAD_BYTES, 1)
    transport.get(0)
    assert (transport.bytes_queued, transport.chunks_queued) == (0, 0)


def test_a_chunk_larger_than_the_queue_enters_only_an_empty_queue() -> None:
    transport = DirectTransport(1000)
    assert transport.put(make_chunk(1, 5000), never())
    stop = threading.Event()
    stop.set()
    assert not transport.put(make_chunk(2, 1), stop)
    assert transport.get(0) == make_chunk(1, 5000)
    assert transport.bytes_queued == 0


@pytest.mark.requirement("FR-024")
def test_put_blocks_until_there_is_room() -> None:
    transport = DirectTransport(2 * chunk_cost(make_chunk(0)))
    transport.put(make_chunk(1), never())
    transport.put(make_chunk(2), never())
    entered = threading.Event()

    def produce() -> None:
        transport.put(make_chunk(3), never())
        entered.set()

    producer = threading.Thread(target=produce)
    producer.start()
    assert not entered.wait(0.1)
    assert transport.chunks_queued == 2
    transport.get(0)
    assert entered.wait(5)
    producer.join(5)
    assert transport.chunks_queued == 2


def test_a_waiting_large_chunk_is_not_overtaken() -> None:
    transport = DirectTransport(1000)
    transport.put(make_chunk(1, 400), never())
    threads = []
    for number, size in ((2, 700), (3, 1)):
        thread = threading.Thread(target=transport.put, args=(make_chunk(number, size), never()))
        thread.start()
        threads.append(thread)
        time.sleep(0.05)
    assert transport.chunks_queued == 1
    order = [chunk.end.offset for chunk in (transport.get(5), transport.get(5), transport.get(5)) if chunk is not None]
    assert order == [1, 2, 3]
    for thread in threads:
        thread.join(5)


def test_stop_ends_a_waiting_put_without_taking_the_chunk() -> None:
    transport = DirectTransport(10)
    transport.put(make_chunk(1), never())
    stop = threading.Event()
    results: list[bool] = []
    producer = threading.Thread(target=lambda: results.append(transport.put(make_chunk(2), stop)))
    producer.start()
    time.sleep(0.02)
    stop.set()
    producer.join(5)
    assert results == [False]
    assert transport.chunks_queued == 1
    assert transport.get(0) == make_chunk(1)
    assert transport.put(make_chunk(3), never())


def test_close_wakes_both_sides_and_lets_the_queue_drain() -> None:
    transport = DirectTransport(10)
    transport.put(make_chunk(1), never())
    results: list[bool] = []
    producer = threading.Thread(target=lambda: results.append(transport.put(make_chunk(2), never())))
    producer.start()
    time.sleep(0.02)
    transport.close()
    producer.join(5)
    assert results == [False]
    assert transport.closed
    assert transport.get(5) == make_chunk(1)
    started = time.monotonic()
    assert transport.get(30) is None
    assert time.monotonic() - started < 5
    assert not transport.put(make_chunk(3), never())


def test_get_waits_no_longer_than_asked() -> None:
    started = time.monotonic()
    assert DirectTransport(10).get(0.05) is None
    assert 0.04 <= time.monotonic() - started < 5


def test_get_is_woken_by_a_chunk() -> None:
    transport = DirectTransport(1000)
    timer = threading.Timer(0.05, lambda: transport.put(make_chunk(7), never()))
    timer.start()
    assert transport.get(30) == make_chunk(7)
    timer.join(5)


@pytest.mark.requirement("FR-005")
def test_acknowledged_positions_only_grow_and_belong_to_their_source() -> None:
    transport = DirectTransport(10)
    assert transport.acknowledged("a") == START
    transport.acknowledge("a", Position(2, 10))
    transport.acknowledge("a", Position(1, 99))
    assert transport.acknowledged("a") == Position(2, 10)
    assert transport.acknowledged("b") == START
    transport.acknowledge("a", Position(3, 0))
    assert transport.acknowledged("a") == Position(3, 0)


def test_a_queue_without_room_for_a_byte_is_refused() -> None:
    with pytest.raises(InvariantError):
        DirectTransport(0)
