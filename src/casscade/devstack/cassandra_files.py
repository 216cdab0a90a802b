"""The configuration files of one Cassandra node: yaml, logback and the arguments of the JVM.

Invariant: pure text from explicit values; nothing is read from the environment or the disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

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

    `compression` is the class name of a commit-log compressor (`LZ4Compressor`, ...) or None. `jvm` are more
    arguments of the JVM (`-XX:TieredStopAtLevel=1` saves a third of the processor time of a start, and costs throughput
    later), `extra` is merged over the generated yaml.
    """

    address: str = "127.0.0.1"
    port: int = 9042
    storage_port: int = 7000
    seeds: tuple[str, ...] = ()
    commitlog_sync_period_ms: int = 1000
    compression: str | None = None
    segment_size: str = "4MiB"
    storage_compatibility_mode: str = "NONE"
    cdc: bool = True
    cdc_total_space: str = "256MiB"
    heap: str = "384m"
    jvm: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


def cassandra_yaml(settings: CassandraSettings, directory: Path) -> str:
    """The text of cassandra.yaml for a node that keeps everything below `directory`."""
    seeds = settings.seeds or (f"{settings.address}:{settings.storage_port}",)
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
        "commitlog_sync": "periodic",
        "commitlog_sync_period": f"{settings.commitlog_sync_period_ms}ms",
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
        "storage_compatibility_mode": settings.storage_compatibility_mode,
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
    content.update(settings.extra)
    return yaml.safe_dump(content, sort_keys=True)


def jvm_arguments(settings: CassandraSettings, directory: Path, jars: Sequence[Path], jamm: Path) -> list[str]:
    """The arguments of `java` up to the main class, for an argument file.

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
        "-Dcassandra.jmx.local.port=0",
        "-Dcassandra-foreground=yes",
        "-Dio.netty.transport.noNative=true",
        "-Dcassandra.ring_delay_ms=100",
        "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        "-Dcassandra.initial_token=0",
        "-Dcassandra.superuser_setup_delay_ms=100",
        "-Dcassandra.shutdown_announce_in_ms=0",
        "-Djdk.attach.allowAttachSelf=true",
        "-Djava.awt.headless=true",
    ]
    arguments += [f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTS]
    arguments += [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENS]
    class_path = ":".join([str(directory / "conf"), *(str(jar) for jar in jars)])
    return [*arguments, *settings.jvm, "-classpath", class_path]
