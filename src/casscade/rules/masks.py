"""What hides values.

Invariant: what a mask gives depends on the value and the configured key alone, so that every replay gives it again,
and no mask fails on any value of its type.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Final

from casscade.core.errors import BadDataError
from casscade.cql.text import to_text
from casscade.cql.types import CqlType
from casscade.cql.values import encode

Mask = Callable[[Any], str]

REDACTED: Final = "***"


def keyed_hash(key: bytes, type_: CqlType) -> Mask:
    """HMAC-SHA-256 of the value's text in hexadecimal: equal values of different types (int 5, text '5') have one."""

    def hashed(value: Any) -> str:
        content = encode(type_, value)
        try:
            content = to_text(type_, content).encode("utf-8", "surrogatepass")
        except BadDataError:  # a number of more digits than are written in bounded time
            content = b"\x00" + content
        return hmac.digest(key, content, hashlib.sha256).hex()

    return hashed


def partial(keep: int) -> Mask:
    """Stars but for the last `keep` characters, of a short text but for its last third."""

    def masked(value: str) -> str:
        shown = min(keep, len(value) // 3)
        return "*" * (len(value) - shown) + value[len(value) - shown :]

    return masked


def formatted(value: str) -> str:
    """Letters become x and X, digits 0; the length stays, and so do punctuation and spaces of ASCII."""
    # Everything else becomes a letter: marks, symbols and emoji say as much as letters do.
    return "".join(
        "0" if sign.isnumeric() else "X" if sign.isupper() else sign if sign.isascii() and not sign.isalpha() else "x"
        for sign in value
    )


def redacted(_value: Any) -> str:
    """The same for every value."""
    return REDACTED
