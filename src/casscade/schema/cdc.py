"""Whether CDC is on now: at a node, and for tables as that node knows them.

Invariant: only what the node said counts as off; a table that is not there any more is not.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from casscade.core.errors import RetryableError
from casscade.schema.connect import Node
from casscade.schema.faults import translated

# Some rows of local tables: a node that takes longer is asked again.
_TIMEOUT_S: Final = 5.0
# Before 4.0 a node does not tell its settings.
_SETTINGS_SINCE: Final = 4


class CdcReader:
    """Asks `node`; of the tables only those in keyspaces with any that was asked for, once these are known."""

    def __init__(self, session: Any, node: Node) -> None:
        self._session = session
        self._node = node
        self._keyspaces: dict[bytes, str] = {}

    def read_off(self, tables: Collection[bytes]) -> tuple[bool, set[bytes]]:
        """Whether CDC is on at the node (always, as far as 3.11 tells), and those of `tables` (ids) that have it off.

        Raises RetryableError when the node does not answer.
        """
        hosts = self._session.cluster.metadata.all_hosts()
        host = next((host for host in hosts if host.host_id == self._node.host_id), None)
        if host is None:
            what = f"the cluster has no node with the host id {self._node.host_id} now"
            raise RetryableError("cassandra_unavailable", what, now="it is asked again after a pause")
        with translated("asking whether CDC is on"):
            return self._is_on(host), {table_id for table_id, on in self._tables(host, tables) if not on}

    def _is_on(self, host: Any) -> bool:
        if int(self._node.release_version.split(".", 1)[0]) < _SETTINGS_SINCE:
            return True
        query = "SELECT value FROM system_views.settings WHERE name = 'cdc_enabled'"
        row = self._session.execute(query, timeout=_TIMEOUT_S, host=host).one()
        return row is None or row[0] == "true"

    def _tables(self, host: Any, tables: Collection[bytes]) -> list[tuple[bytes, bool]]:
        query = "SELECT keyspace_name, id, cdc FROM system_schema.tables"
        if all(table in self._keyspaces for table in tables):
            found: list[Any] = []
            for keyspace in sorted({self._keyspaces[table] for table in tables}):
                narrowed = f"{query} WHERE keyspace_name = %s"
                found += self._session.execute(narrowed, (keyspace,), timeout=_TIMEOUT_S, host=host)
        else:
            found = list(self._session.execute(query, timeout=_TIMEOUT_S, host=host))
            self._keyspaces = {table_id.bytes: keyspace for keyspace, table_id, _ in found}
        return [(table_id.bytes, bool(cdc)) for _, table_id, cdc in found if table_id.bytes in tables]
