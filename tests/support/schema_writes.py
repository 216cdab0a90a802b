"""Rows as Cassandra writes them with the schema that it has at that moment."""

from __future__ import annotations

from casscade.core.cell import expiring_cell, live_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.schema.reader import read_schema
from tests.support.fake_schema import FakeCassandra, encoded


def write(
    cassandra: FakeCassandra,
    at: int,
    values: dict[str, bytes],
    *,
    key: int = 1,
    insert: bool = True,
    ttl: int = 0,
    table: str = "t",
) -> bytes:
    """An INSERT (or UPDATE) at `at` microseconds with the schema as it is now."""
    found = read_schema(cassandra).find("k", table)
    assert found is not None
    shape = found.shape(replicated=True)
    row = Row(b"\x00" + key.to_bytes(4, "big"), [key.to_bytes(4, "big")])
    if insert:
        row.liveness_ts = at
    for name, value in values.items():
        index = shape.columns[name.encode()].index
        row.cells[index] = live_cell(at, value) if not ttl else expiring_cell(at, 4_000_000_000, ttl, value)
    update = PartitionUpdate(shape, b"x")
    update.rows.append(row)
    return encoded(update)


def number(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "big", signed=True)
