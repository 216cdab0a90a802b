"""One pipeline for the end-to-end tests of a module: its keyspace, its database, its process.

Invariant: whoever follows cdc_raw of the shared node is in the xdist group `cdc`: followers lock the directory and
delete from it, so they must come one after another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.support.pipeline_process import PipelineProcess

WAIT_S = 8.0


@dataclass(slots=True)
class Replica:
    """Both sides of a running pipeline; `schema` is the name of the keyspace and of its copy."""

    session: Any
    schema: str
    connection: psycopg.Connection[Any]
    process: PipelineProcess

    def cql(self, statement: str, *values: object) -> None:
        """Run a statement; `{ks}` stands for the keyspace."""
        self.session.execute(statement.replace("{ks}", self.schema), values or None)

    def rows(self, query: str) -> list[Any]:
        """What PostgreSQL answers; `{ks}` stands for the schema."""
        return self.connection.execute(query.replace("{ks}", f'"{self.schema}"').encode()).fetchall()

    def arrives(self, query: str, expected: list[Any], timeout_s: float = WAIT_S) -> float:
        """Wait until `query` gives `expected`; returns the seconds it took."""

        def last() -> list[Any]:
            try:
                return self.rows(query)
            except psycopg.errors.UndefinedColumn:
                return ["a column is missing"]

        return eventually(last, expected, self.process, timeout_s)


def eventually(
    look: Callable[[], object], expected: object, process: PipelineProcess, timeout_s: float = WAIT_S
) -> float:
    """Seconds until `look` gave `expected`; fails with what was seen last."""
    begin = time.monotonic()
    while (seen := look()) != expected:
        assert process.running, f"the pipeline ended with {process.exit_code}:\n{process.tail()}"
        assert time.monotonic() - begin < timeout_s, f"after {timeout_s} s: {seen!r}, not {expected!r}"
        time.sleep(0.02)
    return time.monotonic() - begin
