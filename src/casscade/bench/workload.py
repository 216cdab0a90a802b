"""The rows of the benchmark: once as mutations of a commit log, once as fields of PostgreSQL's binary COPY.

Invariant: for one workload and one range of rows both forms say the same, and they are the same in every run.
"""

from __future__ import annotations

import random
import struct
import uuid
from dataclasses import dataclass
from typing import Final

from casscade.commitlog.encoder import clustering_key, encode_mutation
from casscade.core.cell import live_cell
from casscade.core.mutation import PartitionUpdate, Row
from casscade.cql.types import CqlType
from casscade.schema.model import Column, ColumnKind, Table, assign_indexes

KEYSPACE: Final = "casscade_bench"
# What Cassandra 4.0 to 5.0 write unless 5.0 is told that no older node has to read it.
SEGMENT_VERSION: Final = 7
# Scatters row numbers over the 64-bit keys, as hashed identifiers are; odd, so that no two rows meet.
_SCATTER: Final = 0x9E3779B97F4A7C15
_FIRST_WRITE_TIME: Final = 1_700_000_000_000_000
_TEXTS: Final = ("paid", "shipped", "waiting for the supplier", "returned by the customer, refund is on its way")

VALUE_TYPES: Final = {
    "amount": "double",
    "counted": "int",
    "note": "text",
    "open": "boolean",
    "owner": "uuid",
    "stamp": "bigint",
    "status": "text",
}
_FIXED_ALIKE: Final = {"double": "double precision", "int": "integer"}


@dataclass(frozen=True, slots=True)
class Workload:
    """What is written to each row: the columns `sets` (none: the row is deleted), as INSERT or as UPDATE.

    `round_no` makes later workloads newer than earlier ones.
    """

    name: str
    sets: tuple[str, ...]
    insert: bool
    round_no: int


WORKLOADS: Final = (
    Workload("insert", tuple(VALUE_TYPES), insert=True, round_no=0),
    Workload("update", tuple(VALUE_TYPES), insert=False, round_no=1),
    Workload("partial update", ("counted", "status"), insert=False, round_no=2),
    Workload("delete", (), insert=False, round_no=3),
)


def bench_table(name: str) -> Table:
    """A table of nine columns: a key of two, and seven values of mixed types."""
    columns = [
        Column("id", ColumnKind.PARTITION_KEY, 0, CqlType("bigint")),
        Column("line", ColumnKind.CLUSTERING, 0, CqlType("int")),
        *(Column(column, ColumnKind.REGULAR, -1, CqlType(type_)) for column, type_ in VALUE_TYPES.items()),
    ]
    return assign_indexes(Table(uuid.uuid5(uuid.NAMESPACE_OID, name), KEYSPACE, name, tuple(columns), cdc=True), {})


def pg_type(column: str) -> str:
    """The PostgreSQL type of a value column; the bytes of all of them are those that Cassandra writes."""
    type_ = VALUE_TYPES[column]
    return _FIXED_ALIKE.get(type_, type_)


def row_order(workload: Workload, first: int, count: int) -> list[int]:
    """The numbers of the rows in the order in which they are written: inserts as they come, the rest at random."""
    numbers = list(range(first, first + count))
    if workload.round_no:
        random.Random(first + workload.round_no).shuffle(numbers)
    return numbers


def row_key(number: int) -> tuple[bytes, bytes]:
    """Partition key and clustering value of a row."""
    return (number * _SCATTER & (1 << 64) - 1).to_bytes(8, "big"), (number & 7).to_bytes(4, "big")


def row_values(workload: Workload, number: int) -> dict[str, bytes]:
    """The values that the workload writes to a row, by column."""
    seed = number * 31 + workload.round_no
    return {name: _value(name, seed) for name in workload.sets}


def _value(name: str, seed: int) -> bytes:
    if name == "amount":
        return struct.pack(">d", seed / 7)
    if name == "counted":
        return (seed & 0x7FFFFFFF).to_bytes(4, "big")
    if name == "open":
        return b"\x01" if seed & 1 else b"\x00"
    if name == "owner":
        return uuid.UUID(int=seed * _SCATTER, version=4).bytes
    if name == "stamp":
        return (_FIRST_WRITE_TIME + seed).to_bytes(8, "big")
    if name == "status":
        return _TEXTS[seed % len(_TEXTS)].encode()
    return f"order {seed} of customer {seed % 997}".encode()


def mutations(table: Table, workload: Workload, first: int, count: int) -> list[bytes]:
    """One serialized mutation for each row."""
    shape = table.shape(replicated=True)
    indexes = {column.name: column.index for column in table.regulars}
    written: list[bytes] = []
    for number in row_order(workload, first, count):
        partition_key, clustering = row_key(number)
        write_time = _FIRST_WRITE_TIME + workload.round_no * 1_000_000_000_000 + number
        row = Row(clustering_key([clustering], [4]), [clustering])
        if workload.insert:
            row.liveness_ts = write_time
        if not workload.sets:
            row.deletion = write_time
        for name, value in row_values(workload, number).items():
            row.cells[indexes[name]] = live_cell(write_time, value)
        update = PartitionUpdate(shape, partition_key)
        update.rows.append(row)
        written.append(encode_mutation([update], SEGMENT_VERSION))
    return written


def copy_buffers(workload: Workload, first: int, count: int, batch_rows: int) -> list[bytes]:
    """The same rows for COPY in binary, so many to a buffer: the key, then the columns that are set."""
    numbers = row_order(workload, first, count)
    head = (2 + len(workload.sets)).to_bytes(2, "big")
    buffers: list[bytes] = []
    for start in range(0, count, batch_rows):
        parts = [b"PGCOPY\n\xff\r\n\x00" + bytes(8)]
        for number in numbers[start : start + batch_rows]:
            parts.append(head)
            for field in (*row_key(number), *row_values(workload, number).values()):
                parts.append(len(field).to_bytes(4, "big") + field)
        parts.append(b"\xff\xff")
        buffers.append(b"".join(parts))
    return buffers
