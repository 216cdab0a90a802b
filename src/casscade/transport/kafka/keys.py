"""The key of a message: the partition key of its mutation.

Invariant: messages of one partition key have one key, so that they lie in one partition, in order.
"""

from __future__ import annotations

from casscade.commitlog.peek import partition_key_of
from casscade.core.errors import CorruptionError


def key_of(mutation: bytes) -> bytes:
    """The partition key; a damaged mutation goes to one partition, where the loader sets it aside."""
    try:
        return partition_key_of(mutation)
    except CorruptionError:
        return b""
