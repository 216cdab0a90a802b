"""The Cassandra releases that the stack runs, and in what they differ for whoever starts one.

Invariant: a release listed here has a lock file, `locks/cassandra-<version>.txt`, and a runtime to run on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from casscade.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Release:
    """One release. `java` is the major version it runs on, `protocol` the newest native protocol it speaks.

    `unit_names`: its yaml knows only keys that carry their unit (`commitlog_segment_size_in_mb: 4`); since 4.1 the
    value carries it (`commitlog_segment_size: 4MiB`, CASSANDRA-15234).
    """

    version: str
    java: int
    protocol: int
    unit_names: bool

    @property
    def line(self) -> tuple[int, int]:
        """Major and minor number: (4, 1) of 4.1.10."""
        major, minor, _ = self.version.split(".")
        return int(major), int(minor)


# 3.11 is made for Java 8 and runs on 11 too; 4.0 and 4.1 are made for 8 and 11, 5.0 for 11 and 17.
_RELEASES: Final = (
    Release("3.11.19", java=11, protocol=4, unit_names=True),
    Release("4.0.19", java=11, protocol=5, unit_names=True),
    Release("4.1.10", java=11, protocol=5, unit_names=False),
    Release("5.0.6", java=17, protocol=5, unit_names=False),
)
VERSIONS: Final = tuple(release.version for release in _RELEASES)
DEFAULT_VERSION: Final = "5.0.6"


def find_release(version: str) -> Release:
    """The release `version`, or that of the line `4.1`; ConfigurationError (`version_unknown`) if there is none."""
    for release in _RELEASES:
        if version in (release.version, release.version.rpartition(".")[0]):
            return release
    raise ConfigurationError(
        "version_unknown",
        f"the stack has no Cassandra {version}",
        now="nothing was started",
        hint=f"it has: {', '.join(VERSIONS)}",
    )
