"""How a process that runs a pipeline is set up.

Invariant: the garbage collector still runs; it only looks less often at rows, which never refer to each other.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

# A batch of 1,000 rows is some 10,000 tracked objects that reference counting frees. With Python's own threshold of 700
# the collector walks them over and over while a batch is collected: a third of the time that decoding takes.
COLLECT_AFTER: Final = (50_000, 20, 100)

# Threads of librdkafka allocate what others free: with an arena each (glibc's default is eight a core) the same bytes
# lie around several times. Two cost no measurable time.
MALLOC_ARENAS: Final = 2
# Larger blocks (requests and answers of Kafka, sections of segments) go back to the system when they are freed. By
# itself glibc keeps what it has seen freed once, up to 32 MB of it, and small blocks pin it. 128 KiB is its own start.
MALLOC_BLOCK_BYTES: Final = 128 * 1024
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def spare_memory() -> None:
    """Call before threads start, where memory matters more than time: beside a database. Elsewhere than on glibc it
    changes nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, MALLOC_ARENAS)
        mallopt(_M_MMAP_THRESHOLD, MALLOC_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, MALLOC_BLOCK_BYTES)


def settle_collector() -> None:
    """Call once everything is imported: what lives as long as the process is put out of the collector's way."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
