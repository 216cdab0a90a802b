"""Where a finished segment goes on behind a damaged sync marker.

Invariant: a place counts only where checksums say so: a marker's own, which covers its place, or those of the frames
that fill the section; nothing is guessed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

from casscade.commitlog import framing
from casscade.commitlog.compression import decompress_section
from casscade.commitlog.framing import (
    COMPRESSED_HEAD_SIZE,
    MARKER_SIZE,
    are_whole,
    marker_checksum,
    sound_length,
)
from casscade.core.errors import CorruptionError

_WORD: Final = 4


class Judged(NamedTuple):
    """A marker as what lies behind it shows it: the outcome and end of `framing.read_marker`.

    `frames_decide`: nothing vouches for the end. `damage`: why the marker itself was of no use; empty if it was.
    """

    outcome: str
    end: int
    frames_decide: bool
    damage: str = ""


def judge_marker(
    read: Callable[[int, int], bytes],
    segment: int,
    marker: int,
    file_length: int,
    found: tuple[str, int, str],
    compression: str,
) -> Judged:
    """Judge the marker at file offset `marker` of a finished file again; `found` is what `read_marker` said of it.

    `read` gives the bytes at an offset. No checksum covers a marker's end, and one with a wrong checksum says nothing:
    then the next sound marker tells where the section ends.
    """
    outcome, end, reason = found
    compressed = bool(compression)
    first = marker + (COMPRESSED_HEAD_SIZE if compressed else MARKER_SIZE)
    if outcome == framing.SECTION:
        if is_marker(read(end, MARKER_SIZE), segment, end) or _is_sound(read, first, end, compression):
            return Judged(outcome, end, False)
        reason = framing.MARKER_END
    elif outcome == framing.CORRUPT and not compressed and end > first and _is_sound(read, first, end, compression):
        # A crash between the two words of the marker: its frames are all there.
        return Judged(outcome, end, True)
    rest = read(first, max(0, file_length - first))
    place = find_marker(rest, first, segment, first - marker)
    if place < 0 and outcome == framing.CORRUPT and reason != framing.CHAIN_SHORT:
        # It is the last: a compressed file ends with its section, in others sound frames lie before zeros.
        place = file_length if compressed else first + sound_length(rest)
        if place == first or rest[place - first :][:MARKER_SIZE].strip(b"\x00"):
            place = -1
    if place < 0:
        return Judged(outcome, end, outcome == framing.CORRUPT)
    return Judged(framing.SECTION, place, False, reason)


def _is_sound(read: Callable[[int, int], bytes], first: int, end: int, compression: str) -> bool:
    """Whether the section with its content at `first` up to `end` is filled by sound frames, or empty."""
    content = read(first, end - first)
    if compression:
        length = int.from_bytes(read(first - _WORD, _WORD), "big", signed=True)
        try:
            content = decompress_section(compression, content, length)
        except CorruptionError:
            return False
    return not content or are_whole(content, 0)


def find_marker(data: bytes, first: int, segment: int, smallest: int) -> int:
    """The file offset of the first sync marker in `data`, the bytes of a segment from offset `first` to its end; or -1.

    A marker counts when its checksum is right and the chain goes on at the place it names, at least `smallest` bytes
    behind it: with another marker, with nothing, or with the end of the file.
    """
    place = zlib.crc32(struct.pack(">II", segment & 0xFFFFFFFF, segment >> 32))
    file_length = first + len(data)
    for pos in range(len(data) - MARKER_SIZE + 1):
        end = int.from_bytes(data[pos : pos + 4], "big")
        marker = first + pos
        if end < marker + smallest or end > file_length:
            continue
        if zlib.crc32(marker.to_bytes(4, "big"), place) != int.from_bytes(data[pos + 4 : pos + 8], "big"):
            continue
        following = data[end - first : end - first + MARKER_SIZE]
        if is_marker(following, segment, end) or not following.strip(b"\x00"):
            return marker
    return -1


def is_marker(head: bytes, segment: int, marker: int) -> bool:
    """Whether `head`, the bytes at file offset `marker`, begin with a sync marker whose checksum is right."""
    return len(head) >= MARKER_SIZE and int.from_bytes(head[4:8], "big") == marker_checksum(segment, marker)
