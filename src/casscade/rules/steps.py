"""What each transform of the configuration does to a value, for a column of a given type.

Invariant: a step that is made fits its type; everything that can be known to fail is refused when it is made. Steps
take and give Python objects (see `casscade.cql.values`), never None; None given means NULL.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from casscade.config.rules import (
    CaseSection,
    CastSection,
    ConstantSection,
    HashSection,
    JsonPathSection,
    MaskSection,
    PythonSection,
    RulesSection,
    Transform,
    UtcSection,
)
from casscade.cql.types import CqlType
from casscade.rules import masks
from casscade.rules.casting import cast_of, from_text
from casscade.rules.faults import RuleError, rule_failed
from casscade.rules.json_paths import json_path
from casscade.rules.literals import TEXTS
from casscade.rules.moments import utc
from casscade.security.secret import Secret

TEXT: Final = CqlType("text")
_NEEDS_TEXT: Final = ("trim", "case", "json_path", "utc")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done: `word` is its name in the configuration, `result` the type of what it gives.

    `hides`: what the value was must not be kept anywhere. `nulls`: it may give None.
    """

    word: str
    apply: Callable[[Any], Any]
    result: CqlType
    hides: bool = False
    nulls: bool = False


def step_of(transform: Transform, type_: CqlType, rules: RulesSection) -> Step:
    """The step for values of `type_`; RuleError where it does not fit."""
    word = transform.word
    section = transform.section
    if word in _NEEDS_TEXT and type_.name not in TEXTS:
        raise RuleError(f"needs a text, and the column is a {type_.cql()}", hint="put a cast to text before it")
    if isinstance(section, MaskSection):
        return _mask(section, type_, rules)
    if isinstance(section, HashSection):
        return Step(word, masks.keyed_hash(_key(section.key, rules), type_), TEXT, hides=True)
    if isinstance(section, ConstantSection):
        return _constant(section, type_)
    if isinstance(section, CastSection):
        to = CqlType(section.to)
        return Step(word, _guarded(word, cast_of(type_, to)), to)
    if isinstance(section, CaseSection):
        return Step(word, str.lower if section.to == "lower" else str.upper, TEXT)
    if isinstance(section, JsonPathSection):
        return Step(word, _guarded(word, json_path(section.path)), TEXT, nulls=True)
    if isinstance(section, UtcSection):
        return Step(word, _guarded(word, utc(section.zone)), CqlType("timestamp"))
    if isinstance(section, PythonSection):
        # Nobody but its author knows whether it hides something, so that its input is kept nowhere.
        call = _guarded(f"{word} {section.function}", _function(section.function))
        return Step(word, call, CqlType(section.to), hides=True, nulls=True)
    assert word == "trim", word
    return Step(word, str.strip, TEXT)


def _mask(section: MaskSection, type_: CqlType, rules: RulesSection) -> Step:
    if section.with_ == "hmac-sha256":
        return Step("mask", masks.keyed_hash(_key(section.key, rules), type_), TEXT, hides=True)
    if type_.name not in TEXTS:
        raise RuleError(
            f"{section.with_} needs a text, and the column is a {type_.cql()}",
            hint="use with: hmac-sha256, or null, or put a cast to text before it",
        )
    mask = {"redact": masks.redacted, "partial": masks.partial(section.keep), "format": masks.formatted}[section.with_]
    return Step("mask", mask, TEXT, hides=True)


def _constant(section: ConstantSection, type_: CqlType) -> Step:
    try:
        value = section.value if type_.name in TEXTS else from_text(type_, section.value)
    except (ValueError, OverflowError):
        raise RuleError(f"its value is no {type_.cql()}", hint="write a value of that type as text") from None
    return Step("constant", lambda _value: value, type_, hides=True)


def _key(own: Secret | None, rules: RulesSection) -> bytes:
    key = own or rules.key
    if key is None:
        raise RuleError("has no key", hint="give rules.key, as in rules: {key: '${file:/etc/casscade/rules.key}'}")
    return key.reveal().encode()


def _function(name: str) -> Callable[[Any], Any]:
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        # Whatever the module raises while it is loaded: the start ends with it, and its words are its author's.
        raise RuleError(f"{name} can't be loaded ({type(error).__name__})", hint="check PYTHONPATH") from error
    if not callable(function):
        raise RuleError(f"{name} is no function", hint="name a function of one argument")
    return function  # type: ignore[no-any-return]


def _guarded(rule: str, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`call`, whose failures are those of a rule; what it says of them may hold the value and is left out."""

    def guarded(value: Any) -> Any:
        try:
            return call(value)
        except Exception as error:
            raise rule_failed(rule, type(error).__name__) from None

    return guarded
