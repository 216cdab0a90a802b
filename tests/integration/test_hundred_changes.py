"""A hundred changes of schema, one after the other, between the writes of two loaders."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from casscade.core.cell import live_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.schema.reader import read_schema
from tests.support.fake_schema import FakeCassandra, FakeLoader, encoded

pytestmark = pytest.mark.servers

CHANGES: Final = 100
SECOND: Final = 1_000_000
VALUES: Final = {"text": (b"seven", "seven"), "int": (bytes([0, 0, 0, 7]), 7), "blob": (b"\x07", b"\x07")}


class Day:
    """Table `t` as Cassandra has it, with the row of key 1 as CQL shows it."""

    def __init__(self, cassandra: FakeCassandra, seed: int) -> None:
        self._cassandra, self._random = cassandra, random.Random(seed)
        self.shown: dict[str, Any] = {}
        self._dropped: dict[str, str] = {}
        self._living: dict[str, str] = {}
        self._clustering = "c"
        self._number = 0

    def change(self) -> None:
        """One ALTER."""
        pick = self._random.random()
        if pick < 0.25 and len(self._living) > 2:
            name = self._random.choice(sorted(self._living))
            self._dropped[name] = self._living.pop(name)
            self._cassandra.drop(name)
            self.shown.pop(name, None)
        elif pick < 0.4 and self._dropped:
            name = self._random.choice(sorted(self._dropped))
            self._living[name] = self._dropped.pop(name)
            self._cassandra.add(name, self._living[name])
        elif pick < 0.5:
            self._number += 1
            self._cassandra.rename(self._clustering, f"c{self._number}")
            self._clustering = f"c{self._number}"
        else:
            self._number += 1
            name, type_ = f"n{self._number}", self._random.choice(sorted(VALUES))
            self._living[name] = type_
            self._cassandra.add(name, type_)

    def write(self) -> bytes:
        """An UPDATE of some columns, written after the newest ALTER."""
        found = read_schema(self._cassandra).find("k", "t")
        assert found is not None
        shape = found.shape(replicated=True)
        row = Row(b"\x00\x00\x00\x00\x01", [(1).to_bytes(4, "big")])
        row.liveness_ts = self._cassandra.clock * SECOND + SECOND // 2
        for name in self._random.sample(sorted(self._living), min(3, len(self._living))):
            stored, self.shown[name] = VALUES[self._living[name]]
            row.cells[shape.columns[name.encode()].index] = live_cell(row.liveness_ts, stored)
        update = PartitionUpdate(shape, b"x")
        update.rows.append(row)
        return encoded(update)

    def query(self) -> str:
        """What reads the row: all that Cassandra has."""
        return f"SELECT {', '.join(['p', self._clustering, *sorted(self._living)])} FROM k.t"

    def row(self) -> tuple[Any, ...]:
        """What it should show."""
        return ("x", 1, *(self.shown.get(name) for name in sorted(self._living)))


@pytest.fixture
def loaders(database: str, tmp_path: Path) -> Iterator[list[FakeLoader]]:
    cassandra = FakeCassandra()
    cassandra.table()
    made = [
        FakeLoader(cassandra, database, tmp_path, name, check_s=check_s) for name, check_s in (("a", 0.0), ("b", 9e9))
    ]
    yield made
    for loader in made:
        loader.close()


@pytest.mark.requirement("SC-012")
@pytest.mark.requirement("FR-015")
@pytest.mark.requirement("FR-016")
def test_a_hundred_changes_without_a_failure(loaders: list[FakeLoader]) -> None:
    seed = random.randrange(1 << 32)
    day, rng = Day(loaders[0].cassandra, seed), random.Random(seed)
    for number in range(CHANGES):
        day.change()
        # The second one never asks Cassandra by itself: it follows what the first recorded, and what it can't decode.
        counts = rng.choice(loaders).take(day.write())
        assert not counts.dead_letters, f"seed {seed}, change {number}"
        if number % 10 == 9:
            loaders[0].evolution.look()
            assert loaders[0].rows(day.query()) == [day.row()], f"seed {seed}, change {number}"
    versions = loaders[0].rows("SELECT count(*), max(version) FROM casscade.schema_versions")
    assert versions[0][0] == versions[0][1] <= CHANGES + 1
    assert all(loader.evolution.failure is None for loader in loaders)
