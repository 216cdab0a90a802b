"""Everything that `make test-chaos` runs.

    python -m tests.chaos.run                       each driver for its share of ten minutes
    python -m tests.chaos.run --all                 everything that has an end, and ten minutes of random actions
    python -m tests.chaos.run --driver kills --seed 7 --only zombie
    python -m tests.chaos.run --driver actions --minutes 30

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
# The module of each driver, and its share of the time.
DRIVERS: Final = {
    "actions": ("tests.chaos.zippy", 0.4),
    "kills": ("tests.chaos.kafka_kills", 0.3),
    "crashes": ("tests.chaos.crash_matrix", 0.15),
    "faults": ("pytest", 0.15),
}
FAULTS: Final = ("-n", "0", "-q", "-p", "no:randomly", "tests/chaos/test_postgres_faults.py")


def environment(compiled: Path) -> dict[str, str]:
    """The environment of a driver: with the compiled copy of the package if it is complete."""
    if not (compiled / ".complete").exists():
        return dict(os.environ)
    return {**os.environ, "PYTHONPATH": str(compiled)}


def command(driver: str, options: argparse.Namespace) -> list[str]:
    """The command line of a driver; one that has no end runs for its share of the time in any case."""
    module, share = DRIVERS[driver]
    if module == "pytest":
        return [sys.executable, "-m", module, *FAULTS]
    endless = driver == "actions"
    shared = options.minutes if options.driver else options.minutes * share
    minutes = (MINUTES if options.all else shared) if endless else 0.0 if options.all or options.only else shared
    arguments = ["--seed", str(options.seed), "--minutes", str(minutes)]
    if driver == "kills":
        for name in ("mutations", "rounds"):
            value = getattr(options, name)
            arguments += [] if value is None else [f"--{name}", str(value)]
    if not endless:
        arguments += [part for one in options.only for part in ("--only", one)]
    return [sys.executable, "-m", module, *arguments]


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; `--only` is one driver's, the kills' unless another is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="whatever time it takes")
    parser.add_argument("--driver", choices=DRIVERS, help="only this one, which has all the time")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--mutations", type=int, help="of a pairing of kills")
    parser.add_argument("--rounds", type=int, help="of a pairing of kills")
    parser.add_argument("--only", action="append", default=[], help="a pairing of kills, or a failpoint of the crashes")
    options = parser.parse_args(arguments)
    if options.only and options.driver is None:
        options.driver = "kills"
    return options


def main() -> int:
    """Run the drivers one after the other, each with its share of the time."""
    options = parsed()
    # As an interrupt: what runs is taken down first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    there = environment(COMPILED)
    worst = 0
    for driver in [options.driver] if options.driver else DRIVERS:
        print(f"--- {driver}", flush=True)
        ended = subprocess.run(command(driver, options), cwd=ROOT, env=there, check=False)
        worst = max(worst, abs(ended.returncode))
    return worst


if __name__ == "__main__":
    sys.exit(main())
