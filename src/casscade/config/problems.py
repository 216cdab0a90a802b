"""Collects what is wrong with a configuration file and reports it in one ConfigurationError.

Invariant: a report names file, line and key and never a value: a value may be a secret in the wrong place.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn, TypeAlias

from casscade.core.errors import ConfigurationError

# More than a screen of problems has one cause (a wrong file, a wrong indentation); the rest is only counted.
PROBLEMS_SHOWN_MAX: Final = 20
_KEY_CHARACTERS_MAX: Final = 60
_NOW: Final = "nothing was started and nothing was changed"

KeyPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: line (from 1, 0 for the whole file), key as a path, what is wrong, what to do."""

    line: int
    key: str
    what: str
    hint: str = ""


class Problems:
    """The problems of one file, bounded; `raise_any` ends the reading when there are any."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._found: list[Problem] = []
        self._hidden = 0

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, line: int, path: KeyPath, what: str, hint: str = "") -> None:
        """Note a problem and go on."""
        problem = Problem(line, key_text(path), what, hint)
        if problem in self._found:
            return
        if len(self._found) < PROBLEMS_SHOWN_MAX:
            self._found.append(problem)
        else:
            self._hidden += 1

    def fatal(self, line: int, path: KeyPath, what: str, hint: str = "") -> NoReturn:
        """Note a problem after which the rest of the file can't be understood, and raise all of them."""
        self._found = self._found[: PROBLEMS_SHOWN_MAX - 1]
        self.add(line, path, what, hint)
        raise self._error()

    def raise_any(self) -> None:
        """Raise one ConfigurationError for all problems noted so far; return when there is none."""
        if self._found:
            raise self._error()

    def _error(self) -> ConfigurationError:
        found = sorted(self._found, key=lambda problem: problem.line)
        if len(found) == 1 and not self._hidden:
            only = found[0]
            return ConfigurationError(
                "config_invalid", _sentence(only), where=self._place(only), now=_NOW, hint=only.hint
            )
        lines = [f"the configuration has {len(found) + self._hidden} problems"]
        for problem in found:
            hint = f" ({problem.hint})" if problem.hint else ""
            lines.append(f"{self._place(problem)}: {_sentence(problem)}{hint}")
        if self._hidden:
            lines.append(f"and {self._hidden} more")
        return ConfigurationError(
            "config_invalid", "\n    ".join(lines), where=self._file, now=_NOW, hint="correct the lines above"
        )

    def _place(self, problem: Problem) -> str:
        return f"{self._file}:{problem.line}" if problem.line else self._file


def key_text(path: KeyPath) -> str:
    """A path of keys as users write it: `tables[1].columns.exclude`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + printable_key(step)
    return text


def printable_key(key: str) -> str:
    """A key for a message: one line, bounded, and cut at a colon, behind which a value may stand by mistake."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in key.partition(":")[0])
    return shown if len(shown) <= _KEY_CHARACTERS_MAX else shown[:_KEY_CHARACTERS_MAX] + "…"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like `word`, whatever the case; None when none is near."""
    by_folded = {each.casefold(): each for each in known}
    # get_close_matches is quadratic in the length of its words.
    found = difflib.get_close_matches(word[:_KEY_CHARACTERS_MAX].casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def _sentence(problem: Problem) -> str:
    return f"{problem.key}: {problem.what}" if problem.key else problem.what
