"""Names, headers and index files of segments.

Invariant: nothing of a segment is believed before its header's checksum was right and its name and header agree.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casscade.commitlog.compression import COMPRESSORS
from casscade.commitlog.faults import corrupt_header, encrypted, unknown_compression, unknown_version
from casscade.commitlog.framing import MARKER_SIZE, SECTION, read_marker
from casscade.core.errors import CorruptionError

VERSIONS: Final = frozenset({6, 7, 8})
_NAME: Final = re.compile(r"CommitLog-(\d{1,10})-(\d{1,19})\.log\Z", re.ASCII)
_FIXED: Final = struct.Struct(">iqH")
# An index holds at most 20 digits, a line feed and COMPLETED.
_INDEX: Final = re.compile(rb"(\d{1,19})(?:\n(COMPLETED))?\Z")
# Version, id, length of the parameters, 65535 bytes of parameters, checksum.
HEADER_BYTES_MAX: Final = _FIXED.size + 0xFFFF + 4


def parse_segment_name(name: str) -> tuple[int, int] | None:
    """(version, id) of a file name like `CommitLog-7-1795425912884.log`; None for any other name."""
    match = _NAME.match(name)
    return None if match is None else (int(match[1]), int(match[2]))


def segment_name(version: int, segment_id: int) -> str:
    """The file name of a segment."""
    return f"CommitLog-{version}-{segment_id}.log"


def index_name(version: int, segment_id: int) -> str:
    """The file name of the index that Cassandra 4.0 and later write beside a segment in `cdc_raw`."""
    return f"CommitLog-{version}-{segment_id}_cdc.idx"


@dataclass(frozen=True, slots=True)
class CdcIndex:
    """What a `_cdc.idx` says: everything below the logical `offset` is durable.

    Once `completed`, the segment never grows and `offset` may be anything (after a restart the file's length).
    """

    offset: int
    completed: bool


def parse_cdc_index(data: bytes) -> CdcIndex | None:
    """The content of a `_cdc.idx`; None for one that is being rewritten (Cassandra truncates it first)."""
    match = _INDEX.match(data)
    return None if match is None else CdcIndex(int(match[1]), match[2] is not None)


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """A segment's header (`CommitLogDescriptor`); `length` is the file offset of the first section.

    `compression` is the simple name of the compressor's class or empty.
    """

    version: int
    id: int
    length: int
    compression: str


def header_checksum(version: int, segment_id: int, parameters: bytes) -> int:
    """The CRC-32 of a header: the low half of the id comes before the high one, the length counts as 4 bytes."""
    low, high = segment_id & 0xFFFFFFFF, (segment_id >> 32) & 0xFFFFFFFF
    return zlib.crc32(struct.pack(">iIIi", version, low, high, len(parameters)) + parameters)


def parse_header(data: bytes, name: str) -> SegmentHeader | None:
    """The header at the start of `data`, of the segment file called `name`; None when it is not (all) written yet.

    Raises CorruptionError for a header that is damaged or belongs to another name, and ConfigurationError for a
    version, an encryption or a compressor that can't be read.
    """
    if len(data) < _FIXED.size:
        return None
    version, segment_id, length = _FIXED.unpack_from(data)
    if version == 0 and segment_id == 0:
        return None
    if version not in VERSIONS and parse_segment_name(name) == (version, segment_id):
        raise unknown_version(name, version)
    end = _FIXED.size + length
    if len(data) < end + 4:
        return None
    parameters = bytes(data[_FIXED.size : end])
    if int.from_bytes(data[end : end + 4], "big") != header_checksum(version, segment_id, parameters):
        raise corrupt_header(name, "its checksum is wrong")
    if version not in VERSIONS:
        raise unknown_version(name, version)
    if parse_segment_name(name) != (version, segment_id):
        raise corrupt_header(name, f"it belongs to {segment_name(version, segment_id)}")
    return SegmentHeader(version, segment_id, end + 4, _compression(parameters, name))


def _compression(parameters: bytes, name: str) -> str:
    try:
        known = json.loads(parameters)
    except (ValueError, RecursionError):
        known = None
    if not isinstance(known, dict):
        raise corrupt_header(name, "its parameters are not a JSON object")
    if known.get("encCipher") is not None and known.get("encKeyAlias") is not None:
        raise encrypted(name)
    compressor = known.get("compressionClass")
    if compressor is None:
        return ""
    simple = str(compressor).rpartition(".")[2]
    if simple not in COMPRESSORS:
        raise unknown_compression(name, simple)
    return simple


def has_section(path: Path) -> bool:
    """Whether the segment at `path` has a first section; False also when it is gone. Raises OSError otherwise."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        head = os.pread(descriptor, HEADER_BYTES_MAX, 0)
        header = parse_header(head, path.name)
        if header is None:
            return False
        mark = os.pread(descriptor, MARKER_SIZE, header.length)
        length = os.fstat(descriptor).st_size
        return read_marker(mark, header.id, header.length, length, bool(header.compression))[0] == SECTION
    except CorruptionError:
        return False
    finally:
        os.close(descriptor)
