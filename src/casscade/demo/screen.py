"""Where the demo speaks: a terminal with a live panel, or plain lines.

Invariant: when the block of `open_screen` is left, the terminal is as it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.live import Live

from casscade.demo.view import View, panel, plain_line

PLAIN_INTERVAL_S: Final = 2.0


class Screen:
    """Steps, one a line, and below them the picture of the moment."""

    def __init__(self, console: Console, live: Live | None, clock: Callable[[], float]) -> None:
        self.console = console
        self._live = live
        self._clock = clock
        self._next_line = -math.inf

    def step(self, text: str) -> None:
        """Something that is done."""
        mark = "done" if self.console.options.ascii_only else "✓"
        self.console.print(f"[green]{mark}[/green] {text}", highlight=False, soft_wrap=self._live is None)

    def note(self, text: str) -> None:
        """Something on the way."""
        self.console.print(f"  {text}", style="dim", highlight=False, markup=False, soft_wrap=self._live is None)

    def warn(self, text: str) -> None:
        """Something that is meant to startle."""
        mark = "!!" if self.console.options.ascii_only else "✗"
        self.console.print(f"[bold yellow]{mark} {text}[/bold yellow]", highlight=False, soft_wrap=self._live is None)

    def show(self, view: View) -> None:
        """The picture of the moment."""
        if self._live is not None:
            self._live.update(panel(view), refresh=True)
        elif self._clock() >= self._next_line:
            self._next_line = self._clock() + PLAIN_INTERVAL_S
            self.console.print(plain_line(view), highlight=False, markup=False, soft_wrap=self._live is None)


@contextmanager
def open_screen(console: Console, clock: Callable[[], float] = time.monotonic) -> Iterator[Screen]:
    """A screen on `console`; the panel vanishes at the end, the steps stay."""
    if not console.is_interactive:
        yield Screen(console, None, clock)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield Screen(console, live, clock)
