"""How soon a write can be seen in the commit log, from the node's settings; what stands in the way of less.

Invariant: pure; what the node does not tell is named, never guessed.

The rules are those of `AbstractCommitLogService` (when Cassandra syncs), `CommitLogSegment.sync` (what a sync shows)
and `CommitLogSegmentManagerCDC` (what comes to `cdc_raw`, and what happens when it is full).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

# Between two markers that Cassandra writes without a sync, in an uncompressed log (`AbstractCommitLogService`).
MARKER_INTERVAL_MS: Final = 100
# From here on a pipeline can't keep to seconds; Cassandra's own default is 10,000 ms.
SLOW_MS: Final = 2000
_QUANTITY: Final = re.compile(r"([0-9.]+)(ms|s|m)?")
_UNIT_MS: Final = {None: 1, "ms": 1, "s": 1000, "m": 60_000}
_COMPRESSOR: Final = re.compile(r"(\w+Compressor)")

_REMEDY: Final = "set commitlog_sync_period: 1000ms (4.0: commitlog_sync_period_in_ms: 1000) in cassandra.yaml"


class Visibility(NamedTuple):
    """`bound` says in one line how soon a write can be captured; `warnings` name what is worth changing."""

    bound: str
    warnings: tuple[str, ...]


def visibility(release: str, settings: Mapping[str, str | None], *, eager: bool, commitlog: bool) -> Visibility:
    """Judge a node of `release` ("5.0.6") by its rows of `system_views.settings` (none before 4.0).

    `eager` and `commitlog` tell of `capture.mode` and `capture.commitlog_directory`.
    """
    if int(release.split(".", 1)[0]) < 4:
        return _moved(eager, commitlog)
    compression = _compression(settings.get("commitlog_compression"))
    direct = settings.get("commitlog_disk_access_mode") in ("direct", "auto")
    ahead = eager and not compression and not direct
    bound, warnings = _synced(settings, ahead)
    if eager and compression:
        warnings.append(
            f"capture.mode: eager has no effect: commitlog_compression is {compression}, and compressed segments are "
            "written at each sync only; remove commitlog_compression, or shorten the sync period"
        )
    elif eager and direct:
        warnings.append(
            "capture.mode: eager has no effect: with commitlog_disk_access_mode: "
            f"{settings['commitlog_disk_access_mode']} segments are written at each sync only; set it to mmap"
        )
    if settings.get("cdc_block_writes") == "false":
        warnings.append(
            f"cdc_block_writes: false: when cdc_raw is full ({_space(settings)}) Cassandra deletes the oldest "
            "segments, read or not, and changes are lost; set cdc_block_writes: true, or give cdc_total_space room "
            "for the longest outage"
        )
    if commitlog:
        warnings.append(
            f"capture.commitlog_directory has no effect on Cassandra {release}: its cdc_raw holds the live segments; "
            "remove the key"
        )
    return Visibility(bound, tuple(warnings))


def _synced(settings: Mapping[str, str | None], ahead: bool) -> tuple[str, list[str]]:
    sync = settings.get("commitlog_sync")
    warnings: list[str] = []
    if sync == "batch":
        return "writes become visible before they are acknowledged (commitlog_sync: batch)", warnings
    if sync == "group":
        window = _milliseconds(_first(settings, "commitlog_sync_group_window", "commitlog_sync_group_window_in_ms"))
        text = "an unknown time" if window is None else f"{window} ms"
        return f"writes become visible after up to {text}: commitlog_sync: group, a window of {text}", warnings
    if sync != "periodic":
        return "commitlog_sync of the node is unknown: see system_views.settings", warnings
    period = _milliseconds(_first(settings, "commitlog_sync_period", "commitlog_sync_period_in_ms"))
    if period is None:
        return "commitlog_sync: periodic, of an unknown period: see system_views.settings", warnings
    if ahead:
        return (
            f"writes become visible within milliseconds: capture.mode: eager does not wait for the sync every "
            f"{period} ms"
        ), warnings
    if period >= SLOW_MS:
        warnings.append(
            f"commitlog_sync_period is {period} ms, and nothing is captured sooner: {_REMEDY}, or capture.mode: eager"
        )
    return f"writes become visible after up to {period} ms: commitlog_sync: periodic, {period} ms", warnings


def _moved(eager: bool, commitlog: bool) -> Visibility:
    """Cassandra 3.11, which has no table of its settings."""
    if not commitlog:
        return Visibility(
            "writes become visible when Cassandra 3.11 has flushed all tables of their segment: minutes to hours",
            ("for seconds set capture.commitlog_directory to commitlog_directory of cassandra.yaml",),
        )
    delay = "within milliseconds" if eager else f"after up to {MARKER_INTERVAL_MS} ms"
    return Visibility(
        f"writes become visible {delay} in an uncompressed commit log, else after up to the sync period",
        (
            "Cassandra 3.11 does not tell its settings; look at commitlog_sync, commitlog_sync_period_in_ms, "
            "commitlog_compression and cdc_total_space_in_mb in cassandra.yaml",
        ),
    )


def _first(settings: Mapping[str, str | None], *names: str) -> str | None:
    """The value under the name of 4.1 and later, or the one of 4.0."""
    return next((settings[name] for name in names if settings.get(name) is not None), None)


def _space(settings: Mapping[str, str | None]) -> str:
    """`cdc_total_space` as 4.1 writes it; 0 stands for Cassandra's default until it has worked it out."""
    space = _first(settings, "cdc_total_space", "cdc_total_space_in_mb") or "0"
    if space.isdigit():
        space += "MiB"
    return "4096MiB, or 1/8 of the volume if that is less" if space == "0MiB" else space


def _milliseconds(text: str | None) -> int | None:
    """`1000`, `1000.0`, `1000ms`, `10s` or `1m`; None for anything else, also for a NaN of 4.0."""
    match = _QUANTITY.fullmatch(text) if text else None
    return None if match is None else round(float(match[1]) * _UNIT_MS[match[2]])


def _compression(text: str | None) -> str:
    """The compressor's class name out of `ParameterizedClass`'s text; empty without compression."""
    match = _COMPRESSOR.search(text) if text else None
    return "" if match is None else match[1]
