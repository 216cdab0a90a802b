"""Which token ranges a node holds copies of, by the ring that the driver knows and the keyspace's replication.

Invariant: what is returned covers every range of which the node is a replica; where that can't be told, the whole ring.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

from cassandra.cluster import Session
from cassandra.metadata import ReplicationStrategy

from casscade.schema.faults import translated

Ranges = list[tuple[int, int]]
# Of Murmur3Partitioner; with any other nothing is read by token.
_TOKEN_MIN: Final = -(1 << 63)
_TOKEN_MAX: Final = (1 << 63) - 1
WHOLE_RING: Final[Ranges] = [(_TOKEN_MIN, _TOKEN_MAX)]


def ranges_of(session: Session, host_id: str, keyspace: str) -> Ranges:
    """The ranges (start, end] of `keyspace` that the node with `host_id` holds; none of them wraps around.

    The whole ring where the node is not in it any more, or its ranges can't be told. Raises RetryableError when
    Cassandra does not answer.
    """
    metadata = session.cluster.metadata
    if metadata.token_map is None or not any(str(host.host_id) == host_id for host in metadata.all_hosts()):
        return list(WHOLE_RING)
    with translated("reading the replication of a keyspace"):
        row = session.execute(
            "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s", (keyspace,)
        ).one()
    if row is None:
        return list(WHOLE_RING)
    options = dict(row[0])
    name = options.pop("class").rsplit(".", 1)[-1]
    strategy = ReplicationStrategy.create(name, options)
    owners: Any = metadata.token_map.token_to_host_owner
    ring: Any = metadata.token_map.ring
    try:
        replicas = strategy.make_token_replica_map(owners, ring)
    except (NotImplementedError, AttributeError, ValueError, KeyError):
        return list(WHOLE_RING)
    if not any(replicas.values()):
        return list(WHOLE_RING)  # a strategy that the driver does not know
    held = [token.value for token in ring if any(str(host.host_id) == host_id for host in replicas.get(token, ()))]
    return ranges_to(sorted(token.value for token in ring), set(held))


def ranges_to(ring: list[int], held: set[int]) -> Ranges:
    """The ranges that end at the tokens `held`; the one that wraps around comes in two parts."""
    found = [(start, end) for start, end in itertools.pairwise(ring) if end in held]
    if ring and ring[0] in held:
        found += [(_TOKEN_MIN, ring[0]), (ring[-1], _TOKEN_MAX)]
    return [(start, end) for start, end in found if start < end]
