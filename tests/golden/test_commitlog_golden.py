"""Segments that real nodes wrote, read and decoded to the last byte."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from casscade.commitlog.decoder import decode_mutation
from casscade.commitlog.peek import first_table_id, mentions_any, partition_key_of
from casscade.commitlog.reader import FINISHED, SegmentFile, read_segment
from casscade.commitlog.segment import CdcIndex, parse_cdc_index, parse_segment_name
from casscade.core.errors import ConfigurationError, UnknownSchemaError
from tests.support.sidecar import GoldenSet, golden_sets

SETS = golden_sets()
READABLE = [found for found in SETS if not found.name.endswith("encrypted")]
FILES = [(found, file) for found in READABLE for file in found.manifest]


def _names(value: object) -> str:
    return value.name if isinstance(value, GoldenSet) else Path(str(value)).name


def test_the_golden_segments_cover_every_release_and_compression() -> None:
    assert {found.name for found in SETS} == {
        "3.11/plain",
        "4.0/lz4",
        "4.0/plain",
        "4.1/plain",
        "5.0/encrypted",
        "5.0/lz4",
        "5.0/plain-v7compat",
        "5.0/plain-v8",
        "5.0/snappy",
        "5.0/two-node",
        "5.0/zstd",
    }
    assert {entry["descriptor_version"] for found in SETS for entry in found.manifest.values()} == {6, 7, 8}


@pytest.mark.requirement("FR-001")
@pytest.mark.parametrize(("golden", "file"), FILES, ids=_names)
def test_a_segment_is_framed_as_its_manifest_says(golden: GoldenSet, file: str, tmp_path: Path) -> None:
    expected = golden.manifest[file]
    path = tmp_path / Path(file).name
    path.write_bytes(golden.segment(file))
    index = None if expected["idx"] is None else parse_cdc_index(expected["idx"].encode())

    header, sections, anomalies = read_segment(path, index or FINISHED)

    assert anomalies == []
    assert header is not None
    assert (header.version, header.id) == (expected["descriptor_version"], expected["segment_id"])
    assert (header.version, header.id) == parse_segment_name(path.name)
    assert header.length == expected["header_length"]
    assert len(sections) == expected["sections"]
    assert sum(len(section.mutations) for section in sections) == expected["mutations"]
    ends = [end for section in sections for end in section.ends]
    assert ends == sorted(ends)
    assert (ends[0] if ends else None) == expected["first_mutation_end"]
    assert (ends[-1] if ends else None) == expected["last_mutation_end"]
    assert (sections[-1].end if sections else header.length) == expected["logical_end"] or header.compression
    if sections:
        assert sections[-1].end == expected["logical_end"]
        assert sections[-1].next_marker == expected["next_marker"]


@pytest.mark.requirement("FR-001")
@pytest.mark.parametrize("golden", READABLE, ids=_names)
def test_every_mutation_of_every_table_is_decoded_to_the_last_byte(golden: GoldenSet, tmp_path: Path) -> None:
    tables = golden.tables()
    for file, expected in golden.manifest.items():
        path = tmp_path / Path(file).name
        path.write_bytes(golden.segment(file))
        counted: Counter[str] = Counter()
        unknown: Counter[str] = Counter()
        for section in read_segment(path)[1]:
            for mutation in section.mutations:
                try:
                    updates = decode_mutation(mutation, expected["descriptor_version"], tables)
                except UnknownSchemaError as error:
                    unknown[error.table_id.hex()] += 1
                    continue
                counted.update(f"{update.table.keyspace}.{update.table.name}" for update in updates)
                assert partition_key_of(mutation) == updates[0].key
                assert first_table_id(mutation) == updates[0].table.id
                assert all(mentions_any(mutation, {update.table.id}) for update in updates)
        assert counted == expected["updates_per_table"]
        assert {key.replace("-", ""): number for key, number in expected["unknown_tables"].items()} == unknown


@pytest.mark.requirement("FR-001")
@pytest.mark.parametrize("golden", READABLE, ids=_names)
def test_a_growing_segment_is_read_up_to_its_index_and_then_to_its_end(golden: GoldenSet, tmp_path: Path) -> None:
    for file, expected in golden.manifest.items():
        if expected["idx"] is None or not file.startswith("final/"):
            continue
        path = tmp_path / Path(file).name
        path.write_bytes(golden.segment(file))
        whole = [mutation for section in read_segment(path)[1] for mutation in section.mutations]
        with SegmentFile(path) as segment:
            seen: list[bytes] = []
            assert segment.poll(None) == []
            for offset in range(0, expected["logical_end"] + 5000, 5000):
                promised = min(offset, expected["logical_end"])
                for section in segment.poll(CdcIndex(promised, False)):
                    assert section.end <= promised
                    seen += section.mutations
            assert (seen, segment.finished) == (whole, False)
            assert segment.poll(FINISHED) == []
            assert (segment.anomalies, segment.finished) == ([], True)


@pytest.mark.parametrize("golden", READABLE, ids=_names)
def test_reading_resumes_behind_any_frame(golden: GoldenSet, tmp_path: Path) -> None:
    for file, expected in golden.manifest.items():
        if "same_as" in expected or not expected["mutations"]:
            continue
        path = tmp_path / Path(file).name
        path.write_bytes(golden.segment(file))
        sections = read_segment(path)[1]
        mutations = [mutation for section in sections for mutation in section.mutations]
        ends = [end for section in sections for end in section.ends]
        for known in {0, 1, len(ends) // 3, len(ends) // 2, len(ends) - 1, len(ends)}:
            after = ends[known - 1] if known else 0
            with SegmentFile(path, after) as segment:
                rest: list[bytes] = []
                while not segment.finished:
                    for section in segment.poll(FINISHED, bytes_max=3000):
                        rest += section.mutations
                assert rest == mutations[known:]
                assert segment.anomalies == []


@pytest.mark.parametrize("file", next(found.manifest for found in SETS if found.name == "5.0/encrypted"))
def test_an_encrypted_segment_is_a_clear_error(file: str, tmp_path: Path) -> None:
    golden = next(found for found in SETS if found.name == "5.0/encrypted")
    path = tmp_path / Path(file).name
    path.write_bytes(golden.segment(file))
    with pytest.raises(ConfigurationError) as caught:
        read_segment(path)
    assert caught.value.code == "segment_encrypted"
    assert "transparent_data_encryption_options" in caught.value.hint
