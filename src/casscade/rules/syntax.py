"""The language of conditions: text to a tree.

Invariant: parsing ends in a tree within the bounds below or in a RuleError that tells the place; nothing of the text
is ever executed. The tree knows no types: `rules.predicate` gives it those of a table.

    condition  = all {"or" all}
    all        = one {"and" one}
    one        = "not" one | "(" condition ")" | column [test]
    test       = ("=" | "<>" | "!=" | "<" | "<=" | ">" | ">=") operand
               | ["not"] "in" "(" literal {"," literal} ")" | ["not"] "like" text | "is" ["not"] "null"
    operand    = literal | column
    literal    = number | 'text' | 0xbytes | true | false
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from casscade.config.problems import nearest
from casscade.rules.faults import RuleError
from casscade.rules.tokens import BYTES, END, NAME, NUMBER, QUOTED, SIGN, TEXT, Token, tokenize

# Parsing and evaluating recurse once a level; conditions of people have three.
DEPTH_MAX: Final = 50
# A list is looked up by hash; a thousand values fill the longest text that is allowed.
LIST_ITEMS_MAX: Final = 1000
_WORDS: Final = ("and", "or", "not", "in", "like", "is", "null", "true", "false")
_COMPARISONS: Final = {"=": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


@dataclass(frozen=True, slots=True)
class ColumnName:
    """A column, by its name in Cassandra."""

    name: str
    position: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as it is written; `kind` is `NUMBER`, `TEXT`, `BYTES` or "boolean"."""

    kind: str
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """`column sign operand`."""

    column: ColumnName
    sign: str
    operand: ColumnName | Literal


@dataclass(frozen=True, slots=True)
class Membership:
    """`column in (…)`."""

    column: ColumnName
    items: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Likeness:
    """`column like pattern`."""

    column: ColumnName
    pattern: Literal


@dataclass(frozen=True, slots=True)
class IsNull:
    """`column is null`."""

    column: ColumnName


@dataclass(frozen=True, slots=True)
class Truth:
    """A boolean column by itself."""

    column: ColumnName


@dataclass(frozen=True, slots=True)
class Not:
    """`not inner`."""

    inner: Expression


@dataclass(frozen=True, slots=True)
class And:
    """All of `parts`."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of `parts`."""

    parts: tuple[Expression, ...]


Expression: TypeAlias = Comparison | Membership | Likeness | IsNull | Truth | Not | And | Or


def parse(text: str) -> Expression:
    """The tree of a condition; RuleError with the place where it does not parse."""
    return _Parser(tokenize(text)).whole()


def columns_of(expression: Expression) -> Iterator[ColumnName]:
    """Every mention of a column, in the order of the text."""
    if isinstance(expression, And | Or):
        for part in expression.parts:
            yield from columns_of(part)
    elif isinstance(expression, Not):
        yield from columns_of(expression.inner)
    else:
        yield expression.column
        if isinstance(expression, Comparison) and isinstance(expression.operand, ColumnName):
            yield expression.operand


def conjuncts(expression: Expression) -> tuple[Expression, ...]:
    """The conditions of which all must hold; the expression itself if it is no `and`."""
    if not isinstance(expression, And):
        return (expression,)
    return tuple(inner for part in expression.parts for inner in conjuncts(part))


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def whole(self) -> Expression:
        if self._next.kind == END:
            raise RuleError("the condition is empty", 1, "write one, as in country = 'DE', or remove the key")
        found = self._either()
        if self._next.kind != END:
            raise self._unexpected("the condition ends before this")
        return found

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        self._at += 1
        return token

    def _is_word(self, *words: str) -> bool:
        return self._next.kind == NAME and self._next.text.lower() in words

    def _is_sign(self, *signs: str) -> bool:
        return self._next.kind == SIGN and self._next.text in signs

    def _either(self) -> Expression:
        parts = [self._all()]
        while self._is_word("or"):
            self._take()
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Expression:
        parts = [self._one()]
        while self._is_word("and"):
            self._take()
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _one(self) -> Expression:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise RuleError(f"the condition is nested deeper than {DEPTH_MAX} levels", self._next.position)
        found = self._nested()
        self._depth -= 1
        return found

    def _nested(self) -> Expression:
        if self._is_word("not"):
            self._take()
            return Not(self._one())
        if self._is_sign("("):
            opened = self._take()
            found = self._either()
            if not self._is_sign(")"):
                raise self._unexpected(f"the parenthesis of character {opened.position} is not closed")
            self._take()
            return found
        return self._test(self._column("a column"))

    def _column(self, wanted: str) -> ColumnName:
        token = self._next
        if token.kind == QUOTED:
            return ColumnName(self._take().text, token.position)
        if token.kind == NAME and token.text.lower() not in _WORDS:
            # As in CQL: a name without quotes is lower case.
            return ColumnName(self._take().text.lower(), token.position)
        raise self._unexpected(f"{wanted} was expected")

    def _test(self, column: ColumnName) -> Expression:
        if self._is_sign(*_COMPARISONS):
            sign = _COMPARISONS[self._take().text]
            if self._is_word("null"):
                raise RuleError("nothing is equal to null", self._next.position, "write is null or is not null")
            return Comparison(column, sign, self._operand())
        if self._is_word("is"):
            self._take()
            negated = self._skip_not()
            if not self._is_word("null"):
                raise self._unexpected("null was expected behind is")
            self._take()
            return Not(IsNull(column)) if negated else IsNull(column)
        negated = self._skip_not()
        test: Expression
        if self._is_word("in"):
            self._take()
            test = Membership(column, self._items())
        elif self._is_word("like"):
            self._take()
            if self._next.kind != TEXT:
                raise self._unexpected("a pattern in single quotes was expected behind like")
            token = self._take()
            test = Likeness(column, Literal(TEXT, token.text, token.position))
        elif negated:
            raise self._unexpected("in or like was expected behind not")
        else:
            return Truth(column)
        return Not(test) if negated else test

    def _skip_not(self) -> bool:
        if not self._is_word("not"):
            return False
        self._take()
        return True

    def _operand(self) -> ColumnName | Literal:
        literal = self._literal()
        return self._column("a value or a column") if literal is None else literal

    def _literal(self) -> Literal | None:
        token = self._next
        if token.kind in (NUMBER, TEXT, BYTES):
            return Literal(token.kind, self._take().text, token.position)
        if self._is_word("true", "false"):
            return Literal("boolean", self._take().text.lower(), token.position)
        return None

    def _items(self) -> tuple[Literal, ...]:
        if not self._is_sign("("):
            raise self._unexpected("a list in parentheses was expected behind in")
        self._take()
        items: list[Literal] = []
        while True:
            literal = self._literal()
            if literal is None:
                raise self._unexpected("a value was expected in the list")
            items.append(literal)
            if len(items) > LIST_ITEMS_MAX:
                raise RuleError(f"a list has more than {LIST_ITEMS_MAX} values", literal.position)
            if self._is_sign(")"):
                self._take()
                return tuple(items)
            if not self._is_sign(","):
                raise self._unexpected(", or ) was expected in the list")
            self._take()

    def _unexpected(self, what: str) -> RuleError:
        token = self._next
        hint = "docs/rules.md has the language"
        if token.kind == NAME and (near := nearest(token.text, _WORDS)) and near != token.text.lower():
            hint = f'did you mean "{near}"?'
        elif self._at > 0 and self._tokens[self._at - 1].kind == NAME:
            previous = self._tokens[self._at - 1].text
            if (near := nearest(previous, _WORDS)) and near != previous.lower():
                hint = f'did you mean "{near}" in place of "{previous}"?'
        return RuleError(what, token.position, hint)
