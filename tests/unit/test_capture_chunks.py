"""Chunks stay within their bounds and their end covers everything before it."""

from __future__ import annotations

from casscade.capture.chunks import MUTATION_OVERHEAD_BYTES, ChunkBuilder
from casscade.core.limits import CHUNK_BYTES_MAX, CHUNK_MUTATIONS_MAX
from casscade.core.position import START, Position


def make_builder() -> ChunkBuilder:
    """A builder at the start whose clock stands at 7."""
    return ChunkBuilder("node", START, lambda: 7.0)


def test_a_chunk_holds_what_was_added() -> None:
    builder = make_builder()
    assert builder.empty
    assert not builder.moved
    builder.add(8, b"one", Position(5, 100), 100, 5)
    builder.add(8, b"two", Position(5, 200), 200, 5)
    builder.position = Position(5, 300)
    chunk = builder.take(8)
    assert (chunk.source, chunk.version, chunk.captured_at, chunk.end) == ("node", 8, 7.0, Position(5, 300))
    assert (chunk.mutations, chunk.offsets) == ([b"one", b"two"], [100, 200])
    assert chunk.size == 6 + 2 * MUTATION_OVERHEAD_BYTES
    assert builder.empty
    assert not builder.moved


def test_a_chunk_without_mutations_moves_the_position() -> None:
    builder = make_builder()
    builder.position = Position(5, 300)
    assert builder.moved
    chunk = builder.take(7)
    assert (chunk.mutations, chunk.offsets, chunk.size, chunk.version) == ([], [], 0, 7)
    assert chunk.end == Position(5, 300)


def test_the_number_of_mutations_is_bounded() -> None:
    builder = make_builder()
    count = 0
    while builder.fits(10):
        count += 1
        builder.add(8, b"x" * 10, Position(1, count), count, 1)
    assert count == CHUNK_MUTATIONS_MAX


def test_the_bytes_are_bounded_but_a_single_large_mutation_passes() -> None:
    builder = make_builder()
    assert builder.fits(CHUNK_BYTES_MAX * 3)
    builder.add(8, bytes(CHUNK_BYTES_MAX // 2), Position(1, 1), 1, 1)
    assert not builder.fits(CHUNK_BYTES_MAX // 2)
    assert builder.fits(1000)
    builder.take(8)
    assert builder.fits(CHUNK_BYTES_MAX * 3)
