"""What a read showed of a column whose cells CQL hides.

Invariant: `join_observed` is commutative, associative and idempotent, and what is settled stays settled.

CQL does not show the shards of a counter, the paths of the elements of a non-frozen list, nor, before Cassandra 5.0,
the write times of the elements of any non-frozen collection or UDT. Of such a column a snapshot brings an observation
instead of cells. It is the tuple `(turn, read_at, bound, expires_at, value)`:

- `turn`: 0 for a scan, for a row that was read again the number of the request: of two observations the one with the
  greater turn tells. Requests of one row are numbered in the order of the changes that they follow, so no clock has
  a part in it.
- `read_at`: the microsecond at which the read began, by the reader's clock; it only orders scans.
- `bound`: no cell that any observation of the column saw is newer, so a deletion at or above it ends them all;
  `UNBOUNDED` where write times are not shown. Two observations have the lower one: whatever the one with the higher
  bound saw beyond the other is in the stream.
- `expires_at`: the second at which the first thing in the value ends, `NO_EXPIRY` if nothing does or nothing is known.
- `value`: the value as CQL shows it (the frozen form of a collection, 8 bytes for a counter); `NOTHING`, no bytes, for
  null. That is observed of counters, and where the stream does not bring the cells of a column, so that only the next
  read can tell more.

`SETTLED` says that nothing hidden is left: all that is alive in the column was written after capture began and is in
the stream. It holds for good, so it wins over any observation. Counters are never settled: what an increment behind a
deletion gives is known from reads alone (`merge.doubt`), so their bound is `UNBOUNDED`.

`UNREAD` says that a read is due that nobody has made yet: until then the column is what its cells say. Any observation
wins over it.
"""

from __future__ import annotations

from typing import Final

from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP

Observed = tuple[int, int, int, int, bytes | None]

UNBOUNDED: Final = (1 << 63) - 1

NOTHING: Final = b""

SETTLED: Final[Observed] = (UNBOUNDED, 0, NO_TIMESTAMP, NO_EXPIRY, None)

UNREAD: Final[Observed] = (0, 0, UNBOUNDED, NO_EXPIRY, None)


def is_unread(observed: Observed) -> bool:
    """Whether a read is due that nobody has made."""
    return observed[4] is None and observed[2] == UNBOUNDED


def join_observed(left: Observed, right: Observed) -> Observed:
    """What two observations of one column say together."""
    left_value = left[4]
    right_value = right[4]
    if left_value is None:
        return right if left[2] == UNBOUNDED else SETTLED
    if right_value is None:
        return left if right[2] == UNBOUNDED else SETTLED
    newer = left
    if left[0] != right[0]:
        if right[0] > left[0]:
            newer = right
    elif left[1] != right[1]:
        if right[1] > left[1]:
            newer = right
    elif left[3] != right[3]:
        if right[3] > left[3]:
            newer = right
    elif right_value > left_value:
        newer = right
    bound = left[2] if left[2] <= right[2] else right[2]
    return newer if newer[2] == bound else (newer[0], newer[1], bound, newer[3], newer[4])


def end_by_deletion(columns: dict[int, Observed], deletion: int) -> None:
    """Settle those of `columns` of which a deletion at timestamp `deletion` leaves nothing."""
    for index, observed in columns.items():
        if observed[4] is not None and observed[2] <= deletion:
            columns[index] = SETTLED
