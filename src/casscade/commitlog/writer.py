"""Whole segments from mutations: for tests and benchmarks.

Invariant: a reader finds in a segment exactly the mutations that were written, at the offsets a node would give them.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Sequence

from casscade.commitlog.compression import compress_section
from casscade.commitlog.framing import COMPRESSED_HEAD_SIZE, MARKER_SIZE, marker_checksum
from casscade.commitlog.segment import header_checksum


def encode_frame(mutation: bytes) -> bytes:
    """A mutation with its size and both checksums."""
    size = len(mutation).to_bytes(4, "big")
    checksum = zlib.crc32(size)
    return b"".join((size, struct.pack(">I", checksum), mutation, struct.pack(">I", zlib.crc32(mutation, checksum))))


def encode_header(segment_id: int, version: int, compression: str = "") -> bytes:
    """A segment's header; `compression` is the simple name of a compressor's class or empty."""
    parameters = b"{}"
    if compression:
        named = {"compressionClass": compression, "compressionParameters": None}
        parameters = json.dumps(named, separators=(",", ":")).encode()
    fixed = struct.pack(">iqH", version, segment_id, len(parameters))
    return fixed + parameters + struct.pack(">I", header_checksum(version, segment_id, parameters))


def encode_marker(segment_id: int, marker: int, end: int) -> bytes:
    """The sync marker at file offset `marker` of a section that ends at `end`."""
    return struct.pack(">iI", end, marker_checksum(segment_id, marker))


def encode_sections(
    segment_id: int, version: int, payloads: Iterable[bytes], compression: str = "", file_length: int = 0
) -> bytes:
    """A segment whose sections hold `payloads`, with zeros up to `file_length` as in a file made ahead of need."""
    out = bytearray(encode_header(segment_id, version, compression))
    for payload in payloads:
        marker = len(out)
        if compression:
            block = compress_section(compression, payload)
            out += encode_marker(segment_id, marker, marker + COMPRESSED_HEAD_SIZE + len(block))
            out += len(payload).to_bytes(4, "big") + block
        else:
            out += encode_marker(segment_id, marker, marker + MARKER_SIZE + len(payload)) + payload
    return bytes(out.ljust(file_length, b"\x00"))


def encode_segment(
    segment_id: int,
    version: int,
    mutations: Sequence[bytes],
    *,
    compression: str = "",
    mutations_per_section: int = 100,
    file_length: int = 0,
) -> bytes:
    """A segment of `mutations`, so many to a section, closed as a node closes one: with an empty section."""
    payloads = [
        b"".join(encode_frame(mutation) for mutation in mutations[start : start + mutations_per_section])
        for start in range(0, len(mutations), mutations_per_section)
    ]
    return encode_sections(segment_id, version, [*payloads, b""], compression, file_length)
