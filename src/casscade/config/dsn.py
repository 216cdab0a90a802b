"""Puts secrets into a PostgreSQL connection string so that no character of a secret changes the string's structure.

Invariant: the value of a reference in the place of a user, password or option stays that one value after libpq has
parsed the string; unescaped, a password with an `@` would end up in libpq's message as a host name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from casscade.security.references import Reference
from casscade.security.secret import mask_dsn

_URI: Final = re.compile(r"postgres(?:ql)?://", re.IGNORECASE)
_OPTION: Final = re.compile(r"\s*[a-z_]+\s*=", re.IGNORECASE)
_SPECIAL: Final = re.compile(r"[\\'\s]")


def is_dsn(text: str) -> bool:
    """Whether libpq would read the text as a URI or as keyword=value options, judged by its beginning."""
    return _URI.match(text) is not None or _OPTION.match(text) is not None


def holds_password(dsn: str) -> bool:
    """Whether the connection string carries a password (or another secret) itself."""
    return mask_dsn(dsn) != dsn


def compose(parts: tuple[str | Reference, ...], lookup: Callable[[Reference], str]) -> str:
    """The connection string with the values of its references.

    A reference that is the whole string is taken as it stands. Within a URI the values in the user part and after an
    `=` of the query are percent-encoded; within keyword=value options spaces, quotes and backslashes are escaped.
    """
    if len(parts) == 1 and isinstance(parts[0], Reference):
        return lookup(parts[0])
    is_uri = isinstance(parts[0], str) and _URI.match(parts[0]) is not None
    text = ""
    for index, part in enumerate(parts):
        if isinstance(part, str):
            text += part
        elif not is_uri:
            text += _SPECIAL.sub(lambda found: "\\" + found[0], lookup(part))
        elif text.endswith("=") or _has_at_sign(parts[index + 1 :]):
            text += quote(lookup(part), safe="")
        else:
            text += lookup(part)
    return text


def _has_at_sign(parts: tuple[str | Reference, ...]) -> bool:
    return any(isinstance(part, str) and "@" in part for part in parts)
