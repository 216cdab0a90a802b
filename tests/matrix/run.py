"""Every supported version of both servers, one after the other: `make test-matrix`.

    python -m tests.matrix.run                          all of it
    python -m tests.matrix.run --only 3.11 --only Zstd  the variations whose name holds one of the words
    python -m tests.matrix.run --parts differential --minutes 15

Invariant: one variation has servers at a time; the exit status is 0 only if every part of every one passed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "build" / "matrix"
# A part that takes longer hangs: the longest took a quarter of it on an idle machine.
PART_TIMEOUT_S = 1200.0
SHOWN_LINES = 25


@dataclass(frozen=True, slots=True)
class Variation:
    """The servers of one round; see `tests.support.servers`."""

    cassandra: str
    mode: str
    compression: str
    sync: str
    postgres: str

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


# Every version plain and with LZ4, every compressor, every way to sync; both PostgreSQL versions with each Cassandra.
VARIATIONS = (
    Variation("3.11.19", "NONE", "none", "periodic", "12"),
    Variation("3.11.19", "NONE", "LZ4", "batch", "18"),
    Variation("4.0.19", "NONE", "none", "group", "18"),
    Variation("4.0.19", "NONE", "LZ4", "periodic", "12"),
    Variation("4.1.10", "NONE", "none", "periodic", "12"),
    Variation("4.1.10", "NONE", "LZ4", "group", "18"),
    Variation("5.0.6", "CASSANDRA_4", "none", "batch", "12"),
    Variation("5.0.6", "CASSANDRA_4", "LZ4", "periodic", "18"),
    Variation("5.0.6", "UPGRADING", "Snappy", "periodic", "12"),
    Variation("5.0.6", "NONE", "Zstd", "group", "18"),
    Variation("5.0.6", "NONE", "Deflate", "periodic", "12"),
)
_PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2"]
# The tests that show what depends on a server's version: all kinds of writes and the pipeline as users run it; and
# each reader and writer alone.
TESTS = {
    "pipeline": ["tests/e2e/test_writes.py", "tests/e2e/test_replication.py"],
    "servers": [
        "tests/integration/test_schema_reader.py",
        "tests/integration/test_cql_order_cassandra.py",
        "tests/integration/test_schema_postgres.py",
        "tests/integration/test_load_oracle.py",
        "tests/integration/test_load_updates.py",
        "tests/integration/test_pipeline_database.py",
    ],
}
PARTS = (*TESTS, "differential")
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


def command_of(variation: Variation, part: str, minutes: float) -> list[str]:
    """What runs one part against one variation."""
    if part in TESTS:
        return [*_PYTEST, *TESTS[part], *variation.options]
    command = [sys.executable, "-m", "tests.e2e.differential_run", "--minutes", str(minutes)]
    return [*command, "--operations", "1000", *variation.options]


def run(servers: str, part: str, command: list[str], timeout_s: float) -> Result:
    """Run one part as a process of its own, with its output in a file."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{re.sub(r'[^A-Za-z0-9.]+', '-', servers)}-{part}.log"
    begin = time.monotonic()
    with log.open("wb") as output:
        try:
            ended = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, timeout=timeout_s, check=False)
            code = ended.returncode
        except subprocess.TimeoutExpired:
            code = -1
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if code != 0:
        # pytest-randomly and the differential run print their seeds: the same ones repeat what failed.
        print(f"--- {servers}: {part} ended with {code}; all of it is in {log.relative_to(ROOT)}")
        print("\n".join(line for line in lines if line.startswith(("from seed", "seed", "FAILED", "ERROR")))[-4000:])
        print("\n".join(lines[-SHOWN_LINES:]), flush=True)
    told = [line for line in lines if re.search(r"\d+ (passed|failed|seeds|error)", line)]
    return Result(servers, part, code == 0, time.monotonic() - begin, told[-1].strip("= ") if told else "no result")


def table(results: list[Result]) -> str:
    """What ran, how it ended and how long it took."""
    rows = [("servers", "part", "result", "seconds", "what")]
    for one in results:
        result = "passed" if one.passed else "FAILED"
        rows.append((one.servers, one.part, result, f"{one.seconds:.0f}", one.told))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join([*(f"{row[i]:<{widths[i]}}" for i in range(4)), row[4]]) for row in rows)


def main() -> int:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="a word of the names of the variations wanted")
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=0.5, help="of random seeds for each variation")
    arguments = parser.parse_args()
    results = []
    for variation in VARIATIONS:
        if arguments.only and not any(
            word in variation.name.split() or word in variation.name for word in arguments.only
        ):
            continue
        for part in arguments.parts:
            print(f"{variation.name}: {part}", flush=True)
            command = command_of(variation, part, arguments.minutes)
            results.append(run(variation.name, part, command, PART_TIMEOUT_S + arguments.minutes * 60))
    if not arguments.only:
        print(f"their own servers: {OWN_SERVERS}", flush=True)
        results.append(run("their own", "matrix", [*_PYTEST[:-2], OWN_SERVERS], PART_TIMEOUT_S))
    print(table(results))
    return 0 if results and all(one.passed for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
