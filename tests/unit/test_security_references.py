"""References to secrets: what they name, what they read, and what their errors say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casscade.core.errors import ConfigurationError
from casscade.security.references import REFERENCES_MAX, SECRET_BYTES_MAX, Reference, lookup, parse


def test_a_value_splits_into_text_and_references() -> None:
    assert parse("plain $ {text}") == ("plain $ {text}",)
    assert parse("${env:A}") == (Reference("env", "A"),)
    assert parse("a${env:A}b${file:/x y}") == ("a", Reference("env", "A"), "b", Reference("file", "/x y"))
    assert parse("${vault:secret/db#password}") == (Reference("vault", "secret/db", "password"),)
    assert parse("") == ()


def test_a_doubled_dollar_is_the_plain_text() -> None:
    assert parse("a$${env:A}") == ("a${env:A}",)
    assert parse("$$${env:A}") == ("$${env:A}",)


@pytest.mark.parametrize(
    "text",
    ["${hunter2", "${hunter2}", "${env:}", "${env:9}", "${env:hunter2-x}", "${file:}", "${ENV:X}", "${vault:a}", "${}"],
)
def test_a_malformed_reference_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert "${env:NAME}" in caught.value.hint
    assert "hunter2" not in caught.value.explain()


def test_the_number_of_references_in_one_value_is_bounded() -> None:
    assert len(parse("${env:A}" * REFERENCES_MAX)) == REFERENCES_MAX
    with pytest.raises(ConfigurationError, match="more than"):
        parse("${env:A}" * (REFERENCES_MAX + 1))


@pytest.mark.requirement("FR-040")
def test_env_reads_a_variable_and_names_the_missing_one() -> None:
    assert lookup(Reference("env", "A"), {"A": "${env:B}\n"}, Path()) == "${env:B}\n"
    with pytest.raises(ConfigurationError, match="the environment variable MISSING is not set"):
        lookup(Reference("env", "MISSING"), {}, Path())
    for bad in ("hunter2\udcff", "hunter2" * SECRET_BYTES_MAX):
        with pytest.raises(ConfigurationError) as caught:
            lookup(Reference("env", "A"), {"A": bad}, Path())
        assert "hunter2" not in caught.value.explain()


@pytest.mark.parametrize(
    ("content", "value"), [(b"a\n", "a"), (b"a\r\n", "a"), (b"a\n\n", "a\n"), (b" a ", " a "), (b"", "")]
)
def test_file_reads_without_one_trailing_line_break(tmp_path: Path, content: bytes, value: str) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert lookup(Reference("file", "secret"), {}, tmp_path) == value
    assert lookup(Reference("file", str(tmp_path / "secret")), {}, Path("/elsewhere")) == value


def test_a_file_that_is_no_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    (tmp_path / "nul").write_bytes(b"hunter2\0")
    (tmp_path / "large").write_bytes(b"x" * (SECRET_BYTES_MAX + 1))
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, reason in {
        "binary": "UTF-8",
        "nul": "NUL",
        "large": "more than",
        "directory": "not a regular file",
        "pipe": "not a regular file",
        "missing": "can't be read",
        "x" * 5000: "can't be read",
    }.items():
        with pytest.raises(ConfigurationError, match=reason) as caught:
            lookup(Reference("file", name), {}, tmp_path)
        assert "hunter2" not in caught.value.explain()


def test_vault_is_refused_for_now() -> None:
    with pytest.raises(ConfigurationError, match="vault are not supported by this version"):
        lookup(Reference("vault", "a", "b"), {}, Path())
