"""A dry run shows what the segments at hand would write, masks applied, and leaves everything as it was."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any, cast

import pytest

from casscade.bench.path import write_segment
from casscade.commitlog.encoder import clustering_key, encode_mutation
from casscade.core.cell import live_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.cql.types import CqlType
from casscade.pipeline.catalog import Catalog
from casscade.pipeline.dry_run import dry_run, tell
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes
from tests.support.ruled import configuration, rules_of, target_of

NOW = 2_000_000_000
ENTRY: dict[str, Any] = {
    "where": "k < 9 and country = 'DE'",
    "transforms": [
        {"mask": {"columns": ["email"], "with": "partial"}},
        {"null": {"columns": ["phone"]}},
        {"cast": {"columns": ["age"], "to": "int"}},
    ],
}


class FixedCatalog:
    """A catalog of one table."""

    def __init__(self, table: Table) -> None:
        self.rules = {table.id.bytes: rules_of(table, ENTRY)}
        self.targets = [target_of(table, self.rules[table.id.bytes])]
        self._shape = table.shape(replicated=True)

    def tables(self) -> dict[bytes, Any]:
        return {self._shape.id: self._shape}


def _table() -> Table:
    columns = [Column("p", ColumnKind.PARTITION_KEY, 0, CqlType("int"))]
    columns.append(Column("k", ColumnKind.CLUSTERING, 0, CqlType("int")))
    columns += [Column(n, ColumnKind.REGULAR, -1, CqlType("text")) for n in ("age", "country", "email", "phone")]
    return assign_indexes(Table(uuid.uuid4(), "ks", "people", tuple(columns)), {})


def _mutation(table: Table, key: int, **values: str) -> bytes:
    clustering: list[bytes | None] = [key.to_bytes(4, "big")]
    row = Row(clustering_key(clustering, [4]), clustering)
    row.liveness_ts = 1
    for name, value in values.items():
        column = table.column(name)
        assert column is not None
        row.cells[column.index] = live_cell(1, value.encode())
    update = PartitionUpdate(table.shape(replicated=True), b"\x00\x00\x00\x01")
    update.rows = [row]
    return encode_mutation([update], 7)


def _listing(directory: Path) -> list[tuple[str, int, float]]:
    return sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime) for entry in os.scandir(directory))


@pytest.mark.requirement("FR-013")
@pytest.mark.requirement("FR-030")
def test_it_shows_the_effect_and_changes_nothing(tmp_path: Path) -> None:
    table = _table()
    person = {"country": "DE", "email": "ada@example.org", "phone": "555-1234", "age": "36"}
    mutations = [
        _mutation(table, 1, **person),
        _mutation(table, 2, **{**person, "age": "secret"}),
        _mutation(table, 3, **{**person, "country": "FR"}),
        _mutation(table, 9, **person),
        _mutation(table, 4, country="DE"),
        b"\x01no mutation",
    ]
    write_segment(tmp_path, 5, mutations)
    before = _listing(tmp_path)
    config = configuration(ENTRY)
    config = config.model_copy(update={"capture": config.capture.model_copy(update={"cdc_directory": tmp_path})})
    effect = dry_run(config, cast(Catalog, FixedCatalog(table)), NOW, samples=1)
    found = effect.tables["ks.people"]
    assert found.rows["shown"] == 2
    assert found.rows["hidden by where"] == 1
    assert found.rows["dead letters (rule_failed)"] == 1
    assert effect.left_out["filtered"] == 1
    assert sum(effect.dead_letters.values()) == 1
    (sample,) = found.samples
    assert sample == {
        "p": "1",
        "k": "1",
        "age": "36",
        "country": "DE",
        "email": "***********.org",
        "phone": "NULL",
    }
    lines: list[str] = []
    tell(effect, lines.append)
    text = "\n".join(lines)
    assert "6 mutations in 1 segments; nothing was written" in text
    assert "1 rows (filtered)" in text
    assert "ada" not in text
    assert "1234" not in text
    assert "secret" not in text
    assert _listing(tmp_path) == before
