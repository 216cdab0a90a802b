"""Texts of moments as milliseconds since 1970.

Invariant: the outcome depends on the text and the configured zone alone, never on the zone of the machine. Of a moment
that a clock showed twice, it is the first.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from casscade.rules.faults import RuleError
from casscade.rules.literals import moment_ms


def utc(zone: str | None) -> Callable[[str], int]:
    """The function from a text (ISO 8601, its zone an offset, Z, or a name behind a space) to milliseconds.

    `zone` is that of texts without any; such texts raise ValueError if it is None. RuleError for an unknown one.
    """
    default: tzinfo | None = None
    if zone is not None:
        try:
            default = _zone(zone)
        except ValueError:
            raise RuleError("this machine knows no such zone", hint="write a name as in Europe/Berlin") from None

    def read(text: str) -> int:
        text = text.strip()
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            text, _, name = text.rpartition(" ")
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is not None:
                raise
            moment = moment.replace(tzinfo=_zone(name))
        if moment.tzinfo is None:
            if default is None:
                raise ValueError("without a zone")
            moment = moment.replace(tzinfo=default)
        return moment_ms(moment.isoformat())

    return read


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError("no zone") from None
