"""Following one segment: what waits, what is damage, and what damage costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from casscade.commitlog import framing
from casscade.commitlog.reader import DOUBTS_MAX, FINISHED, UNSYNCED_BYTES, SegmentFile, read_segment
from casscade.commitlog.segment import CdcIndex, segment_name
from casscade.commitlog.writer import encode_frame, encode_header, encode_marker, encode_sections, encode_segment

ID = 1795425809903
A, B, C, D = (bytes([i]) * 20 for i in (65, 66, 67, 68))
FRAME = len(encode_frame(A))
# Offsets of a segment with the sections [A, B] and [C, D]: markers at 20 and 28 + 2 frames.
SECOND = 28 + 2 * FRAME
END = SECOND + 8 + 2 * FRAME


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / segment_name(8, ID)


def two_sections(compression: str = "", file_length: int = 0) -> bytearray:
    payloads = [encode_frame(A) + encode_frame(B), encode_frame(C) + encode_frame(D)]
    return bytearray(encode_sections(ID, 8, payloads, compression, file_length))


def read(path: Path, data: bytes | bytearray, index: CdcIndex = FINISHED) -> tuple[list[bytes], list[str]]:
    path.write_bytes(data)
    _, sections, anomalies = read_segment(path, index)
    return [mutation for section in sections for mutation in section.mutations], [item.reason for item in anomalies]


@pytest.mark.requirement("FR-001")
def test_a_durable_reader_stays_behind_the_index(path: Path) -> None:
    path.write_bytes(two_sections(file_length=4096))
    with SegmentFile(path) as segment:
        assert segment.poll(None) == []
        assert segment.poll(CdcIndex(SECOND - 1, False)) == []
        (first,) = segment.poll(CdcIndex(SECOND, False))
        assert (first.mutations, first.ends) == ([A, B], [28 + FRAME, SECOND])
        assert (first.end, first.next_marker, segment.offset) == (SECOND, SECOND, SECOND)
        assert segment.poll(CdcIndex(100, False)) == []
        (second,) = segment.poll(CdcIndex(4096, True))
        assert (second.mutations, second.end) == ([C, D], END)
        assert (segment.finished, segment.anomalies) == (True, [])
        assert segment.poll(FINISHED) == []


@pytest.mark.requirement("FR-042")
def test_a_reader_that_does_not_wait_for_the_disk_follows_the_markers(path: Path) -> None:
    path.write_bytes(two_sections(file_length=4096))
    with SegmentFile(path) as segment:
        assert [section.mutations for section in segment.poll(None, durable=False)] == [[A, B], [C, D]]
        assert not segment.finished


def test_logical_offsets_of_compressed_segments_are_those_of_uncompressed_ones(path: Path) -> None:
    path.write_bytes(two_sections("LZ4Compressor"))
    header = len(encode_header(ID, 8, "LZ4Compressor"))
    with SegmentFile(path) as segment:
        first_end = header + 8 + 2 * FRAME
        assert segment.poll(CdcIndex(first_end - 1, False)) == []
        (first,) = segment.poll(CdcIndex(first_end, False))
        assert (first.end, first.ends) == (first_end, [first_end - FRAME, first_end])
        (second,) = segment.poll(CdcIndex(path.stat().st_size, True))
        assert second.end == first_end + 8 + 2 * FRAME
        assert (segment.finished, segment.anomalies) == (True, [])


def test_a_poll_is_bounded(path: Path) -> None:
    path.write_bytes(two_sections())
    with SegmentFile(path) as segment:
        seen: list[bytes] = []
        for _ in range(4):
            (section,) = segment.poll(FINISHED, bytes_max=1)
            assert section.ends == [section.end]
            seen += section.mutations
            assert (segment.more, segment.finished) == (True, False)
        assert segment.poll(FINISHED, bytes_max=1) == []
        assert (segment.more, segment.finished) == (False, True)
    assert seen == [A, B, C, D]


def test_the_file_is_read_to_its_end_though_its_name_is_gone(path: Path) -> None:
    path.write_bytes(two_sections())
    with SegmentFile(path) as segment:
        path.unlink()
        assert [section.mutations for section in segment.poll(FINISHED)] == [[A, B], [C, D]]


@pytest.mark.requirement("FR-022")
def test_a_bad_frame_is_reported_with_its_bytes_and_the_next_ones_are_read(path: Path) -> None:
    data = two_sections()
    data[28 + 10] ^= 1
    path.write_bytes(data)
    _, sections, anomalies = read_segment(path)
    assert [section.mutations for section in sections] == [[B], [C, D]]
    (found,) = anomalies
    assert (found.segment, found.start, found.end, found.reason) == (ID, 28, 28 + FRAME, framing.FRAME_CHECKSUM)
    assert found.raw == data[36 : 36 + 20]
    assert "frame_checksum" in repr(found)


@pytest.mark.requirement("FR-022")
@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x00\x00\x00\x14\x00\x00\x00\x01" + bytes(24), framing.FRAME_SIZE_CHECKSUM),
        (encode_frame(b"short"), framing.FRAME_SIZE),
        (encode_frame(A)[:-1], framing.FRAME_SIZE),
        (bytes(64), framing.FRAME_ZERO),
        (b"rest", framing.SECTION_REST),
    ],
)
def test_other_damage_ends_its_section_but_not_the_segment(path: Path, payload: bytes, reason: str) -> None:
    data = encode_sections(ID, 8, [encode_frame(A) + payload, encode_frame(B)])
    assert read(path, data) == ([A, B], [reason])


def test_damage_in_a_growing_segment_is_believed_after_some_polls(path: Path) -> None:
    data = two_sections()
    whole = bytes(data)
    data[28 + 10] ^= 1
    path.write_bytes(data)
    with SegmentFile(path) as segment:
        for _ in range(DOUBTS_MAX):
            assert segment.poll(None, durable=False) == []
            assert segment.anomalies == []
        assert [section.mutations for section in segment.poll(None, durable=False)] == [[B], [C, D]]
        assert [item.reason for item in segment.anomalies] == [framing.FRAME_CHECKSUM]
    path.write_bytes(data)
    with SegmentFile(path) as segment:
        assert segment.poll(None, durable=False) == []
        path.write_bytes(whole)
        assert [section.mutations for section in segment.poll(None, durable=False)] == [[A, B], [C, D]]
        assert segment.anomalies == []


def test_damage_in_a_growing_segment_is_believed_also_in_small_polls(path: Path) -> None:
    data = two_sections()
    data[28 + FRAME + 10] ^= 1
    path.write_bytes(data)
    seen: list[bytes] = []
    with SegmentFile(path) as segment:
        for _ in range(20):
            for section in segment.poll(None, durable=False, bytes_max=1):
                seen += section.mutations
        assert [item.reason for item in segment.anomalies] == [framing.FRAME_CHECKSUM]
    assert seen == [A, C, D]


@pytest.mark.requirement("FR-022")
def test_a_damaged_marker_costs_nothing_where_the_next_one_or_the_frames_tell_the_end(path: Path) -> None:
    for length in (0, 4096):
        data = two_sections(file_length=length)
        data[SECOND + 5] ^= 1
        assert read(path, data) == ([A, B, C, D], [framing.MARKER_CHECKSUM])
        data = two_sections(file_length=length)
        data[25] ^= 1
        assert read(path, data) == ([A, B, C, D], [framing.MARKER_CHECKSUM])
    data = two_sections(file_length=4096)
    data[22] ^= 1
    assert read(path, data) == ([A, B, C, D], [framing.MARKER_END])
    data[28 + 10] ^= 1
    assert read(path, data) == ([B, C, D], [framing.MARKER_END, framing.FRAME_CHECKSUM])


def test_a_damaged_marker_with_damaged_frames_ends_a_finished_segment_and_waits_in_a_growing_one(path: Path) -> None:
    data = two_sections()
    data[SECOND + 5] ^= 1
    data[SECOND + 9] ^= 1
    assert read(path, data) == ([A, B], [framing.MARKER_CHECKSUM])
    with SegmentFile(path) as segment:
        for _ in range(10):
            segment.poll(None, durable=False)
        assert (segment.finished, segment.anomalies, segment.offset) == (False, [], SECOND)


@pytest.mark.requirement("FR-022")
def test_a_damaged_length_costs_its_frame_also_beside_damaged_content(path: Path) -> None:
    frames = [encode_frame(bytes([number]) * 40) for number in range(50, 60)]
    data = bytearray(encode_sections(ID, 8, [b"".join(frames)]))
    size = len(frames[0])
    data[28 + 2 * size + 3] ^= 1
    data[28 + 5 * size + 20] ^= 1
    mutations, reasons = read(path, data)
    assert [mutation[0] for mutation in mutations] == [50, 51, 53, 54, 56, 57, 58, 59]
    assert reasons == [framing.FRAME_SIZE_CHECKSUM, framing.FRAME_CHECKSUM]


def test_many_frames_between_two_damaged_lengths_are_looked_at_once(path: Path) -> None:
    """The rest is lost then; looking for a way on from each of them would take minutes."""
    frames = [encode_frame(number.to_bytes(4, "big") * 5) for number in range(40_000)]
    data = bytearray(encode_sections(ID, 8, [b"".join(frames)]))
    size = len(frames[0])
    data[28 + size + 3] ^= 1
    data[28 + 39_000 * size + 3] ^= 1
    mutations, reasons = read(path, data)
    assert len(mutations) == 1 + 999
    assert reasons == [framing.FRAME_SIZE_CHECKSUM]


def test_a_frame_within_the_value_of_a_damaged_one_is_none(path: Path) -> None:
    inner = encode_frame(b"I" * 30)
    payload = encode_frame(b"x" * 20 + inner + b"y" * 20) + encode_frame(B)
    data = bytearray(encode_sections(ID, 8, [payload]))
    data[28 + 3] ^= 1
    assert read(path, data) == ([B], [framing.FRAME_SIZE_CHECKSUM])


def test_a_marker_that_ends_before_itself_does_not_loop(path: Path) -> None:
    data = two_sections()
    data[SECOND : SECOND + 8] = encode_marker(ID, SECOND, SECOND)
    assert read(path, data) == ([A, B, C, D], [framing.MARKER_END])


def test_where_a_crash_lost_a_markers_checksum_the_frames_decide(path: Path) -> None:
    data = two_sections()
    data[24:28] = bytes(4)
    assert read(path, data) == ([A, B, C, D], [])
    data[28 + 10] ^= 1
    assert read(path, data) == ([B, C, D], [framing.MARKER_CHECKSUM, framing.FRAME_CHECKSUM])


@pytest.mark.requirement("FR-022")
def test_a_truncated_segment_is_used_as_far_as_it_goes(path: Path) -> None:
    data = two_sections()[: -FRAME - 3]
    assert read(path, data) == ([A, B], [framing.SECTION_TRUNCATED, framing.FRAME_SIZE])
    data = two_sections()[:-FRAME]
    assert read(path, data) == ([A, B, C], [framing.SECTION_TRUNCATED])
    with SegmentFile(path) as segment:
        assert [section.mutations for section in segment.poll(None, durable=False)] == [[A, B]]
        assert segment.anomalies == []


def test_a_chain_that_ends_before_what_the_index_promised_is_reported(path: Path) -> None:
    data = two_sections(file_length=4096)
    data[SECOND:] = bytes(4096 - SECOND)
    assert read(path, data, CdcIndex(END, True)) == ([A, B], [framing.CHAIN_SHORT])
    assert read(path, data, CdcIndex(4096, True)) == ([A, B], [])
    with SegmentFile(path) as segment:
        segment.poll(CdcIndex(END, False))
        segment.poll(CdcIndex(4096, True))
        (found,) = segment.anomalies
        assert (found.reason, found.start, found.end) == (framing.CHAIN_SHORT, SECOND, END)


@pytest.mark.requirement("FR-022")
def test_a_section_that_cannot_be_decompressed_costs_only_itself(path: Path) -> None:
    data = two_sections("LZ4Compressor")
    header = len(encode_header(ID, 8, "LZ4Compressor"))
    data[header + 8] ^= 0x40
    mutations, reasons = read(path, data)
    assert (mutations, reasons) == ([C, D], [framing.SECTION_COMPRESSION])


def test_a_segment_without_a_header_waits_and_then_is_reported(path: Path) -> None:
    for data in (b"", bytes(4096), b"\x01" * 100):
        path.write_bytes(data)
        with SegmentFile(path) as segment:
            assert segment.poll(None, durable=False) == []
            assert segment.anomalies == []
            assert segment.poll(FINISHED) == []
            assert [(item.segment, item.reason) for item in segment.anomalies] == [(ID, framing.HEADER)]
            assert segment.finished


def test_what_lies_before_the_known_position_is_neither_returned_nor_reported_again(path: Path) -> None:
    data = two_sections()
    data[28 + 10] ^= 1
    path.write_bytes(data)
    with SegmentFile(path, 28 + FRAME) as segment:
        assert [section.mutations for section in segment.poll(FINISHED)] == [[B], [C, D]]
        assert segment.anomalies == []
    with SegmentFile(path, SECOND + 8 + FRAME) as segment:
        assert [section.mutations for section in segment.poll(FINISHED)] == [[D]]


def test_an_empty_last_section_moves_the_position(path: Path) -> None:
    path.write_bytes(encode_segment(ID, 8, [A, B], compression="DeflateCompressor"))
    header, sections, anomalies = read_segment(path)
    assert header is not None
    assert [len(section.mutations) for section in sections] == [2, 0]
    assert sections[1].end == sections[0].end + 8
    assert anomalies == []


@pytest.mark.requirement("FR-042")
def test_an_eager_reader_goes_on_behind_the_last_marker(path: Path) -> None:
    data = two_sections(file_length=4096)
    data[SECOND : SECOND + 8] = bytes(8)
    whole = bytes(data)
    data[END - 2] ^= 1
    path.write_bytes(data)
    with SegmentFile(path) as segment:
        first, ahead = segment.poll(None, eager=True)
        assert (first.mutations, ahead.mutations, ahead.ends) == ([A, B], [C], [SECOND + 8 + FRAME])
        assert (ahead.end, segment.offset) == (SECOND + 8 + FRAME, SECOND + 8 + FRAME)
        assert segment.poll(None, eager=True) == []
        assert segment.anomalies == [], "a writer may still be at it"
        path.write_bytes(whole)
        (rest,) = segment.poll(None, eager=True)
        assert (rest.mutations, rest.end) == ([D], END)
        path.write_bytes(two_sections(file_length=4096))
        assert segment.poll(None, eager=True) == []
        assert segment.poll(FINISHED) == []
        assert (segment.finished, segment.anomalies, segment.offset) == (True, [], END)


def test_an_eager_reader_goes_on_behind_frames_that_fill_its_window(path: Path) -> None:
    large = bytes([1]) * (UNSYNCED_BYTES - (FRAME - len(A)))
    frames = encode_frame(large) + encode_frame(A) + encode_frame(B)
    path.write_bytes((encode_header(ID, 8) + bytes(8) + frames).ljust(1 << 18, b"\0"))
    with SegmentFile(path) as segment:
        assert [mutation for each in segment.poll(None, eager=True) for mutation in each.mutations] == [large, A, B]


def test_damage_behind_the_marker_is_damage_once_the_section_is_closed(path: Path) -> None:
    data = two_sections(file_length=4096)
    marker = data[SECOND : SECOND + 8]
    data[SECOND : SECOND + 8] = bytes(8)
    data[SECOND + 8 + 10] ^= 1
    path.write_bytes(data)
    with SegmentFile(path) as segment:
        for _ in range(2 * DOUBTS_MAX):
            segment.poll(None, eager=True)
        assert (segment.offset, segment.anomalies) == (SECOND, [])
        data[SECOND : SECOND + 8] = marker
        path.write_bytes(data)
        (section,) = segment.poll(FINISHED)
        assert section.mutations == [D]
        assert [item.reason for item in segment.anomalies] == [framing.FRAME_CHECKSUM]


def test_eager_has_no_effect_on_compressed_segments(path: Path) -> None:
    data = two_sections("LZ4Compressor")
    path.write_bytes(data + encode_frame(A))
    with SegmentFile(path) as segment:
        assert [section.mutations for section in segment.poll(None, eager=True)] == [[A, B], [C, D]]


def test_what_a_crash_lost_before_its_sync_is_reported(path: Path) -> None:
    data = two_sections(file_length=4096)
    data[SECOND : SECOND + 8] = bytes(8)
    path.write_bytes(data)
    with SegmentFile(path) as segment:
        segment.poll(None, eager=True)
        segment.poll(FINISHED)
        (found,) = segment.anomalies
        assert (found.reason, found.start, found.end) == (framing.UNSYNCED_LOST, SECOND, END)
        assert segment.offset == END
    with SegmentFile(path, END) as segment:
        segment.poll(FINISHED)
        assert [item.reason for item in segment.anomalies] == [framing.UNSYNCED_LOST]


def test_a_marker_that_ends_before_what_was_read_is_damaged(path: Path) -> None:
    data = two_sections(file_length=4096)
    data[SECOND : SECOND + 8] = bytes(8)
    path.write_bytes(data)
    with SegmentFile(path) as segment:
        segment.poll(None, eager=True)
        data[SECOND : SECOND + 8] = encode_marker(ID, SECOND, SECOND + 8 + FRAME)
        path.write_bytes(data)
        assert segment.poll(None, eager=True) == []
        assert segment.anomalies == []
        assert segment.poll(FINISHED) == []
        assert [item.reason for item in segment.anomalies] == [framing.MARKER_END]
