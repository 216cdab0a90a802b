"""Conditions on rows, bound to the columns of a table.

Invariant: whether a row matches is a function of the values of the named columns alone, so that it is the same after
every replay and in every order of arrival. Three values, as in SQL: a comparison with a null is neither true nor
false, and a row matches where the whole is true.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final
from uuid import UUID

from casscade.config.problems import nearest
from casscade.core.errors import BadDataError
from casscade.cql.types import CqlType
from casscade.cql.values import decoder
from casscade.rules.faults import RuleError, rule_failed
from casscade.rules.literals import TEXTS, family, literal_value
from casscade.rules.patterns import like
from casscade.rules.syntax import (
    And,
    ColumnName,
    Comparison,
    Expression,
    IsNull,
    Likeness,
    Literal,
    Membership,
    Not,
    Or,
    Truth,
    columns_of,
)

Test = Callable[[Sequence[Any]], bool | None]
Key = Callable[[Any], Any]

_SIGNS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Predicate:
    """A condition; `columns` are the names whose values `matches` takes, in their order."""

    def __init__(self, expression: Expression, types: Mapping[str, CqlType]) -> None:
        """Raises RuleError for a column that `types` does not have, and for a test that does not fit its type."""
        names: dict[str, None] = {}
        for column in columns_of(expression):
            _known(column, types)
            names[column.name] = None
        self.columns: tuple[str, ...] = tuple(names)
        slots = {name: slot for slot, name in enumerate(self.columns)}
        # Of a column with many cells only whether anything is in it can be asked: any bytes stand for that.
        self._decoders = [bytes if _is_spread(types[name]) else decoder(types[name]) for name in self.columns]
        self._test = _Binder(slots, types).bind(expression)

    def matches(self, values: Sequence[bytes | None]) -> bool:
        """Whether a row with these values, as Cassandra wrote them, matches; None for null.

        Raises BadDataError (`rule_failed`) for bytes that are no value of their column's type.
        """
        try:
            found = [
                None if value is None else decode(value) for decode, value in zip(self._decoders, values, strict=True)
            ]
        except BadDataError:
            raise rule_failed("where", "it is no value of its column's type") from None
        return self._test(found) is True


def _is_spread(type_: CqlType) -> bool:
    return type_.multi_cell or type_.name == "counter"


def _known(column: ColumnName, types: Mapping[str, CqlType]) -> None:
    if column.name in types:
        return
    near = nearest(column.name, types)
    hint = f'did you mean "{near}"?' if near else f"its columns are {', '.join(types)}"
    raise RuleError(f'there is no column "{column.name}"', column.position, hint)


class _Binder:
    def __init__(self, slots: Mapping[str, int], types: Mapping[str, CqlType]) -> None:
        self._slots = slots
        self._types = types

    def bind(self, expression: Expression) -> Test:
        if isinstance(expression, And | Or):
            return _joined([self.bind(part) for part in expression.parts], wins=isinstance(expression, Or))
        if isinstance(expression, Not):
            return _negated(self.bind(expression.inner))
        slot = self._slots[expression.column.name]
        if isinstance(expression, IsNull):
            return lambda values: values[slot] is None
        type_ = self._comparable(expression.column)
        if isinstance(expression, Truth):
            if type_.name != "boolean":
                raise RuleError(
                    f'the column "{expression.column.name}" is of type {type_.cql()} and no condition by itself',
                    expression.column.position,
                    "compare it with something, or write is not null",
                )
            return lambda values: values[slot]
        if isinstance(expression, Likeness):
            return self._like(expression, slot, type_)
        if isinstance(expression, Membership):
            return self._in(expression, slot, type_)
        return self._compare(expression, slot, type_)

    def _comparable(self, column: ColumnName) -> CqlType:
        type_ = self._types[column.name]
        if family(type_):
            return type_
        raise RuleError(
            f'the column "{column.name}" is of type {type_.cql()}, which can\'t be compared',
            column.position,
            "is null and is not null can be asked of it",
        )

    def _compare(self, expression: Comparison, slot: int, type_: CqlType) -> Test:
        compare = _SIGNS[expression.sign]
        key = _key(type_)
        operand = expression.operand
        if isinstance(operand, Literal):
            if type_.name == "boolean" and expression.sign not in ("=", "<>"):
                raise RuleError("booleans have no order", operand.position, "write = or <>")
            wanted = key(literal_value(type_, operand))
            return lambda values: None if values[slot] is None else compare(key(values[slot]), wanted)
        other_type = self._comparable(operand)
        if family(other_type) != family(type_):
            raise RuleError(
                f"a {type_.cql()} can't be compared with a {other_type.cql()}",
                operand.position,
                "compare columns of one kind",
            )
        other = self._slots[operand.name]
        other_key = _key(other_type)

        def both(values: Sequence[Any]) -> bool | None:
            left, right = values[slot], values[other]
            return None if left is None or right is None else compare(key(left), other_key(right))

        return both

    def _in(self, expression: Membership, slot: int, type_: CqlType) -> Test:
        key = _key(type_)
        wanted = frozenset(key(literal_value(type_, item)) for item in expression.items)
        return lambda values: None if values[slot] is None else key(values[slot]) in wanted

    def _like(self, expression: Likeness, slot: int, type_: CqlType) -> Test:
        if type_.name not in TEXTS:
            raise RuleError(
                f"like needs a text, and the column is of type {type_.cql()}",
                expression.pattern.position,
                "compare it with =, < or >",
            )
        matches = like(expression.pattern)
        return lambda values: None if values[slot] is None else matches(values[slot])


def _joined(tests: list[Test], *, wins: bool) -> Test:
    def joined(values: Sequence[Any]) -> bool | None:
        outcome: bool | None = not wins
        for test in tests:
            found = test(values)
            if found is wins:
                return wins
            if found is None:
                outcome = None
        return outcome

    return joined


def _negated(test: Test) -> Test:
    def negated(values: Sequence[Any]) -> bool | None:
        found = test(values)
        return None if found is None else not found

    return negated


def _same(value: Any) -> Any:
    return value


def _float_key(value: float) -> tuple[bool, float]:
    """As in PostgreSQL: NaN is equal to itself and greater than every number."""
    return (True, 0.0) if value != value else (False, value)  # noqa: PLR0124 the test for NaN


def _number_key(value: int | Decimal) -> tuple[bool, int | Decimal]:
    return (False, value)


def _address_key(value: IPv4Address | IPv6Address) -> tuple[int, bytes]:
    return (value.version, value.packed)


def _uuid_key(value: UUID) -> bytes:
    return value.bytes


def _key(type_: CqlType) -> Key:
    """What orders values of the type, numbers of all types among each other."""
    if type_.name in ("float", "double"):
        return _float_key
    kind = family(type_)
    if kind == "number":
        return _number_key
    if kind == "inet":
        return _address_key
    return _uuid_key if kind == "uuid" else _same
