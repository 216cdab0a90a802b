"""Random rows with few keys, columns, timestamps and values, so that ties and shadowing are common."""

from __future__ import annotations

import random

from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP, Cell, expiring_cell, live_cell, tombstone_cell
from casscade.core.mutation import ComplexColumn, Row
from casscade.core.observed import SETTLED, UNBOUNDED, UNREAD, Observed
from casscade.merge.row import normalise

NOW = 2_000_000_000
"""The second at which expiry is judged; some cells of the generator have ended by then."""

TIMESTAMPS = [1, 2, 3, 4, 5]
VALUES = [b"\x00\x00\x00\x01", b"\x00\x00\x00\x02", b"\xff\xff\xff\xff"]


def random_cell(rng: random.Random) -> Cell:
    timestamp = rng.choice(TIMESTAMPS)
    kind = rng.random()
    if kind < 0.5:
        return live_cell(timestamp, rng.choice(VALUES))
    if kind < 0.75:
        return tombstone_cell(timestamp)
    return expiring_cell(timestamp, NOW + rng.choice([-100, 0, 100, 1000]), rng.choice([60, 3600]), rng.choice(VALUES))


def random_observed(rng: random.Random) -> Observed:
    """What one of few reads showed of a column: several may have been at the same moment."""
    if rng.random() < 0.2:
        return rng.choice((SETTLED, UNREAD))
    expires_at = rng.choice([NO_EXPIRY, NO_EXPIRY, NOW - 10, NOW + 100])
    return (rng.randint(0, 2), rng.randint(1, 3), rng.choice([*TIMESTAMPS, UNBOUNDED]), expires_at, rng.choice(VALUES))


def random_row(
    rng: random.Random,
    key: bytes,
    clustering: list[bytes | None],
    *,
    simple: int,
    complex_indexes: list[int] | None = None,
    static: bool = False,
    plain: float = 0.4,
    observed: list[int] | None = None,
) -> Row:
    """A normal row: some of the simple columns 0 … `simple` - 1 and of the multi-cell ones, perhaps a deletion.

    `plain` is the share of rows that a plain INSERT or UPDATE could have written; of the columns `observed` a read may
    have shown a value.
    """
    row = Row(key, clustering)
    is_plain = rng.random() < plain
    if not static and not is_plain and rng.random() < 0.25:
        row.deletion = rng.choice(TIMESTAMPS)
        if rng.random() < 0.7:
            return row
    if not static and rng.random() < 0.5:
        row.liveness_ts = rng.choice(TIMESTAMPS)
        if rng.random() < 0.25:
            row.liveness_ttl = rng.choice([60, 3600])
            row.liveness_expires_at = NOW + rng.choice([-100, 0, 100, 1000])
    if is_plain:  # an INSERT or an UPDATE: all at one timestamp
        timestamp = rng.choice(TIMESTAMPS)
        inserted = not static and rng.random() < 0.5
        row.liveness_ts = timestamp if inserted else NO_TIMESTAMP
        row.liveness_ttl, row.liveness_expires_at = 0, (1 << 63) - 1
        some = range(simple) if rng.random() < 0.5 else rng.sample(range(simple), rng.randint(not inserted, simple))
        for index in some:
            row.cells[index] = live_cell(timestamp, rng.choice(VALUES))
    else:
        for index in rng.sample(range(simple), rng.randint(0, simple)):
            row.cells[index] = random_cell(rng)
    for index in complex_indexes or []:
        if rng.random() < (0.02 if plain > 0.9 else 0.5):
            deletion = rng.choice([NO_TIMESTAMP, *TIMESTAMPS])
            paths = [bytes((0, 0, 0, n)) for n in range(3)]
            cells = {path: random_cell(rng) for path in rng.sample(paths, rng.randint(0, 3))}
            row.complex = row.complex or {}
            row.complex[index] = ComplexColumn(deletion, cells)
    for index in observed or []:
        if rng.random() < 0.4:
            row.observed = row.observed or {}
            row.observed[index] = random_observed(rng)
    normalise(row)
    row.liveness_unknown = not static and row.liveness_ts == NO_TIMESTAMP and rng.random() < 0.2
    return row


def copy_row(row: Row) -> Row:
    """A deep copy: merging takes the cells of its second argument over."""
    copy = Row(row.key, list(row.clustering))
    copy.liveness_ts, copy.liveness_ttl = row.liveness_ts, row.liveness_ttl
    copy.liveness_expires_at, copy.deletion = row.liveness_expires_at, row.deletion
    copy.liveness_unknown = row.liveness_unknown
    copy.cells = dict(row.cells)
    copy.observed = None if row.observed is None else dict(row.observed)
    if row.complex is not None:
        copy.complex = {i: ComplexColumn(c.deletion, dict(c.cells)) for i, c in row.complex.items()}
    return copy


def content(row: Row) -> tuple[object, ...]:
    """All that a row holds, comparable."""
    columns = row.complex or {}
    return (
        row.key,
        row.liveness_ts,
        row.liveness_ttl,
        row.liveness_expires_at,
        row.liveness_unknown,
        row.deletion,
        dict(row.cells),
        {index: (column.deletion, dict(column.cells)) for index, column in columns.items()},
        row.observed,
    )
