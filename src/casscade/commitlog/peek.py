"""What can be told about a mutation without a schema.

Invariant: no false negatives: a mutation that writes to a wanted table is never reported as one that does not.
"""

from __future__ import annotations

from collections.abc import Collection

from casscade.commitlog.faults import corrupt_mutation
from casscade.cql.vint import read_unsigned


def first_table_id(data: bytes) -> bytes:
    """The table id (16 bytes) of the first update; raises CorruptionError when the data is shorter."""
    start = 1
    if data and data[0] >= 0x80:
        start = 1 + 8 - (data[0] ^ 0xFF).bit_length()
    table_id = data[start : start + 16]
    if len(table_id) < 16:
        raise corrupt_mutation("it ends too early")
    return table_id


def mentions_any(data: bytes, ids: Collection[bytes]) -> bool:
    """Whether the mutation may write to a table of `ids` (16 bytes each; a set or dict is fastest).

    Exact for a mutation of one update. With several, the id is searched in all of the bytes, because an update has no
    length: a value that happens to hold the id makes the answer yes, and decoding finds out.
    """
    if data[:1] == b"\x01":
        return data[1:17] in ids
    return any(table_id in data for table_id in ids)


def partition_key_of(data: bytes) -> bytes:
    """The serialized partition key, which all updates of a mutation share; CorruptionError when it is not whole."""
    try:
        _, pos = read_unsigned(data, 0)
        length, pos = read_unsigned(data, pos + 16)
    except (IndexError, ValueError):
        raise corrupt_mutation("it ends too early") from None
    if pos + length > len(data):
        raise corrupt_mutation("it ends too early")
    return data[pos : pos + length]
