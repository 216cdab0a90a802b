"""Reading one segment file, finished or still growing, from any position.

Invariant: sections come in order, none twice and none left out; a file that still grows is never called damaged
because of what may only not be written yet, and once it is finished everything that could not be read is in
`anomalies`.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from pathlib import Path
from types import TracebackType
from typing import Final

from casscade.commitlog import framing
from casscade.commitlog.compression import decompress_section, is_plausible
from casscade.commitlog.framing import (
    COMPRESSED_HEAD_SIZE,
    MARKER_SIZE,
    Anomaly,
    read_frames,
    read_marker,
    read_unsynced,
)
from casscade.commitlog.resync import judge_marker
from casscade.commitlog.segment import HEADER_BYTES_MAX, CdcIndex, SegmentHeader, parse_header, parse_segment_name
from casscade.core.errors import CorruptionError

# How much one poll returns at least before it stops: three thousand usual mutations, so that those who decode need not
# wait for the whole of a large sync to be framed.
POLL_BYTES_DEFAULT: Final = 512 << 10
# Polls for which damage in a growing file is taken for a read that came too early.
DOUBTS_MAX: Final = 3
# What is read at once behind the last marker, where mostly zeros follow; a longer frame is read with its own length.
UNSYNCED_BYTES: Final = 64 << 10

FINISHED: Final = CdcIndex(0, True)


class Section:
    """A section of a segment, or a part of a large one.

    `ends` holds for each of the `mutations` the logical offset of its frame's end. The segment was read up to the
    logical offset `end` with this section; `next_marker` is the file offset of the marker to go on from.
    """

    __slots__ = ("end", "ends", "mutations", "next_marker")

    def __init__(self, mutations: list[bytes], ends: list[int], end: int, next_marker: int) -> None:
        self.mutations: list[bytes] = mutations
        self.ends: list[int] = ends
        self.end: int = end
        self.next_marker: int = next_marker


class _OpenSection:
    """The section that is being read.

    `payload` with the offset `read` to go on from, the `length` that it has logically, the file offset `end` of the
    next marker. `broken`: it could not be decompressed. `frames_decide`: its marker has no checksum.
    """

    __slots__ = ("broken", "end", "frames_decide", "length", "payload", "read")

    def __init__(self, payload: bytes, length: int, end: int, *, broken: bool, frames_decide: bool) -> None:
        self.payload = payload
        self.read = 0
        self.length = length
        self.end = end
        self.broken = broken
        self.frames_decide = frames_decide


class SegmentFile:
    """One segment on disk, kept open: a hard link in `cdc_raw` may vanish at any time.

    `after` is the logical offset of the last frame that is known already (`Position.offset`): frames that end at or
    before it are not returned. Opening and polling raise OSError as the system does. Not for several threads at once.

    - `header`: None until it was read.
    - `finished`: the segment is complete and all that could be read was returned.
    - `more`: the last poll ended because of its size; poll again at once.
    - `anomalies`: damage, oldest first. The caller may empty the list.
    """

    def __init__(self, path: Path, after: int = 0) -> None:
        self.path = path
        self.header: SegmentHeader | None = None
        self.finished = False
        self.more = False
        self.anomalies: list[Anomaly] = []
        self._after = after
        self._unsynced = 0
        self._promised = 0
        self._doubts = 0
        self._marker = 0
        self._logical = 0
        # Whether a section of unknown length was passed, so that offsets are no longer those of the index.
        self._resynced = False
        self._section: _OpenSection | None = None
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __enter__(self) -> SegmentFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; polling is over."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def offset(self) -> int:
        """The logical offset up to which the segment was read."""
        return max(self._unsynced, self._chain_offset)

    @property
    def _chain_offset(self) -> int:
        return self._logical if self._section is None else self._logical + MARKER_SIZE + self._section.read

    def poll(
        self,
        index: CdcIndex | None,
        *,
        durable: bool = True,
        eager: bool = False,
        bytes_max: int = POLL_BYTES_DEFAULT,
    ) -> list[Section]:
        """What can be read beyond the previous poll, at least `bytes_max` bytes if there is as much.

        `index` is the content of the segment's index, read before this call, or None while there is none; for the
        final files of Cassandra 3.11, which have no index, it is `FINISHED`. With `durable` nothing beyond the
        index's offset is returned. With `eager`, which includes "not durable", an uncompressed segment also gives the
        whole, verified mutations behind its last sync marker; once their section is closed they are not returned
        again. Raises ConfigurationError for a segment that Casscade can't read.
        """
        self.more = False
        completed = index is not None and index.completed
        if self.finished:
            return []
        header = self._find_header(completed)
        if header is None:
            return []
        if index is not None and not completed:
            self._promised = max(self._promised, index.offset)
        bound = self._promised if durable and not eager and not completed else None
        sections: list[Section] = []
        left = bytes_max
        while left > 0 and not self.finished:
            if self._section is None:
                self._section = self._open_section(header, index if completed else None, bound)
            if self._section is None:
                break
            before = self._chain_offset
            section = self._read_section(header, self._section, completed, left)
            if section is None:
                break
            sections.append(section)
            left -= section.end - before
        if eager and left > 0 and not completed and not header.compression:
            left -= self._read_unsynced(sections, left)
        self.more = left <= 0 and not self.finished
        return sections

    def _read_unsynced(self, sections: list[Section], bytes_max: int) -> int:
        """Add what is whole behind the last marker to `sections`; returns the bytes read, about `bytes_max` at most."""
        first = self._logical + MARKER_SIZE
        # Of an uncompressed segment logical offsets are file offsets.
        start = place = max(first, self._unsynced, self._after)
        window = UNSYNCED_BYTES
        while place - start < bytes_max:
            file_length = os.fstat(self._descriptor).st_size
            payload = os.pread(self._descriptor, window, place)
            frames, cut = read_unsynced(payload, place, file_length - place)
            if frames.mutations:
                place = self._after = self._unsynced = frames.ends[-1]
                sections.append(Section(frames.mutations, frames.ends, place, self._marker))
            if cut == 0 or (not frames.mutations and cut <= window):
                break
            window = max(UNSYNCED_BYTES, cut)
        return place - start

    def _find_header(self, completed: bool) -> SegmentHeader | None:
        if self.header is not None:
            return self.header
        try:
            self.header = parse_header(os.pread(self._descriptor, HEADER_BYTES_MAX, 0), self.path.name)
        except CorruptionError:
            if not completed:
                return None
        if self.header is not None:
            self._marker = self._logical = self.header.length
        elif completed:
            parsed = parse_segment_name(self.path.name)
            self._give_up(0 if parsed is None else parsed[1], framing.HEADER)
        return self.header

    def _open_section(self, header: SegmentHeader, final: CdcIndex | None, bound: int | None) -> _OpenSection | None:
        """The next section with anything beyond `after`; None when there is none yet or, if `final`, none left."""
        compressed = bool(header.compression)
        head_size = COMPRESSED_HEAD_SIZE if compressed else MARKER_SIZE
        while True:
            file_length = os.fstat(self._descriptor).st_size
            head = os.pread(self._descriptor, head_size, self._marker)
            outcome, end, reason = read_marker(head, header.id, self._marker, file_length, compressed)
            frames_decide = outcome == framing.CORRUPT
            if final is not None:
                # An index promised more: a marker that is gone altogether looks like the end.
                short = outcome == framing.END and self._is_short(final, file_length)
                if short:
                    outcome, reason = framing.CORRUPT, framing.CHAIN_SHORT
                if outcome != framing.END:
                    outcome, end, frames_decide = self._repair_marker(header, outcome, end, reason, file_length)
                if short and outcome != framing.SECTION:
                    outcome = framing.END
            if outcome != framing.SECTION:
                if final is None:
                    return None
                if outcome == framing.END:
                    self._end_chain(header, final, file_length)
                    return None
                if compressed or end == 0:
                    self._give_up(header.id, reason)
                    return None
                if outcome == framing.NEED_MORE:
                    self.anomalies.append(Anomaly(header.id, file_length, end, reason))
                    end = file_length
            length = end - self._marker - MARKER_SIZE
            if compressed:
                length = int.from_bytes(head[MARKER_SIZE:], "big", signed=True)
            plausible = not compressed or is_plausible(header.compression, end - self._marker - head_size, length)
            self._resynced = self._resynced or not plausible
            # With a length that can't be right, offsets go on as if the section were empty.
            logical_end = self._logical + MARKER_SIZE + (length if plausible else 0)
            if bound is not None and logical_end > bound:
                return None
            if logical_end < self._unsynced and not compressed:
                # Frames with right checksums were read beyond this end, which no checksum covers: it is wrong.
                if final is None:
                    return None
                self._give_up(header.id, framing.MARKER_END)
                return None
            if outcome == framing.SECTION and plausible and logical_end <= self._after:
                self._marker, self._logical = end, logical_end
                continue
            payload = os.pread(self._descriptor, end - self._marker - head_size, self._marker + head_size)
            broken = not plausible
            if compressed and plausible:
                try:
                    payload = decompress_section(header.compression, payload, length)
                except CorruptionError:
                    broken = True
            return _OpenSection(
                b"" if broken else payload,
                length if plausible else 0,
                end,
                broken=broken,
                frames_decide=frames_decide,
            )

    def _repair_marker(
        self, header: SegmentHeader, outcome: str, end: int, reason: str, file_length: int
    ) -> tuple[str, int, bool]:
        """`resync.judge_marker` for the marker of a finished file; damage of the marker alone loses nothing."""

        def read(place: int, length: int) -> bytes:
            return os.pread(self._descriptor, length, place)

        found = (outcome, end, reason)
        judged = judge_marker(read, header.id, self._marker, file_length, found, header.compression)
        if judged.damage:
            self._resynced = self._resynced or bool(header.compression)
            if self._logical >= self._after:
                self.anomalies.append(Anomaly(header.id, self._logical, self._logical, judged.damage))
        return judged.outcome, judged.end, judged.frames_decide

    def _read_section(
        self, header: SegmentHeader, section: _OpenSection, completed: bool, bytes_max: int
    ) -> Section | None:
        """The next frames of `section`; None when damage in it may be a read that came too early."""
        base = self._logical + MARKER_SIZE
        frames = read_frames(section.payload, section.read, base, header.id, bytes_max)
        anomalies = frames.anomalies
        if section.broken:
            raw = os.pread(self._descriptor, framing.RAW_BYTES_MAX, self._marker)[: section.end - self._marker]
            # One that nobody knows the length of counts as one byte: something is lost.
            lost = base + max(section.length, 1)
            anomalies = [Anomaly(header.id, base, lost, framing.SECTION_COMPRESSION, raw)]
        if anomalies and not completed and self._doubts < DOUBTS_MAX:
            self._doubts += 1
            self._after = max(self._after, self._chain_offset)
            self._section = None
            return None
        self.anomalies += [anomaly for anomaly in anomalies if not -1 < anomaly.end <= self._after]
        section.read = frames.next
        if section.read < len(section.payload):
            end = base + section.read
        else:
            self._section = None
            self._doubts = 0
            self._marker = section.end
            self._logical = end = base + section.length
            if section.frames_decide and anomalies:
                self._give_up(header.id, framing.MARKER_CHECKSUM)
        known = bisect_right(frames.ends, self._after)
        return Section(frames.mutations[known:], frames.ends[known:], end, self._marker)

    def _is_short(self, final: CdcIndex, file_length: int) -> bool:
        """Whether an index promised more than the chain of markers has."""
        return self._logical < self._promise(final, file_length) and not self._resynced

    def _promise(self, final: CdcIndex, file_length: int) -> int:
        """The offset of a completed index counts unless it is the file's length, which a replay puts there."""
        return self._promised if final.offset == file_length else max(self._promised, final.offset)

    def _end_chain(self, header: SegmentHeader, final: CdcIndex, file_length: int) -> None:
        """The chain ended cleanly: finished, unless an index promised more, or more was read before it was synced."""
        if self._is_short(final, file_length):
            promised = self._promise(final, file_length)
            self.anomalies.append(Anomaly(header.id, self._logical, promised, framing.CHAIN_SHORT))
        elif self._logical < self._after:
            self.anomalies.append(Anomaly(header.id, self._logical, self._after, framing.UNSYNCED_LOST))
        self.finished = True

    def _give_up(self, segment: int, reason: str) -> None:
        """Nothing behind this place can be found."""
        raw = os.pread(self._descriptor, framing.RAW_BYTES_MAX, self._marker).rstrip(b"\x00")
        self.anomalies.append(Anomaly(segment, self._logical, -1, reason, raw))
        self.finished = True


def read_segment(
    path: Path, index: CdcIndex | None = FINISHED
) -> tuple[SegmentHeader | None, list[Section], list[Anomaly]]:
    """Read all of a segment at once: by default a finished one, else as far as `index` allows."""
    with SegmentFile(path) as segment:
        sections = segment.poll(index)
        while segment.more:
            sections += segment.poll(index)
        return segment.header, sections, segment.anomalies
