"""Sizes that a node states in its settings: the space of `cdc_raw`, and the largest mutation it takes.

Invariant: pure; what the node does not tell is None, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_QUANTITY: Final = re.compile(r"([0-9]+)(B|KiB|MiB|GiB)")
_UNIT: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

Settings = Mapping[str, str | None]


def cdc_total_bytes(settings: Settings) -> int | None:
    """`cdc_total_space` of the node (4.0: `cdc_total_space_in_mb`), None where it is left to Cassandra's default."""
    return _size(settings, "cdc_total_space", "cdc_total_space_in_mb", 1 << 20)


def mutation_bytes_max(settings: Settings) -> int | None:
    """`max_mutation_size` of the node (4.0: `max_mutation_size_in_kb`), or half a segment, which is its default."""
    largest = _size(settings, "max_mutation_size", "max_mutation_size_in_kb", 1 << 10)
    if largest is None:
        segment = _size(settings, "commitlog_segment_size", "commitlog_segment_size_in_mb", 1 << 20)
        largest = None if segment is None else segment // 2
    return largest


def _size(settings: Settings, name: str, old_name: str, old_unit: int) -> int | None:
    """The value under the name of 4.1 and later, with its unit, or the one of 4.0; None for none, 0 or what is odd."""
    text = settings.get(name)
    match = _QUANTITY.fullmatch(text) if text else None
    if match is not None:
        return int(match[1]) * _UNIT[match[2]] or None
    old = settings.get(old_name)
    return int(old) * old_unit or None if old and old.isdecimal() else None
