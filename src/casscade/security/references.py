"""Secrets references in configuration values: `${env:NAME}`, `${file:path}`, `${vault:path#field}`.

Invariant: an error names the variable, file or rule, and never a character of the value that was read or of the text
around a reference. A value that was read is not searched for further references.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casscade.core.errors import ConfigurationError

# A private key with its certificate chain takes some KiB; a value above this is the wrong file.
SECRET_BYTES_MAX: Final = 64 * 1024
# A connection string has a user, a password, a host and a database; bounds the length of one expanded value.
REFERENCES_MAX: Final = 16

_TOKEN: Final = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORMS: Final = "write ${env:NAME} or ${file:path}; $${ stands for the characters ${ themselves"


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a secret is to be read: scheme `env`, `file` or `vault`; `field` belongs to `vault` alone."""

    scheme: str
    target: str
    field: str = ""


def parse(text: str) -> tuple[str | Reference, ...]:
    """Split a configuration value into plain text and references, in order.

    Raises ConfigurationError for a reference that is not closed, has an unknown scheme or a malformed target, and
    for more than REFERENCES_MAX references.
    """
    parts: list[str | Reference] = []
    count = 0
    plain: list[str] = []
    end = 0
    for found in _TOKEN.finditer(text):
        plain.append(text[end : found.start()])
        end = found.end()
        if found[0] == "$${":
            plain.append("${")
            continue
        if found[1] is None:
            raise _malformed("a reference starts with ${ but has no closing brace")
        count += 1
        if count > REFERENCES_MAX:
            raise _malformed(f"one value holds more than {REFERENCES_MAX} references")
        if before := "".join(plain):
            parts.append(before)
        plain.clear()
        parts.append(_reference(found[1]))
    if rest := "".join((*plain, text[end:])):
        parts.append(rest)
    return tuple(parts)


def lookup(reference: Reference, environ: Mapping[str, str], directory: Path) -> str:
    """Read the value of one reference; relative paths are taken from `directory`.

    Raises ConfigurationError when the variable or file is missing, unreadable, too large or not UTF-8, and for
    `vault`, which this version can't read.
    """
    if reference.scheme == "env":
        return _variable(reference.target, environ)
    if reference.scheme == "file":
        return _file(directory / reference.target)
    raise ConfigurationError(
        "secret_unsupported",
        "references to a vault are not supported by this version",
        hint="use ${env:NAME} or ${file:path}",
    )


def _reference(body: str) -> Reference:
    scheme, colon, target = body.partition(":")
    if not colon or scheme not in ("env", "file", "vault"):
        raise _malformed("a reference must begin with env:, file: or vault:")
    field = ""
    if scheme == "env" and not _NAME.fullmatch(target):
        raise _malformed("the reference ${env:…} does not hold the name of an environment variable")
    if scheme == "file" and (not target or "\0" in target):
        raise _malformed("the reference ${file:…} holds no path")
    if scheme == "vault":
        target, _, field = target.partition("#")
        if not target or not field:
            raise _malformed("the reference ${vault:…} needs a path and a field, as in ${vault:path#field}")
    return Reference(scheme, target, field)


def _variable(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if value is None:
        raise ConfigurationError(
            "secret_missing",
            f"the environment variable {name} is not set",
            hint=f"set {name} before the start, or refer to a file with ${{file:path}}",
        )
    try:
        encoded = value.encode("utf-8")
    except UnicodeEncodeError:
        raise _unreadable(f"the environment variable {name} is not valid UTF-8") from None
    if len(encoded) > SECRET_BYTES_MAX:
        raise _unreadable(f"the environment variable {name} holds more than {SECRET_BYTES_MAX} bytes")
    return value


def _file(path: Path) -> str:
    content = _read(path)
    if len(content) > SECRET_BYTES_MAX:
        raise _unreadable(f"the file {path} holds more than {SECRET_BYTES_MAX} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise _unreadable(f"the file {path} is not valid UTF-8") from None
    if "\0" in text:
        raise _unreadable(f"the file {path} holds a NUL character")
    if text.endswith("\r\n"):
        return text[:-2]
    return text.removesuffix("\n")


def _read(path: Path) -> bytes:
    """The bytes of a regular file, one more than the limit at most. A pipe is refused, for it could block for ever."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise _unreadable(f"{path} is not a regular file")
        with path.open("rb") as file:
            return file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise _unreadable(f"the file {path} can't be read: {error.strerror}") from None


def _malformed(what: str) -> ConfigurationError:
    return ConfigurationError("secret_reference", what, hint=_FORMS)


def _unreadable(what: str) -> ConfigurationError:
    return ConfigurationError("secret_unreadable", what, hint="check the reference and what it points to")
