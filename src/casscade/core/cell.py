"""Cells and how two of them become one.

Invariant: `reconcile` is commutative, associative and idempotent, and follows Cassandra's `Cells.reconcile` of 4.0
and later, so that the outcome does not depend on the order in which copies arrive; `reconcile_older` is the same for
3.11.

A cell is the tuple `(timestamp, expires_at, ttl, value)`:

- `timestamp`: write time, microseconds, signed 64 bit, set by the client or the coordinator.
- `expires_at`: the second (Unix time) at which an expiring cell ends; `NO_EXPIRY` for a live cell; 0 for a tombstone.
- `ttl`: seconds, > 0 for an expiring cell; 0 for live cells and tombstones; `COUNTER_TTL` marks a counter cell.
- `value`: the bytes that Cassandra wrote; None for a tombstone and for an expired cell whose value was dropped.

The time at which a tombstone was made is left out: it decides only between two tombstones of one timestamp, which
look the same to every reader.
"""

from __future__ import annotations

from typing import Final

Cell = tuple[int, int, int, bytes | None]

NO_TIMESTAMP: Final = -(1 << 63)
NO_EXPIRY: Final = (1 << 63) - 1
COUNTER_TTL: Final = -1


def live_cell(timestamp: int, value: bytes) -> Cell:
    """A cell that neither expires nor deletes."""
    return (timestamp, NO_EXPIRY, 0, value)


def tombstone_cell(timestamp: int) -> Cell:
    """A deleted cell."""
    return (timestamp, 0, 0, None)


def expiring_cell(timestamp: int, expires_at: int, ttl: int, value: bytes) -> Cell:
    """A cell that ends at second `expires_at`."""
    return (timestamp, expires_at, ttl, value)


def counter_cell(timestamp: int, context: bytes) -> Cell:
    """A counter cell; `context` holds the shards (`CounterContext`)."""
    return (timestamp, NO_EXPIRY, COUNTER_TTL, context)


def without_value(cell: Cell) -> Cell:
    """The cell of a column that is not replicated: that it lives matters for the row, what it holds does not."""
    if cell[3] is None or cell[2] == COUNTER_TTL:
        return cell
    return (cell[0], cell[1], cell[2], b"")


def is_alive(cell: Cell, now: int) -> bool:
    """Whether CQL shows the cell at second `now` (`Cell.isLive`: the expiry second itself is already over)."""
    return cell[3] is not None and cell[1] > now


def reconcile(left: Cell, right: Cell) -> Cell:
    """The winner of two cells of the same column and path (`Cells.resolveRegular`, `Cells.resolveCounter`)."""
    if left[2] == COUNTER_TTL or right[2] == COUNTER_TTL:
        return reconcile_counters(left, right)
    if left[0] != right[0]:
        return left if left[0] > right[0] else right
    left_ends = left[1] != NO_EXPIRY
    if left_ends != (right[1] != NO_EXPIRY):
        return left if left_ends else right
    if left_ends:
        left_expiring = left[2] > 0
        if left_expiring != (right[2] > 0):
            return right if left_expiring else left
        if left[1] != right[1]:
            return left if left[1] > right[1] else right
        if left[2] != right[2]:
            return left if left[2] < right[2] else right
    left_value = left[3]
    right_value = right[3]
    if left_value is None:
        return left
    if right_value is None:
        return right
    return left if left_value >= right_value else right


# Java compares the bytes of a ByteBuffer as signed ones; with the highest bit turned, unsigned order is that order.
_SIGNED_ORDER: Final = bytes(byte ^ 0x80 for byte in range(256))


def reconcile_older(left: Cell, right: Cell) -> Cell:
    """The winner by the rules of 3.11 (`Conflicts.resolveRegular`): at one timestamp the greater value by signed bytes.

    Of equal values the one that ends later wins. A tombstone wins, and so does a cell that is known to have ended: its
    value is dropped. 3.11 asks the clock instead, so that a live cell beats a smaller expiring one for ever if both
    meet in time, and loses if they meet later; here they always meet in time.
    """
    if left[2] == COUNTER_TTL or right[2] == COUNTER_TTL:
        return reconcile_counters(left, right)
    if left[0] != right[0]:
        return left if left[0] > right[0] else right
    left_value = left[3]
    right_value = right[3]
    if left_value is None or right_value is None:
        if left_value is None and right_value is None:
            return left if left[1:3] >= right[1:3] else right
        return left if left_value is None else right
    if left_value != right_value:
        greater = left_value.translate(_SIGNED_ORDER) > right_value.translate(_SIGNED_ORDER)
        return left if greater else right
    if left[1] != right[1]:
        return left if left[1] > right[1] else right
    return left if left[2] <= right[2] else right


def reconcile_counters(left: Cell, right: Cell) -> Cell:
    """Merge two counter cells, or a counter cell and a tombstone: a tombstone wins whatever its timestamp."""
    left_context = left[3]
    right_context = right[3]
    if left_context is None:
        return left if right_context is not None or left[0] >= right[0] else right
    if right_context is None:
        return right
    merged = merge_contexts(left_context, right_context)
    return (left[0] if left[0] >= right[0] else right[0], NO_EXPIRY, COUNTER_TTL, merged)


_SHARD_SIZE: Final = 32
_GLOBAL: Final = 2
_LOCAL: Final = 1
_REMOTE: Final = 0


def _shards(context: bytes) -> dict[bytes, tuple[int, int, int]]:
    """Counter id -> (kind, clock, count)."""
    count = abs(int.from_bytes(context[0:2], "big", signed=True))
    kinds: dict[int, int] = {}
    for i in range(count):
        index = int.from_bytes(context[2 + 2 * i : 4 + 2 * i], "big", signed=True)
        if index < 0:
            kinds[index + 32768] = _GLOBAL
        else:
            kinds[index] = _LOCAL
    shards: dict[bytes, tuple[int, int, int]] = {}
    offset = 2 + 2 * count
    index = 0
    while offset + _SHARD_SIZE <= len(context):
        shards[context[offset : offset + 16]] = (
            kinds.get(index, _REMOTE),
            int.from_bytes(context[offset + 16 : offset + 24], "big", signed=True),
            int.from_bytes(context[offset + 24 : offset + 32], "big", signed=True),
        )
        offset += _SHARD_SIZE
        index += 1
    return shards


def merge_contexts(left: bytes, right: bytes) -> bytes:
    """Merge two counter contexts shard by shard (`CounterContext.merge`)."""
    if left == right:
        return left
    shards = _shards(left)
    for counter_id, shard in _shards(right).items():
        mine = shards.get(counter_id)
        shards[counter_id] = shard if mine is None else _merge_shards(mine, shard)
    header = bytearray()
    marked = 0
    body = bytearray()
    for index, counter_id in enumerate(sorted(shards)):
        kind, clock, count = shards[counter_id]
        if kind != _REMOTE:
            marked += 1
            header += (index - 32768 if kind == _GLOBAL else index).to_bytes(2, "big", signed=True)
        body += counter_id + clock.to_bytes(8, "big", signed=True) + count.to_bytes(8, "big", signed=True)
    return marked.to_bytes(2, "big", signed=True) + bytes(header) + bytes(body)


def _merge_shards(left: tuple[int, int, int], right: tuple[int, int, int]) -> tuple[int, int, int]:
    """A global shard beats the others, the higher clock beats the lower, equal clocks keep the larger count.

    Local shards, which Cassandra adds up, were last written by 2.0; adding would not be idempotent under replay, so
    the one with the higher clock stays.
    """
    return left if left >= right else right


def counter_total(context: bytes) -> int:
    """The value that CQL shows: the sum over the shards, as a signed 64-bit number that wraps like Java's."""
    total = sum(shard[2] for shard in _shards(context).values())
    return (total + (1 << 63)) % (1 << 64) - (1 << 63)
