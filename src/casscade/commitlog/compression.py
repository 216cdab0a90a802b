"""Decompression of sections.

Invariant: memory is taken only for as much as the compressed bytes could really expand to, never because a length in
the file says so, and whatever a decompressor does with damaged bytes ends in CorruptionError.
"""

from __future__ import annotations

import zlib
from typing import Final

import cramjam

from casscade.commitlog.faults import corrupt_section
from casscade.core.limits import SECTION_BYTES_MAX

# The most bytes that one compressed byte can become: an LZ4 length byte is worth 255, a Snappy copy makes 64 bytes
# of 3, Deflate ends at 1032, a Zstandard block of 4 bytes repeats one byte 128 Ki times.
_EXPANSION_MAX: Final = {
    "LZ4Compressor": 255,
    "SnappyCompressor": 32,
    "DeflateCompressor": 1032,
    "ZstdCompressor": 32 * 1024,
    "NoopCompressor": 1,
}
COMPRESSORS: Final = frozenset(_EXPANSION_MAX)
# Headers and the last, short tokens of a block are outside the ratio.
_SLACK: Final = 64


def is_plausible(compressor: str, compressed_length: int, length: int) -> bool:
    """Whether `compressed_length` bytes can hold `length` bytes of a section."""
    return 0 <= length <= min(SECTION_BYTES_MAX, compressed_length * _EXPANSION_MAX[compressor] + _SLACK)


def decompress_section(compressor: str, data: bytes, length: int) -> bytes:
    """The `length` bytes of a section from its compressed bytes; raises CorruptionError.

    LZ4 is a raw block behind its length in 4 little-endian bytes, Snappy the raw format, Deflate a zlib stream,
    Zstandard one frame (the `ICompressor` classes of Cassandra). Deflate writes nothing at all for an empty section;
    any bytes that are there must really be empty, because a damaged length can be 0.
    """
    if length == 0 and not data:
        return b""
    if not is_plausible(compressor, len(data), length):
        raise corrupt_section(f"{len(data)} bytes can't hold {length}")
    try:
        section = _decompress(compressor, data, length)
    except (cramjam.DecompressionError, zlib.error, ValueError, OverflowError, MemoryError) as error:
        raise corrupt_section(f"{compressor} can't decompress it") from error
    if len(section) != length:
        raise corrupt_section(f"it holds {len(section)} bytes instead of {length}")
    return section


def _decompress(compressor: str, data: bytes, length: int) -> bytes:
    if compressor == "LZ4Compressor":
        if int.from_bytes(data[:4], "little") != length:
            raise ValueError("two lengths differ")
        if length == 0:
            return b""
        return bytes(cramjam.lz4.decompress_block(data[4:], output_len=length))
    if compressor == "SnappyCompressor":
        if cramjam.snappy.decompress_raw_len(data) != length:
            raise ValueError("two lengths differ")
        return bytes(cramjam.snappy.decompress_raw(data))
    if compressor == "DeflateCompressor":
        stream = zlib.decompressobj()
        section = stream.decompress(data, length + 1)
        if not stream.eof or stream.unused_data:
            raise ValueError("the stream ends elsewhere")
        return section
    if compressor == "ZstdCompressor":
        buffer = bytearray(length)
        written = cramjam.zstd.decompress_into(data, buffer)
        return bytes(buffer[:written]) if written != length else bytes(buffer)
    return data


def compress_section(compressor: str, data: bytes) -> bytes:
    """The inverse of `decompress_section`, for segments made by tests and benchmarks."""
    if compressor == "LZ4Compressor":
        block = bytes(cramjam.lz4.compress_block(data, store_size=False))
        return len(data).to_bytes(4, "little") + block
    if compressor == "SnappyCompressor":
        return bytes(cramjam.snappy.compress_raw(data))
    if compressor == "DeflateCompressor":
        return zlib.compress(data) if data else b""
    if compressor == "ZstdCompressor":
        return bytes(cramjam.zstd.compress(data))
    return data
