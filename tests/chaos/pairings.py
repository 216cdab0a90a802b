"""Which kills are paired, and what a random generator makes of them.

Invariant: all pairings of (agent, loader, broker) x (hard, clean) are there once, those of one kind with itself too; a
pairing, its moments and its load follow from the seed and its name alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Final

WHO: Final = ("agent", "loader", "broker")
HOW: Final = ("hard", "clean")
# Scenarios with kills of their own.
ZOMBIE: Final = "zombie"
ELASTIC: Final = "loader added and removed"


@dataclass(frozen=True, slots=True)
class Kill:
    """Who is ended, by SIGKILL (`hard`) or SIGTERM (`clean`)."""

    who: str
    how: str

    @property
    def name(self) -> str:
        """As the table and `--only` have it."""
        return f"{self.who}-{self.how}"


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two kills whose victims are down at the same time."""

    one: Kill
    other: Kill

    @property
    def name(self) -> str:
        """As the table and `--only` have it."""
        return f"{self.one.name}+{self.other.name}"


@dataclass(frozen=True, slots=True)
class Round:
    """One pair of kills, begun when `at` (0 to 1) of the load was sent; all times in seconds.

    `apart` lies between the kills, `down` passes with both ended, `between` lies between the starts; `swapped` tells
    that the second victim is started first.
    """

    first: Kill
    second: Kill
    at: float
    apart: float
    down: float
    between: float
    swapped: bool


def all_pairings() -> list[Pairing]:
    """All of them, in the order of the table."""
    kills = [Kill(who, how) for who in WHO for how in HOW]
    return [Pairing(one, other) for one, other in combinations_with_replacement(kills, 2)]


def all_names() -> list[str]:
    """The names of everything that can be run."""
    return [*(pairing.name for pairing in all_pairings()), ZOMBIE, ELASTIC]


def chosen(only: Iterable[str], seed: int) -> list[str]:
    """The names asked for (all, if none is) in the order in which this seed runs them; ValueError for another."""
    names = all_names()
    wanted = [_canonical(name) for name in only]
    for name in wanted:
        if name not in names:
            raise ValueError(f"{name!r} is none of: {', '.join(names)}")
    picked = [name for name in names if not wanted or name in wanted]
    random.Random(seed).shuffle(picked)
    return picked


def _canonical(name: str) -> str:
    """A pairing whichever way round it is written."""
    order = [Kill(who, how).name for who in WHO for how in HOW]
    parts = name.split("+")
    return "+".join(sorted(parts, key=order.index)) if all(part in order for part in parts) else name


def rounds(name: str, seed: int, count: int) -> list[Round]:
    """The kills of a pairing: `count` pairs, each within its own part of the load."""
    rng = random.Random(f"{seed} {name}")
    pairing = next(pairing for pairing in all_pairings() if pairing.name == name)
    planned = []
    for number in range(count):
        first, second = (pairing.one, pairing.other) if rng.random() < 0.5 else (pairing.other, pairing.one)
        planned.append(
            Round(
                first,
                second,
                (number + rng.uniform(0.1, 0.6)) / count,
                apart=rng.uniform(0.0, 1.5),
                down=rng.uniform(0.1, 2.0),
                between=rng.uniform(0.0, 1.5),
                swapped=rng.random() < 0.5,
            )
        )
    return planned
