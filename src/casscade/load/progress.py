"""How the progress of reads is committed with their rows.

Invariant: it is called in the transaction of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import Connection

from casscade.core.errors import InvariantError
from casscade.core.notice import Notice
from casscade.transport.chunk import ReadProgress

CommitProgress = Callable[[Connection[Any], ReadProgress], None]
Record = Callable[[Connection[Any], Notice], None]


def no_snapshot(_connection: Connection[Any], progress: ReadProgress) -> None:
    """For writers that never see a snapshot."""
    raise InvariantError("snapshot_unexpected", f"{type(progress).__name__} came to a writer without a snapshot")


def no_record(_connection: Connection[Any], _notice: Notice) -> None:
    """For writers that no agent speaks to: what it tells is dropped."""
