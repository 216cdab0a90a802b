"""Versions of a table: written to the history and read back, and what changed between two of them.

Invariant: a table that was read back decodes, maps and numbers its columns exactly as the one that was written, so that
an instance can go on with a version that another one recorded.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from casscade.cql.types import CqlType, UdtDefinition, parse_type
from casscade.schema.model import Column, ColumnKind, Table

ADDED: Final = "added"
DROPPED: Final = "dropped"
AGAIN: Final = "added again"
RENAMED: Final = "renamed"
RETYPED: Final = "type changed"
OPTION: Final = "option"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two versions: its kind, the column (empty for an option) and the words for people."""

    kind: str
    column: str
    what: str

    def __str__(self) -> str:
        return self.what


def to_document(table: Table) -> dict[str, Any]:
    """The table as JSON holds it; `from_document` reads it back."""
    udts: dict[str, dict[str, Any]] = {}
    for column in table.columns:
        _collect(column.type, udts)
    return {
        "keyspace": table.keyspace,
        "name": table.name,
        "cdc": table.cdc,
        "gc_grace_seconds": table.gc_grace_seconds,
        "default_time_to_live": table.default_time_to_live,
        "flags": sorted(table.flags),
        "older_ties": table.older_ties,
        "columns": [
            {
                "name": column.name,
                "kind": column.kind.value,
                "position": column.position,
                "type": column.type.cql(),
                "reversed": column.reversed,
                "index": column.index,
                "dropped": column.dropped,
                "dropped_at": column.dropped_at,
                "former_length": column.former_length,
            }
            for column in table.columns
        ],
        "udts": udts,
    }


def from_document(table_id: uuid.UUID, document: dict[str, Any], altered_at: int = 0) -> Table:
    """The table of a recorded version. Raises KeyError or BadDataError for a document that is none of ours."""
    keyspace = document["keyspace"]
    udts = {
        name: UdtDefinition(keyspace, name, tuple(udt["names"]), tuple(udt["types"]))
        for name, udt in document["udts"].items()
    }
    columns = tuple(
        Column(
            column["name"],
            ColumnKind(column["kind"]),
            column["position"],
            parse_type(column["type"], keyspace, udts),
            reversed=column["reversed"],
            index=column["index"],
            dropped=column["dropped"],
            dropped_at=column["dropped_at"],
            former_length=column.get("former_length"),
        )
        for column in document["columns"]
    )
    return Table(
        table_id,
        keyspace,
        document["name"],
        columns,
        document["cdc"],
        document["gc_grace_seconds"],
        document["default_time_to_live"],
        frozenset(document["flags"]),
        older_ties=document["older_ties"],
        altered_at=altered_at,
    )


def _collect(type_: CqlType, udts: dict[str, dict[str, Any]]) -> None:
    if type_.name == "udt":
        names, types = list(type_.field_names), [arg.cql() for arg in type_.args]
        udts[type_.udt_name] = {"names": names, "types": types}
    for arg in type_.args:
        _collect(arg, udts)


def changes(before: Table, after: Table) -> list[Change]:
    """What an ALTER made of `before`, in the order of the columns; empty when nothing that matters differs."""
    found = [*_renamed(before, after)]
    old = {column.name: column for column in _counted(before)}
    for column in _counted(after):
        was = old.get(column.name)
        found.extend(_of_column(column, was))
    gone = old.keys() - {column.name for column in _counted(after)}
    found.extend(Change(DROPPED, name, f"column {name} dropped") for name in sorted(gone) if not old[name].dropped)
    for name in ("gc_grace_seconds", "default_time_to_live", "cdc"):
        values = [str(getattr(table, name)).lower() for table in (before, after)]
        if values[0] != values[1]:
            found.append(Change(OPTION, "", f"{name}: {values[0]} became {values[1]}"))
    return found


def _counted(table: Table) -> Iterable[Column]:
    return (column for column in table.columns if column.kind in (ColumnKind.STATIC, ColumnKind.REGULAR))


def _of_column(column: Column, was: Column | None) -> Iterable[Change]:
    name, type_ = column.name, column.type.cql()
    static = "static " if column.kind is ColumnKind.STATIC else ""
    if was is None:
        if not column.dropped:
            yield Change(ADDED, name, f"{static}column {name} {type_} added")
        return
    if column.dropped:
        if not was.dropped:
            yield Change(DROPPED, name, f"column {name} {type_} dropped")
        return
    if was.dropped or column.dropped_at > was.dropped_at:
        as_what = type_ if column.type == was.type else f"{type_} (it was {was.type.cql()})"
        yield Change(AGAIN, name, f"column {name} added again as {as_what}")
    elif column.type != was.type:
        if column.type.cql() == was.type.cql():
            yield Change(RETYPED, name, f"the fields of the type of column {name} ({type_}) changed")
        else:
            yield Change(RETYPED, name, f"column {name}: {was.type.cql()} became {type_}")


def _renamed(before: Table, after: Table) -> Iterable[Change]:
    """Columns of the key have the same place under another name."""
    for olds, news in ((before.partition_key, after.partition_key), (before.clustering, after.clustering)):
        for old, new in zip(olds, news, strict=True):
            if old.name != new.name:
                yield Change(RENAMED, new.name, f"key column {old.name} renamed to {new.name}")
            elif old.type != new.type:
                yield Change(RETYPED, new.name, f"key column {new.name}: {old.type.cql()} became {new.type.cql()}")


def renamed_keys(before: Table, after: Table) -> dict[str, str]:
    """New name -> old name of the key columns that were renamed."""
    pairs = zip((*before.partition_key, *before.clustering), (*after.partition_key, *after.clustering), strict=True)
    return {new.name: old.name for old, new in pairs if old.name != new.name}


def version_label(table_id: bytes, number: int) -> str:
    """`1f0c2a3b:4` is version 4 of the table whose id begins so."""
    return f"{table_id.hex()[:8]}:{number}"
