"""A node as its commit log shows it: segments that grow, hard links, indexes; no server, no JVM."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import cramjam

TABLE = bytes(range(16))
OTHER_TABLE = bytes(range(100, 116))
SEGMENT_SIZE = 1 << 18


def make_mutation(number: int, table: bytes = TABLE, padding: int = 0) -> bytes:
    """A mutation of one update whose partition key is `number` (what follows the key is only padding)."""
    return b"\x01" + table + b"\x04" + number.to_bytes(4, "big") + bytes(padding)


def number_of(mutation: bytes) -> int:
    """The partition key of a mutation of `make_mutation`."""
    return int.from_bytes(mutation[18:22], "big")


def frame(mutation: bytes) -> bytes:
    """The mutation with its length and checksums (`CommitLog.add`)."""
    size = struct.pack(">i", len(mutation))
    return size + struct.pack(">I", zlib.crc32(size)) + mutation + struct.pack(">I", zlib.crc32(size + mutation))


class FakeSegment:
    """A segment of a `FakeNode`; `logical` is the logical end of what was written."""

    def __init__(self, node: FakeNode, segment_id: int) -> None:
        self.node = node
        self.id = segment_id
        name = f"CommitLog-{node.version}-{segment_id}"
        self.path = node.raw / f"{name}.log"
        self.index = node.raw / f"{name}_cdc.idx"
        self.own = node.commitlog / f"{name}.log"
        parameters = json.dumps({"compressionClass": "LZ4Compressor", "compressionParameters": None})
        text = (parameters if node.compressed else "{}").encode()
        low, high = segment_id & 0xFFFFFFFF, segment_id >> 32
        checksum = zlib.crc32(struct.pack(">iIIi", node.version, low, high, len(text)) + text)
        header = struct.pack(">iqH", node.version, segment_id, len(text)) + text + struct.pack(">I", checksum)
        self._first = self._marker = self.logical = len(header)
        self.own.write_bytes(header if node.compressed else header.ljust(SEGMENT_SIZE, b"\0"))
        self._unsynced = b""
        if node.version > 6:
            os.link(self.own, self.path)

    def append(self, *mutations: bytes) -> list[int]:
        """Write frames that no marker closes yet; returns the logical offsets of their ends."""
        ends = []
        for mutation in mutations:
            self._unsynced += frame(mutation)
            ends.append(self.logical + 8 + len(self._unsynced))
        if not self.node.compressed:
            with self.own.open("r+b") as file:
                file.seek(self._marker + 8)
                file.write(self._unsynced)
        return ends

    def write(self, *mutations: bytes) -> list[int]:
        """Write one section with what was appended and `mutations`; returns the logical offsets of the frames' ends.
        The index does not move.
        """
        payload = self._unsynced + b"".join(frame(mutation) for mutation in mutations)
        ends = []
        end = self.logical + 8 + len(self._unsynced)
        for mutation in mutations:
            end += len(mutation) + 12
            ends.append(end)
        self._unsynced = b""
        body = payload
        if self.node.compressed:
            body = struct.pack(">i", len(payload)) + bytes(cramjam.lz4.compress_block(payload))
        following = self._marker + 8 + len(body)
        place = struct.pack(">III", self.id & 0xFFFFFFFF, self.id >> 32, self._marker)
        # The open file, not its name: the link of cdc_raw may be gone, and the file goes on.
        with (self.own if self.own.exists() else self.path).open("r+b") as file:
            file.seek(self._marker)
            file.write(struct.pack(">iI", following, zlib.crc32(place)) + body)
        self._marker = following
        self.logical += 8 + len(payload)
        return ends

    def sync(self) -> None:
        """Write the index of an open segment."""
        self.index.write_text(str(self.logical))

    @property
    def empty(self) -> bool:
        """Whether no section was written yet."""
        return self._marker == self._first

    def move(self) -> None:
        """3.11: all tables were flushed, and the segment holds CDC data."""
        self.own.rename(self.path)

    def complete(self) -> None:
        """Close the segment: an empty section, and an index that says so."""
        self.write()
        if self.node.version <= 6:
            return
        self.index.write_text(f"{self.logical}\nCOMPLETED")

    def discard(self) -> None:
        """What happens after all tables were flushed: Cassandra's own link goes, cdc_raw's too without CDC data."""
        self.own.unlink()
        if not self.index.exists():
            self.path.unlink(missing_ok=True)

    def damage(self, offset: int) -> None:
        """Flip a bit at the file offset."""
        with self.path.open("r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 1]))


class FakeNode:
    """Two directories below `root`: `commitlog` and `raw` (cdc_raw)."""

    def __init__(self, root: Path, *, version: int = 8, compressed: bool = False) -> None:
        self.version = version
        self.compressed = compressed
        self.raw = root / "cdc_raw"
        self.commitlog = root / "commitlog"
        self.state = root / "state"
        for directory in (self.raw, self.commitlog, self.state):
            directory.mkdir(parents=True)

    def segment(self, segment_id: int) -> FakeSegment:
        """Create a segment and its link."""
        return FakeSegment(self, segment_id)

    def names(self) -> list[str]:
        """What lies in cdc_raw."""
        return sorted(path.name for path in self.raw.iterdir())
