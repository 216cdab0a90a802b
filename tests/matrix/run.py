"""Every supported version of both servers, one after the other: `make test-matrix`.

    python -m tests.matrix.run                          all of it
    python -m tests.matrix.run --only 3.11 --only Zstd  the variations whose name holds one of the words
    python -m tests.matrix.run --parts differential --minutes 15 --each-release --stop

The last one is an hour of random statements, a quarter of it on each release, that ends at the first difference.

Invariant: one variation has servers at a time, and none when the run has ended, however it ends; the exit status is 0
only if every part of every one passed.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "build" / "matrix"
# A part that takes longer hangs: the longest took a quarter of it on an idle machine.
PART_TIMEOUT_S = 1200.0
# To take down servers and directories after an interrupt.
GRACE_S = 30.0
SHOWN_LINES = 25
# `python -m`, but the kernel ends it (PR_SET_PDEATHSIG, SIGKILL) if the run itself is killed, and it hears interrupts
# even where a shell has the run in the background.
_TIED = (
    "import ctypes, runpy, signal, sys; ctypes.CDLL(None).prctl(1, 9); del sys.argv[0]; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


@dataclass(frozen=True, slots=True)
class Variation:
    """The servers of one round; see `tests.support.servers`."""

    cassandra: str
    mode: str
    compression: str
    sync: str
    postgres: str
    parts: tuple[str, ...] = ("pipeline", "differential")

    @property
    def name(self) -> str:
        """What the table shows, and `--only` looks in."""
        mode = f" {self.mode}" if self.cassandra.startswith("5") else ""
        return f"{self.cassandra}{mode} {self.compression} {self.sync} postgres-{self.postgres}"

    @property
    def options(self) -> list[str]:
        """The same as options of pytest and of the differential run."""
        options = ["--cassandra-version", self.cassandra, "--mode", self.mode, "--compression", self.compression]
        return [*options, "--sync", self.sync, "--postgres-version", self.postgres]


PARTS = ("pipeline", "servers", "differential")
# Every version plain and with LZ4, every compressor, every way to sync; both PostgreSQL versions with each Cassandra.
# What `servers` tests does not depend on the commit log, and Deflate alone not on much.
VARIATIONS = (
    Variation("3.11.19", "NONE", "none", "periodic", "12", PARTS),
    Variation("3.11.19", "NONE", "LZ4", "batch", "18"),
    Variation("4.0.19", "NONE", "none", "group", "18", PARTS),
    Variation("4.0.19", "NONE", "LZ4", "periodic", "12"),
    Variation("4.1.10", "NONE", "none", "periodic", "12", PARTS),
    Variation("4.1.10", "NONE", "LZ4", "group", "18"),
    Variation("5.0.6", "CASSANDRA_4", "none", "batch", "12", PARTS),
    Variation("5.0.6", "CASSANDRA_4", "LZ4", "periodic", "18"),
    Variation("5.0.6", "UPGRADING", "Snappy", "periodic", "12"),
    Variation("5.0.6", "NONE", "Zstd", "group", "18", PARTS),
    Variation("5.0.6", "NONE", "Deflate", "periodic", "12", ("differential",)),
)
# One variation of each release; between them uncompressed and compressed logs and both PostgreSQL versions.
EACH_RELEASE = (VARIATIONS[0], VARIATIONS[3], VARIATIONS[5], VARIATIONS[9])
_PYTEST = ["pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--durations", "10"]
# What depends on a server's version. One worker has the tests that follow a commit log, so the other kind runs beside.
TESTS = {
    # What users run: what was there before, every kind of write, truncations.
    "pipeline": [
        "tests/e2e/test_writes.py",
        "tests/e2e/test_replication.py",
        "tests/e2e/test_observed.py",
        "tests/e2e/test_truncate.py",
    ],
    # Each reader and writer alone.
    "servers": [
        "tests/e2e/test_exact_keys.py",
        "tests/integration/test_schema_reader.py",
        "tests/integration/test_cql_order_cassandra.py",
        "tests/integration/test_cql_jsonb.py",
        "tests/integration/test_snapshot_scan.py",
        "tests/integration/test_snapshot_wire.py",
        "tests/integration/test_snapshot_recheck.py",
        "tests/integration/test_verify_compare.py",
        "tests/integration/test_schema_postgres.py",
        "tests/integration/test_load_exact_keys.py",
        "tests/integration/test_load_forms.py",
        "tests/integration/test_load_oracle.py",
        "tests/integration/test_load_updates.py",
        "tests/integration/test_pipeline_database.py",
        "tests/integration/test_pipeline_truncations.py",
    ],
}
# Tests that start servers of their own, of the version that they are about.
OWN_SERVERS = "tests/matrix"


@dataclass(frozen=True, slots=True)
class Result:
    """How one part ended; `told` is a line that sums it up."""

    servers: str
    part: str
    passed: bool
    seconds: float
    told: str


def commands_of(variation: Variation, parts: list[str], minutes: float) -> dict[str, list[str]]:
    """Module and arguments of what runs those of `parts` that the variation has; tests of several run side by side."""
    commands = {}
    parts = [part for part in PARTS if part in parts and part in variation.parts]
    tests = [part for part in parts if part in TESTS]
    if tests:
        files = [file for part in tests for file in TESTS[part]]
        commands["+".join(tests)] = [*_PYTEST, *files, *variation.options]
    if "differential" in parts:
        command = ["tests.e2e.differential_run", "--minutes", str(minutes), "--operations", "1000"]
        commands["differential"] = [*command, *variation.options]
    return commands


def run(servers: str, part: str, command: list[str], timeout_s: float) -> Result:
    """Run one part as a process of its own, with its output in a file."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{re.sub(r'[^A-Za-z0-9.]+', '-', servers)}-{part}.log"
    begin = time.monotonic()
    with log.open("wb") as output:
        code = wait_for(command, output, timeout_s)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if code != 0:
        # pytest-randomly and the differential run print their seeds: the same ones repeat what failed.
        print(f"--- {servers}: {part} ended with {code}; all of it is in {log.relative_to(ROOT)}")
        print("\n".join(line for line in lines if line.startswith(("from seed", "seed", "FAILED", "ERROR")))[-4000:])
        print("\n".join(lines[-SHOWN_LINES:]), flush=True)
    told = [line for line in lines if re.search(r"\d+ (passed|failed|seeds|error)", line)]
    return Result(servers, part, code == 0, time.monotonic() - begin, told[-1].strip("= ") if told else "no result")


def wait_for(command: list[str], output: BinaryIO, timeout_s: float) -> int:
    """Run a module in a process group of its own, of which nothing is left afterwards; returns the exit status."""
    process = subprocess.Popen(
        [sys.executable, "-c", _TIED, *command], cwd=ROOT, stdout=output, stderr=output, start_new_session=True
    )
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return -1
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def table(results: list[Result]) -> str:
    """What ran, how it ended and how long it took."""
    rows = [("servers", "part", "result", "seconds", "what")]
    for one in results:
        result = "passed" if one.passed else "FAILED"
        rows.append((one.servers, one.part, result, f"{one.seconds:.0f}", one.told))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join([*(f"{row[i]:<{widths[i]}}" for i in range(4)), row[4]]) for row in rows)


def chosen(arguments: argparse.Namespace) -> Iterator[tuple[str, str, list[str]]]:
    """Servers, part and command of each process to run."""
    variations = EACH_RELEASE if arguments.each_release else VARIATIONS
    for variation in variations:
        if not arguments.only or any(word in variation.name for word in arguments.only):
            for part, command in commands_of(variation, arguments.parts, arguments.minutes).items():
                yield variation.name, part, command
    if not (arguments.only or arguments.each_release):
        yield "their own", "matrix", [*_PYTEST, "-n", "0", OWN_SERVERS]


def main() -> int:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="a word of the names of the variations wanted")
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=0.5, help="of random seeds for each variation")
    parser.add_argument("--each-release", action="store_true", help="one variation of each release of Cassandra")
    parser.add_argument("--stop", action="store_true", help="at the first part that fails")
    arguments = parser.parse_args()
    # As an interrupt: what runs is taken down first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    results: list[Result] = []
    for servers, part, command in chosen(arguments):
        print(f"{servers}: {part}", flush=True)
        result = run(servers, part, command, PART_TIMEOUT_S + arguments.minutes * 60)
        results.append(result)
        print(f"  {result.seconds:.0f} s: {result.told}", flush=True)
        if arguments.stop and not result.passed:
            break
    print(table(results))
    print(f"{sum(result.seconds for result in results) / 60:.1f} minutes")
    return 0 if results and all(one.passed for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
