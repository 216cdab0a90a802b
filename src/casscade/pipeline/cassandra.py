"""The `cassandra` section as the settings of the driver.

Invariant: importing it brings neither PostgreSQL's client nor the loader, because the agent lives on a database host.
"""

from __future__ import annotations

from casscade.config import PipelineConfig
from casscade.schema.connect import CassandraSettings


def cassandra_settings(config: PipelineConfig) -> CassandraSettings:
    """The `cassandra` section as the driver's settings."""
    section = config.cassandra
    return CassandraSettings(
        contact_points=tuple(str(point) for point in section.contact_points),
        local_datacenter=section.local_datacenter,
        port=section.port,
        consistency=section.consistency,
        username=section.username,
        password=section.password,
        request_timeout_s=section.request_timeout_ms / 1000,
    )
