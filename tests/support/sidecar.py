"""Golden segments: their files, manifests and the schema under which they were written.

Invariant: everything comes from the real node that wrote the segments; nothing here knows their format.
"""

from __future__ import annotations

import gzip
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from casscade.core.table import ColumnShape, TableShape
from casscade.cql.types import CqlType, UdtDefinition, parse_type

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


@dataclass(frozen=True)
class GoldenSet:
    """The segments of one node: `manifest` says per file (`final/CommitLog-8-1.log`) what a reader has to find."""

    directory: Path
    manifest: dict[str, dict[str, Any]] = field(repr=False)

    @property
    def name(self) -> str:
        """`<Cassandra version>/<flavour>`."""
        return str(self.directory.relative_to(GOLDEN))

    def segment(self, file: str) -> bytes:
        """The bytes of a segment file."""
        stored = self.manifest[file].get("same_as", file)
        return gzip.decompress((self.directory / f"{stored}.gz").read_bytes())

    def sidecar(self) -> dict[str, Any]:
        """`cassandra` (release), `schema` (rows of `system_schema`) and `state` (what SELECT returned)."""
        loaded: dict[str, Any] = json.loads(gzip.decompress((self.directory / "sidecar.json.gz").read_bytes()))
        return loaded

    def tables(self) -> dict[bytes, TableShape]:
        """Every table of the node, the system ones included, by id."""
        return table_shapes(self.sidecar()["schema"])


def golden_sets() -> list[GoldenSet]:
    """All of them, in a fixed order."""
    manifests = sorted(GOLDEN.glob("*/*/manifest.json"))
    return [GoldenSet(path.parent, json.loads(path.read_text(encoding="ascii"))) for path in manifests]


def table_shapes(schema: dict[str, list[dict[str, Any]]]) -> dict[bytes, TableShape]:
    """Shapes from the rows of `system_schema.tables`, `columns`, `types` and (if read) `dropped_columns`."""
    udts: dict[str, dict[str, UdtDefinition]] = {}
    for row in schema["types"]:
        udts.setdefault(row["keyspace_name"], {})[row["type_name"]] = UdtDefinition(
            row["keyspace_name"], row["type_name"], tuple(row["field_names"]), tuple(row["field_types"])
        )
    shapes: dict[bytes, TableShape] = {}
    for table in schema["tables"]:
        name = (table["keyspace_name"], table["table_name"])
        known = udts.get(name[0], {})
        columns = [row for row in schema["columns"] if (row["keyspace_name"], row["table_name"]) == name]
        dropped = [
            row for row in schema.get("dropped_columns", []) if (row["keyspace_name"], row["table_name"]) == name
        ]
        shape = TableShape(
            uuid.UUID(table["id"]).bytes,
            *name,
            [
                parse_type(row["type"], name[0], known).fixed_length
                for row in sorted(columns, key=lambda row: int(row["position"]))
                if row["kind"] == "clustering"
            ],
            _columns(columns, dropped, name[0], known),
        )
        shapes[shape.id] = shape
    return shapes


def _columns(
    columns: list[dict[str, Any]], dropped: list[dict[str, Any]], keyspace: str, udts: dict[str, UdtDefinition]
) -> list[ColumnShape]:
    dropped_at = {row["column_name"]: int(row["dropped_time_ms"]) * 1000 for row in dropped}
    present = {row["column_name"] for row in columns}
    shapes: list[ColumnShape] = []
    for row in [*columns, *(row for row in dropped if row["column_name"] not in present)]:
        if row["kind"] not in ("regular", "static"):
            continue
        parsed: CqlType = parse_type(row["type"], keyspace, udts)
        name = row["column_name"]
        shapes.append(
            ColumnShape(
                name.encode(),
                len(shapes),
                fixed_length=parsed.fixed_length,
                multi_cell=parsed.multi_cell,
                static=row["kind"] == "static",
                counter=parsed.name == "counter",
                dropped=name not in present,
                dropped_at=dropped_at.get(name, -(1 << 63)),
            )
        )
    return shapes
