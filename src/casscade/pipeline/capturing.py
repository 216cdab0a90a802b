"""The thread that follows the commit log, in a pipeline of one process and in an agent.

Invariant: as for each part: what ends it by itself stops all others.
"""

from __future__ import annotations

import threading

from casscade.capture.follower import Follower
from casscade.core.part import Part


class Capturing(Part):
    """Runs a follower."""

    def __init__(self, follower: Follower, stop: threading.Event) -> None:
        super().__init__("capture", stop)
        self.follower = follower

    def work(self) -> None:
        """Read until the follower is told to stop."""
        self.follower.run()
