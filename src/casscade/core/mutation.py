"""A mutation, decoded down to cells whose values are still the bytes that Cassandra wrote.

Invariant: rows, deletions and cells carry all that merging needs and nothing that depends on the node, the order of
arrival or the clock.
"""

from __future__ import annotations

from typing import Final

from casscade.core.cell import NO_EXPIRY, NO_TIMESTAMP, Cell
from casscade.core.observed import Observed
from casscade.core.table import TableShape

EXCL_END_BOUND: Final = 0
INCL_START_BOUND: Final = 1
EXCL_END_INCL_START_BOUNDARY: Final = 2
STATIC_CLUSTERING: Final = 3
CLUSTERING: Final = 4
INCL_END_EXCL_START_BOUNDARY: Final = 5
INCL_END_BOUND: Final = 6
EXCL_START_BOUND: Final = 7

EXPIRED_LIVENESS_TTL: Final = 0x7FFFFFFF


class ComplexColumn:
    """A multi-cell column: `deletion` (timestamp or `NO_TIMESTAMP`) and the cells by path (`ComplexColumnData`)."""

    __slots__ = ("cells", "deletion")

    def __init__(self, deletion: int, cells: dict[bytes, Cell]) -> None:
        self.deletion: int = deletion
        self.cells: dict[bytes, Cell] = cells


class Row:
    """A row, or what is known of it (`Row` in Cassandra; also a static row, whose `key` is empty).

    - `key`: the serialized clustering: two rows of a partition are the same row iff their keys are equal. Folding
      replaces it in tables with decimal clustering columns, where equal values have several serializations.
    - `clustering`: its values, in order; None where a value is null, b"" where it is empty.
    - `liveness_ts`, `liveness_ttl`, `liveness_expires_at`: the primary key liveness; `NO_TIMESTAMP`, 0, `NO_EXPIRY`
      when there is none.
    - `liveness_unknown`: a snapshot saw the row, and CQL does not show its liveness: it may have one without expiry.
    - `deletion`: timestamp of the row deletion or `NO_TIMESTAMP`.
    - `cells`: column index -> cell. `complex`: column index -> multi-cell column, or None when there are none.
    - `observed`: column index -> what a read showed of a column whose cells CQL hides, or None when there is none.
      While it is not settled, that is what the column shows; the cells go on merging beneath.
    - `scanned`: it was read from a table, or a part of it was, so that it may be older than what the stream told.
    """

    __slots__ = (
        "cells",
        "clustering",
        "complex",
        "deletion",
        "key",
        "liveness_expires_at",
        "liveness_ts",
        "liveness_ttl",
        "liveness_unknown",
        "observed",
        "scanned",
    )

    def __init__(self, key: bytes, clustering: list[bytes | None]) -> None:
        self.key: bytes = key
        self.clustering: list[bytes | None] = clustering
        self.liveness_ts: int = NO_TIMESTAMP
        self.liveness_ttl: int = 0
        self.liveness_expires_at: int = NO_EXPIRY
        self.liveness_unknown: bool = False
        self.deletion: int = NO_TIMESTAMP
        self.cells: dict[int, Cell] = {}
        self.complex: dict[int, ComplexColumn] | None = None
        self.observed: dict[int, Observed] | None = None
        self.scanned: bool = False


class Bound:
    """One end of a range of clusterings: `kind` is the ordinal of `ClusteringPrefix.Kind`, `values` a prefix."""

    __slots__ = ("kind", "values")

    def __init__(self, kind: int, values: list[bytes | None]) -> None:
        self.kind: int = kind
        self.values: list[bytes | None] = values


class RangeTombstone:
    """All rows between `start` and `end` with timestamps at or below `deletion` are deleted."""

    __slots__ = ("deletion", "end", "start")

    def __init__(self, start: Bound, end: Bound, deletion: int) -> None:
        self.start: Bound = start
        self.end: Bound = end
        self.deletion: int = deletion


class PartitionUpdate:
    """What one mutation says about one partition of one table.

    `key` holds the partition key as serialized in the mutation; `deletion` is the timestamp of a partition deletion
    or `NO_TIMESTAMP`; `static_row` is None when the update does not touch static columns.
    """

    __slots__ = ("deletion", "key", "range_tombstones", "rows", "static_row", "table")

    def __init__(self, table: TableShape, key: bytes) -> None:
        self.table: TableShape = table
        self.key: bytes = key
        self.deletion: int = NO_TIMESTAMP
        self.static_row: Row | None = None
        self.rows: list[Row] = []
        self.range_tombstones: list[RangeTombstone] = []
