"""The table of metrics, the registry made from it and the page that documents it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from casscade.core.errors import InvariantError
from casscade.observability.metric_document import markdown
from casscade.observability.metric_table import METRICS
from casscade.observability.metrics import LABEL_SETS_MAX, Metrics

SKIPPED = "casscade_capture_skipped_mutations_total"
LATENCY = "casscade_replication_latency_seconds"


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, tuple(sorted({"pipeline": "shop", **labels}.items()))]


@pytest.mark.requirement("FR-026")
def test_names_follow_the_rule_and_are_unique() -> None:
    names = [metric.full_name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert re.fullmatch(r"casscade(_[a-z]+)+", metric.full_name)
        assert metric.full_name.endswith("_total") is (metric.kind == "counter")
        assert metric.help.endswith(".")
        assert metric.meaning.endswith(".")
        assert bool(metric.buckets) is (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(metric.buckets)


@pytest.mark.requirement("FR-026")
def test_throughput_latency_errors_and_backlog_are_exposed() -> None:
    metrics = Metrics("shop")
    metrics.count("casscade_capture_forwarded_mutations_total", 7)
    metrics.count("casscade_process_errors_total", code="postgres_away")
    metrics.set("casscade_queue_mutations", 41)
    metrics.observe(LATENCY, 1.6)
    assert value(metrics, "casscade_capture_forwarded_mutations_total") == 7
    assert value(metrics, "casscade_process_errors_total", code="postgres_away") == 1
    assert value(metrics, "casscade_queue_mutations") == 41
    assert value(metrics, f"{LATENCY}_bucket", le="1.5") == 0
    assert value(metrics, f"{LATENCY}_bucket", le="1.75") == 1
    assert ("process_resident_memory_bytes", ()) in samples(metrics)


def test_a_counter_without_labels_is_there_from_the_start() -> None:
    assert value(Metrics("shop"), "casscade_load_committed_batches_total") == 0
    assert value(Metrics("shop"), f"{LATENCY}_count") == 0


def test_totals_that_a_part_counts_itself_only_grow() -> None:
    metrics = Metrics("shop")
    for total in (5, 5, 3, 9):
        metrics.set_total(SKIPPED, total, reason="not_replicated")
    assert value(metrics, SKIPPED, reason="not_replicated") == 9


def test_totals_that_become_other_do_not_pull_at_each_other() -> None:
    metrics = Metrics("shop")
    metrics.set_total(SKIPPED, 5, reason="first reason")
    metrics.set_total(SKIPPED, 4, reason="second reason")
    metrics.set_total(SKIPPED, 6, reason="first reason")
    assert value(metrics, SKIPPED, reason="other") == 10


@pytest.mark.requirement("FR-030")
@pytest.mark.parametrize("leak", ["alice@example.com", "a b", "x" * 41, "", "naïve", "-"])
def test_a_label_that_looks_like_data_is_other(leak: str) -> None:
    metrics = Metrics("shop")
    metrics.count(SKIPPED, reason=leak)
    assert value(metrics, SKIPPED, reason="other") == 1
    assert not leak or f'"{leak}"' not in metrics.render().decode()


def test_label_sets_are_bounded() -> None:
    metrics = Metrics("shop")
    for number in range(LABEL_SETS_MAX + 50):
        metrics.count(SKIPPED, reason=f"reason_{number}")
    found = [labels for name, labels in samples(metrics) if name == SKIPPED]
    assert len(found) == LABEL_SETS_MAX + 1
    assert value(metrics, SKIPPED, reason="other") == 50


LAG = "casscade_kafka_lag_events"


@pytest.mark.requirement("FR-026")
def test_the_backlog_is_shown_by_topic_partition_as_long_as_it_is_owned() -> None:
    metrics = Metrics("shop")
    topic = "shop.mutations-" + "long" * 20
    metrics.set_each(LAG, "partition", {f"{topic}/0": 3, f"{topic}/11": 4})
    assert value(metrics, LAG, partition=f"{topic}/0") == 3
    assert value(metrics, LAG, partition=f"{topic}/11") == 4
    metrics.set_each(LAG, "partition", {f"{topic}/11": 5})
    assert [labels for name, labels in samples(metrics) if name == LAG] == [
        (("partition", f"{topic}/11"), ("pipeline", "shop"))
    ]


def test_all_partitions_of_a_large_topic_are_shown() -> None:
    metrics = Metrics("shop")
    metrics.set_each(LAG, "partition", {f"t/{number}": number for number in range(LABEL_SETS_MAX * 3)})
    assert value(metrics, LAG, partition=f"t/{LABEL_SETS_MAX * 3 - 1}") == LABEL_SETS_MAX * 3 - 1


def test_tables_may_have_long_names() -> None:
    metrics = Metrics("shop")
    name = f"{'s' * 48}.{'t' * 48}"
    metrics.count("casscade_load_inexact_values_total", table=name, policy="keep")
    assert value(metrics, "casscade_load_inexact_values_total", table=name, policy="keep") == 1


@pytest.mark.parametrize(
    ("name", "labels"),
    [("casscade_unheard_total", {}), (SKIPPED, {}), (SKIPPED, {"table": "t"}), (LATENCY, {"reason": "x"})],
)
def test_what_the_table_lacks_is_a_bug(name: str, labels: dict[str, str]) -> None:
    with pytest.raises(InvariantError, match="no such metric"):
        Metrics("shop").count(name, 1, **labels)


def test_a_metric_is_used_as_its_type() -> None:
    with pytest.raises(InvariantError):
        Metrics("shop").set(SKIPPED, 1, reason="x")


def test_sources_are_read_at_each_scrape() -> None:
    metrics = Metrics("shop")
    remaining = [math.nan, 12.0]
    metrics.before_scrape(lambda: metrics.set("casscade_snapshot_remaining_seconds", remaining.pop(0)))
    assert math.isnan(value(metrics, "casscade_snapshot_remaining_seconds"))
    assert value(metrics, "casscade_snapshot_remaining_seconds") == 12


def test_two_pipelines_share_nothing() -> None:
    one, two = Metrics("one"), Metrics("two")
    one.count("casscade_load_committed_batches_total")
    assert b'pipeline="one"' not in two.render()


@pytest.mark.requirement("FR-026")
def test_the_document_is_current() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
    assert page.read_text(encoding="utf-8") == markdown()
