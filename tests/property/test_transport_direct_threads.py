"""Several producers and consumers on one direct transport: nothing is lost, doubled, reordered or over the bound."""

from __future__ import annotations

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from casscade.core.position import Position
from casscade.transport.chunk import Chunk
from casscade.transport.direct import CHUNK_OVERHEAD_BYTES, DirectTransport, chunk_cost
from tests.support.examples import examples


@settings(max_examples=examples(25))
@given(
    sizes=st.lists(st.lists(st.integers(0, 3000), max_size=25), min_size=1, max_size=3),
    queue_bytes=st.integers(1, 6000),
)
def test_every_chunk_arrives_once_in_its_sources_order(sizes: list[list[int]], queue_bytes: int) -> None:
    transport = DirectTransport(queue_bytes)
    stop = threading.Event()

    def produce(source: int) -> None:
        for offset, size in enumerate(sizes[source], start=1):
            chunk = Chunk(source=str(source), version=8, end=Position(1, offset), captured_at=0.0, size=size)
            assert transport.put(chunk, stop)

    producers = [threading.Thread(target=produce, args=(source,)) for source in range(len(sizes))]
    for producer in producers:
        producer.start()
    expected = sum(len(of_source) for of_source in sizes)
    received: dict[str, list[int]] = {}
    largest = 0
    for _ in range(expected):
        largest = max(largest, transport.bytes_queued)
        chunk = transport.get(10)
        assert chunk is not None
        received.setdefault(chunk.source, []).append(chunk.end.offset)
        transport.acknowledge(chunk.source, chunk.end)
    for producer in producers:
        producer.join(10)
        assert not producer.is_alive()
    for source, of_source in enumerate(sizes):
        assert received.get(str(source), []) == list(range(1, len(of_source) + 1))
        assert transport.acknowledged(str(source)).offset == len(of_source)
    assert (transport.bytes_queued, transport.chunks_queued) == (0, 0)
    single = max((size for of_source in sizes for size in of_source), default=0)
    assert largest <= max(queue_bytes, single + CHUNK_OVERHEAD_BYTES)


@settings(max_examples=examples(50))
@given(
    operations=st.lists(st.one_of(st.none(), st.integers(0, 3000)), max_size=60),
    queue_bytes=st.integers(300, 6000),
)
def test_the_bound_holds_after_every_step(operations: list[int | None], queue_bytes: int) -> None:
    """Against a model: a list of costs. A stopped put tells whether there was room without waiting."""
    transport = DirectTransport(queue_bytes)
    stop = threading.Event()
    stop.set()
    model: list[int] = []
    for number, operation in enumerate(operations):
        if operation is None:
            chunk = transport.get(0)
            assert (chunk is None) == (not model)
            if chunk is not None:
                assert chunk_cost(chunk) == model.pop(0)
            continue
        chunk = Chunk(source="s", version=8, end=Position(1, number), captured_at=0.0, size=operation)
        fits = not model or sum(model) + chunk_cost(chunk) <= queue_bytes
        assert transport.put(chunk, stop) == fits
        if fits:
            model.append(chunk_cost(chunk))
        assert transport.bytes_queued == sum(model)
        assert transport.chunks_queued == len(model)
        assert sum(model) <= queue_bytes or len(model) == 1
