"""When a node truncated which table: `truncated_at` of its `system.local`.

Invariant: what is returned is what that one node recorded, never the answer of another.

TRUNCATE is not in the commit log. Each node flushes the table, drops its files and then stores, by table id, the commit
log position up to which everything is void, and the time (`ColumnFamilyStore.truncateBlocking`,
`SystemKeyspace.truncationAsMapEntry`; the same from 3.11 to 5.0).
"""

from __future__ import annotations

import struct
import uuid
from typing import Any, Final

from cassandra.cluster import Session

from casscade.core.errors import InvariantError, RetryableError
from casscade.core.position import Position, Truncation
from casscade.schema.faults import translated

# One row of a local table: a node that takes longer is asked again.
TIMEOUT_S: Final = 5.0
_RECORD: Final = struct.Struct(">qiq")
# Records of very old nodes end before the time (`SystemKeyspace.truncationRecordFromBlob`).
_BARE: Final = struct.Struct(">qi")


def read_truncations(session: Session, host_id: uuid.UUID) -> dict[uuid.UUID, Truncation]:
    """The newest truncation of each table that the node with `host_id` knows, by table id.

    Raises RetryableError when that node does not answer or is not (any more) in the cluster.
    """
    host = next((host for host in session.cluster.metadata.all_hosts() if host.host_id == host_id), None)
    if host is None:
        raise RetryableError(
            "cassandra_unavailable",
            f"the cluster has no node with the host id {host_id} now",
            now="it is asked again after a pause",
            hint="nodetool status shows the nodes",
        )
    with translated("reading when tables were truncated"):
        row = session.execute("SELECT truncated_at FROM system.local", timeout=TIMEOUT_S, host=host).one()
    records: Any = {} if row is None or row[0] is None else row[0]
    return {table_id: parse_record(bytes(record)) for table_id, record in records.items()}


def parse_record(record: bytes) -> Truncation:
    """A value of `truncated_at`: segment id (8 bytes), offset (4), milliseconds (8, may be missing)."""
    if len(record) >= _RECORD.size:
        segment, offset, at_ms = _RECORD.unpack_from(record)
    elif len(record) == _BARE.size:
        (segment, offset), at_ms = _BARE.unpack(record), 0
    else:
        raise InvariantError("truncation_record", f"a truncation record of {len(record)} bytes can't be understood")
    # A table that was never written to may have the position of no segment (-1): nothing lies before it.
    return Truncation(Position(max(segment, 0), offset), at_ms)
