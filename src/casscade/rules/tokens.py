"""The words of a condition: names, numbers, texts and signs, each with its place.

Invariant: every character of the text is in exactly one token or is white space; time is linear in the length.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from casscade.rules.faults import RuleError

# A condition that a person maintains has some hundred characters; longer lists belong into a table to join with.
TEXT_CHARACTERS_MAX: Final = 10_000

NAME: Final = "name"
QUOTED: Final = "quoted name"
NUMBER: Final = "number"
TEXT: Final = "text"
BYTES: Final = "bytes"
SIGN: Final = "sign"
END: Final = "end"

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<bytes>0[xX][0-9a-fA-F]*)
    |(?P<number>-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<quoted>"(?:[^"]|"")*")
    |(?P<text>'(?:[^']|'')*')
    |(?P<sign><=|>=|<>|!=|[=<>(),])""",
    re.VERBOSE,
)
_KINDS: Final = {"bytes": BYTES, "number": NUMBER, "name": NAME, "quoted": QUOTED, "text": TEXT, "sign": SIGN}


class Token(NamedTuple):
    """One word: `text` without its quotes, `position` counted from 1."""

    kind: str
    text: str
    position: int


def tokenize(text: str) -> list[Token]:
    """The tokens of a condition, the last of kind `END`; RuleError for what is none."""
    if len(text) > TEXT_CHARACTERS_MAX:
        raise RuleError(f"the condition has more than {TEXT_CHARACTERS_MAX} characters", hint="shorten it")
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _no_token(text, at)
        kind = found.lastgroup
        assert kind is not None
        if kind in ("number", "bytes") and found.end() < len(text) and (text[found.end()].isalnum()):
            raise RuleError("a number ends in a letter", found.end() + 1, "put a space behind it, or quote a text: '…'")
        if kind != "space":
            tokens.append(Token(_KINDS[kind], _content(kind, found.group()), at + 1))
        at = found.end()
    tokens.append(Token(END, "", len(text) + 1))
    return tokens


def _content(kind: str, text: str) -> str:
    if kind == "text":
        return text[1:-1].replace("''", "'")
    return text[1:-1].replace('""', '"') if kind == "quoted" else text


def _no_token(text: str, at: int) -> RuleError:
    sign = text[at]
    if sign in "'\"":
        return RuleError("a quote is not closed", at + 1, f"end it with {sign}; within it write it twice")
    hints = {"&": "write and", "|": "write or", "!": "write not, or <>", ";": "a condition is one expression"}
    shown = sign if sign.isprintable() and sign.isascii() else "a character"
    return RuleError(f"{shown} has no meaning here", at + 1, hints.get(sign, "docs/rules.md has the language"))
