"""How the rows of both sides are matched: by the columns of the primary key in PostgreSQL, natural or exact.

Invariant: two keys of Cassandra that are not one row never have one form, and equal keys have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from struct import unpack
from typing import Any, Final

from cassandra import cqltypes
from cassandra.marshal import int64_pack
from cassandra.util import Date, Time

from casscade.core.keys import canonical_key, join_partition_key, key_field, split_partition_key, unpack_values
from casscade.cql.types import CqlType
from casscade.schema.mapping import EXACT_COLUMNS, LONG_KEY_COLUMN, Relation, Target
from casscade.verify.normal import NAN, Key, cassandra_form, key_form
from casscade.verify.read_postgres import parameter, postgres_form

RawKey = tuple[bytes, ...]
# Longer keys are not compared by what is shown of them: PostgreSQL's index may have no room for that.
SHOWN_KEY_BYTES_MAX: Final = 500


class Keys:
    """The primary key of one relation: `names` and `types` are those of PostgreSQL, `whole` what is read beside it.

    A form is what identifies a row on both sides; it is a tuple with an element for each of `names`.
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    whole: tuple[str, ...] = ()

    def form(self, key: RawKey) -> Key | None:
        """The form of a key of Cassandra; None when PostgreSQL can't hold it, so that the row can't be there."""
        raise NotImplementedError

    def read(self, values: Sequence[Any]) -> Key:
        """The form of a key from what psycopg returned for `names`."""
        raise NotImplementedError

    def raw(self, form: Key, whole: Sequence[Any]) -> RawKey:
        """The values of Cassandra's key for a row of PostgreSQL; `whole` is what psycopg returned for `whole`."""
        raise NotImplementedError

    def parameters(self, form: Key) -> list[Any]:
        """The parameters that send a form to PostgreSQL."""
        raise NotImplementedError

    def shown(self, key: RawKey) -> Key:
        """The normal forms of the columns that only show the key."""
        raise NotImplementedError

    def comparable(self, form: Key, values: Key) -> Key:  # noqa: ARG002 exact keys are shown beside themselves
        """`values` begin with the columns that only show the key; without those that need not show it."""
        return values


class NaturalKeys(Keys):
    """The key columns themselves."""

    def __init__(self, target: Target, relation: Relation) -> None:
        self.names = relation.primary_key
        self.types = tuple(column.pg_type.name for column in relation.key_columns)
        self._columns = [column.column.type for column in relation.key_columns]
        self._partition = len(target.table.partition_key)

    def form(self, key: RawKey) -> Key | None:
        forms = tuple(
            key_form(type_, value, clustering=position >= self._partition)
            for position, (type_, value) in enumerate(zip(self._columns, key, strict=True))
        )
        return None if None in forms else forms

    def read(self, values: Sequence[Any]) -> Key:
        return tuple(
            value if type_.name == "decimal" else postgres_form(type_, value)
            for type_, value in zip(self._columns, values, strict=True)
        )

    def raw(self, form: Key, whole: Sequence[Any]) -> RawKey:  # noqa: ARG002 the form says it all
        return tuple(_to_bytes(type_, part) for type_, part in zip(self._columns, form, strict=True))

    def parameters(self, form: Key) -> list[Any]:
        return [parameter(type_, part) for type_, part in zip(self._columns, form, strict=True)]

    def shown(self, key: RawKey) -> Key:  # noqa: ARG002 the key shows itself
        return ()


class ExactKeys(Keys):
    """The bytes of the key (`casscade.schema.key_form`)."""

    def __init__(self, target: Target, relation: Relation) -> None:
        self.names = relation.primary_key
        self.types = ("bytea",) * len(self.names)
        self.whole = (LONG_KEY_COLUMN,)
        table = target.table
        self._columns = [column.column.type for column in relation.key_columns]
        self._partition = len(table.partition_key)
        self._loose = list(table.loose_clusterings) or [None] * len(table.clustering)
        self._clustered = len(self.names) == len(EXACT_COLUMNS) - 1

    def form(self, key: RawKey) -> Key | None:
        return tuple(key_field(part) for part in self._parts(key))

    def read(self, values: Sequence[Any]) -> Key:
        return tuple(bytes(value) for value in values)

    def raw(self, form: Key, whole: Sequence[Any]) -> RawKey:
        parts: Sequence[bytes | None] = form if whole[0] is None else unpack_values(bytes(whole[0]))
        values: list[bytes | None] = list(split_partition_key(parts[0] or b"", self._partition))
        if self._clustered:
            values += unpack_values(parts[1] or b"")
        return tuple(value or b"" for value in values)

    def parameters(self, form: Key) -> list[Any]:
        return list(form)

    def shown(self, key: RawKey) -> Key:
        values: list[bytes | None] = list(key[: self._partition])
        if self._clustered:
            values += unpack_values(self._parts(key)[1])
        return tuple(cassandra_form(type_, value) for type_, value in zip(self._columns, values, strict=True))

    def comparable(self, form: Key, values: Key) -> Key:
        if sum(map(len, form)) <= SHOWN_KEY_BYTES_MAX:
            return values
        count = len(self._columns)
        return (None,) * count + values[count:]

    def _parts(self, key: RawKey) -> list[bytes]:
        parts = [join_partition_key(key[: self._partition])]
        if self._clustered:
            parts.append(canonical_key(key[self._partition :], self._loose))
        return parts


def keys_of(target: Target, relation: Relation) -> Keys:
    """How rows of `relation` are matched."""
    return ExactKeys(target, relation) if relation.exact else NaturalKeys(target, relation)


def _to_bytes(type_: CqlType, form: Any) -> bytes:
    value: Any = form
    match type_.name:
        case "blob" | "custom":
            return bytes(form)
        case "timestamp":
            packed: bytes = int64_pack(form // 1000)
            return packed
        case "float" | "double":
            value = float("nan") if form == NAN else unpack(">d", form)[0]
        case "date":
            value = Date(form)
        case "time":
            value = Time(form * 1000)
        case "inet":
            value = str(form)
        case "decimal":
            value = Decimal(form)
    encoded: bytes = cqltypes._cqltypes[type_.name].serialize(value, 5)
    return encoded
