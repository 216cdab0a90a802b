"""What a read showed of a column whose cells CQL hides.

Invariant: `join_observed` is commutative, associative and idempotent, and what is settled stays settled.

CQL does not show the shards of a counter, the paths of the elements of a non-frozen list, nor, before Cassandra 5.0,
the write times of the elements of any non-frozen collection or UDT. Of such a column a snapshot brings an observation
instead of cells. It is the tuple `(read_at, bound, expires_at, value)`:

- `read_at`: the microsecond at which the read began: of two observations the later one tells.
- `bound`: no cell that any observation of the column saw is newer, so a deletion at or above it ends them all;
  `UNBOUNDED` where write times are not shown. Two observations have the lower one: whatever the one with the higher
  bound saw beyond the other is in the stream.
- `expires_at`: the second at which the first thing in the value ends, `NO_EXPIRY` if nothing does or nothing is known.
- `value`: the value as CQL shows it (the frozen form of a collection, 8 bytes for a counter).

`SETTLED` says that nothing hidden is left: all that is alive in the column was written after capture began and is in
the stream. It holds for good, so it wins over any observation.
"""

from __future__ import annotations

from typing import Final

from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP

Observed = tuple[int, int, int, bytes | None]

UNBOUNDED: Final = (1 << 63) - 1

SETTLED: Final[Observed] = (UNBOUNDED, NO_TIMESTAMP, NO_EXPIRY, None)


def observation(read_at: int, bound: int, expires_at: int, value: bytes) -> Observed:
    """What a read at microsecond `read_at` showed."""
    return (read_at, bound, expires_at, value)


def is_settled(observed: Observed) -> bool:
    """Whether the column is what its cells say."""
    return observed[3] is None


def join_observed(left: Observed, right: Observed) -> Observed:
    """What two observations of one column say together."""
    left_value = left[3]
    right_value = right[3]
    if left_value is None or right_value is None:
        return SETTLED
    if left[0] != right[0]:
        newer = left if left[0] > right[0] else right
    elif left[2] != right[2]:
        newer = left if left[2] > right[2] else right
    else:
        newer = left if left_value >= right_value else right
    bound = left[1] if left[1] <= right[1] else right[1]
    return newer if newer[1] == bound else (newer[0], bound, newer[2], newer[3])


def end_by_deletion(columns: dict[int, Observed], deletion: int) -> None:
    """Settle those of `columns` of which a deletion at timestamp `deletion` leaves nothing."""
    for index, observed in columns.items():
        if observed[3] is not None and observed[1] <= deletion:
            columns[index] = SETTLED
