"""Loading a configuration: what is accepted, and which file, line, key and remedy each refusal names."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError

from casscade.config.load import FILE_BYTES_MAX, load_config, parse_config
from casscade.config.model import PipelineConfig
from casscade.config.problems import PROBLEMS_SHOWN_MAX
from casscade.core.errors import ConfigurationError

VALID = """\
name: shop
cassandra:
  contact_points: ["127.0.0.1"]
  port: 9042
  local_datacenter: datacenter1
  consistency: QUORUM
  username: cdc_reader
  password: ${env:CASSANDRA_PASSWORD}
capture:
  cdc_directory: /var/lib/cassandra/cdc_raw
  state_directory: /var/lib/casscade
postgres:
  dsn: postgresql://loader@127.0.0.1:5432/warehouse
  control_schema: casscade
tables:
  - source: shop.*
    target: analytics.*
  - source: shop.customers
    columns: {exclude: [password_hash]}
transport:
  kind: direct
load: {batch_rows: 1000, batch_ms: 200, pool: {min: 5, max: 50}}
snapshot: {mode: initial}
http: {listen: 127.0.0.1:8080}
"""
ENVIRON = {"CASSANDRA_PASSWORD": "hunter2", "PORT": "9043", "HOST": "db", "ODD": "p@ss/w'o rd%"}
DIRECTORY = Path("/etc/casscade")


def load(text: str | bytes, environ: Mapping[str, str] = ENVIRON, directory: Path = DIRECTORY) -> PipelineConfig:
    """Parse a text as the file `pipeline.yaml`."""
    content = text.encode() if isinstance(text, str) else text
    return parse_config(content, "pipeline.yaml", environ, directory)


def changed(old: str, new: str) -> str:
    """VALID with one part replaced."""
    assert VALID.count(old) == 1, f"{old!r} is not unique in VALID"
    return VALID.replace(old, new)


def refused(text: str | bytes, environ: Mapping[str, str] = ENVIRON, directory: Path = DIRECTORY) -> str:
    """The whole message with which a text is refused."""
    with pytest.raises(ConfigurationError) as caught:
        load(text, environ, directory)
    error = caught.value
    assert "hunter2" not in "".join(traceback.format_exception(error)), "the chain behind an error shows a secret"
    return error.explain()


def test_the_example_of_the_design_loads() -> None:
    config = load(VALID)
    assert config.name == "shop"
    assert config.cassandra.contact_points == ("127.0.0.1",)
    assert config.cassandra.password is not None
    assert config.cassandra.password.reveal() == "hunter2"
    assert config.capture.cdc_directory == Path("/var/lib/cassandra/cdc_raw")
    assert config.postgres.dsn.reveal() == "postgresql://loader@127.0.0.1:5432/warehouse"
    assert config.tables[0].target == "analytics.*"
    assert config.tables[1].columns.exclude == ("password_hash",)
    assert (config.load.pool.min, config.load.pool.max) == (5, 50)
    assert config.http.address == ("127.0.0.1", 8080)


@pytest.mark.requirement("FR-044")
@pytest.mark.requirement("FR-045")
def test_defaults_follow_the_specification() -> None:
    config = load(changed("load: {batch_rows: 1000, batch_ms: 200, pool: {min: 5, max: 50}}\n", ""))
    assert (config.load.batch_rows, config.load.pool.min, config.load.pool.max) == (1000, 5, 50)


def test_relative_paths_start_at_the_files_directory() -> None:
    config = load(changed("/var/lib/casscade", "state"))
    assert config.capture.state_directory == DIRECTORY / "state"


def test_a_configuration_is_frozen_and_knows_its_lines() -> None:
    config = load(VALID)
    with pytest.raises(ValidationError, match="frozen"):
        config.name = "other"
    assert config.location("tables", 1, "source") == "pipeline.yaml:18"
    assert config.location("log", "level") == "log.level"


@pytest.mark.requirement("FR-030")
@pytest.mark.requirement("SC-016")
def test_no_text_of_a_configuration_shows_a_secret() -> None:
    text = changed("postgresql://loader@", "postgresql://loader:${env:CASSANDRA_PASSWORD}@")
    config = load(text)
    assert config.postgres.dsn.reveal() == "postgresql://loader:hunter2@127.0.0.1:5432/warehouse"
    shown = (repr(config), str(config), str(config.model_dump()), config.model_dump_json())
    assert all("hunter2" not in each for each in shown)


REFUSALS = [
    ("port: 9042", "prot: 9042", 4, "cassandra.prot: is not a known key", 'did you mean "port"?'),
    ("kind: direct", "Kind: direct", 21, "transport.Kind: is not a known key", 'did you mean "kind"?'),
    ("name: shop", "batch_rows: 5\nname: shop", 1, "batch_rows: is not a known key", "load.batch_rows"),
    ("kind: direct", "qqq: direct", 21, "transport.qqq: is not a known key", "known keys here: kind, "),
    ("port: 9042", "port:9042: 1", 4, "cassandra.port: is not a known key", "a space after the colon"),
    ("port: 9042", "port: many", 4, "cassandra.port: must be a whole number", ""),
    ("port: 9042", "port: 9042.0", 4, "cassandra.port: must be a whole number", ""),
    ("port: 9042", "port: true", 4, "cassandra.port: must be a whole number", ""),
    ("port: 9042", "port: 010", 4, "cassandra.port: must be a whole number", "leading zero"),
    ("port: 9042", "port: 0", 4, "cassandra.port: must be at least 1", ""),
    ("port: 9042", "port: 65536", 4, "cassandra.port: must be at most 65535", ""),
    ("port: 9042", "port: 123456789012345678901234567890", 4, "cassandra.port: must be a whole number", ""),
    ("port: 9042", "port:", 4, "cassandra.port: has no value", ""),
    ('["127.0.0.1"]', "127.0.0.1", 3, "cassandra.contact_points: must be a list", ""),
    ('["127.0.0.1"]', "[]", 3, "cassandra.contact_points: must have at least 1 item", ""),
    ('["127.0.0.1"]', '["127.0.0.1:9042"]', 3, "cassandra.contact_points[0]: must be a host name", "cassandra.port"),
    ("QUORUM", "qorum", 6, "cassandra.consistency: must be 'ONE'", 'did you mean "QUORUM"?'),
    ("mode: initial", "mode: intial", 23, "snapshot.mode: must be 'initial'", 'did you mean "initial"?'),
    ("mode: initial", "mode: [initial]", 23, "snapshot.mode: must be 'initial'", ""),
    ("${env:CASSANDRA_PASSWORD}", "12345", 8, "cassandra.password: must be a text", "quotes"),
    ("${env:CASSANDRA_PASSWORD}", '""', 8, "cassandra.password: must not be empty", ""),
    ("${env:CASSANDRA_PASSWORD}", "${env:NO}", 8, "cassandra.password: the environment variable NO is not set", ""),
    ("${env:CASSANDRA_PASSWORD}", "${vault:a#b}", 8, "cassandra.password: references to a vault are not", ""),
    ("${env:CASSANDRA_PASSWORD}", "${file:/no/such}", 8, "cassandra.password: the file /no/such can't be read", ""),
    ("${env:CASSANDRA_PASSWORD}", "${hunter2}", 8, "cassandra.password: a reference must begin with env:", ""),
    ("  password: ${env:CASSANDRA_PASSWORD}\n", "", 2, "cassandra: needs username and password together", ""),
    ("/var/lib/casscade", "/var/lib/cassandra/cdc_raw/x", 9, "capture: state_directory must not lie in", ""),
    (
        "  state_directory:",
        "  commitlog_directory: /var/lib/cassandra/cdc_raw\n  state_directory:",
        9,
        "capture: commitlog_directory and cdc_directory are the same",
        "",
    ),
    (
        "  state_directory:",
        "  commitlog_directory: /var/lib\n  state_directory:",
        9,
        "capture: state_directory must not lie in commitlog_directory",
        "",
    ),
    ("  state_directory:", "  mode: lazy\n  state_directory:", 11, "capture.mode: must be 'synced'", ""),
    ("postgresql://loader@127.0.0.1:5432/warehouse", "mysql://h", 13, "postgres.dsn: must be a connection string", ""),
    ("control_schema: casscade", "control_schema: pg_x", 14, "postgres.control_schema: names a schema that", ""),
    ("control_schema: casscade", "control_schema: 'a b'", 14, "postgres.control_schema: must be 1 to 63", ""),
    (
        "control_schema: casscade",
        "control_schema: analytics",
        17,
        "tables[0].target: lies in postgres",
        "",
    ),
    ("source: shop.*", "source: shop", 16, "tables[0].source: must be keyspace.table", ""),
    ("source: shop.*", "source: system_auth.*", 16, "tables[0].source: names a keyspace of Cassandra", ""),
    ("target: analytics.*", "target: analytics", 17, "tables[0].target: must be schema.table", ""),
    ("target: analytics.*", "target: pg_catalog.*", 17, "tables[0].target: names a schema", ""),
    ("{exclude: [password_hash]}", "{exclude: [a], include: [b]}", 19, "tables[1].columns: has both include", ""),
    ("{exclude: [password_hash]}", "[password_hash]", 19, "tables[1].columns: must be a section of keys", ""),
    ("{exclude: [password_hash]}", "{}\n    where: 5", 20, "tables[1].where: must be a text", "in quotes"),
    ("{exclude: [password_hash]}", "{}\n    transforms: [{maks: {}}]", 20, "maks: is not a known key", '"mask"'),
    (
        "{exclude: [password_hash]}",
        "{}\n    transforms: [{}]",
        20,
        "must name exactly one thing",
        "one item of the list",
    ),
    (
        "{exclude: [password_hash]}",
        "{}\n    transforms: [{mask: {columns: [a], with: hmac-sha1}}]",
        20,
        "tables[1].transforms[0].mask.with: must be",
        '"hmac-sha256"',
    ),
    (
        "{exclude: [password_hash]}",
        "{}\n    transforms: [{hash: {columns: [a], key: short}}]",
        20,
        "key: must have at least 16 bytes",
        "openssl rand",
    ),
    (
        "{exclude: [password_hash]}",
        "{}\n    transforms: [{python: {columns: [a], function: os.system}}]",
        20,
        "function: must be module:function",
        "my_rules:shorten",
    ),
    ("kind: direct", "kind: kafka", 20, "transport kafka needs bootstrap_servers", "add bootstrap_servers"),
    ("kind: direct", "partitions: 3", 20, "partitions belongs to the transport kafka", "write kind: kafka"),
    ("min: 5, max: 50", "min: 6, max: 5", 22, "load.pool: min is greater than max", ""),
    ("127.0.0.1:8080", "127.0.0.1", 24, "http.listen: must be host:port", "127.0.0.1:8080"),
    ("127.0.0.1:8080", "127.0.0.1:80800", 24, "http.listen: must be host:port", ""),
    ("listen: 127.0.0.1:8080", "listen: '[zz]:80'", 24, "http.listen: must have an IPv6 address", ""),
    ("name: shop", "name: Shop", 1, "name: must be 1 to 48 characters", ""),
    ("name: shop\n", "", 1, "name: is missing", "add the key"),
]


@pytest.mark.parametrize(("old", "new", "line", "what", "hint"), REFUSALS)
def test_a_wrong_value_is_refused_with_file_line_key_and_remedy(
    old: str, new: str, line: int, what: str, hint: str
) -> None:
    message = refused(changed(old, new))
    assert what in message
    assert hint in message
    assert f"where: pipeline.yaml:{line}\n" in message
    assert "hunter2" not in message


def test_several_problems_are_reported_together_in_the_order_of_lines() -> None:
    text = VALID.replace("port: 9042", "prot: 9042").replace("batch_rows: 1000", "batch_rows: 0")
    message = refused(text.replace("${env:CASSANDRA_PASSWORD}", "x${env:NO}"))
    lines = [line.strip() for line in message.splitlines()]
    assert lines[0] == "error: the configuration has 3 problems"
    assert lines[1].startswith('pipeline.yaml:4: cassandra.prot: is not a known key (did you mean "port"?)')
    assert lines[2].startswith("pipeline.yaml:8: cassandra.password: the environment variable NO is not set")
    assert lines[3].startswith("pipeline.yaml:22: load.batch_rows: must be at least 1")


def test_the_number_of_reported_problems_is_bounded() -> None:
    message = refused(VALID + "".join(f"zz{number}: 1\n" for number in range(500)))
    assert "500 problems" in message
    assert "and 480 more" in message
    assert len(message.splitlines()) < PROBLEMS_SHOWN_MAX + 8


def test_a_broken_value_is_reported_once() -> None:
    message = refused(changed("${env:CASSANDRA_PASSWORD}", "${env:NO}"))
    assert "problems" not in message
    assert "together" not in message


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 0, "the file is empty"),
        ("# only a comment\n", 0, "the file is empty"),
        ("- a\n", 1, "the file must hold keys"),
        ("hunter2", 1, "the file must hold keys"),
        ("a: 1\n\tb: 2\n", 2, "a tab where YAML allows spaces only"),
        ("a:\n\tb: 2\n", 2, "a tab where YAML allows spaces only"),
        ("a: 1\na: 2\n", 2, "a: is given twice, first in line 1"),
        ("a: 1\n---\nb: 2\n", 2, "the file holds more than one document"),
        ("a: *hunter2\n", 1, "a: a value that begins with * refers to no anchor before it"),
        ("a: &a [*a]\n", 1, "refers to no anchor before it"),
        ("a: !hunter2 b\n", 1, "a: a tag (a value that begins with !) is not supported"),
        ("a: !hun!ter2 b\n", 1, "a tag (a value that begins with !) is not supported"),
        ("a: !!python/object/apply:os.system [hunter2]\n", 1, "a tag (a value that begins with !) is not supported"),
        ("? [hunter2]\n: 1\n", 1, "a key must be plain text"),
        ("a: b: hunter2\n", 1, "a second colon in the value"),
        ("a: 1\nb: 'hunter2\n", 2, "a quote that is opened here is never closed"),
        ("a: [hunter2\n", 2, "not closed"),
        ("a: 1\nhunter2\nb: 1\n", 2, "a key without a colon"),
        ("a: 1\nb: %hunter2\n", 2, "a character that no plain value may begin with"),
        ('a: "\\UFFFFFFFF"\n', 1, "the text is not valid YAML here"),
        ('a: "\\ud800"\n', 1, "a: holds a character that no text may hold"),
        ('a: "\\0"\n', 1, "a: holds a character that no text may hold"),
        ("a: 1\nb: \x07\n", 2, "a control character that YAML does not allow"),
        (b"a: 1\nb: \xff\n", 2, "the file is not UTF-8"),
        (VALID.encode("utf-16"), 1, "the file is not UTF-8"),
        ("[" * 100_000, 1, "is nested deeper than"),
        ("x" * (FILE_BYTES_MAX + 1), 0, "the file holds more than"),
        ("a: &a {b: 1}\nc: {<<: *a}\n", 2, "merge keys (<<) are not supported"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_line(text: str | bytes, line: int, what: str) -> None:
    message = refused(text)
    assert what in message
    assert (f"pipeline.yaml:{line}" if line else "where: pipeline.yaml\n") in message
    assert "hunter2" not in message


def test_aliases_can_not_expand_without_bound() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 12):
        text += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    assert "aliases expanded" in refused(text)


def test_aliases_and_a_byte_order_mark_are_accepted() -> None:
    text = changed("source: shop.*", "source: &all shop.*").replace("shop.customers", "*all")
    assert [entry.source for entry in load(b"\xef\xbb\xbf" + text.encode()).tables] == ["shop.*", "shop.*"]


@pytest.mark.parametrize(
    ("written", "value"), [("no", "no"), ("12:30", "12:30"), ("2024-01-01", "2024-01-01"), ("'7'", "7")]
)
def test_plain_text_stays_text(written: str, value: str) -> None:
    assert load(changed("datacenter1", written)).cassandra.local_datacenter == value


def test_a_reference_gives_numbers_and_parts_of_texts(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("dc7\n")
    text = changed("9042", "${env:PORT}").replace("datacenter1", "${file:name}-$${env:HOST}")
    config = load(text, directory=tmp_path)
    assert config.cassandra.port == 9043
    assert config.cassandra.local_datacenter == "dc7-${env:HOST}"


def test_the_value_of_a_reference_is_in_no_message() -> None:
    for old, new in [("9042", "${env:CASSANDRA_PASSWORD}"), ("QUORUM", "${env:CASSANDRA_PASSWORD}")]:
        assert "hunter2" not in refused(changed(old, new))
    assert "hunter2" not in refused(changed("kind: direct", "${env:CASSANDRA_PASSWORD}: 1"))


def test_a_password_is_given_in_one_place() -> None:
    text = changed("loader@127", "loader:${env:CASSANDRA_PASSWORD}@127")
    assert "given twice" in refused(text.replace("  control_schema", "  password: x\n  control_schema"))


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://loader:${env:ODD}@${env:HOST}:5432/warehouse",
        "postgresql://loader@${env:HOST}:5432/warehouse?password=${env:ODD}",
        "host=${env:HOST} port=5432 user=loader dbname=warehouse password=${env:ODD}",
        "host=${env:HOST} port=5432 user=loader dbname=warehouse password='${env:ODD}'",
    ],
)
def test_a_secret_in_a_dsn_keeps_every_character(dsn: str) -> None:
    config = load(changed("postgresql://loader@127.0.0.1:5432/warehouse", f'"{dsn}"'))
    assert conninfo_to_dict(config.postgres.dsn.reveal()) == {
        "host": "db",
        "port": "5432",
        "user": "loader",
        "dbname": "warehouse",
        "password": ENVIRON["ODD"],
    }


def test_a_dsn_may_be_one_reference() -> None:
    dsn = "postgresql://u:p%40@h/db"
    config = load(changed("postgresql://loader@127.0.0.1:5432/warehouse", "${env:DSN}"), {**ENVIRON, "DSN": dsn})
    assert config.postgres.dsn.reveal() == dsn


def test_load_config_reads_a_file_and_takes_paths_from_its_directory(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(changed("/var/lib/casscade", "state"))
    config = load_config(file, ENVIRON)
    assert config.capture.state_directory == tmp_path / "state"
    assert config.location("name") == f"{file}:1"


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    for path, what in {
        tmp_path / "missing.yaml": "the file does not exist",
        tmp_path: "is a directory",
        tmp_path / ("x" * 5000): "the file can't be read",
        Path("a\0b"): "the file can't be read: not a valid path",
    }.items():
        with pytest.raises(ConfigurationError, match=what) as caught:
            load_config(path, {})
        assert caught.value.where == str(path)


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigurationError, match="may not read the file"):
        load_config(tmp_path / "pipeline.yaml", {})
