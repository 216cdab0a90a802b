"""Named places behind every side effect, where a test lets the process die.

Invariant: off, which is what a process is whose environment says nothing, a place costs one look at `ARMED`; none lies
in a hot module. A name that is not registered here is an error, so that no place is left out of the crash matrix.

    CASSCADE_FAILPOINT=committed:3      SIGKILL when `committed` is reached for the third time
    CASSCADE_FAILPOINT_LOG=/some/file   each name that is reached, one on a line, in the order of reaching
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Final

from casscade.core.errors import InvariantError

POINTS: Final[Mapping[str, str]] = {
    # capture
    "segment_read": "sections of a segment were read, none of them was forwarded",
    "chunk_handed_over": "the transport has taken a chunk",
    "segment_deleted": "a segment is deleted, its index is not",
    "index_deleted": "a segment and its index are deleted",
    "quarantine_copied": "a damaged segment is copied, not yet under its final name",
    "quarantine_renamed": "the copy of a damaged segment has its name, the original is still there",
    "position_written": "the agent's position is written, not synced",
    "position_synced": "the agent's position is synced, not yet under its final name",
    "position_renamed": "the agent's position has its name",
    "losses_written": "what the agent knows of its segments is written, not yet under its final name",
    "losses_renamed": "what the agent knows of its segments has its name",
    "topic_file_written": "the agent's file with the identity of the topic is written, not yet under its final name",
    # the transaction of a batch
    "batch_staged": "rows are copied to the staging table",
    "batch_merged": "rows are in the target table",
    "row_tombstones_stored": "states of rows that are not visible are stored",
    "range_tombstones_stored": "deletions over several rows are stored",
    "letters_stored": "dead letters are stored",
    "letters_settled": "dead letters that were replayed are deleted",
    "rows_waiting": "rows whose parent is not there wait for it",
    "rechecks_requested": "rows to be read again are noted",
    "position_advanced": "the position of a source has moved",
    "before_commit": "all of a transaction is done but its COMMIT",
    "committed": "a transaction is committed, nobody knows of it yet",
    "acknowledged": "a committed position is acknowledged upstream",
    # beside the batches
    "reaped": "what expired is applied",
    "waiting_settled": "rows that waited are written or are dead letters, and wait no more",
    "replay_claimed": "dead letters are claimed for their replay",
    "purged": "tombstones behind their time are deleted",
    "journal_synced": "what PostgreSQL did not take is in the journal, nothing is acknowledged",
    "journal_deleted": "a file of the journal is deleted, because PostgreSQL holds all of it",
    # the start
    "migration_applied": "a migration of the control schema is applied",
    "ddl_applied": "a statement that changes a target is executed",
    "source_acquired": "the epoch of a source is raised",
    "truncation_applied": "the relations of a truncated table are emptied",
    "source_sent_back": "a source is to be read again from the position of a truncation",
    "version_recorded": "PostgreSQL is changed for a version of a table, and the version is recorded",
    # gaps
    "gap_recorded": "a gap is recorded",
    "gap_planned": "the ranges of a gap are to be read again",
    "gap_read": "the ranges of a gap are read again, all rows are to be compared",
    "gap_repaired": "rows of a repair are written and counted",
    # snapshots
    "snapshot_planned": "the tasks of a table are made",
    "snapshot_claimed": "a task is claimed",
    "snapshot_progressed": "the progress of a task moved with its rows",
    "snapshot_released": "a task is given back",
    "recheck_claimed": "rows to be read again are claimed",
    "recheck_answered": "the answer to a recheck is part of a batch",
    # Kafka
    "topic_created": "the topic is made",
    "topic_known": "the first loader keeps what it found of the topic",
    "chunk_produced": "the client has taken all messages of a chunk",
    "chunk_acknowledged": "the brokers hold all messages of a chunk",
    "messages_handed_over": "messages of a fetch are in the loader's queue",
    "messages_kept": "the topic of dead letters holds what PostgreSQL did not take, nothing is acknowledged",
    "messages_put_back": "messages that waited for PostgreSQL are in the pipeline's topic again, nobody knows of it",
    "resubmission_saved": "it is noted up to where messages were put back",
    "partition_acquired": "a partition is taken over",
    "partition_released": "a partition is given up",
}

ARMED: bool = False

_lock = threading.Lock()
_hits: Counter[str] = Counter()
_target: tuple[str, int] = ("", 0)
_log: int = -1


def arm(environment: Mapping[str, str]) -> None:
    """Take over what the environment says, with nothing reached so far; called when this module is imported.

    Raises InvariantError for a name that is not registered, or a number that is none.
    """
    global ARMED, _target, _log  # noqa: PLW0603  what the process as a whole is told
    wanted, log = environment.get("CASSCADE_FAILPOINT", ""), environment.get("CASSCADE_FAILPOINT_LOG", "")
    name, _, hit = wanted.partition(":")
    if wanted and (name not in POINTS or not hit.isdecimal()):
        raise InvariantError("failpoint_unknown", f"CASSCADE_FAILPOINT={wanted} is no name:number of a failpoint")
    _hits.clear()
    _target = (name, int(hit or 0))
    _log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644) if log else -1
    ARMED = bool(wanted or log)


def reach(name: str) -> None:
    """A place was reached; ends the process by SIGKILL if it is the one. Raises InvariantError for an unknown name."""
    if name not in POINTS:
        raise InvariantError("failpoint_unknown", f"{name} is no failpoint")
    with _lock:
        _hits[name] += 1
        if _log >= 0:
            os.write(_log, f"{name}\n".encode())
        if (name, _hits[name]) == _target:
            os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ)
