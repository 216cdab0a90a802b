"""The types of single configuration values: what they accept, and the sentence for what they refuse.

Invariant: a value is taken as it is written or refused; nothing is rounded, trimmed or guessed. The sentences never
hold the value.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Final, NoReturn

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from casscade.config.dsn import is_dsn
from casscade.security.secret import Secret

# NAMEDATALEN - 1 of PostgreSQL: a longer identifier is cut without an error.
IDENTIFIER_BYTES_MAX: Final = 63

_DIGITS: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_PIPELINE: Final = re.compile(r"[a-z][a-z0-9_-]{0,47}")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9.])?")
_LISTEN: Final = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+)):([0-9]{1,5})")
# Topic.validate of Kafka.
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_SOURCE: Final = re.compile(r"[A-Za-z0-9_*?]{1,255}\.[A-Za-z0-9_*?]{1,255}")
_TARGET: Final = re.compile(r"[A-Za-z_*][A-Za-z0-9_$*]{0,62}\.[A-Za-z_*][A-Za-z0-9_$*]{0,62}")
# SchemaConstants.LOCAL_SYSTEM_KEYSPACE_NAMES, REPLICATED_… and VIRTUAL_… of Cassandra 5.0.
SYSTEM_KEYSPACES: Final = frozenset(
    {
        "system",
        "system_auth",
        "system_cluster_metadata",
        "system_distributed",
        "system_schema",
        "system_traces",
        "system_views",
        "system_virtual_schema",
    }
)


def refuse(what: str, hint: str = "") -> NoReturn:
    """Refuse a value inside a pydantic validator."""
    raise PydanticCustomError("refused", "{what}", {"what": what, "hint": hint})


def _whole_number(value: object) -> int:
    # bool is an int to Python; a text of digits is what a reference such as ${env:PORT} gives.
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        refuse("must be a whole number", "write digits alone, without unit, underscore or leading zero")
    return value


def _text(value: object) -> str:
    if isinstance(value, bool | int | float):
        refuse("must be a text, but is written as a number or boolean", "put the value in quotes")
    if not isinstance(value, str):
        refuse("must be a text, not a list or a mapping")
    if not value:
        refuse("must not be empty")
    return value


def _secret(value: object) -> Secret:
    return value if isinstance(value, Secret) else Secret(_text(value))


def _dsn(value: object) -> Secret:
    secret = _secret(value)
    if not is_dsn(secret.reveal()):
        refuse(
            "must be a connection string of PostgreSQL",
            "write postgresql://user@host:5432/database or host=… dbname=…",
        )
    return secret


def _path(value: object, info: ValidationInfo) -> Path:
    path = value if isinstance(value, Path) else Path(_text(value))
    directory = (info.context or {}).get("directory", Path())
    return Path(directory / path)


def _pipeline(value: object) -> str:
    name = _text(value)
    if not _PIPELINE.fullmatch(name):
        refuse("must be 1 to 48 characters of a-z, 0-9, _ and -, beginning with a letter")
    return name


def _identifier(value: object) -> str:
    name = _text(value)
    if not _IDENTIFIER.fullmatch(name) or len(name) > IDENTIFIER_BYTES_MAX:
        refuse("must be 1 to 63 letters, digits, _ and $, beginning with a letter or _")
    if name.startswith("pg_") or name == "information_schema":
        refuse("names a schema that belongs to PostgreSQL itself", "choose another schema")
    return name


def _host(value: object) -> str:
    host = _text(value)
    if not _is_address(host) and not _HOST.fullmatch(host):
        refuse("must be a host name or an IP address", "the port is a key of its own: cassandra.port")
    return host


def _listen(value: object) -> str:
    split_listen(_text(value))
    return _text(value)


def split_listen(text: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[IPv6]:port`; a pydantic refusal otherwise. Port 0 lets the system choose."""
    found = _LISTEN.fullmatch(text)
    if found is None or int(found[3]) > 65535:
        refuse("must be host:port with a port up to 65535", "write 127.0.0.1:8080, or [::1]:8080 for IPv6")
    host = found[1] or found[2]
    if found[1] is not None and not _is_address(host):
        refuse("must have an IPv6 address between the brackets", "write [::1]:8080")
    if found[1] is None and not _HOST.fullmatch(host):
        refuse("must begin with a host name or an IP address", "write 127.0.0.1:8080")
    return host, int(found[3])


def _source(value: object) -> str:
    pattern = _text(value)
    if not _SOURCE.fullmatch(pattern):
        refuse("must be keyspace.table of letters, digits and _, where * and ? are wildcards")
    if pattern.partition(".")[0] in SYSTEM_KEYSPACES:
        refuse("names a keyspace of Cassandra itself, which is never replicated")
    return pattern


def _target(value: object) -> str:
    target = _text(value)
    if not _TARGET.fullmatch(target):
        refuse(
            "must be schema.table, each of 1 to 63 letters, digits, _ and $",
            "a * stands for the name of the keyspace or table, as in analytics.*",
        )
    schema = target.partition(".")[0]
    if "*" not in schema:
        _identifier(schema)
    return target


def _bootstrap(value: object) -> str:
    text = _text(value)
    found = _LISTEN.fullmatch(text)
    host = found and (found[1] or found[2])
    if not found or not host or not (_is_address(host) or _HOST.fullmatch(host)) or not 0 < int(found[3]) <= 65535:
        refuse("must be host:port", "write broker-1:9092, or [::1]:9092 for IPv6")
    return text


def _topic(value: object) -> str:
    name = _text(value)
    if not _TOPIC.fullmatch(name) or name in {".", ".."}:
        refuse("must be 1 to 249 letters, digits, dots, _ and -")
    return name


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
Text = Annotated[str, BeforeValidator(_text)]
SecretText = Annotated[Secret, PlainValidator(_secret), PlainSerializer(str, return_type=str)]
Dsn = Annotated[Secret, PlainValidator(_dsn), PlainSerializer(str, return_type=str)]
FilePath = Annotated[Path, BeforeValidator(_path)]
PipelineName = Annotated[str, BeforeValidator(_pipeline)]
Identifier = Annotated[str, BeforeValidator(_identifier)]
Host = Annotated[str, BeforeValidator(_host)]
ListenAddress = Annotated[str, BeforeValidator(_listen)]
SourcePattern = Annotated[str, BeforeValidator(_source)]
TargetPattern = Annotated[str, BeforeValidator(_target)]
BootstrapServer = Annotated[str, BeforeValidator(_bootstrap)]
TopicName = Annotated[str, BeforeValidator(_topic)]
