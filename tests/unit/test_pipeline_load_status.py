"""Rows that rules keep out or aside can be seen, in the status and in the metrics, by table and by the rule's name."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from casscade.core.position import Position
from casscade.load.batcher import Batcher
from casscade.load.counters import BatchCounts
from casscade.load.observer import Committed
from casscade.pipeline.monitor import Monitor

pytestmark = [pytest.mark.requirement("FR-026"), pytest.mark.requirement("FR-012")]


def committed(monitor: Monitor, **counts: Any) -> None:
    monitor.committed(Committed(BatchCounts(**counts), 1.0, 0.1, 1, [], {"node": Position(1, 1)}))


def test_rows_that_rules_keep_out_are_seen() -> None:
    monitor = Monitor("shop")
    assert monitor.status()["rules"] == {"filtered_rows": 0, "hidden_rows": 0, "waiting_rows": 0, "broken": {}}
    batcher = SimpleNamespace(left_out={"filtered": 7}, misplaced=0)
    monitor.watch(cast(Any, None), cast(Any, None), cast(Batcher, batcher))
    broken = Counter({("ks.people", "utc"): 1, ("ks.people", "has_parent"): 2, ("ks.orders", "utc"): 4})
    committed(monitor, hidden=Counter({"ks.people": 3}), broken=broken, waiting={"ks.people": 5, "ks.orders": 1})
    committed(monitor, hidden=Counter({"ks.people": 2}), waiting={"ks.people": 0})
    assert monitor.status()["rules"] == {
        "filtered_rows": 7,
        "hidden_rows": 5,
        "waiting_rows": 1,
        "broken": {"utc": 5, "has_parent": 2},
    }
    text = monitor.metrics.render().decode()
    for line in (
        'casscade_rules_hidden_rows_total{pipeline="shop",table="ks.people"} 5.0',
        'casscade_rules_broken_rows_total{pipeline="shop",rule="has_parent",table="ks.people"} 2.0',
        'casscade_rules_broken_rows_total{pipeline="shop",rule="utc",table="ks.orders"} 4.0',
        'casscade_rules_waiting_rows{pipeline="shop",table="ks.people"} 0.0',
        'casscade_rules_waiting_rows{pipeline="shop",table="ks.orders"} 1.0',
        'casscade_capture_skipped_mutations_total{pipeline="shop",reason="filtered"} 7.0',
    ):
        assert line in text
