"""Directories, users, disks and ports: what the stack stands on."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from casscade.core.errors import ConfigurationError
from casscade.devstack import places


@pytest.fixture
def _closed_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def _stranger() -> pwd.struct_passwd:
    return pwd.struct_passwd(("stranger", "x", 54321, 54321, "", "/", "/bin/false"))


def test_the_places_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CASSCADE_CACHE", str(tmp_path / "c"))
    monkeypatch.setenv("CASSCADE_DEV_HOME", str(tmp_path / "d"))
    assert places.cache_directory() == tmp_path / "c"
    assert places.state_directory() == tmp_path / "d"


@pytest.mark.parametrize(
    ("uid", "xdg", "cache"),
    [(0, "/x", "/var/cache/casscade"), (1000, "/x", "/x/casscade"), (1000, "", "/home/u/.cache/casscade")],
)
def test_the_usual_places(monkeypatch: pytest.MonkeyPatch, uid: int, xdg: str, cache: str) -> None:
    monkeypatch.delenv("CASSCADE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert places.cache_directory() == Path(cache)


@pytest.mark.usefixtures("_closed_umask")
def test_directories_are_open_to_others_whatever_the_umask(tmp_path: Path) -> None:
    made = places.make_directory(tmp_path / "a" / "b")
    assert (made.stat().st_mode & 0o777, made.parent.stat().st_mode & 0o777) == (0o755, 0o755)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError) as caught:
        places.make_directory(tmp_path / "file" / "below")
    assert caught.value.code == "directory_unwritable"
    assert "CASSCADE_CACHE" in caught.value.hint


def test_a_closed_parent_is_named(tmp_path: Path) -> None:
    inner = places.make_directory(tmp_path / "closed" / "inner")
    inner.parent.chmod(0o700)
    with pytest.raises(ConfigurationError) as caught:
        places.require_reachable(inner, _stranger())
    assert caught.value.code == "directory_unreachable"
    assert "stranger, as which PostgreSQL runs, may not enter /" in caught.value.what
    assert caught.value.hint.startswith("chmod o+x /")


def test_an_open_path_is_reachable() -> None:
    places.require_reachable(Path("/usr/bin"), _stranger())


def test_a_disk_almost_full_is_said_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places.require_free_space(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100 * 2**20))
    with pytest.raises(ConfigurationError) as caught:
        places.require_free_space(tmp_path)
    assert caught.value.code == "disk_full"


def test_a_port_in_use_is_said_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            places.require_port("Cassandra", "127.0.0.1", port)
    assert caught.value.code == "port_in_use"
    assert str(port) in caught.value.what
    assert "ss -ltnp" in caught.value.hint
    places.require_port("Cassandra", "127.0.0.1", port)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(ConfigurationError) as caught:
        places.port_is_free("192.0.2.1", 9042)
    assert caught.value.code == "address_unusable"


def test_root_drops_to_somebody_and_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert places.unprivileged_user() is None
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    user = places.unprivileged_user()
    assert user is not None
    assert user.pw_uid != 0


def test_without_a_user_to_drop_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody_there(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", nobody_there)
    with pytest.raises(ConfigurationError) as caught:
        places.unprivileged_user()
    assert caught.value.code == "user_missing"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_is_named_and_other_errors_stay(tmp_path: Path, number: int) -> None:
    with pytest.raises(ConfigurationError) as caught, places.full_disk_named(tmp_path):
        raise OSError(number, "full")
    assert caught.value.code == "disk_full"
    with pytest.raises(PermissionError), places.full_disk_named(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_a_server_that_ended_on_a_full_disk_could_not_log_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not places.is_full(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    assert places.is_full(tmp_path)
