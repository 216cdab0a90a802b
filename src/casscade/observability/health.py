"""How the process is: the states of its components, the beats of its threads, its progress.

Invariant: alive means that every registered thread has beaten within its bound, so a restart would help when it is
not; ready means that no component is starting or down and that progress is not overdue. Time comes from outside.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from casscade.core.errors import InvariantError

# Components and threads are named in the code; more than this is a name made from data.
NAMES_MAX: Final = 100
# A thread's longest step is a batch or a statement with its own timeout below this.
BEAT_S_MAX: Final = 60.0
# Input waits, yet nothing was committed for this long: the pipeline hangs or PostgreSQL is away.
PROGRESS_S_MAX: Final = 30.0


class State(StrEnum):
    """What a component says of itself."""

    STARTING = "starting"
    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Component:
    """A component's state since the Unix time `since` (seconds); `detail` is one sentence without data."""

    name: str
    state: State
    detail: str
    since: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a probe: `reasons` says in one sentence each why it is not `ok`."""

    ok: bool
    reasons: tuple[str, ...]


class Health:
    """The registry; any thread may call any method.

    `clock` is monotonic and decides; `wall` is Unix time and only shown.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        wall: Callable[[], float],
        *,
        beat_seconds_max: float = BEAT_S_MAX,
        progress_seconds_max: float = PROGRESS_S_MAX,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._progress_seconds_max = progress_seconds_max
        self._beat_seconds_max = beat_seconds_max
        self._lock = threading.Lock()
        self._components: dict[str, Component] = {}
        self._beats: dict[str, float] = {}
        self._progressed_at = clock()

    def set(self, name: str, state: State, detail: str = "") -> None:
        """Say how a component is; `since` changes only with the state."""
        with self._lock:
            _bounded(self._components, name)
            before = self._components.get(name)
            since = before.since if before is not None and before.state is state else self._wall()
            self._components[name] = Component(name, state, detail, since)

    def beat(self, thread: str) -> None:
        """A thread shows that it runs; its first beat registers it."""
        with self._lock:
            _bounded(self._beats, thread)
            self._beats[thread] = self._clock()

    def retire(self, thread: str) -> None:
        """A thread has ended as planned and beats no more."""
        with self._lock:
            self._beats.pop(thread, None)

    def progressed(self) -> None:
        """Work was committed, or there is none: called at each commit and whenever the input is found empty."""
        with self._lock:
            self._progressed_at = self._clock()

    def components(self) -> list[Component]:
        """All components, by name."""
        with self._lock:
            return sorted(self._components.values(), key=lambda component: component.name)

    def live(self) -> Verdict:
        """Whether every thread has beaten within its bound."""
        with self._lock:
            now = self._clock()
            silent = [
                f"thread {thread} has not beaten for {now - beat:.0f} s"
                for thread, beat in sorted(self._beats.items())
                if now - beat > self._beat_seconds_max
            ]
        return Verdict(not silent, tuple(silent))

    def ready(self) -> Verdict:
        """Whether the pipeline is live, every component works and progress is not overdue."""
        reasons = list(self.live().reasons)
        components = self.components()
        if not components:
            reasons.append("nothing has started yet")
        for component in components:
            if component.state in (State.STARTING, State.DOWN):
                detail = f": {component.detail}" if component.detail else ""
                reasons.append(f"{component.name} is {component.state.value}{detail}")
        with self._lock:
            idle = self._clock() - self._progressed_at
        if idle > self._progress_seconds_max:
            reasons.append(f"no progress for {idle:.0f} s")
        return Verdict(not reasons, tuple(reasons))


def _bounded(names: dict[str, Component] | dict[str, float], name: str) -> None:
    if name not in names and len(names) >= NAMES_MAX:
        raise InvariantError("health_names", f"more than {NAMES_MAX} names in the health registry")
