"""The `cdc_raw` directory: what lies in it, who may follow it, and whether it can be followed at all.

Invariant: only looks; it writes no file into `cdc_raw`, because everything there counts against Cassandra's CDC space.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from casscade.core.errors import ConfigurationError
from casscade.core.position import Position

_NAME: Final = re.compile(r"CommitLog-(\d{1,9})-(\d{1,19})(\.log|_cdc\.idx)", re.ASCII)
# Up to 3.11 Cassandra moves whole segments here; later versions link the live ones and keep an index beside them.
MOVED_SEGMENT_VERSION: Final = 6


class SegmentEntry(NamedTuple):
    """A segment as the directory shows it.

    `size` is the file's length in bytes (of a live uncompressed segment: pre-allocated). `links` counts its hard
    links: 1 tells that Cassandra has let go of it. `indexed` tells whether `_cdc.idx` lies beside it. A `live` one lies
    in the commit log directory of a 3.11 node: it grows, moves to `cdc_raw` or goes, and is never ours to change.
    """

    id: int
    version: int
    path: Path
    size: int
    links: int
    indexed: bool
    live: bool = False

    @property
    def index_path(self) -> Path:
        """Where the segment's index is, if it has one."""
        return index_path(self.path)


class Listing(NamedTuple):
    """One look at the directory: segments by ascending id, and indexes whose segment is gone (id, path).

    `newest_indexed` is the highest id of a segment with an index, -1 when there is none.
    """

    segments: list[SegmentEntry]
    lone_indexes: list[tuple[int, Path]]
    newest_indexed: int


def index_path(segment_path: Path) -> Path:
    """`…/CommitLog-8-1.log` -> `…/CommitLog-8-1_cdc.idx` (`CommitLogDescriptor.cdcIndexFileName`)."""
    return segment_path.with_name(segment_path.name.removesuffix(".log") + "_cdc.idx")


def list_directory(directory: Path, commitlog: Path | None = None) -> Listing:
    """Look at `directory` once; files of other names are left alone. Raises `ConfigurationError` if it can't.

    With `commitlog`, the commit log directory of a 3.11 node, its segments come in as `live`. It is looked at first:
    one that is moved between the two looks is seen twice, never missed, and counts as moved.
    """
    logs: dict[int, SegmentEntry] = {}
    indexes: dict[int, Path] = {}
    if commitlog is not None:
        _scan(commitlog, logs, {}, live=True)
    _scan(directory, logs, indexes, live=False)
    segments = [logs[segment_id]._replace(indexed=segment_id in indexes) for segment_id in sorted(logs)]
    lone = [(segment_id, indexes[segment_id]) for segment_id in sorted(indexes.keys() - logs.keys())]
    return Listing(segments, lone, max((entry.id for entry in segments if entry.indexed), default=-1))


def _scan(directory: Path, logs: dict[int, SegmentEntry], indexes: dict[int, Path], *, live: bool) -> None:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                if match is None or (live and int(match[1]) > MOVED_SEGMENT_VERSION):
                    continue
                segment_id = int(match[2])
                if match[3] != ".log":
                    indexes[segment_id] = Path(entry.path)
                    continue
                try:
                    stat = entry.stat()
                except FileNotFoundError:
                    continue
                logs[segment_id] = SegmentEntry(
                    segment_id, int(match[1]), Path(entry.path), stat.st_size, stat.st_nlink, False, live
                )
    except OSError as error:
        raise _unusable(directory, error, "commitlog_directory" if live else "cdc_directory") from error


def check_directories(cdc_directory: Path, state_directory: Path, commitlog: Path | None = None) -> None:
    """Make sure that `cdc_directory` can be read and cleaned and that `state_directory` exists or can be made.

    `commitlog`, if it is given, must be readable. Raises `ConfigurationError` with the remedy otherwise.
    """
    list_directory(cdc_directory, commitlog)
    if not os.access(cdc_directory, os.R_OK | os.W_OK | os.X_OK):
        raise _unusable(cdc_directory, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    if state_directory.resolve().is_relative_to(cdc_directory.resolve()):
        raise ConfigurationError(
            "capture_state_directory",
            "the state directory lies inside cdc_raw, where every file counts against Cassandra's CDC space",
            where=str(state_directory),
            now="nothing was read",
            hint="set capture.state_directory to a directory of its own",
        )
    try:
        state_directory.mkdir(parents=True, exist_ok=True)
        usable = os.access(state_directory, os.R_OK | os.W_OK | os.X_OK)
    except OSError:
        usable = False
    if not usable:
        raise ConfigurationError(
            "capture_state_directory",
            "the state directory can't be created or written",
            where=str(state_directory),
            now="nothing was read",
            hint="create it and give it to the user that runs casscade, or set capture.state_directory",
        )


def check_start(directory: Path, listing: Listing, source: str, start: Position) -> None:
    """Refuse a position that lies beyond every segment: then the directory is not the one the position belongs to.

    Cassandra 4.0 and later keep the segment being written in the directory, and ids only grow. Without this check all
    segments of a rebuilt or a wrong node would count as carried over and be deleted unread. Raises
    `ConfigurationError`.
    """
    newest = listing.segments[-1] if listing.segments else None
    if newest is None or newest.version <= MOVED_SEGMENT_VERSION or newest.id >= start.segment:
        return
    raise ConfigurationError(
        "capture_position",
        f"the position saved for node {source} ({start}) lies beyond the newest segment here ({newest.id})",
        where=str(directory),
        now="nothing is read or deleted",
        hint="set capture.cdc_directory to this node's cdc_raw; a node rebuilt from scratch needs a new snapshot",
    )


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Hold `directory` for this process; a second agent on it would delete segments that the first has not read.

    The lock (flock) lies on the directory itself, so that it ends with the process and leaves no file behind.
    Raises `ConfigurationError` when another process holds it or the directory can't be opened.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(directory, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise _unusable(directory, error) from error
            raise ConfigurationError(
                "capture_locked",
                "another process already captures from this directory",
                where=str(directory),
                now="this one stops; the other goes on undisturbed",
                hint=f"stop the other one first (`fuser {directory}` shows its process id)",
            ) from error
        yield
    finally:
        os.close(descriptor)


def _unusable(directory: Path, error: OSError, key: str = "cdc_directory") -> ConfigurationError:
    name, setting = ("CDC", "cdc_raw_directory") if key == "cdc_directory" else ("commit log", "commitlog_directory")
    hint = f"set capture.{key} to {setting} of cassandra.yaml"
    if isinstance(error, FileNotFoundError):
        what = f"the {name} directory does not exist"
        hint += ", and cdc_enabled: true there"
    elif isinstance(error, NotADirectoryError):
        what = f"capture.{key} is not a directory"
    elif isinstance(error, PermissionError):
        what = f"the {name} directory can't be read by this user"
        hint = "give the user that runs casscade read and search permission on it (Cassandra's group will do)"
        if key == "cdc_directory":
            what = "the CDC directory can't be read and cleaned by this user"
            hint = (
                "give the user that runs casscade read, write and search permission on it (Cassandra's group will do)"
            )
    else:
        what = f"the {name} directory can't be used: {error.strerror or type(error).__name__}"
        hint = "check that the file system is mounted and local (both directories are on one)"
    return ConfigurationError("capture_directory", what, where=str(directory), now="capture stops", hint=hint)
