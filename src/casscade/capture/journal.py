"""What an agent remembers of its source beside the position: segments to be read, and losses that nobody knows of yet.

Invariant: the file is whole whenever the machine stops, and what it says was true when it was written: a segment is in
`unread` before it can be missed and leaves it before it is deleted, and a loss is in `pending` before
it is told.
"""

from __future__ import annotations

import base64
import json
import uuid
from pathlib import Path
from typing import Any, Final

from casscade.capture.faults import state_unwritable
from casscade.core.errors import BadDataError
from casscade.core.notice import Notice, unpack
from casscade.core.position import Position
from casscade.core.state_file import replace_file

_FORMAT: Final = 1
# Segments with CDC data that wait to be read: 4096 of 32 MiB are 32 times the default CDC space.
UNREAD_MAX: Final = 4096
# Losses whose notice is not durable yet; later ones only repeat that something was lost.
PENDING_MAX: Final = 256


class Journal:
    """`journal-<source>.json` in the agent's state directory.

    - `existed`: whether an earlier life left it.
    - `run`: names the time since the state began; `fresh`: nothing was acknowledged in it; `lost`: an earlier run was.
    - `unread`: ids of segments with CDC data that were seen and not finished. `newest`: the newest segment seen.
    - `writing`: segments that are gone while the node still writes them.
    - `finished`: the highest id of a segment that was read to its end and is durable downstream.
    - `off`: what has CDC switched off (`node`, or the id of a table), since when (Unix milliseconds).
    - `pending`: notices by key, each with the position at which it was sent.
    """

    def __init__(self, directory: Path, source: str) -> None:
        self.path = directory / f"journal-{source}.json"
        self.existed = False
        self.run = ""
        self.fresh = True
        self.lost = False
        self.unread: set[int] = set()
        self.writing: set[int] = set()
        self.newest = -1
        self.finished = -1
        self.off: dict[str, int] = {}
        self.pending: dict[str, tuple[Notice, Position]] = {}
        self._load()

    def _load(self) -> None:
        """Take over what the file says; one that can't be read counts as lost."""
        try:
            content = json.loads(self.path.read_text(encoding="ascii"))
            if content["format"] != _FORMAT:
                raise ValueError(content["format"])
            self.run = str(content["run"])
            self.fresh, self.lost = bool(content["fresh"]), bool(content["lost"])
            self.unread = {int(segment) for segment in content["unread"]}
            self.writing = {int(segment) for segment in content["writing"]}
            self.newest, self.finished = int(content["newest"]), int(content["finished"])
            self.off = {str(what): int(since) for what, since in content["off"].items()}
            for packed, segment, offset in content["pending"]:
                notice = unpack(base64.b64decode(packed))
                self.pending[notice.key] = (notice, Position(int(segment), int(offset)))
            self.existed = True
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError, BadDataError):
            self.unread, self.writing, self.off, self.pending = set(), set(), {}, {}

    def marks(self) -> tuple[object, ...]:
        """What tells whether it has to be saved; `newest` apart."""
        kept = (frozenset(self.unread), frozenset(self.writing), frozenset(self.off.items()), frozenset(self.pending))
        return (self.fresh, self.lost, self.finished, *kept)

    def renew(self, *, lost: bool) -> None:
        """Another run begins."""
        self.run = uuid.uuid4().hex
        self.fresh, self.lost = True, lost

    def save(self) -> None:
        """Keep it durably; RetryableError (`capture_state`) when that fails."""
        content: dict[str, Any] = {
            "format": _FORMAT,
            "run": self.run,
            "fresh": self.fresh,
            "lost": self.lost,
            "unread": sorted(self.unread)[-UNREAD_MAX:],
            "writing": sorted(self.writing)[-UNREAD_MAX:],
            "newest": self.newest,
            "finished": self.finished,
            "off": self.off,
            "pending": [
                (base64.b64encode(notice._replace(content=b"").pack()).decode(), *position)
                for notice, position in list(self.pending.values())[:PENDING_MAX]
            ],
        }
        try:
            replace_file(self.path, json.dumps(content), synced="losses_written", renamed="losses_renamed")
        except OSError as error:
            raise state_unwritable(self.path, error) from error


def note_off(directory: Path, source: str, what: str, since_ms: int) -> None:
    """Remember that CDC was found switched off at a start that came to nothing; without an earlier run, nothing."""
    journal = Journal(directory, source)
    if journal.existed and what not in journal.off:
        journal.off[what] = since_ms
        journal.save()
