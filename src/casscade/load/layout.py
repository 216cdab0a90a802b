"""Which bytes of a row go into which column of its PostgreSQL table.

Invariant: the order of `keys` and `values` is the order of the columns in the target table, the staging table, the
COPY stream and the results that are read back.
"""

from __future__ import annotations

from typing import Final, Protocol

from casscade.core.keys import Canonical, key_field, split_partition_key
from casscade.core.mutation import ComplexColumn, Row
from casscade.load.transcode import Codec

_COUNTER_BYTES: Final = 8
INEXACT_POLICIES: Final = ("keep", "convert", "dead_letter")
"""What becomes of an inexact value: its bytes stay in the state, or only what is shown stays, or its row is set aside.
The configuration uses these words, the code their places."""

KEEP: Final = 0
CONVERT: Final = 1
DEAD_LETTER: Final = 2


class Filter(Protocol):
    """The condition of a table on its rows (`casscade.load.row_filter`)."""

    indexes: set[int]

    def matches(self, partition_key: bytes, row: Row, now: int) -> bool: ...


class Renderer:
    """Shows a multi-cell column: the live elements become one field, or None (NULL) when none is alive.

    `exact`: whether the field of the last `render` says all of them.
    """

    def __init__(self) -> None:
        self.exact: bool = True

    def render(self, column: ComplexColumn, now: int) -> bytes | None:
        """The field for what is alive in `column` at second `now`."""
        raise NotImplementedError

    def show(self, value: bytes) -> bytes | None:
        """The field for a whole value as CQL shows it, in the frozen form of its type."""
        raise NotImplementedError


class ValueColumn:
    """A column that is not part of the key: a simple one has a `codec`, a multi-cell one a `renderer`.

    `inexact` is the policy for values that the column can't show exactly, one of `INEXACT_POLICIES`.
    """

    def __init__(self, index: int, codec: Codec | None, renderer: Renderer | None, inexact: int = KEEP) -> None:
        self.index: int = index
        self.codec: Codec | None = codec
        self.renderer: Renderer | None = renderer
        self.inexact: int = inexact

    def show_observed(self, value: bytes) -> bytes | None:
        """The field for a value that a read showed: a whole collection or UDT, or the sum of a counter."""
        if not value:
            return None
        if self.renderer is not None:
            return self.renderer.show(value)
        return value if len(value) == _COUNTER_BYTES else None


class RowLayout:
    """The shape of one target table.

    - `keys`: codecs of the partition key columns (the first `partition_columns` of them), then of the clustering.
    - `exact`: an exact key (`casscade.schema.key_form`) stands before those, in `exact_fields` columns; `keys` only
      show it then, those that are `indexed` within the bytes that an index takes.
    - `clustering_lengths`: fixed length of each clustering value or -1, for the serialized clustering.
      `loose_clusterings`, `loose_paths`, `older_ties`: see `TableShape`.
    - `values`: the other columns. `simple_count` and `complex_count`: how many columns of each kind the Cassandra table
      has for this target, those that are not replicated included: a row that sets them all leaves nothing of an
      older one. `indexes`: one more than the highest index when these are 0, 1, 2 … without a gap, else 0.
    - `static`: the target holds static rows, which have no liveness. `observable`: CQL hides the cells of some column,
      so that rows may hold what a read showed of it; `counters`: it has columns of counters.
    - `ended`: index -> the time (microseconds) up to which cells of the column are void, because it was dropped or is
      left out.
    """

    def __init__(
        self,
        keys: list[Codec],
        partition_columns: int,
        clustering_lengths: list[int],
        loose_clusterings: list[Canonical | None],
        values: list[ValueColumn],
        *,
        indexed: list[bool],
        exact: bool,
        loose_paths: dict[int, Canonical],
        older_ties: bool,
        simple_count: int,
        complex_count: int,
        indexes: int,
        static: bool,
        observable: bool = False,
        counters: bool = False,
        ended: dict[int, int] | None = None,
    ) -> None:
        self.ended: dict[int, int] = ended or {}
        self.keys: list[Codec] = keys
        self.partition_columns: int = partition_columns
        self.clustering_lengths: list[int] = clustering_lengths
        self.loose_clusterings: list[Canonical | None] = loose_clusterings
        self.loose_paths: dict[int, Canonical] = loose_paths
        self.older_ties: bool = older_ties
        self.exact: bool = exact
        self.exact_fields: int = 0 if not exact else 3 if clustering_lengths else 2
        self.indexed: list[bool] = indexed
        self.values: list[ValueColumn] = values
        self.simple_count: int = simple_count
        self.complex_count: int = complex_count
        self.indexes: int = indexes
        self.static: bool = static
        self.observable: bool = observable
        self.counters: bool = counters
        self.shown: set[int] = {column.index for column in values}
        self.field_count: int = self.exact_fields + len(keys) + len(values) + 5

    def partition_fields(self, partition_key: bytes) -> list[bytes] | None:
        """The fields of the primary key's columns that name a partition; None where PostgreSQL can't hold it."""
        if self.exact:
            return [key_field(partition_key)]
        found: list[bytes] = []
        for position, value in enumerate(split_partition_key(partition_key, self.partition_columns)):
            field = self.keys[position].encode(value)
            if field is None:
                return None
            found.append(field)
        return found
