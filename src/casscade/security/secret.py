"""Holds a secret so that it can't be shown by accident, and masks the secrets inside a PostgreSQL DSN.

Invariant: the plain text leaves a `Secret` only through `reveal()`; text, format and repr never hold it, and it can't
be pickled.
"""

from __future__ import annotations

import hmac
import re
from typing import Final, NoReturn, SupportsIndex, final
from urllib.parse import unquote

MASK: Final = "********"

# The connection options of libpq whose values are secrets (PostgreSQL 18, "Parameter Key Words").
_SECRET_OPTIONS: Final = frozenset(
    {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
)
_URI: Final = re.compile(r"postgres(?:ql)?://", re.IGNORECASE)
_OPTION: Final = re.compile(r"(\w+)(\s*=\s*)('(?:\\.|[^'\\])*'?|(?:\\.|[^\s\\])*\\?)", re.DOTALL)


@final
class Secret:
    """A text that masks itself wherever it is printed; `reveal()` is the only way to the plain text."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The plain text, for the client library that needs it."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, specification: str) -> str:
        return format(MASK, specification)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self._value), _bytes(other._value))

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a Secret can't be pickled: the plain text would be written out")


def mask_dsn(dsn: str) -> str:
    """The DSN (URI or keyword form of libpq) with its secrets replaced by `MASK`.

    Masks rather too much than too little: in a URI everything between the first colon of the user part and the last
    `@`, because a password with an unescaped `@` or `/` would otherwise show its tail.
    """
    scheme = _URI.match(dsn)
    if scheme is None:
        return _OPTION.sub(_mask_option, dsn)
    head, rest = dsn[: scheme.end()], dsn[scheme.end() :]
    user_part, at, tail = rest.rpartition("@")
    if at and ":" in user_part:
        user_part = user_part.partition(":")[0] + ":" + MASK
    address, mark, query = tail.partition("?")
    options = "&".join(_mask_query(option) for option in query.split("&"))
    return head + user_part + at + address + mark + options


def _mask_option(found: re.Match[str]) -> str:
    if found[1].lower() in _SECRET_OPTIONS:
        return found[1] + found[2] + MASK
    return found[0]


def _mask_query(option: str) -> str:
    keyword, equals, _ = option.partition("=")
    if equals and unquote(keyword).lower() in _SECRET_OPTIONS:
        return f"{keyword}={MASK}"
    return option


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
