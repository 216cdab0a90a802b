"""A pipeline without Cassandra in a process of its own, which dies at a failpoint: hand-made segments to PostgreSQL.

Invariant: what runs is what `casscade run` runs (follower, direct transport, loader, batch writer, and the agent's
position file); the workload follows from the seed alone, so that the parent knows what has to come out of it.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import random
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import psycopg

from casscade.capture.follower import Follower
from casscade.capture.position_file import PositionFile
from casscade.commitlog.encoder import clustering_key, encode_mutation
from casscade.commitlog.writer import encode_segment
from casscade.core import failpoints
from casscade.core.cell import expiring_cell, live_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.core.position import Position
from casscade.deadletter import replayer as replaying
from casscade.deadletter.replayer import Replayer
from casscade.deadletter.store import DeadLetterStore
from casscade.load import loader as loading
from casscade.load.batch import BatchWriter
from casscade.load.batcher import Batcher
from casscade.load.catalog import execute_ddl, lock_ddl, read_existing
from casscade.load.control import ControlStore
from casscade.load.observer import Committed, Observer
from casscade.load.raw import register
from casscade.load.sources import Sources
from casscade.schema.ddl import plan_target
from casscade.schema.mapping import Target, build_target
from casscade.schema.model import Table
from casscade.transport.direct import DirectTransport
from tests.support import crash_kin
from tests.support.oracle import oracle_table, random_update, read_both, rows_expected
from tests.support.proxy import Proxy, proxy
from tests.support.random_rows import NOW

VERSION: Final = 8
SEGMENTS: Final = 6
UPDATES: Final = 20
SOURCE: Final = "8f4e9d2c-0000-4000-8000-000000000001"
# Where the table goes: rows, then static rows, in the order in which a batch writes them.
RELATIONS: Final = ("ks.t11", "ks.t11_static")
# What the bytes of every COPY begin with.
COPY: Final = b"PGCOPY\n"
# What becomes of the damage, and of the mutation that nobody can decode.
LETTERS: Final = ("frame_checksum", "mutation_corrupt")
# What is streamed: the updates, the mutation that nobody can decode, and rows of tables with constraints.
MUTATIONS: Final = SEGMENTS * UPDATES + 1 + crash_kin.COUNT
LIFE_S_MAX: Final = 20.0
# Everything lives before the moment at which the reaper runs.
_EARLIER_S: Final = 200
_BATCH_ROWS: Final = 25
# A partition and a write time that no random update has.
_PARTITION: Final = b"\0\0\0\x09"
_LAST: Final = 9
_AHEAD: Final = 3
_STUCK: Final = 4
_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Life:
    """What one life is given; `dsn` may lead through a proxy."""

    dsn: str
    directory: Path
    seed: int
    environment: Mapping[str, str] = field(default_factory=dict)
    options: str = "-c statement_timeout=2000"

    @property
    def cdc(self) -> Path:
        """Where the segments lie."""
        return self.directory / "cdc_raw"

    @property
    def retried(self) -> Path:
        """A file that is there once a batch is to be tried again: the codes of the failures, one on a line."""
        return self.directory / "retried"

    @property
    def told(self) -> Path:
        """How many mutations a life that ended counted as committed."""
        return self.directory / "told"


def target_of(seed: int) -> Target:
    """The table of a seed."""
    table = replace(oracle_table(clustering=True, statics=True), id=uuid.UUID(int=seed, version=4))
    return build_target(table)


def updates_of(seed: int) -> list[PartitionUpdate]:
    """All updates in order; new objects each time, because merging uses them up."""
    rng = random.Random(seed)
    table = target_of(seed).table
    found: list[PartitionUpdate] = []
    for segment in range(SEGMENTS):
        found += [random_update(rng, table, 0.6) for _ in range(UPDATES - 1)]
        found.append(_certain(table, segment))
    return found


def _certain(table: Table, segment: int) -> PartitionUpdate:
    """What every life has to do with, whatever the seed: a value that ends, a row that is gone, and one that stays."""
    update = PartitionUpdate(table.shape(replicated=True), _PARTITION)
    for kind in range(3):
        clustering: list[bytes | None] = [(10 * segment + kind).to_bytes(4, "big")]
        row = Row(clustering_key(clustering, [4]), clustering)
        if kind == 0:
            row.deletion = _LAST
        else:
            row.liveness_ts = _LAST
            row.cells = {
                0: expiring_cell(_LAST, NOW - 100, 60, b"\0\0\0\1") if kind == 1 else live_cell(_LAST, b"\0\0\0\2")
            }
        update.rows.append(row)
    return update


def write_segments(life: Life) -> None:
    """The segments as a node that has completed them leaves them: the last holds a mutation that nobody can decode, and
    damage behind all mutations of the table.
    """
    life.cdc.mkdir(parents=True)
    mutations = [encode_mutation([update], VERSION) for update in updates_of(life.seed)]
    broken = mutations[-1][:17] + b"\x04\x00\x00"
    for number in range(SEGMENTS):
        part = mutations[number * UPDATES : (number + 1) * UPDATES]
        last = number == SEGMENTS - 1
        kin = crash_kin.updates(last=last) if number == 0 or last else []
        part += [encode_mutation([update], VERSION) for update in kin]
        part += [broken, bytes(40)] if last else []
        data = bytearray(encode_segment(number + 1, VERSION, part, mutations_per_section=7))
        if last:
            data[-20] ^= 0xFF
        name = f"CommitLog-{VERSION}-{number + 1}"
        (life.cdc / f"{name}.log").write_bytes(data)
        (life.cdc / f"{name}_cdc.idx").write_text(f"{len(data)}\nCOMPLETED", encoding="ascii")


def start(life: Life) -> Lived:
    """Live once in a process of its own; returns at once."""
    return Lived(life)


class Lived:
    """A life that was started."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._process = _forks.Process(target=_live, args=(life,), daemon=True)
        self._process.start()

    def wait(self) -> int:
        """Its exit status, negative for a signal; raises AssertionError when it does not end."""
        self._process.join(LIFE_S_MAX + 5.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
            raise AssertionError(f"a life did not end; seed {self._life.seed}, {dict(self._life.environment)}")
        code = self._process.exitcode
        assert code is not None
        return code


def run(life: Life) -> int:
    """Live once; returns the exit status."""
    return start(life).wait()


def killed_and_restarted(life: Life, name: str, hit: int) -> list[str]:
    """Die when `name` is reached for the `hit`-th time, live once more, and tell what differs then.

    Raises AssertionError when the first life did not die there, or the second did not end well.
    """
    write_segments(life)
    code = run(replace(life, environment={"CASSCADE_FAILPOINT": f"{name}:{hit}"}))
    assert code == -signal.SIGKILL, f"it ended with {code} without reaching {name} {hit} times; seed {life.seed}"
    code = run(life)
    assert code == 0, f"after a kill at {name}:{hit} it ended with {code}; seed {life.seed}"
    return differences(life, life.dsn)


@contextmanager
def through_proxy(dsn: str, directory: Path, seed: int) -> Iterator[tuple[Life, Proxy]]:
    """A life whose way to PostgreSQL is a proxy; its segments are written."""
    info = psycopg.conninfo.conninfo_to_dict(dsn)
    with proxy((str(info["host"]), int(str(info["port"])))) as between:
        made = psycopg.conninfo.make_conninfo(dsn, port=between.port)
        life = Life(made, directory, seed)
        write_segments(life)
        yield life, between


def retries_of(life: Life) -> list[str]:
    """The codes of the failures after which a batch was tried again."""
    return life.retried.read_text("ascii").split() if life.retried.exists() else []


def differences(life: Life, dsn: str) -> list[str]:
    """What is not as the pure merge of all updates has it."""
    target = target_of(life.seed)
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = read_both(connection, target)
        letters = connection.execute("SELECT code FROM casscade.dead_letters ORDER BY code").fetchall()
        problems = crash_kin.differences(connection)
    expected = rows_expected(updates_of(life.seed), target.table)
    problems += [f"{kind} differ" for kind, a, b in zip(("rows", "statics"), found, expected, strict=True) if a != b]
    problems += [] if expected[0] else ["nothing is expected"]
    problems += [] if letters == [(code,) for code in LETTERS] else [f"dead letters {letters}"]
    left = sorted(path.name for path in life.cdc.iterdir())
    problems += [f"left in cdc_raw: {left}"] if left else []
    kept = life.directory / "state" / "quarantine" / f"CommitLog-{VERSION}-{SEGMENTS}.log"
    problems += [] if kept.exists() else ["the damaged segment is not in quarantine"]
    told = int(life.told.read_text("ascii"))
    return problems if told <= MUTATIONS else [*problems, f"{told} of {MUTATIONS} mutations were counted"]


_forks: Final = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.support.crash_life"])


def _live(life: Life) -> None:
    """The child: bring everything to PostgreSQL, then let the reaper run, then end well."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    failpoints.arm(life.environment)
    loading.REAP_INTERVAL_S = replaying.POLL_S = 0.02  # type: ignore[misc]
    raise SystemExit(_Parts(life).run())


class _Told(Observer):
    """Mutations that were committed, and the codes of failures after which a batch was tried again."""

    def __init__(self, life: Life) -> None:
        self.mutations = 0
        self._retried = life.retried

    def committed(self, committed: Committed) -> None:
        """Count a batch."""
        self.mutations += committed.mutations

    def retrying(self, code: str, wait_s: float, failures: int) -> None:
        """Note the code."""
        with self._retried.open("a", encoding="ascii") as file:
            file.write(f"{code}\n")


class _Parts:
    def __init__(self, life: Life) -> None:
        self._life = life
        self._later = threading.Event()
        self._target = target_of(life.seed)
        self._control = ControlStore("crash", "casscade")

    def run(self) -> int:
        life, target = self._life, self._target
        state = life.directory / "state"
        stored = PositionFile(state, SOURCE)
        with self._connect() as connection, connection.transaction():
            self._control.migrate(connection)
            lock_ddl(connection)
            execute_ddl(connection, plan_target(target, read_existing(connection, target)))
            epoch, position = self._control.acquire(connection, SOURCE)
            writer = BatchWriter(self._control, Sources.single(SOURCE, epoch, position), clock=self._clock)
            writer.add_target(connection, target, 3600)
            crash_kin.prepare(connection, writer)
            crash_kin.release(connection)
        if stored.load() > position:
            return _AHEAD
        stop = threading.Event()
        transport = DirectTransport(1 << 20)
        transport.acknowledge(SOURCE, position)
        shape = target.table.shape(replicated=True)
        shapes = {shape.id: shape, **crash_kin.SHAPES}
        batcher = Batcher(lambda: shapes, lambda _: False, batch_rows=_BATCH_ROWS, batch_s=0.02)
        told = _Told(life)
        loader = loading.Loader(transport, batcher, writer, self._connect, stop, told)
        follower = Follower(SOURCE, life.cdc, state, shapes.keys, transport, position, stop, poll_s=0.02)
        replayer = Replayer(DeadLetterStore("crash", "casscade"), self._transaction, transport.put, stop)
        capture = threading.Thread(target=follower.run, name="capture", daemon=True)
        loader.start()
        capture.start()
        code = self._wait(transport, stored, stop, replayer)
        stop.set()
        loader.join(5.0)
        capture.join(5.0)
        life.told.write_text(str(told.mutations), encoding="ascii")
        return code if loader.failure is None else _STUCK

    def _wait(self, transport: DirectTransport, stored: PositionFile, stop: threading.Event, replayer: Replayer) -> int:
        """Until everything is durable and deleted, then until nothing expired is left."""
        deadline = time.monotonic() + LIFE_S_MAX
        while not stop.wait(0.01) and time.monotonic() < deadline:
            acknowledged = transport.acknowledged(SOURCE)
            if acknowledged > Position(0, 0):
                stored.save(acknowledged)
            if any(self._life.cdc.iterdir()):
                continue
            if not self._later.is_set():
                self._later.set()
                replayer.start()
            if self._settled():
                return 0
        return _STUCK

    def _settled(self) -> bool:
        """Nothing expired is left, nothing waits, and nothing of what can be applied is a dead letter."""
        with self._connect() as connection:
            return crash_kin.settled(connection) and not any(
                connection.execute(
                    f"SELECT EXISTS (SELECT FROM {name} WHERE _cdc_expires_at <= to_timestamp({NOW}))".encode()
                ).fetchone()
                == (True,)
                for name in RELATIONS
            )

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        with self._connect() as connection, connection.transaction():
            yield connection

    def _clock(self) -> float:
        return float(NOW if self._later.is_set() else NOW - _EARLIER_S)

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self._life.dsn, autocommit=True, connect_timeout=5, options=self._life.options)
        register(connection)
        return connection
