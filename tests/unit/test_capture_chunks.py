"""Chunks stay within their bounds and their end covers everything before it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

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
    assert builder.extend(8, [b"none", b"one", b"two"], [50, 100, 200], 1, 5) == 3
    builder.position = Position(5, 300)
    chunk = builder.take(8)
    assert (chunk.source, chunk.version, chunk.captured_at, chunk.end) == ("node", 8, 7.0, Position(5, 300))
    assert (chunk.mutations, chunk.offsets, chunk.segment) == ([b"one", b"two"], [100, 200], 5)
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
    many = [b"x" * 10] * (2 * CHUNK_MUTATIONS_MAX)
    ends = list(range(len(many)))
    assert builder.extend(8, many, ends, 0, 1) == CHUNK_MUTATIONS_MAX
    assert not builder.fits(10)
    assert builder.extend(8, many, ends, CHUNK_MUTATIONS_MAX, 1) == CHUNK_MUTATIONS_MAX
    assert len(builder.take(8).mutations) == CHUNK_MUTATIONS_MAX
    assert builder.extend(8, many, ends, CHUNK_MUTATIONS_MAX, 1) == len(many)


def test_the_bytes_are_bounded_but_a_single_large_mutation_passes() -> None:
    builder = make_builder()
    half, third = bytes(CHUNK_BYTES_MAX // 2), bytes(CHUNK_BYTES_MAX // 3)
    assert builder.fits(CHUNK_BYTES_MAX * 3)
    assert builder.extend(8, [half, third, third], [1, 2, 3], 0, 1) == 2
    assert not builder.fits(CHUNK_BYTES_MAX // 3)
    assert builder.fits(1000)
    assert builder.take(8).mutations == [half, third]
    large = bytes(CHUNK_BYTES_MAX * 3)
    assert builder.extend(8, [large, third], [1, 2], 0, 1) == 1
    assert builder.extend(8, [third], [2], 0, 1) == 0
    assert builder.take(8).mutations == [large]
    assert builder.fits(CHUNK_BYTES_MAX * 3)


@given(
    sizes=st.lists(st.sampled_from((10, 1000, CHUNK_BYTES_MAX // 3, CHUNK_BYTES_MAX, 2 * CHUNK_BYTES_MAX)), max_size=30)
)
@settings(max_examples=50)
def test_chunks_are_those_of_mutations_that_come_one_by_one(sizes: list[int]) -> None:
    mutations = [bytes((number,)) * size for number, size in enumerate(sizes)]
    ends = list(range(len(mutations)))
    together, single = make_builder(), make_builder()
    chunks: list[list[list[bytes]]] = [[], []]
    place = 0
    while place < len(mutations):
        place = together.extend(8, mutations, ends, place, 1)
        if place < len(mutations):
            chunks[0].append(together.take(8).mutations)
    for number, mutation in enumerate(mutations):
        if not single.fits(len(mutation)):
            chunks[1].append(single.take(8).mutations)
        assert single.extend(8, [mutation], [number], 0, 1) == 1
    assert [*chunks[0], together.take(8).mutations] == [*chunks[1], single.take(8).mutations]
