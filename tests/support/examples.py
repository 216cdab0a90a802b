"""How many examples the property tests try.

Invariant: every run draws anew, so that the runs of the suite together see what one of them leaves out. A test says
how many examples are thorough; the suite tries a quarter of them, at least ten, on the pure modules and again on the
compiled ones, and `make test-properties` ten times as many.
"""

from __future__ import annotations

import os
import random
from typing import Final

from hypothesis import settings

VARIABLE: Final = "CASSCADE_TEST_EXAMPLES"
OF_THE_SUITE: Final = 0.25
THOROUGH: Final = 100
LEAST: Final = 10


def examples(thorough: int) -> int:
    """The examples of this run, where `thorough` of them would be enough at once."""
    return max(min(thorough, LEAST), round(thorough * float(os.environ.get(VARIABLE) or OF_THE_SUITE)))


def share_of(places: range) -> list[int]:
    """As many of the places as this run tries, where all of them would be thorough."""
    wanted = len(places) * float(os.environ.get(VARIABLE) or OF_THE_SUITE)
    return sorted(random.Random().sample(places, min(len(places), round(wanted))))


def load_profile() -> None:
    """The settings of every property test: new examples in each run, also where `CI` is set."""
    settings.register_profile(
        "suite", max_examples=examples(THOROUGH), derandomize=False, print_blob=True, deadline=None
    )
    settings.load_profile("suite")
