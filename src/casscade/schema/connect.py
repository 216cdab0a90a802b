"""Opens sessions of the Cassandra driver and asks a node who it is.

Invariant: after `connect` has succeeded once, losing nodes only ever causes `RetryableError`; the driver reconnects by
itself for as long as the session is open.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import dataclass
from typing import Any, Final

from cassandra import ConsistencyLevel, DriverException
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, TokenAwarePolicy
from cassandra.query import tuple_factory

from casscade.core.errors import ConfigurationError
from casscade.schema.faults import translate, translated
from casscade.schema.retry import ReadRetryPolicy
from casscade.security.secret import Secret

RECONNECT_SECONDS_FIRST: Final = 1.0
RECONNECT_SECONDS_MAX: Final = 60.0
_FIRST_CDC_SETTING: Final = 4
_PROTOCOL_FIRST: Final = 5


@dataclass(frozen=True, slots=True)
class CassandraSettings:
    """How to reach a cluster: the `cassandra` section of the configuration."""

    contact_points: tuple[str, ...]
    local_datacenter: str
    port: int = 9042
    consistency: str = "QUORUM"
    username: str | None = None
    password: Secret | None = None
    request_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Node:
    """What a node says of itself; before 4.0 it does not tell `cdc_enabled` (None) and `cdc_directory` (empty)."""

    host_id: uuid.UUID
    address: str
    datacenter: str
    release_version: str
    partitioner: str
    cdc_enabled: bool | None
    cdc_directory: str = ""


def connect(settings: CassandraSettings) -> tuple[Cluster, Session]:
    """A connected cluster and a session that returns tuples; `cluster.shutdown()` closes both.

    Raises `ConfigurationError`: `cassandra_unreachable`, `cassandra_authentication`, `datacenter_unknown`.
    """
    silence_driver()
    cluster: Cluster | None = None
    try:
        cluster = _cluster(settings)
        return cluster, cluster.connect()
    except (NoHostAvailable, DriverException, OSError) as error:
        failure = _failed_start(settings, cluster, error)
        _close(cluster)
        raise failure from error
    except BaseException:
        _close(cluster)
        raise


def _cluster(settings: CassandraSettings) -> Cluster:
    auth = None
    if settings.username is not None and settings.password is not None:
        auth = PlainTextAuthProvider(settings.username, settings.password.reveal())
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(local_dc=settings.local_datacenter)),
        consistency_level=ConsistencyLevel.name_to_value[settings.consistency],
        request_timeout=settings.request_timeout_s,
        retry_policy=ReadRetryPolicy(),
        row_factory=tuple_factory,
    )
    cluster = Cluster(
        list(settings.contact_points),
        port=settings.port,
        auth_provider=auth,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ExponentialReconnectionPolicy(RECONNECT_SECONDS_FIRST, RECONNECT_SECONDS_MAX, None),
        connect_timeout=settings.request_timeout_s,
        control_connection_timeout=settings.request_timeout_s,
        # We read system_schema ourselves; the driver's copy would cost memory and trips over odd values.
        schema_metadata_enabled=False,
        application_name="casscade",
    )
    # Where the driver begins to look for the newest version that the node speaks; by itself it begins with two that
    # no Cassandra has, and logs a warning for each. Given to the constructor, it would be the only one tried.
    cluster.protocol_version = _PROTOCOL_FIRST
    return cluster


def _close(cluster: Cluster | None) -> None:
    if cluster is not None:
        cluster.shutdown()


def silence_driver() -> None:
    """Keep the driver's log lines off the terminal of commands that set up no logging of their own."""
    logger = logging.getLogger("cassandra")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _failed_start(settings: CassandraSettings, cluster: Cluster | None, error: Exception) -> ConfigurationError:
    hosts = cluster.metadata.all_hosts() if cluster is not None else []
    datacenters = sorted({str(host.datacenter) for host in hosts if host.datacenter})
    if datacenters and settings.local_datacenter not in datacenters:
        return ConfigurationError(
            "datacenter_unknown",
            f"the cluster has no data center {settings.local_datacenter!r}; it has {', '.join(datacenters)}",
            where="cassandra.local_datacenter",
            now="nothing was started",
            hint=f"local_datacenter: {datacenters[0]}",
        )
    translation = translate(error, "connecting to Cassandra")
    if isinstance(translation, ConfigurationError):
        return translation
    points = ", ".join(f"{host}:{settings.port}" for host in settings.contact_points)
    return ConfigurationError(
        "cassandra_unreachable",
        f"no contact point of Cassandra could be reached: {points}",
        where="cassandra.contact_points",
        now="nothing was started",
        hint="see that the nodes are up, accept CQL at that address and port, and no firewall is between",
    )


def read_node(session: Session, address: str = "") -> Node:
    """Ask one node for its identity: that at `address` (as in `contact_points`), or whichever answers.

    The capture agent needs the node whose commit log it reads. Raises `RetryableError` when the node does not answer
    and `ConfigurationError` with code `cassandra_unreachable` when the cluster has no node at that address.
    """
    host = _host(session, address) if address else None
    with translated("reading the identity of the node"):
        row = session.execute(
            "SELECT host_id, rpc_address, data_center, release_version, partitioner FROM system.local", host=host
        ).one()
        version = str(row[3])
        enabled: bool | None = None
        directory = ""
        if int(version.split(".", 1)[0]) >= _FIRST_CDC_SETTING:
            query = "SELECT value FROM system_views.settings WHERE name = '{}'"
            setting = session.execute(query.format("cdc_enabled"), host=host).one()
            enabled = setting is not None and setting[0] == "true"
            setting = session.execute(query.format("cdc_raw_directory"), host=host).one()
            directory = setting[0] or "" if setting is not None else ""
    return Node(row[0], str(row[1]), str(row[2]), version, str(row[4]), enabled, directory)


class NodeSession:
    """Asks one node, and whichever answers while that one is away.

    The node whose commit log is read knows every table and column that stands in it; another may hear of them later.
    """

    def __init__(self, session: Any, address: str) -> None:
        self._session = session
        self._address = address

    def execute(self, query: str, timeout: float | None = None) -> Any:
        """The result of a query without parameters; raises the driver's exceptions. `timeout` (seconds) is that of the
        session if not given."""
        limit = {} if timeout is None else {"timeout": timeout}
        try:
            return self._session.execute(query, host=_host(self._session, self._address), **limit)
        except (NoHostAvailable, ConfigurationError):
            return self._session.execute(query, **limit)


def read_settings(session: Session, node: Node, address: str = "") -> dict[str, str | None]:
    """The settings of `node`, asked at `address` as in `read_node`; empty before 4.0, which has no table of them.

    Raises as `read_node` does.
    """
    if int(node.release_version.split(".", 1)[0]) < _FIRST_CDC_SETTING:
        return {}
    host = _host(session, address) if address else None
    with translated("reading the settings of the node"):
        return dict(session.execute("SELECT name, value FROM system_views.settings", host=host))


def _host(session: Session, address: str) -> Any:
    with translated("looking for the node"):
        endpoints = {
            endpoint.resolve()[0] for endpoint in session.cluster.endpoints_resolved if endpoint.address == address
        }
    for host in session.cluster.metadata.all_hosts():
        if host.address == address or host.address in endpoints:
            return host
    raise ConfigurationError(
        "cassandra_unreachable",
        f"the cluster has no node at {address}",
        where="cassandra.contact_points",
        now="nothing was started",
        hint="name the node whose commit log is read by the address at which it accepts CQL",
    )


def require_cdc_enabled(node: Node) -> None:
    """Refuse a node that writes no CDC segments (`ConfigurationError`, code `cdc_disabled`)."""
    if node.cdc_enabled is False:
        raise ConfigurationError(
            "cdc_disabled",
            f"CDC is off on the Cassandra node {node.address}",
            where="cassandra.yaml of the node",
            now="nothing was started",
            hint="set cdc_enabled: true in cassandra.yaml of every node and restart it",
        )
