"""Segments of every compression, whole, cut and damaged: nothing is lost in silence."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casscade.commitlog.compression import COMPRESSORS, compress_section, decompress_section
from casscade.commitlog.framing import Anomaly, read_frames
from casscade.commitlog.reader import FINISHED, Section, SegmentFile, read_segment
from casscade.commitlog.segment import CdcIndex, parse_cdc_index, parse_header, parse_segment_name, segment_name
from casscade.commitlog.writer import encode_segment
from casscade.core.errors import ConfigurationError, CorruptionError
from tests.support.examples import examples, share_of
from tests.support.sidecar import GoldenSet, golden_sets

SEGMENT = 1795425809903
KINDS = st.sampled_from(["", *sorted(COMPRESSORS)])
MUTATIONS = st.lists(st.binary(min_size=10, max_size=80) | st.just(b"m" * 3000), min_size=1, max_size=12)
_calm = settings(max_examples=examples(30), suppress_health_check=list(HealthCheck))


def _flat(sections: Iterable[Section]) -> list[tuple[int, bytes]]:
    return [pair for section in sections for pair in zip(section.ends, section.mutations, strict=True)]


def _write(directory: Path, data: bytes, version: int = 8) -> Path:
    path = directory / segment_name(version, SEGMENT)
    path.write_bytes(data)
    return path


@pytest.mark.requirement("FR-001")
@given(MUTATIONS, KINDS, st.integers(1, 5), st.sampled_from([6, 7, 8]), st.booleans())
@_calm
def test_a_segment_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    mutations: list[bytes],
    kind: str,
    per_section: int,
    version: int,
    ahead: bool,
) -> None:
    data = encode_segment(
        SEGMENT,
        version,
        mutations,
        compression=kind,
        mutations_per_section=per_section,
        file_length=1 << 17 if ahead and not kind else 0,
    )
    path = _write(tmp_path_factory.mktemp("s"), data, version)
    header, sections, anomalies = read_segment(path)
    assert header is not None
    assert (header.version, header.compression, anomalies) == (version, kind, [])
    assert [mutation for section in sections for mutation in section.mutations] == mutations


@pytest.mark.requirement("FR-023")
@given(MUTATIONS, KINDS, st.integers(1, 5), st.data())
@_calm
def test_a_segment_that_grows_byte_by_byte_is_read_once_and_never_called_damaged(
    tmp_path_factory: pytest.TempPathFactory, mutations: list[bytes], kind: str, per_section: int, data: st.DataObject
) -> None:
    whole = encode_segment(SEGMENT, 8, mutations, compression=kind, mutations_per_section=per_section)
    path = _write(tmp_path_factory.mktemp("s"), b"")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    seen: list[bytes] = []
    with SegmentFile(path) as segment:
        for cut in [*cuts, len(whole)]:
            path.write_bytes(whole[:cut])
            for section in segment.poll(None, durable=False, bytes_max=data.draw(st.sampled_from([1, 200, 1 << 20]))):
                seen += section.mutations
        while not segment.finished:
            for section in segment.poll(FINISHED):
                seen += section.mutations
        assert segment.anomalies == []
    assert seen == mutations


@pytest.mark.requirement("FR-022")
@given(MUTATIONS, KINDS, st.integers(1, 5), st.data())
@_calm
def test_a_finished_segment_that_is_cut_gives_a_prefix(
    tmp_path_factory: pytest.TempPathFactory, mutations: list[bytes], kind: str, per_section: int, data: st.DataObject
) -> None:
    whole = encode_segment(SEGMENT, 8, mutations, compression=kind, mutations_per_section=per_section)
    path = _write(tmp_path_factory.mktemp("s"), whole)
    complete = _flat(read_segment(path)[1])
    end = read_segment(path)[1][-1].end
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    _, sections, anomalies = read_segment(path, CdcIndex(end, True))
    found = _flat(sections)
    assert found == complete[: len(found)]
    assert anomalies


def _judge(path: Path, complete: list[tuple[int, bytes]]) -> list[Anomaly]:
    """Read a damaged segment; whatever is found is part of the truth, and what is missing was reported."""
    try:
        _, sections, anomalies = read_segment(path)
    except ConfigurationError:
        return [Anomaly(0, 0, -1, "refused")]
    known = dict(complete)
    found = _flat(sections)
    assert all(known.get(end) == mutation for end, mutation in found) or anomalies
    assert {mutation for _, mutation in found} <= {mutation for _, mutation in complete}
    if len(found) < len(complete):
        assert anomalies
    return anomalies


@pytest.mark.requirement("FR-022")
@pytest.mark.parametrize("name", ["3.11/plain", "4.1/plain", "5.0/plain-v8", "4.0/lz4", "5.0/snappy", "5.0/zstd"])
def test_no_flipped_bit_of_a_real_segment_is_silent(name: str, tmp_path: Path) -> None:
    golden = next(found for found in golden_sets() if found.name == name)
    file = min((file for file in golden.manifest if file.startswith("final/")), key=lambda f: f)
    entry = golden.manifest[file]
    path = tmp_path / Path(file).name
    data = golden.segment(file)
    path.write_bytes(data)
    complete = _flat(read_segment(path)[1])
    dice = random.Random(name)
    in_use = min(len(data), entry["next_marker"])
    for _ in range(40):
        changed = bytearray(data)
        changed[dice.randrange(in_use)] ^= 1 << dice.randrange(8)
        path.write_bytes(changed)
        _judge(path, complete)


@pytest.mark.requirement("FR-022")
@pytest.mark.parametrize(
    "golden", [each for each in golden_sets() if "encrypted" not in each.name], ids=lambda each: each.name
)
def test_a_flipped_bit_of_a_real_segment_costs_one_mutation_or_one_compressed_section(
    golden: GoldenSet, tmp_path: Path
) -> None:
    """Markers, lengths, checksums and mutations are all hit; everything before and behind the damage is read."""
    files = [file for file, entry in golden.manifest.items() if entry["mutations"]]
    file = min(files, key=lambda each: golden.manifest[each]["mutations"])
    path = tmp_path / Path(file).name
    data = golden.segment(file)
    path.write_bytes(data)
    header, sections, _ = read_segment(path)
    assert header is not None
    complete = _flat(sections)
    markers = [header.length, *(section.next_marker for section in sections)]
    bodies = [set(section.mutations) for section in sections]
    dice = random.Random(golden.name)
    # The words of three markers, the frame behind them, and places anywhere.
    places = [
        8 * marker + bit for marker in dice.sample(markers[:-1], min(3, len(markers) - 1)) for bit in range(0, 224, 17)
    ]
    places += [dice.randrange(8 * header.length, 8 * markers[-1]) for _ in range(12)]
    for place in [place for place in places if place < 8 * len(data)]:
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        _, found, anomalies = read_segment(path)
        kept = [mutation for _, mutation in _flat(found)]
        lost = _without(kept, [mutation for _, mutation in complete])
        if header.compression:
            assert any(lost <= body for body in bodies), (place, len(lost), anomalies)
        else:
            assert len(kept) >= len(complete) - 1, (place, anomalies)
            assert {end for end, _ in _flat(found)} <= {end for end, _ in complete}
        assert anomalies or not lost, place


def _without(kept: list[bytes], complete: list[bytes]) -> set[bytes]:
    """What is missing in `kept`, which must be `complete` in its order with holes."""
    rest = iter(complete)
    lost: set[bytes] = set()
    for mutation in kept:
        for each in rest:
            if each == mutation:
                break
            lost.add(each)
        else:
            raise AssertionError("a mutation that no node wrote, or twice")
    return lost | set(rest)


@pytest.mark.requirement("FR-022")
@pytest.mark.parametrize("kind", ["", *sorted(COMPRESSORS)])
def test_no_single_bit_of_a_segment_can_flip_in_silence(kind: str, tmp_path: Path) -> None:
    # The first section's 128 bytes make a length word that one flipped bit turns into 0.
    mutations = [bytes([i]) * size for i, size in enumerate((30, 31, 31, 19))]
    data = encode_segment(SEGMENT, 8, mutations, compression=kind, mutations_per_section=3)
    path = _write(tmp_path, data)
    complete = _flat(read_segment(path)[1])
    for bit in share_of(range(8 * len(data))):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            _judge(path, complete)
        except AssertionError as error:
            error.add_note(f"bit {bit}")
            raise


@given(st.binary(max_size=400), st.integers(0, 100), st.integers(0, 1 << 40))
def test_random_bytes_hold_no_frames_without_an_anomaly(data: bytes, start: int, logical: int) -> None:
    frames = read_frames(data, min(start, len(data)), logical, 1, 1 << 20)
    assert frames.next == len(data)
    assert frames.mutations == []
    assert bool(frames.anomalies) == (start < len(data))


@given(st.sampled_from(sorted(COMPRESSORS)), st.binary(max_size=200), st.integers(-(1 << 31), (1 << 31) - 1))
@settings(max_examples=examples(300))
def test_random_bytes_are_no_section_and_take_no_memory(kind: str, data: bytes, length: int) -> None:
    with contextlib.suppress(CorruptionError):
        assert len(decompress_section(kind, data, length)) == length


@given(st.sampled_from(sorted(COMPRESSORS)), st.binary(max_size=300), st.data())
@settings(max_examples=examples(200))
def test_a_section_is_decompressed_to_its_exact_length(kind: str, payload: bytes, data: st.DataObject) -> None:
    packed = compress_section(kind, payload)
    assert decompress_section(kind, packed, len(payload)) == payload
    wrong = data.draw(st.integers(0, len(payload) + 300).filter(lambda length: length != len(payload)))
    with pytest.raises(CorruptionError):
        decompress_section(kind, packed, wrong)
    changed = bytearray(packed)
    if changed:
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(CorruptionError):
        assert len(decompress_section(kind, bytes(changed), len(payload))) == len(payload)


@given(st.binary(max_size=120))
def test_random_bytes_are_no_header(data: bytes) -> None:
    with contextlib.suppress(CorruptionError):
        assert parse_header(data, segment_name(8, SEGMENT)) is None


@given(st.binary(max_size=40) | st.from_regex(rb"\A[0-9]{0,25}(\n[A-Z]{0,12})?\Z"))
def test_an_index_is_understood_or_ignored(data: bytes) -> None:
    index = parse_cdc_index(data)
    assert index is None or data == (b"%d\nCOMPLETED" if index.completed else b"%d") % index.offset or data[:1] == b"0"


@given(st.text(max_size=40))
def test_a_name_is_understood_or_ignored(name: str) -> None:
    assert parse_segment_name(name) is None
