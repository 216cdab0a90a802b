"""What stands at a path of a JSON text.

Invariant: the path is read when the rule is; a text that is no JSON raises ValueError, whatever it holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from casscade.rules.faults import RuleError

_STEP: Final = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)|\[([0-9]{1,9})\]|\['((?:[^'\\]|\\.)*)'\]")
# Deeper documents have no name that a person wrote.
_STEPS_MAX: Final = 64


def json_path(path: str) -> Callable[[str], str | None]:
    """The function from a JSON text to the text at `path`; None where nothing is, or null."""
    steps = _steps(path)

    def found(text: str) -> str | None:
        try:
            value = json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
        except RecursionError:
            raise ValueError("nested too deep") from None
        for step in steps:
            if isinstance(step, str):
                if not isinstance(value, dict) or step not in value:
                    return None
            elif not isinstance(value, list) or step >= len(value):
                return None
            value = value[step]
        return _as_text(value)

    return found


def _steps(path: str) -> list[str | int]:
    if not path.startswith("$"):
        raise RuleError("a path begins with $", hint="write $.name, $.list[0] or $['a name']")
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None or len(steps) == _STEPS_MAX:
            raise RuleError("the path can't be read", at + 1, "write $.name, $.list[0] or $['a name']")
        name, index, quoted = step.groups()
        steps.append(name if name is not None else int(index) if index is not None else re.sub(r"\\(.)", r"\1", quoted))
        at = step.end()
    return steps


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return str(value)
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=float)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _no_constant(_name: str) -> Any:
    raise ValueError("no JSON")
