"""What a differential run that failed leaves behind, so that it can be looked into without running it again.

Invariant: nothing is lost that another run would not bring back: the mutations have the ids of tables that are gone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from casscade.snapshot.rows import cql_identifier
from tests.support.differential import Differential

DIRECTORY: Final = Path(__file__).resolve().parents[2] / "build" / "differences"


def keep(
    directory: Path,
    differential: Differential,
    session: Any,
    connection: psycopg.Connection[Any],
    report: list[str],
) -> None:
    """Fill `directory` with

    - report.txt: the lines of `report`;
    - tables.txt: id and name of each table;
    - mutations.txt, scanned.txt: those of the commit log and of the snapshot in the order in which they were read,
      as the version of the encoding and hexadecimal bytes;
    - cassandra/, postgres/: a file for each table with its rows, the control schema included.
    """
    for side in ("cassandra", "postgres"):
        (directory / side).mkdir(parents=True, exist_ok=True)
    _write(directory / "report.txt", report)
    tables = [target.table for target in differential.targets]
    _write(directory / "tables.txt", [f"{table.id} {table.full_name}" for table in tables])
    _write(directory / "mutations.txt", [f"{version} {data.hex()}" for version, data in differential.mutations])
    chunks = differential.scanned
    _write(directory / "scanned.txt", [f"{c.version} {data.hex()}" for c in chunks for data in c.mutations])
    for table in tables:
        rows = session.execute(f"SELECT JSON * FROM {cql_identifier(table.keyspace)}.{cql_identifier(table.name)}")
        _write(directory / "cassandra" / table.name, [row[0] for row in rows])
    relations = connection.execute(
        "SELECT schemaname, tablename FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND schemaname !~ '^pg_temp'"
    )
    for schema, relation in relations.fetchall():
        copy = sql.SQL("COPY {} TO STDOUT WITH (FORMAT csv, HEADER)").format(sql.Identifier(schema, relation))
        with connection.cursor().copy(copy) as lines, (directory / "postgres" / f"{schema}.{relation}").open("wb") as f:
            for line in lines:
                f.write(line)


def _write(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
