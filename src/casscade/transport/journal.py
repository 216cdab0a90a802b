"""Chunks on the local disk while PostgreSQL is away, in their order: appended, synced, read again when it is back.

Invariant: what `append` returned from survives the loss of the process and of power; a record that was not wholly
written is dropped, because nobody was told that it is kept. A file is deleted only when everything in it was applied.

Files `<number>.journal`, records one after another:

    u32 magic "CJ01", u32 crc32 of all that follows, u32 bytes of the head, u32 bytes of the body,
    the head (JSON: the chunk without its mutations), the body (the mutations, one after another)
"""

from __future__ import annotations

import os
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from casscade.core import failpoints
from casscade.core.errors import ConfigurationError, RetryableError
from casscade.core.limits import JOURNAL_FILE_BYTES
from casscade.core.position import Position
from casscade.transport.chunk import Chunk
from casscade.transport.journal_record import decode_record, encode_record

_HEAD: Final = struct.Struct(">4sIII")
_MAGIC: Final = b"CJ01"
_SUFFIX: Final = ".journal"


@dataclass(slots=True)
class _File:
    path: Path
    bytes: int
    first: int
    records: int = 0


class Journal:
    """The journal in `directory`, which is made on first use; every method may be called by any thread.

    `bytes_max` bounds it; `free_bytes` of the disk stay free, as `free` tells them. Opening reads what earlier lives
    left, and raises ConfigurationError (`journal_damaged`) when that is damaged anywhere but at its very end.
    """

    def __init__(
        self,
        directory: Path,
        *,
        bytes_max: int,
        free_bytes: int,
        free: Callable[[Path], int] | None = None,
        prepare: Callable[[list[Chunk]], list[Chunk]] = lambda chunks: chunks,
    ) -> None:
        """`prepare` makes of chunks what is written of them."""
        self._directory = directory
        self._prepare = prepare
        self._bytes_max = bytes_max
        self._free_bytes = free_bytes
        self._free = free if free is not None else lambda path: shutil.disk_usage(path).free
        self._lock = threading.Lock()
        self._files: list[_File] = []
        self._out: BinaryIO | None = None
        self._next = 0
        self._applied = 0
        self._ends: dict[str, Position] = {}
        self._open()

    @property
    def bytes_held(self) -> int:
        """Bytes on the disk."""
        with self._lock:
            return sum(file.bytes for file in self._files)

    @property
    def waiting(self) -> int:
        """Chunks that are not applied yet."""
        with self._lock:
            return self._next - self._applied

    def covered(self, source: str) -> Position | None:
        """The position of `source` up to which the journal holds what PostgreSQL may lack; None when it holds none."""
        with self._lock:
            return self._ends.get(source)

    def append(self, chunks: list[Chunk]) -> bool:
        """Keep chunks durably; False, and nothing is kept, when there is no room for all of them.

        Raises RetryableError (`journal_unwritable`) when the disk fails.
        """
        chunks = self._prepare(chunks)
        records = [encode_record(chunk) for chunk in chunks]
        size = sum(_HEAD.size + len(head) + len(body) for head, body in records)
        with self._lock:
            try:
                if not self._has_room(size):
                    return False
                for head, body in records:
                    self._write(head, body)
                assert self._out is not None
                self._out.flush()
                os.fsync(self._out.fileno())
            except OSError as error:
                self._abandon()
                raise RetryableError(
                    "journal_unwritable",
                    f"the journal can't be written: {error.strerror or type(error).__name__}",
                    where=str(self._directory),
                    now="nothing was acknowledged; the commit log keeps it",
                    hint="free space on the disk of capture.state_directory, or set load.on_outage: pause",
                ) from error
            if failpoints.ARMED:
                failpoints.reach("journal_synced")
            for chunk in chunks:
                self._cover(chunk)
        return True

    def read(self) -> Iterator[tuple[int, Chunk]]:
        """What is not applied yet, in order and with its number, as of when each file is reached."""
        number = self._applied
        while True:
            with self._lock:
                file = next((file for file in self._files if file.first + file.records > number), None)
                end = self._next if file is None else file.first + file.records
                if file is None or number >= end:
                    return
            for found, chunk in enumerate(_chunks(file.path, end - file.first), file.first):
                if found >= number:
                    yield found, chunk
            number = end

    def applied(self, upto: int) -> None:
        """Everything before number `upto` is durable in PostgreSQL: files that hold nothing else are deleted."""
        with self._lock:
            self._applied = max(self._applied, upto)
            if self._applied == self._next and self._out is not None:
                self._out.close()
                self._out = None
            while self._files and self._files[0].first + self._files[0].records <= self._applied:
                if len(self._files) == 1 and self._out is not None:
                    break
                self._files.pop(0).path.unlink(missing_ok=True)
                if failpoints.ARMED:
                    failpoints.reach("journal_deleted")
            if self._applied == self._next:
                self._ends.clear()

    def close(self) -> None:
        """Close the file being written."""
        with self._lock:
            if self._out is not None:
                self._out.close()
                self._out = None

    # The rest is called with the lock held, or before anybody else knows the journal.

    def _open(self) -> None:
        paths = sorted(self._directory.glob(f"*{_SUFFIX}")) if self._directory.is_dir() else []
        for path in paths:
            file = _File(path, 0, self._next)
            for chunk in _chunks(path, None, last=path == paths[-1]):
                self._cover(chunk)
                file.records += 1
            self._next += file.records
            if file.records == 0:
                path.unlink()
                continue
            file.bytes = path.stat().st_size
            self._files.append(file)

    def _has_room(self, size: int) -> bool:
        if sum(file.bytes for file in self._files) + size > self._bytes_max:
            return False
        self._directory.mkdir(parents=True, exist_ok=True)
        return self._free(self._directory) - size >= self._free_bytes

    def _write(self, head: bytes, body: bytes) -> None:
        if self._out is None or self._files[-1].bytes >= JOURNAL_FILE_BYTES:
            self._begin_file()
        assert self._out is not None
        rest = struct.pack(">II", len(head), len(body)) + head + body
        self._out.write(_MAGIC + zlib.crc32(rest).to_bytes(4, "big") + rest)
        self._files[-1].bytes += 8 + len(rest)
        self._files[-1].records += 1
        self._next += 1

    def _begin_file(self) -> None:
        if self._out is not None:
            self._out.flush()
            os.fsync(self._out.fileno())
            self._out.close()
        number = int(self._files[-1].path.stem) + 1 if self._files else 1
        path = self._directory / f"{number:012d}{_SUFFIX}"
        self._out = path.open("xb")
        self._files.append(_File(path, 0, self._next))
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _abandon(self) -> None:
        """After a failed write: read again what is whole, so that the numbers are those of the disk."""
        if self._out is not None:
            _close_quietly(self._out)
            self._out = None
        applied = self._applied
        first = self._files[0].first if self._files else self._next
        self._files, self._next, self._ends = [], first, {}
        self._open()
        self._applied = min(applied, self._next)

    def _cover(self, chunk: Chunk) -> None:
        if chunk.moves:
            self._ends[chunk.source] = max(chunk.end, self._ends.get(chunk.source, chunk.end))


def _close_quietly(file: BinaryIO) -> None:
    """Close a file whose last bytes could not be written."""
    try:
        file.close()
    except OSError:
        return


def _chunks(path: Path, records: int | None, *, last: bool = False) -> Iterator[Chunk]:
    """The chunks of a file, `records` at most; in the `last` file a record that is not whole is cut off."""
    whole = 0
    with path.open("rb") as file:
        while records is None or records > 0:
            head = file.read(_HEAD.size)
            if not head:
                return
            chunk = _chunk(head, file)
            if chunk is None:
                break
            yield chunk
            whole = file.tell()
            records = None if records is None else records - 1
        else:
            return
    if not last:
        raise ConfigurationError(
            "journal_damaged",
            "a file of the journal is damaged, and mutations in it are in no segment any more",
            where=f"{path}:{whole}",
            now="nothing was started",
            hint="restore the file, or move it away and compare with casscade verify",
        )
    os.truncate(path, whole)


def _chunk(head: bytes, file: BinaryIO) -> Chunk | None:
    """One record; None when it is not whole."""
    if len(head) < _HEAD.size:
        return None
    magic, crc, head_bytes, body_bytes = _HEAD.unpack(head)
    if magic != _MAGIC:
        return None
    content = file.read(head_bytes + body_bytes)
    if len(content) < head_bytes + body_bytes or zlib.crc32(head[8:] + content) != crc:
        return None
    return decode_record(content[:head_bytes], content[head_bytes:])
