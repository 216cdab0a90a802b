"""Whether CDC is on, at the node and for each table: what is written while it is off is in no segment.

Invariant: that CDC was seen switched off is remembered until it is on again, also over a restart; a node that does not
answer says nothing.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from casscade.capture.journal import note_off
from casscade.capture.losses import NODE, Losses
from casscade.capture.space import SpaceGuard
from casscade.core.errors import CasscadeError, ConfigurationError
from casscade.observability.logs import get_logger
from casscade.pipeline.watch import Watch
from casscade.schema.cdc import CdcReader
from casscade.schema.connect import Node

log = get_logger("casscade.capture")

_CODES: Final = ("cdc_disabled", "table_without_cdc")
# Cassandra deletes segments when the next one would not fit: below this share it has had no reason to.
_NEARLY_FULL: Final = 0.5


class CdcWatch(Watch):
    """A thread that asks the node every second and tells `losses` of it; `tables` gives ids of those replicated."""

    def __init__(
        self,
        session: Any,
        node: Node,
        tables: Callable[[], Collection[bytes]],
        losses: Losses,
        stop: threading.Event,
    ) -> None:
        super().__init__(stop)
        self._reader = CdcReader(session, node)
        self._tables = tables
        self._losses = losses
        self._off: frozenset[str] = frozenset()

    def look(self) -> None:
        """Ask once; never raises."""
        with suppress(CasscadeError):
            node_on, off = self._reader.read_off(self._tables())
            what = frozenset(str(uuid.UUID(bytes=table)) for table in off) | (frozenset() if node_on else {NODE})
            if what != self._off:
                self._off = what
                log.error(
                    "CDC is off: what is written now is lost" if what else "CDC is on again",
                    off=sorted(what),
                    hint="cdc_enabled: true in cassandra.yaml and a restart; ALTER TABLE … WITH cdc = true",
                )
            self._losses.switched_off(what)


@contextmanager
def noting_off(state_directory: Path, node: Node) -> Iterator[None]:
    """Remember a start that came to nothing because CDC was off."""
    try:
        yield
    except ConfigurationError as error:
        if error.code in _CODES:
            note_off(state_directory, str(node.host_id), NODE, int(time.time() * 1000))
        raise


def may_evict(settings: Mapping[str, str | None], guard: SpaceGuard) -> bool:
    """Whether the node deletes segments that nobody has read, and has had reason to."""
    if settings.get("cdc_block_writes") != "false":
        return False
    try:
        return guard.check().ratio >= _NEARLY_FULL
    except OSError:
        return False
