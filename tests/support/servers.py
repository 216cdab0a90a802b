"""Which servers a run of tests is made against, as options of pytest and of the long runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from casscade.devstack import postgres, releases
from casscade.devstack.cassandra_files import CassandraSettings

MODES = ("NONE", "UPGRADING", "CASSANDRA_4")
COMPRESSIONS = ("none", "LZ4", "Snappy", "Deflate", "Zstd")
SYNCS = ("periodic", "batch", "group")


def add_options(add: Callable[..., Any]) -> None:
    """Add the options by the `add_argument` of argparse or the `addoption` of pytest."""
    add("--cassandra-version", default=releases.DEFAULT_VERSION, help=f"one of {', '.join(releases.VERSIONS)}")
    add("--mode", choices=MODES, default=MODES[0], help="storage_compatibility_mode of 5.0")
    add("--compression", choices=COMPRESSIONS, default=COMPRESSIONS[0], help="of the commit log; Zstd since 4.0")
    add("--sync", choices=SYNCS, default=SYNCS[0], help="commitlog_sync; group since 4.0")
    add("--postgres-version", choices=postgres.VERSIONS, default=postgres.DEFAULT_VERSION)


@dataclass(frozen=True, slots=True)
class ServerChoice:
    """What the options said; `cassandra` is a whole version, `4.1.10`."""

    cassandra: str
    mode: str
    compression: str
    sync: str
    postgres: str

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ServerChoice:
        """From the parsed options by name."""
        return cls(
            releases.find_release(options["cassandra_version"]).version,
            options["mode"],
            options["compression"],
            options["sync"],
            options["postgres_version"],
        )

    @property
    def options(self) -> str:
        """What `of` was made from, as a command line has it."""
        options = f"--cassandra-version {self.cassandra} --mode {self.mode} --compression {self.compression}"
        return f"{options} --sync {self.sync} --postgres-version {self.postgres}"

    def cassandra_settings(self, port: int, storage_port: int, jvm: tuple[str, ...] = ()) -> CassandraSettings:
        """A node with small segments and quick syncs."""
        return CassandraSettings(
            port=port,
            storage_port=storage_port,
            commitlog_sync=self.sync,
            # Of `group` it is what every write waits for.
            commitlog_sync_period_ms=5 if self.sync == "group" else 100,
            compression=None if self.compression == "none" else f"{self.compression}Compressor",
            segment_size="1MiB",
            storage_compatibility_mode=self.mode,
            jvm=jvm,
        )
