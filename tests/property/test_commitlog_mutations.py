"""Mutations of every structure, whole and damaged."""

from __future__ import annotations

import functools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casscade.commitlog.decoder import decode_mutation
from casscade.commitlog.encoder import encode_mutation
from casscade.commitlog.peek import first_table_id, mentions_any, partition_key_of
from casscade.core.errors import CorruptionError, UnknownSchemaError
from casscade.core.mutation import PartitionUpdate
from casscade.core.table import ColumnShape, TableShape
from tests.support.examples import examples
from tests.support.mutations import content, mutations, tables_of
from tests.support.sidecar import golden_sets

VERSIONS = st.sampled_from([6, 7, 8])
_calm = settings(max_examples=examples(30), suppress_health_check=list(HealthCheck))


@pytest.mark.requirement("FR-001")
@given(mutations(), VERSIONS)
@_calm
def test_decoding_gives_back_what_was_encoded(updates: list[PartitionUpdate], version: int) -> None:
    data = encode_mutation(updates, version)
    decoded = decode_mutation(data, version, tables_of(updates))
    assert content(decoded) == content(updates)
    assert encode_mutation(decoded, version) == data
    assert partition_key_of(data) == updates[0].key
    assert first_table_id(data) == updates[0].table.id


@pytest.mark.requirement("FR-006")
@given(mutations(), VERSIONS, st.data())
@_calm
def test_tables_that_are_not_replicated_are_stepped_over(
    updates: list[PartitionUpdate], version: int, data: st.DataObject
) -> None:
    encoded = encode_mutation(updates, version)
    for update in updates:
        update.table.replicated = data.draw(st.booleans())
    wanted = [update for update in updates if update.table.replicated]
    assert content(decode_mutation(encoded, version, tables_of(updates))) == content(wanted)
    assert all(mentions_any(encoded, {update.table.id}) for update in wanted)


def _outcome(data: bytes, version: int, tables: dict[bytes, TableShape]) -> str:
    """How decoding ends; any exception but the two named ones fails the test."""
    try:
        decode_mutation(data, version, tables)
    except CorruptionError:
        return "corrupt"
    except UnknownSchemaError:
        return "unknown"
    return "decoded"


@pytest.mark.requirement("FR-022")
@given(mutations(), VERSIONS, st.data())
@_calm
def test_a_mutation_that_is_cut_or_extended_is_corrupt(
    updates: list[PartitionUpdate], version: int, data: st.DataObject
) -> None:
    encoded = encode_mutation(updates, version)
    tables = tables_of(updates)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    assert _outcome(encoded[:cut], version, tables) == "corrupt"
    assert _outcome(encoded + data.draw(st.binary(min_size=1, max_size=3)), version, tables) == "corrupt"


@pytest.mark.requirement("FR-022")
@given(mutations(), VERSIONS, st.data())
@_calm
def test_changed_bytes_end_in_a_named_error_or_decode(
    updates: list[PartitionUpdate], version: int, data: st.DataObject
) -> None:
    changed = bytearray(encode_mutation(updates, version))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF]))
    assert _outcome(bytes(changed), version, tables_of(updates)) in {"corrupt", "unknown", "decoded"}


def _any_table() -> TableShape:
    columns = [
        ColumnShape(b"a", 0, fixed_length=4),
        ColumnShape(b"b", 1),
        ColumnShape(b"c", 2, multi_cell=True),
        ColumnShape(b"d", 3, counter=True),
        ColumnShape(b"e", 4, fixed_length=0),
        ColumnShape(b"s", 5, static=True),
    ]
    return TableShape(b"\x01" * 16, "ks", "t", [4, -1, 0], columns)


@pytest.mark.requirement("FR-022")
@given(st.binary(max_size=300), VERSIONS)
@settings(max_examples=examples(300))
def test_random_bytes_behind_a_plausible_head_end_in_a_named_error(tail: bytes, version: int) -> None:
    table = _any_table()
    assert _outcome(tail, version, {table.id: table}) in {"corrupt", "unknown"}
    head = b"\x01" + table.id + b"\x01k\x1c\x00\x00\x00\x01\x01s\x03\x01a\x01b\x01c\x00\x00"
    assert _outcome(head + tail, version, {table.id: table}) in {"corrupt", "unknown", "decoded"}


@functools.cache
def _golden_mutations() -> list[tuple[bytes, int, dict[bytes, TableShape]]]:
    """Some of each golden set, compressed ones left out: their mutations are the same."""
    from casscade.commitlog.framing import read_frames, read_marker

    found: list[tuple[bytes, int, dict[bytes, TableShape]]] = []
    for golden in golden_sets():
        if not golden.name.split("/")[1].startswith("plain"):
            continue
        tables = golden.tables()
        for file, entry in golden.manifest.items():
            segment = golden.segment(file)
            marker = entry["header_length"]
            while True:
                outcome, end, _ = read_marker(
                    segment[marker : marker + 8], entry["segment_id"], marker, len(segment), False
                )
                if outcome != "section":
                    break
                frames = read_frames(segment[marker + 8 : end], 0, 0, 0, 1 << 30)
                found += [(mutation, entry["descriptor_version"], tables) for mutation in frames.mutations]
                marker = end
    return found


@pytest.mark.requirement("FR-022")
@given(st.data())
@settings(max_examples=examples(200))
def test_real_mutations_with_flipped_bits_end_in_a_named_error_or_decode(data: st.DataObject) -> None:
    known = _golden_mutations()
    mutation, version, tables = known[data.draw(st.integers(0, len(known) - 1))]
    changed = bytearray(mutation)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert _outcome(bytes(changed), version, tables) in {"corrupt", "unknown", "decoded"}
    cut = data.draw(st.integers(0, len(mutation) - 1))
    assert _outcome(mutation[:cut], version, tables) in {"corrupt", "unknown"}


def test_a_huge_count_takes_no_memory_and_no_time() -> None:
    table = _any_table()
    largest = b"\xff" + b"\xff" * 8
    head = b"\x01" + table.id
    for data in (
        largest + table.id,
        head + largest,
        head + b"\x01k\x10\x00\x00\x00" + largest,
        head + b"\x01k\x10\x00\x00\x00\x01" + largest,
        head + b"\x01k\x10\x00\x00\x00\x01\x01c\x00\x20\x00\x00\x00\x00\x01\x00" + largest,
        head + b"\x01k\x10\x00\x00\x00\x01\x01b\x00\x24\x00\x00\x00\x00\x01\x00\x00\x08" + largest,
    ):
        assert _outcome(data, 8, {table.id: table}) == "corrupt"
