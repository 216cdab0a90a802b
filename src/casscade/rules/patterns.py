"""Patterns of `like`: `%` is any text, `_` one character, `\\` takes the next character as it is.

Invariant: matching goes back to the last `%` alone, so that its time is at most the product of both lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from casscade.rules.faults import RuleError
from casscade.rules.syntax import Literal

_ANY_TEXT: Final = None
_ANY_SIGN: Final = ""


def like(pattern: Literal) -> Callable[[str], bool]:
    """The test for texts that match `pattern`; case matters. RuleError for a `\\` at its end."""
    steps: list[str | None] = []
    signs = iter(pattern.text)
    for sign in signs:
        if sign == "%":
            steps.append(_ANY_TEXT)
        elif sign == "_":
            steps.append(_ANY_SIGN)
        elif sign == "\\":
            following = next(signs, None)
            if following is None:
                raise RuleError("the pattern ends in \\", pattern.position, "write \\\\ for the character itself")
            steps.append(following)
        else:
            steps.append(sign)
    return lambda text: _matches(steps, text)


def _matches(steps: list[str | None], text: str) -> bool:
    at = star = 0
    index, resume = 0, -1
    while index < len(text):
        if at < len(steps) and steps[at] is _ANY_TEXT:
            star, resume = at, index
            at += 1
        elif at < len(steps) and steps[at] in (_ANY_SIGN, text[index]):
            at += 1
            index += 1
        elif resume >= 0:
            resume += 1
            at, index = star + 1, resume
        else:
            return False
    return all(step is _ANY_TEXT for step in steps[at:])
