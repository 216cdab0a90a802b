"""Schemas change between two batches: what PostgreSQL has afterwards, who takes it over, and what is kept apart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from casscade.cli.main import main
from casscade.core.errors import ConfigurationError, RetryableError
from casscade.pipeline import evolution
from tests.support.fake_schema import FakeCassandra, FakeLoader
from tests.support.schema_writes import number, write

pytestmark = pytest.mark.servers

Start = Callable[..., FakeLoader]


@pytest.fixture
def cassandra() -> FakeCassandra:
    return FakeCassandra()


@pytest.fixture
def start(cassandra: FakeCassandra, database: str, tmp_path: Path) -> Iterator[Start]:
    """Starts loaders on the same database."""
    loaders: list[FakeLoader] = []

    def begin(name: str = "one", **options: Any) -> FakeLoader:
        loaders.append(FakeLoader(cassandra, database, tmp_path, name, **options))
        return loaders[-1]

    yield begin
    for loader in loaders:
        loader.close()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.requirement("SC-011")
@pytest.mark.requirement("FR-014")
@pytest.mark.requirement("FR-016")
def test_a_column_is_there_before_its_first_row_and_the_other_loader_takes_it_over(
    cassandra: FakeCassandra, start: Start
) -> None:
    cassandra.table(a="int")
    one, two = start("one"), start("two", check_s=1e9)
    old = write(cassandra, 5, {"a": number(1)})
    cassandra.add("b", "text")
    one.take(write(cassandra, 6, {"a": number(2), "b": b"new"}))
    assert one.rows("SELECT c, a, b FROM k.t") == [(1, 2, "new")]
    later = write(cassandra, 7, {"a": number(3)}, key=2)
    readings = cassandra.readings
    two.take(old, later)
    assert cassandra.readings == readings, "the version came from PostgreSQL"
    assert one.rows("SELECT c, a, b FROM k.t ORDER BY c") == [(1, 2, "new"), (2, 3, None)]
    two.take(write(cassandra, 8, {"b": b"two"}, key=2, insert=False))
    assert one.rows("SELECT b FROM k.t WHERE c = 2") == [("two",)]
    assert one.rows("SELECT version, changes, ddl FROM casscade.schema_versions ORDER BY 1") == [
        (1, ["replicated from now on"], one.rows("SELECT ddl FROM casscade.schema_versions WHERE version = 1")[0][0]),
        (2, ["column b text added"], ['ALTER TABLE "k"."t" ADD COLUMN "b" text']),
    ]


@pytest.mark.requirement("FR-014")
def test_whoever_decodes_asks_itself_only_when_nobody_looked_in_time(
    cassandra: FakeCassandra, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evolution, "POLL_S", 1e6)
    now = [0.0]
    cassandra.table(a="int")
    one = start(check_s=10.0, clock=lambda: now[0])
    one.evolution.start()
    wait_for(lambda: len(cassandra.askers) == 1)
    one.take(write(cassandra, 1, {"a": number(1)}))
    now[0] = 6.0
    one.take(write(cassandra, 2, {"a": number(2)}))
    wait_for(lambda: len(cassandra.askers) == 2)
    assert set(cassandra.askers) == {"schema"}
    now[0] = 17.0
    one.take(write(cassandra, 3, {"a": number(3)}))
    assert cassandra.askers[2:] == [threading.current_thread().name]
    one.stop.set()
    one.evolution.join(5.0)


def test_mutations_of_a_dropped_table_ask_nobody_but_for_the_first(cassandra: FakeCassandra, start: Start) -> None:
    cassandra.table(a="int")
    cassandra.table("gone", a="int")
    late = [write(cassandra, at, {"a": number(at)}, table="gone") for at in range(200)]
    del cassandra.tables["gone"]
    cassandra.alter("gone")
    one = start(check_s=1e9)
    one.evolution.look()
    asked = cassandra.asked
    one.take(*late[:2])
    assert cassandra.asked > asked
    asked, readings = cassandra.asked, cassandra.readings
    cassandra.away = True
    one.take(*late[2:])
    assert (cassandra.asked, cassandra.readings) == (asked, readings)
    assert one.batcher.counts["table_gone"] == len(late)


@pytest.mark.requirement("FR-015")
def test_the_watch_brings_a_column_without_any_row(cassandra: FakeCassandra, start: Start) -> None:
    cassandra.table(a="int")
    one = start()
    one.evolution.look()
    readings = cassandra.readings
    one.evolution.look()
    assert cassandra.readings == readings
    cassandra.add("s", "int", kind="static")
    cassandra.add("b", "bigint")
    one.evolution.look()
    assert one.rows("SELECT b FROM k.t") == one.rows("SELECT s FROM k.t_static") == []
    assert one.rows("SELECT p, c, s, a, b FROM k.t_with_static") == []
    one.take(write(cassandra, 6, {"b": number(7, 8)}))
    assert one.rows("SELECT b FROM k.t_with_static") == [(7,)]


@pytest.mark.requirement("US-3")
def test_a_dropped_column_stays_deprecated_and_comes_back_without_what_was_before(
    cassandra: FakeCassandra, start: Start
) -> None:
    cassandra.table(a="int", b="text")
    one, two = start("one"), start("two")
    one.take(
        write(cassandra, 5, {"a": number(1), "b": b"old"}, key=1),
        write(cassandra, 5, {"b": b"alone"}, key=2, insert=False),
        write(cassandra, 5, {"a": number(3), "b": b"expires"}, key=3, ttl=100),
        write(cassandra, 5, {"a": number(4), "b": b"untouched"}, key=4),
    )
    late = write(cassandra, 6, {"b": b"late"}, key=1, insert=False)
    cassandra.drop("b")
    one.evolution.look()
    two.take(late)
    # What CQL shows no more is gone; what was there before stays to be read in PostgreSQL.
    assert one.rows("SELECT c, a, b FROM k.t ORDER BY c") == [
        (1, 1, "old"),
        (3, 3, "expires"),
        (4, 4, "untouched"),
    ]
    comment = "SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = 'k.t'::regclass "
    comment += "AND attname = 'b'"
    assert "dropped in Cassandra" in one.rows(comment)[0][0]
    one.take(write(cassandra, 5_000_000_000, {"a": number(30)}, key=3))
    cassandra.add("b", "text")
    two.evolution.look()
    one.take(late, write(cassandra, 6_000_000_000, {"b": b"new"}, key=4, insert=False))
    two.take(late)
    assert one.rows("SELECT c, a, b FROM k.t ORDER BY c") == [(1, 1, None), (3, 30, None), (4, 4, "new")]
    assert one.rows(comment) == [(None,)]
    assert one.rows("SELECT changes FROM casscade.schema_versions WHERE version > 1 ORDER BY version") == [
        (["column b text dropped"],),
        (["column b added again as text"],),
    ]


@pytest.mark.requirement("FR-017")
@pytest.mark.requirement("US-3")
@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ("new_column", [(2, "old", b"\x01\x02"), (7, None, b"\x03"), (8, "gone", None)]),
        ("text", [(2, "0x0102"), (7, "0x03"), (8, None)]),
    ],
)
def test_an_incompatible_type_goes_to_dead_letters_until_a_rule_resolves_it(
    cassandra: FakeCassandra, start: Start, rule: str, shown: list[tuple[Any, ...]]
) -> None:
    cassandra.table(a="int", b="text")
    cassandra.table("other", a="int")
    one = start()
    one.take(
        write(cassandra, 5, {"a": number(1), "b": b"old"}), write(cassandra, 5, {"a": number(8), "b": b"gone"}, key=3)
    )
    cassandra.drop("b")
    cassandra.add("b", "blob")
    counts = one.take(
        write(cassandra, 5_000_000_000, {"a": number(2), "b": b"\x01\x02"}),
        write(cassandra, 5_000_000_000, {"a": number(3)}, table="other"),
    )
    assert counts.dead_letters == {"column_blocked": 1}
    assert one.rows("SELECT a FROM k.t ORDER BY c") == [(2,), (8,)]
    assert one.rows("SELECT a FROM k.other") == [(3,)]
    ((message, version),) = one.rows("SELECT message, schema_version FROM casscade.dead_letters")
    assert version == f"{cassandra.tables['t'].id.hex[:8]}:2"
    for words in ("k.t", "'b'", "blob", "text", "new_column", "replay"):
        assert words in message
    one.take(write(cassandra, 5_000_000_001, {"b": b"\x03"}, key=2))
    one.replay("--table", "k.t")
    assert one.rows("SELECT retry_count FROM casscade.dead_letters") == [(1,), (1,)], "nothing was decided yet"
    resolved = start("again", tables=f"  - {{source: k.t, columns: {{retyped: {{b: {rule}}}}}}}\n")
    resolved.take(write(cassandra, 5_000_000_002, {"a": number(7)}, key=2, insert=False))
    told = resolved.replay("--table", "k.t", "--code", "column_blocked")
    assert "2 of 2 dead letters will be replayed" in told
    columns = "a, b, b__2" if rule == "new_column" else "a, b"
    assert resolved.rows(f"SELECT {columns} FROM k.t ORDER BY c") == shown
    assert resolved.rows("SELECT code FROM casscade.dead_letters") == []


@pytest.mark.requirement("FR-014")
def test_what_was_written_before_a_drop_is_read_with_the_type_of_then(cassandra: FakeCassandra, start: Start) -> None:
    """Cassandra 4.0 lets int come back as varint, which says how long it is."""
    cassandra.table(a="int", b="text")
    one, two = start("one"), start("two")
    old = write(cassandra, 5, {"a": number(0x01FF0203), "b": b"before"})
    cassandra.drop("a")
    cassandra.add("a", "varint")
    one.take(old)
    two.take(write(cassandra, 5_000_000_000, {"a": number(7, 1), "b": b"since"}, key=2), old)
    assert one.rows("SELECT c, a, b FROM k.t ORDER BY c") == [(1, None, "before"), (2, 7, "since")]
    assert one.rows("SELECT code FROM casscade.dead_letters") == []


@pytest.mark.requirement("FR-015")
def test_with_verify_a_new_column_waits_for_the_administrator_and_the_rest_goes_on(
    cassandra: FakeCassandra, start: Start
) -> None:
    cassandra.table(a="int")
    start("administrator")
    one = start(more=", ddl: verify")
    cassandra.add("b", "text")
    counts = one.take(write(cassandra, 6, {"a": number(2), "b": b"new"}))
    assert counts.dead_letters == {"column_blocked": 1}
    assert one.rows("SELECT a FROM k.t") == [(2,)]
    ((message, mutation),) = one.rows("SELECT message, mutation FROM casscade.dead_letters")
    assert "casscade plan --apply" in message
    with pytest.raises(ConfigurationError) as caught:
        start("refused", more=", ddl: verify")
    assert caught.value.code == "ddl_pending"
    assert 'ADD COLUMN "b" text' in caught.value.what
    start("plan")
    one.take(write(cassandra, 7, {"a": number(3)}))
    one.take(bytes(mutation))
    assert one.rows("SELECT a, b FROM k.t") == [(3, "new")]


@pytest.mark.requirement("FR-016")
def test_with_verify_a_renamed_key_keeps_its_name_until_the_administrator_comes(
    cassandra: FakeCassandra, start: Start
) -> None:
    cassandra.table(a="int")
    start("administrator")
    one = start(more=", ddl: verify")
    cassandra.rename("c", "moment")
    counts = one.take(write(cassandra, 6, {"a": number(1)}))
    assert not counts.dead_letters
    assert one.rows("SELECT c, a FROM k.t") == [(1, 1)]
    start("plan")
    one.take(write(cassandra, 7, {"a": number(2)}))
    assert one.rows("SELECT moment, a FROM k.t") == [(1, 2)]


@pytest.mark.requirement("FR-016")
def test_a_table_that_is_made_again_gets_a_fresh_one_and_the_old_is_kept(
    cassandra: FakeCassandra, start: Start
) -> None:
    cassandra.table(a="int", b="text")
    one, two = start("one"), start("two", check_s=1e9)
    one.take(write(cassandra, 5, {"a": number(1)}))
    late = write(cassandra, 6, {"a": number(2)})
    cassandra.table(a="text")
    with pytest.raises(RetryableError) as caught:
        one.evolution.look()
    assert caught.value.code == "schema_changed"
    with pytest.raises(ConfigurationError) as refused:
        start("stops", tables="  - {source: k.t, on_recreate: stop}\n")
    assert refused.value.code == "table_recreated"
    anew = start("anew")
    with pytest.raises(RetryableError) as moved:
        two.take(late)
    assert moved.value.code == "schema_changed"
    anew.take(late, write(cassandra, 7, {"a": b"text"}))
    assert anew.rows("SELECT a FROM k.t") == [("text",)]
    ((aside,),) = anew.rows("SELECT kept_as FROM casscade.targets WHERE dropped_at IS NOT NULL")
    assert aside.startswith("t__2")
    assert anew.rows(f"SELECT a FROM k.{aside}") == [(2,)]


def test_a_dropped_table_is_kept_and_marked_and_late_writes_still_come(cassandra: FakeCassandra, start: Start) -> None:
    cassandra.table(a="int")
    cassandra.table("other", a="int")
    one = start(tables="  - {source: k.t, columns: {types: {a: text}}}\n")
    one.take(write(cassandra, 5, {"a": number(1)}))
    late = write(cassandra, 6, {"a": number(2)})
    del cassandra.tables["t"]
    cassandra.alter()
    one.evolution.look()
    assert [target.table.name for target in one.catalog.readable] == ["other"]
    one.take(late)
    # The parts are built anew in this process; a new one refuses a source that names what is not there.
    with one.database.transaction() as connection:
        assert [target.table.name for target in one.catalog.resolve(connection, strict=False)] == ["other"]
    cassandra.alter("other")
    one.evolution.look()
    with pytest.raises(ConfigurationError, match=r"k\.t"):
        start("refused", tables="  - {source: k.t}\n")
    again = start("again", tables="  - {source: k.t*, columns: {types: {a: text}}}\n")
    again.take(late)
    assert one.rows("SELECT a FROM k.t") == [("2",)]
    assert "dropped in Cassandra" in one.rows("SELECT obj_description('k.t'::regclass)")[0][0]
    again.connection.execute("DROP TABLE k.t")
    assert start("later").catalog.departed == []


def test_a_table_that_joins_makes_the_parts_anew_unless_it_can_not_be_captured(
    cassandra: FakeCassandra, start: Start
) -> None:
    cassandra.table(a="int")
    one = start()
    cassandra.table("later", a="int").cdc = False
    one.evolution.look()
    assert not any(target.table.name == "later" for target in one.catalog.targets)
    cassandra.tables["later"].cdc = True
    cassandra.alter("later")
    with pytest.raises(RetryableError, match=r"k\.later"):
        one.evolution.look()


def test_cdc_that_is_switched_off_is_told_and_in_the_history(cassandra: FakeCassandra, start: Start) -> None:
    cassandra.table(a="int")
    one = start()
    cassandra.tables["t"].cdc = False
    cassandra.alter()
    one.evolution.look()
    cassandra.tables["t"].cdc = True
    cassandra.alter()
    one.evolution.look()
    assert one.rows("SELECT changes FROM casscade.schema_versions WHERE version > 1 ORDER BY version") == [
        (["cdc: true became false"],),
        (["cdc: false became true"],),
    ]


@pytest.mark.requirement("FR-014")
def test_while_cassandra_is_away_versions_come_from_the_other_loader(cassandra: FakeCassandra, start: Start) -> None:
    cassandra.table(a="int")
    one, two = start("one"), start("two")
    cassandra.add("b", "text")
    later = write(cassandra, 6, {"a": number(2), "b": b"new"})
    known = write(cassandra, 5, {"a": number(1)}, key=2)
    one.evolution.look()
    cassandra.away = True
    two.take(later)
    two.take(known)
    assert two.rows("SELECT c, a, b FROM k.t ORDER BY c") == [(1, 2, "new"), (2, 1, None)]


@pytest.mark.requirement("FR-015")
def test_several_loaders_alter_one_table_at_once_and_it_is_done_once(cassandra: FakeCassandra, start: Start) -> None:
    cassandra.table(a="int")
    loaders = [start(f"loader{number}") for number in range(4)]
    cassandra.add("b", "text")
    cassandra.add("s", "int", kind="static")
    together = threading.Barrier(len(loaders))

    def look(loader: FakeLoader) -> None:
        together.wait(10)
        loader.evolution.look()

    threads = [threading.Thread(target=look, args=(loader,)) for loader in loaders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(loader.evolution.counts["added"] for loader in loaders) == 2
    assert loaders[0].rows("SELECT count(*) FROM casscade.schema_versions") == [(2,)]
    for key, loader in enumerate(loaders):
        loader.take(write(cassandra, 6, {"b": b"x"}, key=key))
    assert loaders[0].rows("SELECT count(*) FROM k.t WHERE b = 'x'") == [(4,)]


@pytest.mark.requirement("FR-016")
def test_a_long_reader_of_a_table_holds_up_the_alter_and_nobody_who_writes(
    cassandra: FakeCassandra, start: Start, database: str
) -> None:
    cassandra.table(a="int")
    cassandra.table("other", a="int")
    one, two = start("one"), start("two", check_s=1e9)
    rows = [write(cassandra, 5, {"a": number(n)}, table=table) for n in range(2) for table in ("t", "other")]
    cassandra.add("b", "text")
    with psycopg.connect(database) as reader:
        reader.execute("SELECT count(*) FROM k.t")
        altering = threading.Thread(target=one.evolution.look)
        altering.start()
        waited: list[tuple[Any, ...]] = []
        while not waited:
            waited = two.rows("SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'")
        for mutation in rows:
            two.take(mutation)
        assert altering.is_alive()
        assert two.rows("SELECT count(*) FROM k.t") == [(1,)]
        reader.rollback()
        altering.join(20)
    assert not altering.is_alive()
    assert two.rows("SELECT b FROM k.t") == [(None,)]


def test_what_postgresql_refuses_blocks_the_column_until_it_can_be_done(
    cassandra: FakeCassandra, start: Start, database: str
) -> None:
    cassandra.table(a="int", b="int")
    one = start()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE VIEW public.mine AS SELECT a FROM k.t")
        cassandra.drop("a")
        cassandra.add("a", "bigint")
        letter = write(cassandra, 5_000_000_000, {"a": number(1 << 40, 8), "b": number(2)})
        assert one.take(letter).dead_letters == {"column_blocked": 1}
        assert one.rows("SELECT b FROM k.t") == [(2,)]
        connection.execute("DROP VIEW public.mine")
    cassandra.alter("t")
    one.take(letter)
    assert one.rows("SELECT a, b FROM k.t") == [(1 << 40, 2)]


@pytest.mark.requirement("FR-018")
@pytest.mark.parametrize("excluded", [False, True])
def test_rows_that_hold_cells_of_a_column_that_is_left_out_go_on(
    cassandra: FakeCassandra, start: Start, excluded: bool
) -> None:
    cassandra.table(a="int", b="text")
    one = start()
    cassandra.add("later", "text")
    # Every cell has a time of its own, and the last one an end.
    one.take(
        write(cassandra, 5, {"a": number(1)}),
        write(cassandra, 6, {"later": b"old"}, insert=False),
        write(cassandra, 7, {"b": b"b"}, insert=False),
        write(cassandra, 8, {"later": b"ends"}, insert=False, ttl=1000),
    )
    if not excluded:
        command(one, "rollback", "k.t", "--to", "1")
        one.evolution.catch_up()
    less = start("less", tables="  - {source: k.t, columns: {exclude: [later]}}\n") if excluded else one
    less.take(write(cassandra, 9, {"a": number(2)}, insert=False))
    assert less.rows("SELECT a, b, later FROM k.t") == [(2, "b", "ends")]
    if not excluded:
        command(one, "rollback", "k.t", "--to", "newest")
        one.evolution.catch_up()
    again = start("again") if excluded else one
    assert again.rows("SELECT a, b, later FROM k.t") == [(2, "b", None)]
    # The snapshot brings what was there, with its own time.
    again.take(write(cassandra, 8, {"later": b"ends"}, insert=False, ttl=1000))
    again.take(write(cassandra, 7, {"later": b"older"}, insert=False))
    assert again.rows("SELECT a, b, later FROM k.t") == [(2, "b", "ends")]


@pytest.mark.requirement("FR-018")
def test_each_letter_names_the_version_under_which_it_failed(cassandra: FakeCassandra, start: Start) -> None:
    cassandra.table(a="int")
    one = start()
    label = cassandra.tables["t"].id.hex[:8]
    versions = "SELECT schema_version, retry_count FROM casscade.dead_letters ORDER BY id"
    with psycopg.connect(one.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE k.t ADD CONSTRAINT small CHECK (a < 10)")
    refused = write(cassandra, 5, {"a": number(11)})
    one.offer(refused)
    assert one.rows(versions) == [(f"{label}:1", 0)], "a row that PostgreSQL refused"
    cassandra.add("b", "text")
    one.evolution.look()
    one.replay("--all")
    assert one.rows(versions) == [(f"{label}:2", 1)], "it failed again under the next version"
    batch = one.batch(write(cassandra, 6, {"a": number(12)}, key=2))
    one.writer.set_aside(one.connection, batch, "57P01", 3)
    assert one.rows(versions)[1:] == [(f"{label}:2", 3)], "PostgreSQL was away for too long"


def command(loader: FakeLoader, *arguments: str) -> str:
    result = CliRunner().invoke(main, ["schema", *arguments, "-c", str(loader.file)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.requirement("FR-018")
def test_the_history_tells_what_changed_and_leads_back_to_a_version(cassandra: FakeCassandra, start: Start) -> None:
    cassandra.table(a="int")
    one = start()
    cassandra.add("b", "text")
    one.take(write(cassandra, 5, {"a": number(1), "b": b"one"}))
    cassandra.drop("a")
    one.evolution.look()
    told = command(one, "history", "k.t", "--ddl")
    for words in ("column b text added", "column a int dropped", "by ", 'ADD COLUMN "b" text', ":3  altered"):
        assert words in told
    assert command(one, "diff", "k.t", "1", "3") == "column a int dropped\ncolumn b text added\n"
    careful = start("careful", more=", ddl: verify")
    assert "column b of t takes no more values" in command(one, "rollback", "k.t", "--to", "1")
    one.evolution.catch_up()
    # It is the administrator's command: who may alter nothing takes it over.
    careful.take(write(cassandra, 4_000_000_000, {"b": b"careful"}))
    one.take(write(cassandra, 5_000_000_000, {"b": b"two"}))
    assert one.rows("SELECT b FROM k.t") == [("one",)]
    comment = "SELECT col_description('k.t'::regclass, attnum) FROM pg_attribute WHERE attrelid = 'k.t'::regclass "
    comment += "AND attname = 'b'"
    assert one.rows(comment) == [("casscade: left out; takes no more values",)]
    command(one, "rollback", "k.t", "--to", "newest")
    one.evolution.catch_up()
    # What it had would count as written with the row; the next snapshot brings what Cassandra has.
    assert one.rows("SELECT b FROM k.t") == [(None,)]
    assert one.rows(comment) == [(None,)]
    one.take(write(cassandra, 6_000_000_000, {"b": b"three"}))
    assert one.rows("SELECT b FROM k.t") == [("three",)]
    result = CliRunner().invoke(main, ["schema", "rollback", "k.t", "--to", "9", "-c", str(one.file)])
    assert (result.exit_code, "has no version '9'" in result.output) == (2, True)
