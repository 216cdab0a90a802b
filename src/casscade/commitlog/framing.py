"""Sync markers and mutation frames: the hot loop of capture, pure functions over bytes.

Invariant: the end of the data, data that is not all there yet and damage are three different answers, and every
checksum is checked. What a function leaves out is in an anomaly.

Formats follow `CommitLogSegment.writeSyncMarker`, `CommitLogReader` and `CommitLogSegmentReader`.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

MARKER_SIZE: Final = 8
# Of a compressed section: the marker and the uncompressed length.
COMPRESSED_HEAD_SIZE: Final = 12
FRAME_OVERHEAD: Final = 12
# Smaller ones can't be mutations; a guard against garbage whose checksum is right (CASSANDRA-2128).
MUTATION_SIZE_MIN: Final = 10

SECTION: Final = "section"
NEED_MORE: Final = "need_more"
END: Final = "end"
CORRUPT: Final = "corrupt"

FRAME_CHECKSUM: Final = "frame_checksum"
FRAME_SIZE: Final = "frame_size"
FRAME_SIZE_CHECKSUM: Final = "frame_size_checksum"
FRAME_ZERO: Final = "frame_zero"
SECTION_REST: Final = "section_rest"
SECTION_COMPRESSION: Final = "section_compression"
SECTION_TRUNCATED: Final = "section_truncated"
MARKER_CHECKSUM: Final = "marker_checksum"
MARKER_END: Final = "marker_end"
CHAIN_SHORT: Final = "chain_short"
UNSYNCED_LOST: Final = "unsynced_lost"
HEADER: Final = "header"

# What an anomaly keeps of the damaged bytes; the segment as a whole goes to the quarantine.
RAW_BYTES_MAX: Final = 1 << 20

_TWO_INTS: Final = struct.Struct(">iI")
_UNSIGNED: Final = struct.Struct(">I")


class Anomaly:
    """Damage in a segment: what lies between the logical offsets `start` and `end` could not be read as it should.

    `reason` is one of the constants above. `raw` holds the bytes, `RAW_BYTES_MAX` at most: of a single bad frame its
    mutation (`FRAME_CHECKSUM`: its length is sound), else all. `end` is -1 when everything from `start` on is lost, and
    `start` when nothing is, because what lay around the damage told what belongs there.
    """

    __slots__ = ("end", "raw", "reason", "segment", "start")

    def __init__(self, segment: int, start: int, end: int, reason: str, raw: bytes = b"") -> None:
        self.segment: int = segment
        self.start: int = start
        self.end: int = end
        self.reason: str = reason
        self.raw: bytes = raw

    def __repr__(self) -> str:
        return f"Anomaly({self.segment}:{self.start}-{self.end}, {self.reason})"


class Frames:
    """Frames read in one go: `mutations` and, for each, the logical offset of the frame's end in `ends`.

    `next` is the offset in the payload to go on from (its length when nothing is left).
    """

    __slots__ = ("anomalies", "ends", "mutations", "next")

    def __init__(self) -> None:
        self.mutations: list[bytes] = []
        self.ends: list[int] = []
        self.anomalies: list[Anomaly] = []
        self.next: int = 0


def read_frames(payload: bytes, start: int, logical: int, segment: int, bytes_max: int) -> Frames:
    """Read the frames of a section's `payload` from offset `start` on until at least `bytes_max` bytes were read.

    `logical` is the logical offset of the payload's first byte, `segment` the segment's id for anomalies. A frame with
    a wrong checksum is left out and the next one read. After any other damage reading goes on where frames begin that
    fill the rest of the section exactly; without such a place the rest is lost.
    """
    frames = Frames()
    mutations = frames.mutations
    ends = frames.ends
    size_of = len(payload)
    stop = min(size_of, start + bytes_max)
    pos = start
    while pos < stop:
        reason = ""
        size = checksum = 0
        if size_of - pos < FRAME_OVERHEAD:
            reason = SECTION_REST
        else:
            size, size_checksum = _TWO_INTS.unpack_from(payload, pos)
            checksum = zlib.crc32(payload[pos : pos + 4])
            if size == 0 and size_checksum == 0:
                reason = FRAME_ZERO
            elif checksum != size_checksum:
                reason = FRAME_SIZE_CHECKSUM
            elif size < MUTATION_SIZE_MIN or size > size_of - pos - FRAME_OVERHEAD:
                reason = FRAME_SIZE
        if reason:
            after = next_frames(payload, pos + 1)
            raw = payload[pos : min(after, pos + RAW_BYTES_MAX)].rstrip(b"\x00")
            frames.anomalies.append(Anomaly(segment, logical + pos, logical + after, reason, raw))
            pos = after
            continue
        end = pos + 8 + size
        mutation = payload[pos + 8 : end]
        if zlib.crc32(mutation, checksum) == _UNSIGNED.unpack_from(payload, end)[0]:
            mutations.append(mutation)
            ends.append(logical + end + 4)
        else:
            raw = mutation[:RAW_BYTES_MAX]
            frames.anomalies.append(Anomaly(segment, logical + pos, logical + end + 4, FRAME_CHECKSUM, raw))
        pos = end + 4
    frames.next = pos
    return frames


def sound_length(payload: bytes, start: int = 0) -> int:
    """How many bytes from `start` on are sound frames, one behind the other."""
    size_of = len(payload)
    pos = start
    while size_of - pos >= FRAME_OVERHEAD:
        size, size_checksum = _TWO_INTS.unpack_from(payload, pos)
        if size < MUTATION_SIZE_MIN or size > size_of - pos - FRAME_OVERHEAD:
            break
        checksum = zlib.crc32(payload[pos : pos + 4])
        end = pos + 8 + size
        if checksum != size_checksum:
            break
        if zlib.crc32(payload[pos + 8 : end], checksum) != _UNSIGNED.unpack_from(payload, end)[0]:
            break
        pos = end + 4
    return pos - start


def are_whole(payload: bytes, start: int) -> bool:
    """Whether sound frames fill the `payload` of a section exactly, from `start` to its end; not an empty rest."""
    return 0 < sound_length(payload, start) == len(payload) - start


def next_frames(payload: bytes, start: int) -> int:
    """The first place from `start` on at which frames begin that fill the payload exactly; its length if there is none.

    The first of them must be sound, the lengths of all; what looks like a frame within the value of a damaged one is
    none of them, because nothing chains it to the end.
    """
    size_of = len(payload)
    pos = start
    while True:
        # The length of a frame is below 16 MiB, so that it begins with a zero.
        pos = payload.find(b"\x00", pos)
        if pos < 0 or size_of - pos < FRAME_OVERHEAD + MUTATION_SIZE_MIN:
            return size_of
        reached = _chain_end(payload, pos)
        if reached == size_of and sound_length(payload, pos) > 0:
            return pos
        # Frames on a chain that breaks lead to the same place.
        pos = max(reached, pos + 1)


def _chain_end(payload: bytes, start: int) -> int:
    """Where the frames from `start` on end whose lengths have right checksums; `start` when there is none."""
    size_of = len(payload)
    pos = start
    while size_of - pos >= FRAME_OVERHEAD:
        size, size_checksum = _TWO_INTS.unpack_from(payload, pos)
        if size < MUTATION_SIZE_MIN or size > size_of - pos - FRAME_OVERHEAD:
            break
        if zlib.crc32(payload[pos : pos + 4]) != size_checksum:
            break
        pos += size + FRAME_OVERHEAD
    return pos


def read_unsynced(payload: bytes, logical: int, length_max: int) -> tuple[Frames, int]:
    """The whole, verified frames at the start of `payload`, which no sync marker closes yet.

    Writers fill their places side by side (`CommitLogSegment.allocate`), so that a later frame may be complete before
    an earlier one: the first that is not whole ends the reading, it is never skipped, and it is no damage.
    `logical` is the logical offset of the payload's first byte, `length_max` how much can follow in the file. The
    number returned is the length of the frame at the end of `payload`, as far as it is known; 0 when reading ended
    before.
    """
    frames = Frames()
    size_of = len(payload)
    pos = 0
    cut = 0
    while size_of - pos >= FRAME_OVERHEAD:
        size, size_checksum = _TWO_INTS.unpack_from(payload, pos)
        if size < MUTATION_SIZE_MIN:
            break
        checksum = zlib.crc32(payload[pos : pos + 4])
        if checksum != size_checksum or size > length_max - pos - FRAME_OVERHEAD:
            break
        end = pos + 8 + size
        if end + 4 > size_of:
            cut = size + FRAME_OVERHEAD
            break
        mutation = payload[pos + 8 : end]
        if zlib.crc32(mutation, checksum) != _UNSIGNED.unpack_from(payload, end)[0]:
            break
        frames.mutations.append(mutation)
        frames.ends.append(logical + end + 4)
        pos = end + 4
    else:
        cut = FRAME_OVERHEAD
    frames.next = pos
    return frames, cut


def marker_checksum(segment: int, marker: int) -> int:
    """The CRC-32 of the sync marker at file offset `marker`; it covers the place, not the marker's content."""
    return zlib.crc32(struct.pack(">III", segment & 0xFFFFFFFF, segment >> 32, marker))


def read_marker(head: bytes, segment: int, marker: int, file_length: int, compressed: bool) -> tuple[str, int, str]:
    """Judge the sync marker at file offset `marker`, whose first bytes (8, or fewer at the end) are `head`.

    Returns (outcome, end, reason). `SECTION`: `end` is the file offset of the next marker. `END`: nothing was written
    here. `NEED_MORE`: the file ends before the section does, with `end` as the marker claims. `CORRUPT`: `reason` says
    why; `end` is then what the marker claims if its checksum was never written (a crash between the two words) and
    the frames may decide, else 0. For a file that still grows every outcome but `SECTION` means to look again later.
    """
    if len(head) < MARKER_SIZE or marker > file_length - MARKER_SIZE:
        return END, 0, ""
    end, checksum = _TWO_INTS.unpack_from(head)
    smallest = marker + (COMPRESSED_HEAD_SIZE if compressed else MARKER_SIZE)
    if checksum == marker_checksum(segment, marker):
        if end > file_length:
            return NEED_MORE, end, SECTION_TRUNCATED
        if end < smallest:
            return CORRUPT, 0, MARKER_END
        return SECTION, end, ""
    if end == 0 and checksum == 0:
        return END, 0, ""
    if checksum == 0 and not compressed and smallest <= end <= file_length:
        return CORRUPT, end, MARKER_CHECKSUM
    return CORRUPT, 0, MARKER_CHECKSUM
