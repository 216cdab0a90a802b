"""What librdkafka logs reaches our log, but an outage does not flood it."""

from __future__ import annotations

import logging

from casscade.transport.kafka.client import LOG_INTERVAL_S, KafkaSettings, SparseLog, client_properties


def record(*arguments: str) -> logging.LogRecord:
    """As the client logs: the kind of the line, the client's name, the text."""
    return logging.LogRecord("casscade.kafka", logging.ERROR, "", 0, "%s [%s] %s", arguments, None)


def test_one_line_of_a_kind_passes_at_a_time_and_tells_of_the_others() -> None:
    now = [100.0]
    sparse = SparseLog(lambda: now[0])
    passed = [sparse.filter(record("FAIL", "load-1", f"refused {number}")) for number in range(50)]
    assert passed == [True] + [False] * 49
    assert sparse.filter(record("FAIL", "load-2", "refused"))
    assert sparse.filter(record("SESSTMOUT", "load-1", "timed out"))
    now[0] += LOG_INTERVAL_S
    line = record("FAIL", "load-1", "refused 50")
    assert sparse.filter(line)
    assert line.getMessage() == "FAIL [load-1] refused 50 (49 lines like it left out)"


def test_kinds_without_end_do_not_take_memory_without_end() -> None:
    sparse = SparseLog(lambda: 0.0)
    assert all(sparse.filter(record("FAIL", f"load-{number}", "refused")) for number in range(1000))
    assert len(sparse._passed) <= 256


def test_the_clients_log_through_it() -> None:
    logger = client_properties(KafkaSettings(("b:1",), "t", "g"), "load")["logger"]
    assert any(isinstance(each, SparseLog) for each in logger.filters)
