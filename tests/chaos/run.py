"""Everything that `make test-chaos` runs.

    python -m tests.chaos.run                       scenarios in a random order, for ten minutes
    python -m tests.chaos.run --all                 every one of them, about half an hour
    python -m tests.chaos.run --seed 7 --only zombie

Invariant: the compiled modules are used where `make compiled` made them; the exit status is 0 only if all passed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
COMPILED: Final = ROOT / "build" / "compiled"
MINUTES: Final = 10.0
DRIVERS: Final = ("tests.chaos.kafka_kills",)


def environment(compiled: Path) -> dict[str, str]:
    """The environment of a driver: with the compiled copy of the package if it is complete."""
    if not (compiled / ".complete").exists():
        return dict(os.environ)
    return {**os.environ, "PYTHONPATH": str(compiled)}


def main() -> int:
    """Run the drivers one after the other, each with its share of the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="whatever time it takes")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--mutations", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", action="append", default=[])
    options = parser.parse_args()
    arguments = ["--seed", str(options.seed)]
    arguments += ["--minutes", str(0.0 if options.all or options.only else options.minutes / len(DRIVERS))]
    for name in ("mutations", "rounds"):
        value = getattr(options, name)
        arguments += [] if value is None else [f"--{name}", str(value)]
    arguments += [part for one in options.only for part in ("--only", one)]
    # As an interrupt: what runs is taken down first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    there = environment(COMPILED)
    commands = [[sys.executable, "-m", driver, *arguments] for driver in DRIVERS]
    return max(abs(subprocess.run(command, cwd=ROOT, env=there, check=False).returncode) for command in commands)


if __name__ == "__main__":
    sys.exit(main())
