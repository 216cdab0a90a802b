"""Builds what follows the schema from the configuration.

Invariant: agents and loaders of one configuration follow the same rules.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from casscade.config import PipelineConfig
from casscade.pipeline.catalog import Catalog
from casscade.pipeline.database import Database
from casscade.pipeline.evolution import Evolution
from casscade.pipeline.monitor import Monitor


def evolution_of(
    config: PipelineConfig,
    catalog: Catalog,
    database: Database,
    session: Any,
    stop: threading.Event,
    monitor: Monitor,
    counts: Counter[str],
    *,
    in_place: bool = True,
    hides: bool = False,
) -> Evolution:
    """What follows the schema of a configured pipeline, shown by its monitor; `counts` outlives the parts."""
    evolution = Evolution(
        catalog,
        database,
        session,
        stop,
        margin_s=config.load.tombstone_margin_seconds,
        allowed=config.postgres.ddl == "apply",
        counts=counts,
        in_place=in_place,
        hides=hides,
        wait_ms=config.rules.parent_wait_ms,
    )
    monitor.show("schema", evolution)
    return evolution
