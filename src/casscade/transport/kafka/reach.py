"""Whether a client that only reads reaches any broker, by its own statistics.

Invariant: nothing is asked of the network, and errors go the ways that they go without it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final

# Some kilobytes of JSON for each partition: often enough for a probe, rare enough for hundreds of partitions.
_STATISTICS_MS: Final = 2000


class Reach:
    """Told by the thread that polls the client; any thread may look."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._down_since = 0.0

    @property
    def properties(self) -> dict[str, Any]:
        """What the client is to be configured with."""
        return {"stats_cb": self.told, "statistics.interval.ms": _STATISTICS_MS}

    @property
    def down_seconds(self) -> float:
        """For how long no broker could be reached, 0.0 when one can."""
        return self._clock() - self._down_since if self._down_since else 0.0

    def told(self, text: str) -> None:
        """Take librdkafka's statistics in."""
        if any(broker["state"] == "UP" for broker in json.loads(text)["brokers"].values()):
            self._down_since = 0.0
        elif not self._down_since:
            self._down_since = self._clock()
