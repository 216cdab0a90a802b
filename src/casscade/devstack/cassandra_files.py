"""The configuration files of one Cassandra node: yaml, logback and the arguments of the JVM.

Invariant: pure text from explicit values; nothing is read from the environment or the disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from casscade.devstack.releases import Release

LOGBACK: Final = """<configuration>
  <appender name="console" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date{ISO8601} %logger{0} - %msg%n%ex{6}</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="console"/></root>
</configuration>
"""

# Cassandra reaches into the JDK; the lists follow its own jvm17-server.options.
_EXPORTS: Final = (
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.base/java.lang.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
)
_OPENS: Final = (
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.math",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/sun.nio.ch",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
)


@dataclass(frozen=True, slots=True)
class CassandraSettings:
    """What can be chosen about a node; sizes and periods in Cassandra's own notation.

    `joins` is for a node whose seeds are others: it takes its place at `token` without streaming (the ring is made
    empty), and waits until it has heard of the others. `compression` is the class name of a commit-log compressor
    (`LZ4Compressor`, `SnappyCompressor`, `DeflateCompressor`, since 4.0 `ZstdCompressor`) or None. `commitlog_sync`
    is `periodic`, `batch` or, since 4.0, `group`; the period is that of `periodic` and the window of `group`.
    `storage_compatibility_mode` is one of 5.0's (`CASSANDRA_4`, its own default, writes descriptor version 7;
    `UPGRADING` and `NONE` version 8); other releases have none. `jvm` are more arguments of the JVM
    (`-XX:TieredStopAtLevel=1` saves a third of the processor time of a start, and costs throughput later), `extra`
    is merged over the generated yaml, in the words of the release.
    """

    address: str = "127.0.0.1"
    port: int = 9042
    storage_port: int = 7000
    seeds: tuple[str, ...] = ()
    token: int = 0
    joins: bool = False
    commitlog_sync: str = "periodic"
    commitlog_sync_period_ms: int = 1000
    compression: str | None = None
    segment_size: str = "4MiB"
    storage_compatibility_mode: str = "NONE"
    cdc: bool = True
    cdc_total_space: str = "256MiB"
    heap: str = "384m"
    jvm: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


# The key of 4.1 and later whose older form is not the same name with the unit behind it.
_OLDER_KEYS: Final = {"materialized_views_enabled": "enable_materialized_views"}
_OLDER_UNITS: Final = {"MiB": "_in_mb", "ms": "_in_ms"}
_QUANTITY: Final = re.compile(r"(\d+)(MiB|ms)")


def cassandra_yaml(settings: CassandraSettings, directory: Path, release: Release) -> str:
    """The text of cassandra.yaml for a node of `release` that keeps everything below `directory`."""
    content = _content(settings, directory, release)
    if release.unit_names:
        content = dict(_older(key, value) for key, value in content.items())
    content.update(settings.extra)
    return yaml.safe_dump(content, sort_keys=True)


def _older(key: str, value: Any) -> tuple[str, Any]:
    """A key of 4.1 and its value, as 4.0 and 3.11 name them."""
    quantity = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if quantity is None:
        return _OLDER_KEYS.get(key, key), value
    return key + _OLDER_UNITS[quantity.group(2)], int(quantity.group(1))


def _content(settings: CassandraSettings, directory: Path, release: Release) -> dict[str, Any]:
    """The keys of 4.1 and later."""
    # 3.11 has one storage port for the whole cluster, and takes no port in a seed.
    own = settings.address if release.line < (4, 0) else f"{settings.address}:{settings.storage_port}"
    seeds = settings.seeds or (own,)
    content: dict[str, Any] = {
        "cluster_name": "casscade",
        "num_tokens": 1,
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "endpoint_snitch": "SimpleSnitch",
        "authenticator": "AllowAllAuthenticator",
        "authorizer": "AllowAllAuthorizer",
        "role_manager": "CassandraRoleManager",
        "data_file_directories": [str(directory / "data")],
        "commitlog_directory": str(directory / "commitlog"),
        # The segments are hard-linked from the commit log: both directories must be on one file system.
        "cdc_raw_directory": str(directory / "cdc_raw"),
        "hints_directory": str(directory / "hints"),
        "saved_caches_directory": str(directory / "saved_caches"),
        # A dropped table of a throwaway node needs no copy; taking one costs 0.3 s.
        "auto_snapshot": False,
        "cdc_enabled": settings.cdc,
        "cdc_total_space": settings.cdc_total_space,
        "disk_failure_policy": "stop",
        "commit_failure_policy": "stop",
        "commitlog_sync": settings.commitlog_sync,
        "commitlog_segment_size": settings.segment_size,
        "commitlog_total_space": "128MiB",
        "memtable_heap_space": "64MiB",
        "memtable_offheap_space": "64MiB",
        "memtable_allocation_type": "heap_buffers",
        "key_cache_size": "4MiB",
        "file_cache_size": "32MiB",
        "concurrent_reads": 8,
        "concurrent_writes": 8,
        "concurrent_counter_writes": 4,
        "listen_address": settings.address,
        "storage_port": settings.storage_port,
        "rpc_address": settings.address,
        "native_transport_port": settings.port,
        "start_native_transport": True,
        "auto_bootstrap": not settings.joins,
        "materialized_views_enabled": True,
        "seed_provider": [
            {
                "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                "parameters": [{"seeds": ",".join(seeds)}],
            }
        ],
    }
    if settings.compression is not None:
        content["commitlog_compression"] = [{"class_name": settings.compression}]
    # A period beside `batch` or `group` is an error of Cassandra's; 3.11 wants a window for `batch`.
    if settings.commitlog_sync == "periodic":
        content["commitlog_sync_period"] = f"{settings.commitlog_sync_period_ms}ms"
    elif settings.commitlog_sync == "group":
        content["commitlog_sync_group_window"] = f"{settings.commitlog_sync_period_ms}ms"
    elif release.line < (4, 0):
        content["commitlog_sync_batch_window"] = "2ms"
    if release.line >= (5, 0):
        content["storage_compatibility_mode"] = settings.storage_compatibility_mode
    if release.line < (4, 0):
        content["start_rpc"] = False
    return content


def module_arguments() -> list[str]:
    """What opens the JDK's modules to Cassandra's classes."""
    exports = [f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTS]
    return exports + [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENS]


def _ring_arguments(settings: CassandraSettings) -> list[str]:
    """A node alone need not wait for the gossip of others; one that joins must (100 ms find no seed)."""
    place = f"-Dcassandra.initial_token={settings.token}"
    if settings.joins:
        return [place, "-Dcassandra.ring_delay_ms=3000"]
    return [place, "-Dcassandra.ring_delay_ms=100", "-Dcassandra.skip_wait_for_gossip_to_settle=0"]


def jvm_arguments(
    settings: CassandraSettings, directory: Path, jars: Sequence[Path], jamm: Path, jmx_port: int
) -> list[str]:
    """The arguments of `java` up to the main class, for an argument file; `jmx_port` is on the loopback interface.

    A small initial heap keeps the resident size at what is used; the serial collector starts no helper threads.
    """
    arguments = [
        "-Xms96m",
        f"-Xmx{settings.heap}",
        "-Xss384k",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:ReservedCodeCacheSize=96m",
        f"-javaagent:{jamm}",
        f"-Dcassandra.config=file://{directory}/conf/cassandra.yaml",
        f"-Dlogback.configurationFile={directory}/conf/logback.xml",
        f"-Dcassandra.storagedir={directory}",
        f"-Dcassandra.logdir={directory}/logs",
        f"-Djava.io.tmpdir={directory}/scratch",
        f"-Dcassandra.jmx.local.port={jmx_port}",
        "-Dcassandra-foreground=yes",
        "-Dio.netty.transport.noNative=true",
        *_ring_arguments(settings),
        "-Dcassandra.superuser_setup_delay_ms=100",
        "-Dcassandra.shutdown_announce_in_ms=0",
        "-Djdk.attach.allowAttachSelf=true",
        "-Djava.awt.headless=true",
    ]
    arguments += module_arguments()
    class_path = ":".join([str(directory / "conf"), *(str(jar) for jar in jars)])
    return [*arguments, *settings.jvm, "-classpath", class_path]
