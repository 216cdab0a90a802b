"""Reading the schema and the driver's exceptions, without a server."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from cassandra import (
    AuthenticationFailed,
    InvalidRequest,
    OperationTimedOut,
    ReadTimeout,
    Unauthorized,
    Unavailable,
)
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import OverloadedErrorMessage

from casscade.core.errors import CasscadeError, ConfigurationError, RetryableError
from casscade.schema.faults import translated
from casscade.schema.reader import READINGS_MAX, read_schema

TABLE_ID = uuid.uuid4()


class FakeSession:
    """Answers the SELECTs on system_schema; the table gets another column with each of the first `changes` readings."""

    def __init__(self, changes: int, release: str = "5.0.6") -> None:
        self.changes = changes
        self.release = release
        self.readings = 0

    def execute(self, query: str) -> list[tuple[Any, ...]]:
        if "release_version" in query:
            return [(self.release,)]
        if ".keyspaces" in query:
            self.readings += 1
            return [("k", True, {"class": "SimpleStrategy"})]
        if ".tables" in query:
            return [("k", "t", TABLE_ID, {"compound"}, True, 100, 0, 1_700_000_000_000_000)]
        if ".columns" in query:
            regulars = [f"v{i}" for i in range(min(self.readings, self.changes + 1))]
            return [
                ("k", "t", "p", "partition_key", 0, "none", "int"),
                *(("k", "t", name, "regular", -1, "none", "int") for name in regulars),
            ]
        return []


@pytest.mark.parametrize(("release", "older"), [("3.11.19", True), ("4.0.19", False), ("5.0.6", False)])
def test_the_release_decides_how_cells_of_one_timestamp_are_told_apart(release: str, older: bool) -> None:
    table = read_schema(FakeSession(changes=0, release=release)).tables[TABLE_ID]
    assert (table.older_ties, table.shape(replicated=True).older_ties) == (older, older)


def test_a_schema_at_rest_is_read_twice() -> None:
    session = FakeSession(changes=0)
    table = read_schema(session).tables[TABLE_ID]
    assert session.readings == 2
    assert [column.name for column in table.regulars] == ["v0"]
    assert table.gc_grace_seconds == 100
    assert table.altered_at == 1_700_000_000_000_000


@pytest.mark.requirement("FR-014")
def test_a_schema_that_changes_meanwhile_is_read_until_it_rests() -> None:
    session = FakeSession(changes=2)
    table = read_schema(session).tables[TABLE_ID]
    assert session.readings == 4
    assert [column.name for column in table.regulars] == ["v0", "v1", "v2"]


def test_a_keyspace_that_does_not_matter_is_not_waited_for() -> None:
    session = FakeSession(changes=100)
    snapshot = read_schema(session, wanted=lambda keyspace: keyspace != "k")
    assert session.readings == 2
    assert snapshot.tables == {}
    assert snapshot.keyspaces == {}


def test_a_schema_that_never_rests_is_tried_again_later() -> None:
    session = FakeSession(changes=100)
    pauses: list[float] = []
    with pytest.raises(RetryableError) as caught:
        read_schema(session, pauses.append)
    assert caught.value.code == "schema_changing"
    assert session.readings == READINGS_MAX
    assert pauses == sorted(pauses)
    assert 5 < sum(pauses) < 10


@pytest.mark.requirement("FR-019")
@pytest.mark.parametrize(
    ("error", "family", "code"),
    [
        (OperationTimedOut(), RetryableError, "cassandra_failed"),
        (ReadTimeout("slow"), RetryableError, "cassandra_failed"),
        (Unavailable("few"), RetryableError, "cassandra_failed"),
        (OverloadedErrorMessage(0x1001, "busy", None), RetryableError, "cassandra_failed"),
        (NoHostAvailable("none", {"a": OSError()}), RetryableError, "cassandra_unavailable"),
        (NoHostAvailable("none", {"a": AuthenticationFailed()}), ConfigurationError, "cassandra_authentication"),
        (AuthenticationFailed("no"), ConfigurationError, "cassandra_authentication"),
        (Unauthorized("no"), ConfigurationError, "cassandra_unauthorized"),
        (InvalidRequest("unconfigured table"), ConfigurationError, "cassandra_refused"),
        (ConnectionResetError(), RetryableError, "cassandra_failed"),
    ],
)
def test_errors_of_the_driver_get_a_family(error: Exception, family: type[CasscadeError], code: str) -> None:
    with pytest.raises(CasscadeError) as caught, translated("testing"):
        raise error
    assert type(caught.value) is family
    assert caught.value.code == code
    assert caught.value.where == "testing"
    assert caught.value.hint
    assert caught.value.__cause__ is error


def test_other_exceptions_pass() -> None:
    with pytest.raises(ZeroDivisionError), translated("testing"):
        raise ZeroDivisionError
