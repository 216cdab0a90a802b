"""What is shown of keys and values.

Invariant: unless values are asked for, of a key there is its size and a digest, of a value its size, and of an
element of a collection nothing that it holds.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from casscade.core.errors import BadDataError
from casscade.cql.json_text import to_json
from casscade.cql.types import CqlType

# 64 bits tell the keys of a topic apart; the digest is for people who look for the messages of one key.
_DIGEST_BYTES: Final = 8


def digest(data: bytes) -> str:
    """The same for the same bytes: lets messages of one key be found without showing it."""
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()


def moment(microseconds: int) -> str | int:
    """ISO 8601 in UTC, or the number itself where no calendar has it."""
    seconds, rest = divmod(microseconds, 1_000_000)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return microseconds


def plain_value(cql_type: CqlType, data: bytes) -> Any:
    """A value as JSON has it; `{"error": code}` where its bytes are none of the type.

    A number with more digits than a double holds is a string.
    """
    try:
        text = to_json(cql_type, data, nul_replacement="\x00")
    except BadDataError as error:
        return {"error": error.code}
    try:
        return json.loads(text, parse_float=_number)
    except ValueError:  # an integer of thousands of digits
        return text


def _number(text: str) -> float | str:
    number = float(text)
    return number if Decimal(repr(number)) == Decimal(text) else text
