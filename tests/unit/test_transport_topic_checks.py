"""What a topic must be like, from what the brokers say of it."""

from __future__ import annotations

import pytest

from casscade.core.errors import ConfigurationError
from casscade.core.limits import KAFKA_MESSAGE_BYTES_MAX
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.topic import require_same
from casscade.transport.kafka.topic_checks import (
    TopicShape,
    check_broker,
    check_configuration,
    check_shape,
    in_sync_copies,
)

THREE = KafkaSettings(("broker:9092",), "shop.mutations", "g", partitions=12, replication_factor=3)
SOUND = {
    "cleanup.policy": "delete",
    "retention.ms": str(168 * 3_600_000),
    "retention.bytes": "-1",
    "max.message.bytes": str(KAFKA_MESSAGE_BYTES_MAX),
    "compression.type": "producer",
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
}


def test_a_sound_topic_passes_without_a_word() -> None:
    check_shape(TopicShape(12, 3), THREE)
    assert check_configuration(SOUND, TopicShape(12, 3), THREE) == []
    assert check_configuration({}, TopicShape(12, 2), KafkaSettings(("b:1",), "t", "g", replication_factor=2)) == []


@pytest.mark.parametrize(
    ("changed", "code", "remedy"),
    [
        ({"cleanup.policy": "compact"}, "topic_compacted", "cleanup.policy=delete"),
        ({"max.message.bytes": "1048588"}, "topic_message_bytes", f"max.message.bytes={KAFKA_MESSAGE_BYTES_MAX}"),
        ({"retention.ms": "3600000"}, "topic_retention", "retention.ms=604800000"),
        ({"retention.bytes": "1073741824"}, "topic_retention_bytes", "retention.bytes=-1"),
        ({"min.insync.replicas": "1"}, "topic_in_sync", "min.insync.replicas=2"),
        ({"min.insync.replicas": "4"}, "topic_in_sync", "min.insync.replicas=2"),
        ({"unclean.leader.election.enable": "true"}, "topic_unclean", "unclean.leader.election.enable=false"),
    ],
)
def test_what_would_lose_something_is_refused_with_its_remedy(changed: dict[str, str], code: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError, match=r"topic shop\.mutations can't be used") as refused:
        check_configuration(SOUND | changed, TopicShape(12, 3), THREE)
    assert refused.value.code == code
    assert remedy in refused.value.hint


def test_unlimited_retention_passes() -> None:
    assert check_configuration(SOUND | {"retention.ms": "-1"}, TopicShape(12, 3), THREE) == []


@pytest.mark.parametrize(
    ("compression", "costs"),
    [("producer", False), ("lz4", False), ("zstd", True), ("uncompressed", True)],
)
def test_brokers_that_compress_again_are_only_named(compression: str, *, costs: bool) -> None:
    warnings = check_configuration(SOUND | {"compression.type": compression}, TopicShape(12, 3), THREE)
    assert [compression in warning and "producer" in warning for warning in warnings] == [True] * costs


@pytest.mark.parametrize(
    ("shape", "code", "remedy"),
    [
        (TopicShape(4, 3), "topic_partitions", "transport.partitions: 4"),
        (TopicShape(12, 2), "topic_replication", "transport.replication_factor: 2"),
    ],
)
def test_too_few_partitions_or_copies_are_refused(shape: TopicShape, code: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_shape(shape, THREE)
    assert refused.value.code == code
    assert remedy in refused.value.hint


def test_more_partitions_and_copies_are_fine() -> None:
    check_shape(TopicShape(24, 5), THREE)


def test_brokers_that_cut_large_requests_are_refused() -> None:
    check_broker({}, THREE)
    check_broker({"socket.request.max.bytes": str(100 << 20)}, THREE)
    with pytest.raises(ConfigurationError, match="requests of 1000000 bytes") as refused:
        check_broker({"socket.request.max.bytes": "1000000"}, THREE)
    assert refused.value.code == "broker_request_bytes"


def test_created_topics_bear_the_loss_of_one_broker() -> None:
    assert [in_sync_copies(copies) for copies in (1, 2, 3, 5)] == [1, 1, 2, 2]


@pytest.mark.parametrize(("shape", "code"), [(None, "topic_gone"), (TopicShape(12, 3, "another"), "topic_recreated")])
def test_another_topic_of_the_same_name_is_refused(shape: TopicShape | None, code: str) -> None:
    require_same(shape, THREE, "")
    require_same(TopicShape(12, 3, "one"), THREE, "one")
    with pytest.raises(ConfigurationError, match="mutations that it held may not be applied") as refused:
        require_same(shape, THREE, "one")
    assert refused.value.code == code
