"""CQL types and the parsing of their names as `system_schema` writes them.

Invariant: a `CqlType` says all that framing and decoding need; everything nested is frozen, whatever the text says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from casscade.cql.faults import type_malformed, type_unknown

MAX_TYPE_DEPTH: Final = 32
"""How deep types may nest. Real schemas stay below 6; the bound keeps every recursion over a type short."""

MAX_TYPE_NODES: Final = 10_000
"""How many types one type may hold, the fields of its UDTs included: UDTs that hold each other several times could
otherwise grow without bound. The widest real ones have some hundred."""

COLLECTIONS: Final = frozenset({"list", "set", "map"})
_SIMPLE_NAMES: Final = (
    "ascii bigint blob boolean counter date decimal double duration empty float inet int smallint text time "
    "timestamp timeuuid tinyint uuid varint"
)
SIMPLE_TYPES: Final = frozenset(_SIMPLE_NAMES.split())

_FIXED_LENGTHS: Final = {
    "empty": 0,
    "boolean": 1,
    "int": 4,
    "float": 4,
    "bigint": 8,
    "double": 8,
    "timestamp": 8,
    "uuid": 16,
    "timeuuid": 16,
}
MARSHAL_PACKAGE: Final = "org.apache.cassandra.db.marshal."
_CUSTOM_FIXED_LENGTHS: Final = {MARSHAL_PACKAGE + "DateType": 8, MARSHAL_PACKAGE + "LexicalUUIDType": 16}
_CLASS_NAMES: Final = {
    "AsciiType": "ascii",
    "LongType": "bigint",
    "BytesType": "blob",
    "BooleanType": "boolean",
    "CounterColumnType": "counter",
    "SimpleDateType": "date",
    "DecimalType": "decimal",
    "DoubleType": "double",
    "DurationType": "duration",
    "EmptyType": "empty",
    "FloatType": "float",
    "InetAddressType": "inet",
    "Int32Type": "int",
    "ShortType": "smallint",
    "UTF8Type": "text",
    "TimeType": "time",
    "TimestampType": "timestamp",
    "TimeUUIDType": "timeuuid",
    "ByteType": "tinyint",
    "UUIDType": "uuid",
    "IntegerType": "varint",
}
_RESERVED_NAMES: Final = (
    "add allow alter and apply asc authorize batch begin by columnfamily create default delete desc describe drop "
    "entries execute from full grant if in index infinity insert into is keyspace limit materialized mbean mbeans "
    "modify nan norecursive not null of on or order primary rename replace revoke schema select set table to token "
    "truncate unlogged unset update use using view where with"
)
_RESERVED: Final = frozenset(_RESERVED_NAMES.split())
_PLAIN_NAME: Final = re.compile(r"[a-z][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class UdtDefinition:
    """A user-defined type as `system_schema.types` holds it: `field_types` are CQL type strings."""

    keyspace: str
    name: str
    field_names: tuple[str, ...]
    field_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CqlType:
    """A CQL type, hashable.

    `name` is one of `SIMPLE_TYPES` (`varchar` is `text`) or vector, list, set, map, tuple, udt, custom. `args` are the
    element types: one for list, set and vector, key and value for map, the fields for tuple and udt. `frozen` tells
    one cell (True) from a cell for each element (False) and matters for list, set, map and udt only; tuples,
    vectors and everything nested have it set.
    """

    name: str
    args: tuple[CqlType, ...] = ()
    frozen: bool = False
    udt_keyspace: str = ""
    udt_name: str = ""
    field_names: tuple[str, ...] = ()
    dimension: int = 0
    class_name: str = ""

    @property
    def multi_cell(self) -> bool:
        """Whether a column of this type has one cell for each element (a complex column)."""
        return not self.frozen and (self.name in COLLECTIONS or self.name == "udt")

    @property
    def fixed_length(self) -> int:
        """The length in bytes of every non-empty value in the commit log's framing; -1: a length precedes the value.

        `AbstractType.valueLengthIfFixed`: tinyint, smallint, date and time are *not* fixed.
        """
        if self.name == "vector":
            element = self.args[0].fixed_length
            return -1 if element < 0 else element * self.dimension
        if self.name == "custom":
            return _CUSTOM_FIXED_LENGTHS.get(self.class_name, -1)
        return _FIXED_LENGTHS.get(self.name, -1)

    def holds(self, name: str) -> bool:
        """Whether this type or one within it has the name."""
        return self.name == name or any(arg.holds(name) for arg in self.args)

    def cql(self) -> str:
        """The type as a CQL string, in the form of `system_schema.columns`; `parse_type` reads it back."""
        if self.name == "custom":
            return "'" + self.class_name.replace("'", "''") + "'"
        if self.name == "vector":
            return f"vector<{self.args[0].cql()}, {self.dimension}>"
        if self.name == "udt":
            text = quote_name(self.udt_name)
        elif self.args:
            text = f"{self.name}<{', '.join(arg.cql() for arg in self.args)}>"
        else:
            return self.name
        return f"frozen<{text}>" if self.frozen else text


def quote_name(name: str) -> str:
    """A type name as CQL writes it: in double quotes if it is case-sensitive, odd, reserved or a built-in type's."""
    plain = _PLAIN_NAME.match(name) is not None
    if plain and name not in _RESERVED and name not in _BUILT_IN_WORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


_BUILT_IN_WORDS: Final = SIMPLE_TYPES | COLLECTIONS | {"varchar", "vector", "tuple", "frozen"}


def parse_type(text: str, keyspace: str, udts: Mapping[str, UdtDefinition]) -> CqlType:
    """Read a CQL type string as `system_schema.columns`, `.types` and `.dropped_columns` hold them.

    `udts` are the user-defined types of `keyspace` by their unquoted names. Raises `BadDataError` with code
    `type_malformed` (syntax, nested too deeply, a type that contains itself) or `type_unknown`.
    """
    return _Parser(text, _Scope(keyspace, udts)).parse(0, ())


class _Scope:
    """What the parsers of a type and of the fields of its UDTs share."""

    def __init__(self, keyspace: str, udts: Mapping[str, UdtDefinition]) -> None:
        self.keyspace = keyspace
        self.udts = udts
        self.nodes = 0


class _Parser:
    """Reads one type string; `depth` counts the types around it, `outer` names the UDTs around it."""

    def __init__(self, text: str, scope: _Scope) -> None:
        self.text = text
        self.scope = scope
        self.outer: tuple[str, ...] = ()
        self.tokens = self._split(text)
        self.index = 0

    def _split(self, text: str) -> list[str]:
        tokens: list[str] = []
        offset = 0
        while offset < len(text):
            match = _TOKEN.match(text, offset)
            if match is None:
                raise type_malformed(text, f"unexpected character at {offset}")
            if match.lastgroup != "space":
                tokens.append(match.group())
            offset = match.end()
        return tokens

    def parse(self, depth: int, outer: tuple[str, ...]) -> CqlType:
        self.outer = outer
        parsed = self._type(depth)
        if self.index != len(self.tokens):
            raise type_malformed(self.text, "something follows the type")
        return parsed

    def _next(self) -> str:
        if self.index == len(self.tokens):
            raise type_malformed(self.text, "it ends too early")
        token = self.tokens[self.index]
        self.index += 1
        return token

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise type_malformed(self.text, f"{token!r} is missing")

    def _type(self, depth: int) -> CqlType:
        if depth >= MAX_TYPE_DEPTH:
            raise type_malformed(self.text, f"it nests more than {MAX_TYPE_DEPTH} types")
        self.scope.nodes += 1
        if self.scope.nodes > MAX_TYPE_NODES:
            raise type_malformed(self.text, f"it holds more than {MAX_TYPE_NODES} types")
        token = self._next()
        if token.startswith('"'):
            return self._udt(token[1:-1].replace('""', '"'), depth + 1)
        if token.startswith("'"):
            return _custom(token[1:-1].replace("''", "'"))
        name = token.lower()
        if name in SIMPLE_TYPES:
            return CqlType(name)
        if name == "varchar":
            return CqlType("text")
        if name in _PARAMETERS and self.tokens[self.index : self.index + 1] == ["<"]:
            self.index += 1
            parsed = self._parameters(name, depth + 1)
            self._expect(">")
            return parsed
        if not name[0].isalpha():
            raise type_malformed(self.text, f"{token[:50]!r} is no type")
        return self._udt(name, depth + 1)

    def _parameters(self, name: str, depth: int) -> CqlType:
        args = [self._type(depth)]
        if name == "frozen":
            return _freeze(args[0])
        if name == "vector":
            self._expect(",")
            size = self._next()
            if not (size.isascii() and size.isdigit() and len(size) <= 10 and 0 < int(size) < 1 << 31):
                raise type_malformed(self.text, "a vector's dimension is a number from 1 to 2147483647")
            return CqlType("vector", (_freeze(args[0]),), frozen=True, dimension=int(size))
        while self.tokens[self.index : self.index + 1] == [","]:
            self.index += 1
            args.append(self._type(depth))
        count = _PARAMETERS[name]
        if count and len(args) != count:
            raise type_malformed(self.text, f"{name} takes {count} type(s), not {len(args)}")
        return CqlType(name, tuple(_freeze(arg) for arg in args), frozen=name == "tuple")

    def _udt(self, name: str, depth: int) -> CqlType:
        definition = self.scope.udts.get(name)
        if definition is None:
            raise type_unknown(self.text, name, self.scope.keyspace)
        if name in self.outer:
            raise type_malformed(self.text, f"the type {name[:100]!r} contains itself")
        if len(definition.field_names) != len(definition.field_types):
            raise type_malformed(self.text, f"the type {name[:100]!r} has fields without a name or a type")
        outer = (*self.outer, name)
        fields = [_Parser(text, self.scope).parse(depth, outer) for text in definition.field_types]
        return CqlType(
            "udt",
            tuple(_freeze(field) for field in fields),
            udt_keyspace=definition.keyspace,
            udt_name=definition.name,
            field_names=definition.field_names,
        )


_PARAMETERS: Final = {"frozen": 1, "list": 1, "set": 1, "map": 2, "tuple": 0, "vector": 1}
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)|(?P<name>\w+)|(?P<quoted>"(?:[^"]|"")+")|(?P<custom>'(?:[^']|'')+')|(?P<mark>[<>,])"""
)


def _freeze(parsed: CqlType) -> CqlType:
    """The type as one cell; simple types stay as they are, so that `frozen<int>` equals `int`."""
    return replace(parsed, frozen=True) if parsed.multi_cell else parsed


def _custom(class_name: str) -> CqlType:
    """A type that is named by its Java class: one of Cassandra's own where CQL has a name for it."""
    if class_name.startswith(MARSHAL_PACKAGE):
        name = _CLASS_NAMES.get(class_name.removeprefix(MARSHAL_PACKAGE))
        if name is not None:
            return CqlType(name)
    return CqlType("custom", class_name=class_name)
