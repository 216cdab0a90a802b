"""The `postgres` section: where rows go, and who may alter what is there.

Invariant: the password is given once, in the connection string or beside it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from casscade.config.dsn import holds_password
from casscade.config.section import Section
from casscade.config.values import Dsn, Identifier, SecretText, refuse


class PostgresSection(Section):
    """The database that receives the rows."""

    dsn: Dsn = Field(description="Connection string: postgresql://user@host:5432/database, or keyword=value")
    password: SecretText | None = Field(default=None, description="Password, when it is not in dsn; use a reference")
    control_schema: Identifier = Field(
        default="casscade", description="Schema of Casscade's own tables (positions, tombstones, tasks)"
    )
    ddl: Literal["apply", "verify"] = Field(
        default="apply",
        description="Who alters the tables in PostgreSQL. `apply`: the pipeline, as Cassandra's schema changes; "
        "`verify`: a database administrator with `casscade plan --apply`, until when a start is refused and writes to "
        "a new column become dead letters (docs/schema.md)",
    )

    @model_validator(mode="after")
    def _one_password(self) -> PostgresSection:
        if self.password is not None and holds_password(self.dsn.reveal()):
            refuse("the password is given twice, in dsn and in password", "remove one of the two")
        return self
