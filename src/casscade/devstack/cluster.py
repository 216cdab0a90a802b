"""Several Cassandra nodes on this machine that form one ring: 127.0.0.1, 127.0.0.2, …, all on the same ports.

Invariant: the first node answers before another starts, and no two of them have the same token, so that a ring of the
same nodes comes up whatever the machine is busy with.
"""

from __future__ import annotations

import ipaddress
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from casscade.devstack.artifacts import Progress, no_progress
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.cassandra_files import CassandraSettings
from casscade.devstack.releases import DEFAULT_VERSION, find_release

# Each takes about 600 MB; more would not show anything that this many do not.
NODES_MAX: Final = 6
# Two joining nodes on two busy cores; 31 s for all three on idle ones.
RING_TIMEOUT_S: Final = 240.0


class CassandraCluster:
    """`count` nodes; the first lives in `directory`, the others beside it in `<directory>-2`, `<directory>-3`, …

    `settings` are those of the first node: the others differ from it by address, token and seed.
    """

    def __init__(
        self,
        directory: Path,
        count: int,
        settings: CassandraSettings | None = None,
        *,
        version: str = DEFAULT_VERSION,
        cache: Path | None = None,
        progress: Progress = no_progress,
    ) -> None:
        first = settings if settings is not None else CassandraSettings()
        # 3.11 takes no port in a seed.
        one_port = find_release(version).line < (4, 0)
        seed = first.address if one_port else f"{first.address}:{first.storage_port}"
        address = ipaddress.ip_address(first.address)
        self.nodes: list[CassandraNode] = []
        for number in range(count):
            own = first
            if number:
                own = replace(
                    first, address=str(address + number), token=_token(number, count), seeds=(seed,), joins=True
                )
            place = directory if number == 0 else directory.with_name(f"{directory.name}-{number + 1}")
            self.nodes.append(CassandraNode(place, own, version=version, cache=cache, progress=progress))

    @property
    def addresses(self) -> list[str]:
        """Where the nodes accept CQL."""
        return [node.address for node in self.nodes]

    def up(self, *, owner: int | None = None) -> None:
        """Start what does not run and return when all nodes answer.

        Raises ConfigurationError; the nodes that were started stay up then.
        """
        self._bring_up(self.nodes[0], owner)
        self.join(owner=owner)

    def join(self, *, owner: int | None = None) -> None:
        """Start the nodes behind the first, which answers already."""
        if len(self.nodes) == 1:
            return
        with ThreadPoolExecutor(len(self.nodes) - 1, thread_name_prefix="ring") as pool:
            for outcome in [pool.submit(self._bring_up, node, owner) for node in self.nodes[1:]]:
                outcome.result()

    def _bring_up(self, node: CassandraNode, owner: int | None) -> None:
        node.start(owner=owner)
        node.wait_ready(RING_TIMEOUT_S)

    def remove(self) -> None:
        """Kill all nodes and delete their directories."""
        for node in self.nodes:
            node.remove()

    def connect(self, consistency: int | None = None) -> Any:
        """A cluster of the Cassandra driver over all nodes; the caller shuts it down.

        `consistency` is the driver's number; None is its default, LOCAL_ONE.
        """
        from cassandra import ConsistencyLevel
        from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
        from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy

        policy = TokenAwarePolicy(DCAwareRoundRobinPolicy(local_dc="datacenter1"), shuffle_replicas=True)
        profile = ExecutionProfile(load_balancing_policy=policy, request_timeout=30.0)
        profile.consistency_level = ConsistencyLevel.LOCAL_ONE if consistency is None else consistency
        first = self.nodes[0]
        return Cluster(
            self.addresses,
            port=first.port,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            protocol_version=first.release.protocol,
            schema_event_refresh_window=-1,
            connect_timeout=15.0,
        )


def _token(number: int, count: int) -> int:
    """The token of a node, in Murmur3Partitioner's range; the first has 0."""
    token = number * ((1 << 64) // count)
    return token if token < 1 << 63 else token - (1 << 64)
