"""The five families of errors; the family decides what the pipeline does.

Invariant: every error that a user can meet says what happened, where, what Casscade does now and the one thing to
try. `code` comes from a bounded set: it is also the metric label and the name of the runbook.

    CasscadeError
    ├── RetryableError       back off and try the same work again
    ├── BadDataError         set this record aside, go on with the others
    │   ├── CorruptionError      the bytes are damaged (segment, section, mutation)
    │   └── UnknownSchemaError   the bytes are sound, but no known table or column describes them
    ├── FencedError          another owner took over: stop without a trace
    ├── ConfigurationError   exit before any work, with status 2
    └── InvariantError       a bug or a broken promise: crash
"""

from __future__ import annotations

from typing import Final

# Of brokers that are away, which passes by itself: known to whoever shows it, without Kafka's client.
KAFKA_UNAVAILABLE: Final = "kafka_unavailable"


class CasscadeError(Exception):
    """Base of all errors that Casscade raises on purpose.

    `code` is a short stable identifier, `what` one sentence, `where` the place (file and line, segment and offset,
    table), `now` what Casscade does about it and `hint` the one thing to try.
    """

    def __init__(self, code: str, what: str, *, where: str = "", now: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.where = where
        self.now = now
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.what} [{self.code}]"
        if self.where:
            text = f"{self.where}: {text}"
        return text

    def explain(self) -> str:
        """The whole message for a terminal, one line for each part that is known."""
        lines = [f"error: {self.what} [{self.code}]"]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.now:
            lines.append(f"  now:   {self.now}")
        if self.hint:
            lines.append(f"  try:   {self.hint}")
        return "\n".join(lines)


class RetryableError(CasscadeError):
    """A transient failure of another system; the same work is tried again after a pause."""


class BadDataError(CasscadeError):
    """One record can't be applied; the others go on."""


class CorruptionError(BadDataError):
    """The bytes are damaged or end too early."""


class UnknownSchemaError(BadDataError):
    """A table id or column name that no known schema describes; `table_id` and `column` say which."""

    def __init__(self, what: str, *, table_id: bytes, column: bytes = b"") -> None:
        super().__init__(
            "schema_unknown",
            what,
            now="the schema is read again and the mutation decoded once more",
            hint="casscade status shows which table is missing",
        )
        self.table_id = table_id
        self.column = column


class DroppedColumnError(UnknownSchemaError):
    """A cell is newer than the drop of its column: the column may be back."""

    def __init__(self, *, table_id: bytes, column: bytes) -> None:
        super().__init__("a mutation writes to a column that was dropped before", table_id=table_id, column=column)


class FencedError(CasscadeError):
    """Another process owns the work now."""


class ConfigurationError(CasscadeError):
    """The configuration or the environment does not allow a start."""


class InvariantError(CasscadeError):
    """Something that can't happen has happened; going on could damage data."""
