"""The log lines: their fields, and what never gets into them."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import structlog

from casscade.core.errors import BadDataError
from casscade.observability.logs import MASK, configure_logging, correlation, get_logger
from casscade.security.secret import Secret

VALUE = "alice@example.com"


class ForeignError(Exception):
    """A driver's error: its text quotes the data."""

    sqlstate = "23505"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, own = logging.getLogger(), logging.getLogger("casscade")
    before = (root.handlers[:], root.level, own.level)
    text = io.StringIO()
    configure_logging("info", "json", text)
    yield text
    root.handlers[:], own.level = before[0], before[2]
    root.setLevel(before[1])
    own.setLevel(before[2])
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.requirement("FR-027")
def test_a_line_is_json_with_time_level_logger_and_event(stream: io.StringIO) -> None:
    get_logger("casscade.load").info("batch committed", rows=12, table="shop.orders")
    (line,) = lines(stream)
    assert {key: line[key] for key in ("event", "level", "logger", "rows", "table")} == {
        "event": "batch committed",
        "level": "info",
        "logger": "casscade.load",
        "rows": 12,
        "table": "shop.orders",
    }
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() == timedelta(0)


@pytest.mark.requirement("FR-027")
def test_the_correlation_id_is_on_every_line_of_its_thread_inside(stream: io.StringIO) -> None:
    log = get_logger("casscade.load")
    with correlation("batch-7") as identifier:
        log.info("one")
        logging.getLogger("psycopg.pool").warning("two")
        other = threading.Thread(target=lambda: log.info("three"))
        other.start()
        other.join()
    log.info("four")
    with correlation() as made:
        log.info("five")
    assert identifier == "batch-7"
    assert [line.get("correlation_id") for line in lines(stream)] == ["batch-7", "batch-7", None, None, made]


def test_levels_hold_for_casscade_and_libraries_start_at_warning(stream: io.StringIO) -> None:
    get_logger("casscade.load").debug("hidden")
    logging.getLogger("cassandra.cluster").info("hidden")
    logging.getLogger("cassandra.cluster").warning("host %s is down", "127.0.0.1")
    assert [line["event"] for line in lines(stream)] == ["host 127.0.0.1 is down"]


def test_configuring_again_replaces_the_stream(stream: io.StringIO) -> None:
    second = io.StringIO()
    configure_logging("warning", "console", second)
    get_logger("casscade.load").warning("only once")
    assert stream.getvalue() == ""
    assert second.getvalue().count("only once") == 1


@pytest.mark.requirement("FR-030")
@pytest.mark.parametrize(
    "fields",
    [
        {"password": VALUE},
        {"sslPassphrase": VALUE},
        {"client_secret": VALUE},
        {"vault_token": VALUE},
        {"nested": {"deep": [{"api_key": VALUE}]}},
        {"anything": Secret(VALUE)},
        {"listed": [Secret(VALUE)]},
        {"dsn": f"postgresql://loader:{VALUE}@127.0.0.1/warehouse"},
        {"dsn": f"host=127.0.0.1 password='{VALUE}' user=loader"},
    ],
)
def test_credentials_are_masked(stream: io.StringIO, fields: dict[str, object]) -> None:
    get_logger("casscade.load").info("connecting", **fields)
    assert VALUE not in stream.getvalue()
    assert "alice" not in stream.getvalue()
    assert MASK in stream.getvalue()


@pytest.mark.requirement("FR-030")
def test_credentials_in_the_text_of_a_library_are_masked(stream: io.StringIO) -> None:
    logging.getLogger("psycopg.pool").warning("connecting to %s", f"postgresql://loader:{VALUE}@127.0.0.1/warehouse")
    assert lines(stream)[0]["event"] == f"connecting to postgresql://loader:{MASK}@127.0.0.1/warehouse"


def test_tokens_of_the_ring_are_not_credentials(stream: io.StringIO) -> None:
    get_logger("casscade.snapshot").info("range done", token_start=-5, tokens=[1, 2], token_end=None)
    (line,) = lines(stream)
    assert (line["token_start"], line["tokens"], line["token_end"]) == (-5, [1, 2], None)


@pytest.mark.requirement("FR-030")
def test_bytes_are_shown_by_their_length(stream: io.StringIO) -> None:
    get_logger("casscade.load").info("mutation", raw=VALUE.encode(), parts=[VALUE.encode()])
    logging.getLogger("cassandra").warning("frame %r", VALUE.encode())
    first, second = lines(stream)
    assert (first["raw"], first["parts"]) == ("<17 bytes>", ["<17 bytes>"])
    assert second["event"] == "frame '<17 bytes>'"


@pytest.mark.requirement("FR-030")
@pytest.mark.requirement("FR-027")
def test_an_exception_shows_types_and_frames_but_no_foreign_text(stream: io.StringIO) -> None:
    log = get_logger("casscade.load")
    try:
        try:
            raise ForeignError(f"Key (email)=({VALUE}) already exists")
        except ForeignError as cause:
            raise BadDataError("value_range", "a value is out of range", where="shop.orders") from cause
    except BadDataError:
        log.exception("set aside")
    outer, inner = lines(stream)[0]["exception"]
    assert (outer["code"], outer["message"], outer["where"]) == (
        "value_range",
        "a value is out of range",
        "shop.orders",
    )
    assert (inner["type"].rpartition(".")[2], inner["sqlstate"]) == ("ForeignError", "23505")
    assert inner["frames"][0].endswith(" test_an_exception_shows_types_and_frames_but_no_foreign_text")
    assert VALUE not in stream.getvalue()


@pytest.mark.requirement("FR-030")
def test_a_library_that_logs_an_exception_shows_its_type_only(stream: io.StringIO) -> None:
    error = ForeignError(VALUE)
    try:
        raise error
    except ForeignError:
        logging.getLogger("psycopg").exception("failed: %s", error)
    get_logger("casscade.load").error("failed", reason=error)
    first, second = lines(stream)
    assert first["event"].endswith("ForeignError")
    assert first["exception"][0]["sqlstate"] == "23505"
    assert second["reason"].endswith("ForeignError")
    assert VALUE not in stream.getvalue()


def test_endless_fields_are_cut(stream: io.StringIO) -> None:
    endless: list[object] = []
    endless.append(endless)
    get_logger("casscade.load").info("big", text="x" * 100_000, many=list(range(100_000)), endless=endless)
    assert len(stream.getvalue()) < 10_000


def test_console_lines_mask_too(stream: io.StringIO) -> None:
    configure_logging("info", "console", stream)
    get_logger("casscade.load").info("connecting", password=VALUE)
    assert MASK in stream.getvalue()
    assert VALUE not in stream.getvalue()
