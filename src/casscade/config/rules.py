"""The `transforms` of a table entry: what is done to the values of columns.

Invariant: a transform names exactly one thing to do; which columns it fits is checked against the tables, when these
are known (`casscade.rules`).
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from casscade.config.section import Section
from casscade.config.values import Identifier, SecretText, Text, WholeNumber, refuse

_FUNCTION: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*")
# A hash with a shorter key falls to a search over all keys.
KEY_BYTES_MIN: Final = 16

ResultType = Literal[
    "ascii",
    "bigint",
    "boolean",
    "date",
    "decimal",
    "double",
    "float",
    "inet",
    "int",
    "smallint",
    "text",
    "time",
    "timestamp",
    "tinyint",
    "uuid",
    "varint",
]


def _function(value: object) -> str:
    if not isinstance(value, str) or not _FUNCTION.fullmatch(value):
        refuse("must be module:function", "write my_rules:shorten for the function shorten of my_rules.py")
    return value


def _key(value: object) -> object:
    if isinstance(value, str) and len(value.encode()) < KEY_BYTES_MIN:
        refuse(f"must have at least {KEY_BYTES_MIN} bytes", "make one: openssl rand -hex 32")
    return value


FunctionName = Annotated[str, BeforeValidator(_function)]
RuleKey = Annotated[SecretText, BeforeValidator(_key)]


class ColumnsRule(Section):
    """Something done to columns."""

    columns: tuple[Text, ...] = Field(
        min_length=1, max_length=2000, description="Names of columns in Cassandra; `*` and `?` are wildcards"
    )


class MaskSection(ColumnsRule):
    """Hides values; what they were is nowhere in PostgreSQL."""

    with_: Literal["redact", "partial", "hmac-sha256", "format"] = Field(
        alias="with",
        description="`redact`: `***`; `partial`: stars but for the last `keep` characters; `hmac-sha256`: a keyed "
        "hash in hexadecimal, the same for equal values; `format`: letters become x and X, digits 0, all else stays",
    )
    keep: WholeNumber = Field(
        default=4, ge=1, le=64, description="Characters that `partial` leaves; of a shorter text at most a third"
    )
    key: RuleKey | None = Field(
        default=None, description="Key of `hmac-sha256`; use a reference. By default `rules.key`"
    )


class NullSection(ColumnsRule):
    """Every value becomes NULL; the column stays."""


class DropSection(ColumnsRule):
    """The columns are left out, as with `columns: {exclude: …}`."""


class HashSection(ColumnsRule):
    """Columns of the partition key, or others, as keyed hashes (HMAC-SHA-256), so that joins still work."""

    key: RuleKey | None = Field(default=None, description="Key of the hash; use a reference. By default `rules.key`")


class RenameSection(Section):
    """Another name for a column in PostgreSQL."""

    column: Text = Field(description="Name of the column in Cassandra")
    to: Identifier = Field(description="Its name in PostgreSQL")


class ConstantSection(ColumnsRule):
    """One value in place of every value; a null stays null."""

    value: Text = Field(description="The value as text, for a column of the type that the transforms before it give")


class CastSection(ColumnsRule):
    """Another type."""

    to: ResultType = Field(description="The type, as CQL names it; docs/types.md says what it becomes in PostgreSQL")


class TrimSection(ColumnsRule):
    """Texts without white space at both ends."""


class CaseSection(ColumnsRule):
    """Texts in one case."""

    to: Literal["lower", "upper"] = Field(description="The case")


class JsonPathSection(ColumnsRule):
    """What stands at a path of a JSON text, as text; NULL where nothing does."""

    path: Text = Field(description="Names and indexes: `$.address.lines[0]`; names with other signs: `$['a b']`")


class UtcSection(ColumnsRule):
    """A text of a moment with its zone becomes a timestamp."""

    zone: Text | None = Field(
        default=None, description="Zone of texts that tell none, as in `Europe/Berlin`; without it these fail"
    )


class PythonSection(ColumnsRule):
    """A function of your own, called with each value; it must always give the same for the same value."""

    function: FunctionName = Field(description="`module:function`, found where Python finds modules")
    to: ResultType = Field(default="text", description="The type of what it returns")


class Transform(Section):
    """One thing that is done; those of a table are done in the order in which they stand."""

    mask: MaskSection | None = None
    null: NullSection | None = None
    hash: HashSection | None = None
    drop: DropSection | None = None
    rename: RenameSection | None = None
    constant: ConstantSection | None = None
    cast: CastSection | None = None
    trim: TrimSection | None = None
    case: CaseSection | None = None
    json_path: JsonPathSection | None = None
    utc: UtcSection | None = None
    python: PythonSection | None = None

    @model_validator(mode="after")
    def _one(self) -> Transform:
        if len(self.model_fields_set) != 1:
            refuse("must name exactly one thing to do", "write one item of the list for each thing")
        return self

    @property
    def word(self) -> str:
        """What it does."""
        return next(iter(self.model_fields_set))

    @property
    def section(self) -> Section:
        """How it does it."""
        section = getattr(self, self.word)
        assert isinstance(section, Section)
        return section


class RulesSection(Section):
    """What the transforms and checks of all tables share."""

    key: RuleKey | None = Field(
        default=None, description="Key of hashes; use a reference. Another key gives other hashes: see docs/rules.md"
    )
    apply: Literal["load", "capture"] = Field(
        default="load",
        description="Where values are hidden: `load`: by the loader; `capture`: with Kafka, before they get into it",
    )
    parent_wait_ms: WholeNumber = Field(
        default=2000,
        ge=0,
        le=600_000,
        description="Time that a row waits for the row that its foreign key names, in milliseconds; then it becomes a "
        "dead letter",
    )
