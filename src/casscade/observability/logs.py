"""Structured logs: one JSON object a line on standard error, for Casscade and for the libraries it uses.

Invariant: everything passes `redact` and `render_exception`: no credential, no bytes of the data and no text of a
foreign exception (drivers quote keys and values in theirs) reaches the stream.
"""

from __future__ import annotations

import copy
import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, Final, Literal, TextIO
from uuid import uuid4

from casscade.core.errors import CasscadeError
from casscade.observability.sparing import without

# It brings what shows stacks in colours, which no log of ours does: 4 MB beside a database.
with without("rich"):
    import structlog

MASK: Final = "********"
# What a reader needs of a stack is where it was raised and who called; the rest is the thread's start.
FRAMES_MAX: Final = 20
CAUSES_MAX: Final = 5
# Deeper or longer than this is no log field but a dump.
DEPTH_MAX: Final = 4
ITEMS_MAX: Final = 50
TEXT_MAX: Final = 2000

_SECRET_KEY: Final = re.compile(
    r"passw|passphrase|secret|credential|authorization|cookie|api_?key|private_?key|access_?key", re.IGNORECASE
)
# Text only: the tokens of Cassandra's ring are numbers.
_TOKEN_KEY: Final = re.compile(r"token", re.IGNORECASE)
_URL_PASSWORD: Final = re.compile(r"(?<=://)([^\s:/@]*):\S+@")
_ASSIGNED: Final = re.compile(
    r"\b(\w*(?:passw\w*|secret|passphrase))(\s*[=:]\s*)('[^']*'|\"[^\"]*\"|\S+)", re.IGNORECASE
)

Logger = structlog.stdlib.BoundLogger


def get_logger(name: str) -> Logger:
    """The logger of a module; it follows `configure_logging` whenever that is called."""
    logger: Logger = structlog.stdlib.get_logger(name)
    return logger


@contextmanager
def correlation(identifier: str = "") -> Iterator[str]:
    """Put `correlation_id` on every line that this thread writes inside; a new one when none is given."""
    chosen = identifier or uuid4().hex[:16]
    with structlog.contextvars.bound_contextvars(correlation_id=chosen):
        yield chosen


def configure_logging(
    level: Literal["debug", "info", "warning", "error"] = "info",
    style: Literal["json", "console"] = "json",
    stream: TextIO | None = None,
) -> None:
    """Send all logs of the process to `stream` (standard error). May be called again; the last call holds.

    Libraries write from `warning` on, whatever the level: below that they tell what the drivers do, query by query.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        render_exception,
        redact,
    ]
    final: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if style == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, final],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old.formatter, _Formatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("casscade").setLevel(level.upper())


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Takes what may hold data out of a library's arguments before they become text."""

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.args, tuple) and not isinstance(record.msg, Mapping):
            record = copy.copy(record)
            record.args = tuple(_clean(value, 0) if _opaque(value) else value for value in record.args or ())
        return super().format(record)


def _opaque(value: object) -> bool:
    return isinstance(value, BaseException | bytes | bytearray | memoryview)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: mask credentials, replace bytes by their length and unknown objects by their text."""
    for key in list(event):
        if not key.startswith("_"):
            event[key] = _field(key, event[key], 0)
    return event


def _field(key: str, value: object, depth: int) -> object:
    if _SECRET_KEY.search(key) or (_TOKEN_KEY.search(key) and isinstance(value, str | bytes)):
        return MASK
    return _clean(value, depth)


def _clean(value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, BaseException):
        return _name(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth < DEPTH_MAX:
        if isinstance(value, Mapping):
            return {str(key): _field(str(key), item, depth + 1) for key, item in list(value.items())[:ITEMS_MAX]}
        if not hasattr(value, "_fields"):
            return [_clean(item, depth + 1) for item in list(value)[:ITEMS_MAX]]
    text = str(value)
    text = _ASSIGNED.sub(rf"\1\2{MASK}", _URL_PASSWORD.sub(rf"\1:{MASK}@", text))
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"


def render_exception(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: `exc_info` becomes `exception`, a list from the raised one to its first cause.

    Each has `type` and `frames` ("file:line function"); Casscade's own errors also `code`, `message` and `where`, and
    errors of PostgreSQL their `sqlstate`.
    """
    given = event.pop("exc_info", None)
    error: BaseException | None = None
    if isinstance(given, BaseException):
        error = given
    elif isinstance(given, tuple):
        error = given[1]
    elif given:
        error = sys.exc_info()[1]
    if error is not None:
        event["exception"] = list(_described(error))
    return event


def _described(error: BaseException) -> Iterator[dict[str, object]]:
    current: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if current is None:
            return
        one: dict[str, object] = {"type": _name(current)}
        if isinstance(current, CasscadeError):
            one |= {"code": current.code, "message": current.what, "where": current.where}
        elif getattr(current, "sqlstate", None):
            one["sqlstate"] = str(getattr(current, "sqlstate", ""))
        frames = traceback.extract_tb(current.__traceback__)[-FRAMES_MAX:]
        one["frames"] = [
            f"{'/'.join(PurePath(frame.filename).parts[-3:])}:{frame.lineno} {frame.name}" for frame in frames
        ]
        yield one
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
