"""What is known of the tables whose mutations are looked at.

Invariant: the schema is read at most once in `REFRESH_PAUSE_S`, however many messages it does not describe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from casscade.core.errors import RetryableError
from casscade.core.mutation import PartitionUpdate
from casscade.core.table import TableShape
from casscade.schema.model import SchemaSnapshot
from casscade.transport.rendering.update import Shown, UpdateRenderer

# Mutations of a dropped table may be thousands; reading the schema takes some ten milliseconds.
REFRESH_PAUSE_S: Final = 5.0


class KnownTables:
    """All tables of the cluster as `read` tells them; it is called at once, and its errors are the caller's then."""

    def __init__(self, read: Callable[[], SchemaSnapshot], clock: Callable[[], float], *, values: bool) -> None:
        self._read = read
        self._clock = clock
        self._values = values
        self._read_at = float("-inf")
        self.shapes: Mapping[bytes, TableShape] = {}
        self._renderers: Mapping[bytes, UpdateRenderer] = {}
        self._learn()

    def refresh(self) -> bool:
        """Read the schema again, unless that was just done or Cassandra is away; whether it was."""
        if self._clock() - self._read_at < REFRESH_PAUSE_S:
            return False
        try:
            self._learn()
        except RetryableError:
            self._read_at = self._clock()
            return False
        return True

    def render(self, update: PartitionUpdate) -> Shown:
        """An update that was decoded with `shapes`."""
        return self._renderers[update.table.id].render(update)

    def _learn(self) -> None:
        tables = self._read().tables.values()
        self._read_at = self._clock()
        self.shapes = {table.id.bytes: table.shape(replicated=True) for table in tables}
        self._renderers = {table.id.bytes: UpdateRenderer(table, values=self._values) for table in tables}
