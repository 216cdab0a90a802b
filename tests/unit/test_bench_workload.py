"""The two forms of the benchmark's rows say the same."""

from __future__ import annotations

import pytest

from casscade.bench.workload import SEGMENT_VERSION, WORKLOADS, Workload, bench_table, copy_buffers, mutations
from casscade.commitlog.decoder import decode_mutation
from casscade.core.cell import NO_TIMESTAMP

TABLE = bench_table("rows")


def _fields(buffer: bytes) -> list[list[bytes]]:
    """The rows of a binary COPY stream without NULLs."""
    rows: list[list[bytes]] = []
    position = 19
    while (count := int.from_bytes(buffer[position : position + 2], "big")) != 0xFFFF:
        position += 2
        row: list[bytes] = []
        for _ in range(count):
            length = int.from_bytes(buffer[position : position + 4], "big")
            row.append(buffer[position + 4 : position + 4 + length])
            position += 4 + length
        rows.append(row)
    return rows


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_mutations_and_copy_streams_hold_the_same_rows(workload: Workload) -> None:
    shape = TABLE.shape(replicated=True)
    names = [column.name for column in sorted(TABLE.regulars, key=lambda column: column.index)]
    decoded: list[list[bytes]] = []
    for mutation in mutations(TABLE, workload, 100, 50):
        (update,) = decode_mutation(mutation, SEGMENT_VERSION, {shape.id: shape})
        (row,) = update.rows
        assert (row.liveness_ts != NO_TIMESTAMP) == workload.insert
        assert (row.deletion != NO_TIMESTAMP) == (not workload.sets)
        values = {names[index]: cell[3] for index, cell in row.cells.items()}
        decoded.append([update.key, row.clustering[0] or b"", *(values[name] or b"" for name in workload.sets)])
    buffers = copy_buffers(workload, 100, 50, 20)
    assert [len(_fields(buffer)) for buffer in buffers] == [20, 20, 10]
    assert [row for buffer in buffers for row in _fields(buffer)] == decoded


def test_later_workloads_are_newer_and_keys_never_meet() -> None:
    shape = TABLE.shape(replicated=True)
    times: list[int] = []
    keys: set[bytes] = set()
    for workload in WORKLOADS:
        updates = [decode_mutation(m, SEGMENT_VERSION, {shape.id: shape})[0] for m in mutations(TABLE, workload, 0, 64)]
        keys |= {update.key for update in updates}
        written = [
            max(update.rows[0].deletion, *(c[0] for c in update.rows[0].cells.values()), -1) for update in updates
        ]
        assert not times or min(written) > max(times)
        times = written
    assert len(keys) == 64
