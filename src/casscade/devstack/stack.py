"""The native local stack as one thing: up, down, status, reset.

Invariant: the servers of a stack with their ports and versions are written to `stack.json` before one starts, so any
later process finds, stops and removes exactly what was started.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from casscade.core.errors import ConfigurationError
from casscade.devstack import kafka, places, postgres, releases
from casscade.devstack.artifacts import Progress, no_progress
from casscade.devstack.cassandra import CassandraNode
from casscade.devstack.cassandra_files import CassandraSettings
from casscade.devstack.cluster import RING_TIMEOUT_S, CassandraCluster
from casscade.devstack.kafka import KafkaBroker
from casscade.devstack.postgres import PostgresServer
from casscade.devstack.processes import ServiceStatus
from casscade.devstack.server import READY_TIMEOUT_S, Server

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class StackPorts:
    """The TCP ports of a stack on 127.0.0.1; those of Kafka count only where the stack has it."""

    cassandra: int
    storage: int
    postgres: int
    kafka: int = 9092
    kafka_controller: int = 9093


@dataclass(frozen=True, slots=True)
class StackVersions:
    """The releases of Cassandra and Kafka and the major version of PostgreSQL."""

    cassandra: str
    postgres: str
    kafka: str = kafka.DEFAULT_VERSION


class _Saved(NamedTuple):
    """What `stack.json` says; one that was written before Kafka could be a part has none."""

    ports: StackPorts
    versions: StackVersions
    nodes: int
    kafka: bool


DEFAULT_PORTS: Final = StackPorts(cassandra=9042, storage=7000, postgres=5432)
DEFAULT_VERSIONS: Final = StackVersions(cassandra=releases.DEFAULT_VERSION, postgres=postgres.DEFAULT_VERSION)


class Stack:
    """Cassandra, PostgreSQL and perhaps Kafka below one directory (by default that of the user's stack).

    A port that is not given is the one the stack had before, else the usual one if it is free, else any free one. A
    version or a number of nodes that is not given is that of the data, else the usual one; another one than that of the
    data is refused. `kafka` adds a broker to a stack that has none, at any time; one that has it keeps it.
    With `owner` (a pid) the servers end when that process ends. `cassandra_settings` gives everything about the node
    but its address and ports.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        cassandra_port: int | None = None,
        postgres_port: int | None = None,
        kafka_port: int | None = None,
        cassandra_version: str | None = None,
        postgres_version: str | None = None,
        kafka_version: str | None = None,
        nodes: int | None = None,
        kafka: bool = False,
        cassandra_settings: CassandraSettings | None = None,
        owner: int | None = None,
        cache: Path | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self.directory = directory if directory is not None else places.state_directory()
        self._wanted = (cassandra_port, postgres_port, kafka_port)
        self._settings = cassandra_settings if cassandra_settings is not None else CassandraSettings()
        self._owner = owner
        self._cache = cache if cache is not None else places.cache_directory()
        self._progress = progress
        self._speaking = threading.Lock()
        saved = self._saved() or _Saved(DEFAULT_PORTS, DEFAULT_VERSIONS, 1, False)
        self.ports, self.versions, self.node_count, self._kafka_known = saved
        self.has_kafka = self._kafka_known or kafka
        if not self.has_kafka and (kafka_port is not None or kafka_version is not None):
            raise ConfigurationError(
                "stack_without_kafka",
                "a port or a version is given for Kafka, and the stack has no Kafka",
                where=str(self.directory),
                now="nothing was started",
                hint="add --kafka",
            )
        self._choose_versions(cassandra_version, postgres_version, kafka_version)
        self._choose_nodes(nodes)
        self._assemble()

    def _choose_versions(self, cassandra: str | None, postgres: str | None, kafka: str | None) -> None:
        """Raises ConfigurationError (`version_unknown`, `stack_other_version`)."""
        wanted = StackVersions(
            cassandra=releases.find_release(cassandra or self.versions.cassandra).version,
            postgres=postgres or self.versions.postgres,
            kafka=kafka or self.versions.kafka,
        )
        kept = self.versions if self._kafka_known else replace(self.versions, kafka=wanted.kafka)
        if wanted != kept and self._state_file.exists():
            parts = [f"Cassandra {kept.cassandra}", f"PostgreSQL {kept.postgres}"]
            parts += [f"Kafka {kept.kafka}"] if self._kafka_known else []
            raise ConfigurationError(
                "stack_other_version",
                f"the data of the stack is of {', '.join(parts[:-1])} and {parts[-1]}",
                where=str(self.directory),
                now="nothing was changed",
                hint="casscade dev reset deletes it; or name another --directory",
            )
        self.versions = wanted

    def _choose_nodes(self, wanted: int | None) -> None:
        """Raises ConfigurationError (`stack_other_nodes`): a ring that grew would have to move its data."""
        if wanted not in (None, self.node_count) and self._state_file.exists():
            raise ConfigurationError(
                "stack_other_nodes",
                f"the stack has {self.node_count} Cassandra nodes, not {wanted}",
                where=str(self.directory),
                now="nothing was changed",
                hint="casscade dev reset deletes it; or name another --directory",
            )
        self.node_count = wanted or self.node_count

    def _assemble(self) -> None:
        settings = replace(self._settings, port=self.ports.cassandra, storage_port=self.ports.storage)
        self.cluster = CassandraCluster(
            self.directory / "cassandra",
            self.node_count,
            settings,
            version=self.versions.cassandra,
            cache=self._cache,
            progress=self._report,
        )
        self.postgres = PostgresServer(
            self.directory / "postgres",
            version=self.versions.postgres,
            port=self.ports.postgres,
            cache=self._cache,
            progress=self._report,
        )
        self.kafka: KafkaBroker | None = None
        if self.has_kafka:
            self.kafka = KafkaBroker(
                self.directory / "kafka",
                version=self.versions.kafka,
                port=self.ports.kafka,
                controller_port=self.ports.kafka_controller,
                cache=self._cache,
                progress=self._report,
            )

    @property
    def cassandra(self) -> CassandraNode:
        """The node, or the first one of several."""
        return self.cluster.nodes[0]

    @property
    def services(self) -> tuple[Server, ...]:
        return (*self.cluster.nodes, *self._single)

    @property
    def _single(self) -> tuple[Server, ...]:
        """What waits for no other server."""
        return (self.postgres,) if self.kafka is None else (self.postgres, self.kafka)

    def up(self) -> None:
        """Start what does not run, all at once but for nodes that join others; return when all answer.

        A second call changes nothing.

        Raises ConfigurationError; what was started by this call is stopped again then.
        """
        places.make_directory(self.directory)
        with places.full_disk_named(self.directory), places.locked(self.directory / ".lock"):
            running = [service for service in self.services if service.status().pid is not None]
            if not running:
                places.require_free_space(self.directory)
                self.ports = self._choose_ports()
            elif self._asks_for_other_ports():
                raise ConfigurationError(
                    "stack_running",
                    "the stack already runs on other ports",
                    where=str(self.directory),
                    now="nothing was changed",
                    hint="casscade dev down, then casscade dev up with the ports wanted",
                )
            elif self.has_kafka and not self._kafka_known:
                self.ports = self._choose_kafka_ports(self.ports)
            if not running or self.has_kafka != self._kafka_known:
                self._save()
                self._assemble()
            already = {service.directory for service in running}
            try:
                self._each(self._bring_up, (self.cassandra, *self._single))
                self._each(self._bring_up, self.cluster.nodes[1:])
            except BaseException:
                for service in self.services:
                    if service.directory not in already:
                        service.kill()
                raise

    def _bring_up(self, service: Server) -> None:
        begin = time.monotonic()
        if service.status().ready:
            self._report(f"{service.directory.name}: already up")
            return
        service.start(owner=self._owner)
        self._report(f"{service.directory.name}: starting")
        service.wait_ready(READY_TIMEOUT_S if self.node_count == 1 else RING_TIMEOUT_S)
        status = service.status()
        name = service.directory.name
        self._report(f"{name}: up on {status.address}:{status.port} after {time.monotonic() - begin:.1f} s")

    def down(self) -> None:
        """Stop all, the nodes with their segments closed. Nothing is left running; data and ports stay."""
        if not self.directory.is_dir():
            return
        with places.locked(self.directory / ".lock"):
            self._each(self._bring_down, self.services)

    def _bring_down(self, service: Server) -> None:
        if service.status().pid is None:
            return
        service.stop()
        self._report(f"{service.directory.name}: stopped")

    def reset(self) -> None:
        """Stop all at once and delete all their data; the cache of downloads stays."""
        if not self.directory.is_dir():
            return
        with places.locked(self.directory / ".lock"):
            for service in self.services:
                service.kill()
                shutil.rmtree(service.directory, ignore_errors=True)
            self._state_file.unlink(missing_ok=True)
            self._report(f"removed the data below {self.directory}")

    def status(self) -> list[ServiceStatus]:
        """One entry for each service, running or not."""
        return [service.status() for service in self.services]

    def _each(self, action: Callable[[Server], None], services: Sequence[Server]) -> None:
        """Run `action` for `services` at once; the first error in their order is raised at the end."""
        if not services:
            return
        with ThreadPoolExecutor(len(services), thread_name_prefix="stack") as pool:
            futures = [pool.submit(action, service) for service in services]
        for future in futures:
            future.result()

    def _report(self, line: str) -> None:
        with self._speaking:
            self._progress(line)

    @property
    def _state_file(self) -> Path:
        return self.directory / "stack.json"

    def _saved(self) -> _Saved | None:
        try:
            saved = json.loads(self._state_file.read_text(encoding="utf-8"))
            ports = StackPorts(**{name: int(port) for name, port in saved["ports"].items()})
            versions = StackVersions(**{name: str(version) for name, version in saved["versions"].items()})
            return _Saved(ports, versions, int(saved.get("nodes", 1)), bool(saved.get("kafka", False)))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                "stack_state_damaged",
                "the state file of the stack can't be read",
                where=str(self._state_file),
                now="nothing was started or stopped",
                hint="delete the file, and stop the servers by the pid files below that directory",
            ) from error

    def _asks_for_other_ports(self) -> bool:
        """Whether a port was asked for that is not the one of a server that is known already."""
        known = (self.ports.cassandra, self.ports.postgres, self.ports.kafka if self._kafka_known else None)
        return any(None not in pair and pair[0] != pair[1] for pair in zip(self._wanted, known, strict=True))

    def _choose_ports(self) -> StackPorts:
        ports = replace(
            self.ports,
            cassandra=self._wanted[0] or _this_or_free(self.ports.cassandra),
            storage=_this_or_free(self.ports.storage),
            postgres=self._wanted[1] or _this_or_free(self.ports.postgres),
        )
        return self._choose_kafka_ports(ports) if self.has_kafka else ports

    def _choose_kafka_ports(self, ports: StackPorts) -> StackPorts:
        return replace(
            ports,
            kafka=self._wanted[2] or _this_or_free(ports.kafka),
            kafka_controller=_this_or_free(ports.kafka_controller),
        )

    def _save(self) -> None:
        content = {
            "format": _FORMAT,
            "versions": asdict(self.versions),
            "ports": asdict(self.ports),
            "nodes": self.node_count,
            "kafka": self.has_kafka,
        }
        part = self._state_file.with_suffix(".part")
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        part.replace(self._state_file)


def _this_or_free(port: int) -> int:
    return port if places.port_is_free("127.0.0.1", port) else places.free_port()
