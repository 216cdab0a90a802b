"""Where the stack keeps downloads and data, and which user PostgreSQL runs as when we are root.

Invariant: a directory that is handed to a server can be entered by the user the server runs as.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from casscade.core.errors import ConfigurationError

# A node writes about 150 MB in its first minutes (commit log, system tables); less ends in the middle of a start.
FREE_BYTES_MIN: Final = 512 * 1024 * 1024


def cache_directory() -> Path:
    """`CASSCADE_CACHE`, else `/var/cache/casscade` for root, else `casscade` in the user's cache directory."""
    return _place("CASSCADE_CACHE", Path("/var/cache/casscade"), "XDG_CACHE_HOME", ".cache")


def state_directory() -> Path:
    """`CASSCADE_DEV_HOME`, else `/var/lib/casscade-dev` for root, else `casscade` in the user's state directory."""
    return _place("CASSCADE_DEV_HOME", Path("/var/lib/casscade-dev"), "XDG_STATE_HOME", ".local/state")


def _place(variable: str, for_root: Path, xdg_variable: str, below_home: str) -> Path:
    explicit = os.environ.get(variable)
    if explicit:
        return Path(explicit).expanduser().absolute()
    if os.geteuid() == 0:
        return for_root
    base = os.environ.get(xdg_variable)
    return (Path(base) if base else Path.home() / below_home) / "casscade"


def make_directory(path: Path) -> Path:
    """Create `path` and its parents, enterable by every user whatever the umask; existing ones keep their mode.

    Raises ConfigurationError (`directory_unwritable`, `disk_full`).
    """
    missing = []
    probe = path
    while not probe.is_dir():
        missing.append(probe)
        if probe.parent == probe:
            break
        probe = probe.parent
    try:
        for level in reversed(missing):
            level.mkdir(exist_ok=True)
            level.chmod(0o755)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_full(path) from error
        raise ConfigurationError(
            "directory_unwritable",
            f"the directory can't be created: {error.strerror}",
            where=str(path),
            now="nothing was started",
            hint="set CASSCADE_CACHE and CASSCADE_DEV_HOME to directories that you may write",
        ) from error
    return path


def disk_full(path: Path) -> ConfigurationError:
    """The error for a disk that is, or is about to be, full."""
    return ConfigurationError(
        "disk_full",
        f"the disk is full: the stack needs {FREE_BYTES_MIN // 2**20} MiB free",
        where=str(path),
        now="nothing was started",
        hint="free some space, or set CASSCADE_CACHE and CASSCADE_DEV_HOME to another disk",
    )


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" inside the block into ConfigurationError (`disk_full`)."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(path) from error
        raise


def is_full(path: Path) -> bool:
    """Whether less than 1 MiB is free at `path`, so that a server there ended without being able to log why."""
    return shutil.disk_usage(path).free < 1 << 20


def require_free_space(path: Path) -> None:
    """Raise ConfigurationError (`disk_full`) if fewer than 512 MiB are free at `path`, which exists."""
    if shutil.disk_usage(path).free < FREE_BYTES_MIN:
        raise disk_full(path)


def unprivileged_user() -> pwd.struct_passwd | None:
    """The user to drop to when we are root (`postgres`, else `nobody`); None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ConfigurationError(
        "user_missing",
        "PostgreSQL refuses to run as root, and there is no user to drop to",
        where="/etc/passwd",
        now="nothing was started",
        hint="create a user named postgres: useradd --system postgres",
    )


def require_reachable(path: Path, user: pwd.struct_passwd | None) -> None:
    """Raise ConfigurationError (`directory_unreachable`) if `user` may not enter `path` or one of its parents."""
    if user is None:
        return
    for level in reversed([path, *path.parents]):
        status = level.stat()
        if status.st_uid == user.pw_uid:
            bit = stat.S_IXUSR
        elif status.st_gid == user.pw_gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if not status.st_mode & bit:
            raise ConfigurationError(
                "directory_unreachable",
                f"the user {user.pw_name}, as which PostgreSQL runs, may not enter {level}",
                where=str(path),
                now="nothing was started",
                hint=f"chmod o+x {level}, or set CASSCADE_CACHE and CASSCADE_DEV_HOME to another place",
            )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file lock `path` (created if missing) against other processes and threads; waits without a limit.

    The lock is released by the kernel when the holder dies, so the wait ends.
    """
    with path.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def port_is_free(address: str, port: int) -> bool:
    """Whether a server could listen on `address`:`port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise ConfigurationError(
                "address_unusable",
                f"no server can listen on this address: {error.strerror}",
                where=f"{address}:{port}",
                now="nothing was started",
                hint="use an address of the loopback interface and a port above 1023",
            ) from error
    return True


def free_port(address: str = "127.0.0.1") -> int:
    """A port on which nobody listens at this moment; another process may still take it before the server does."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def require_port(service: str, address: str, port: int) -> None:
    """Raise ConfigurationError (`port_in_use`) if `address`:`port` is taken."""
    if not port_is_free(address, port):
        raise port_in_use(service, address, port)


def port_in_use(service: str, address: str, port: int) -> ConfigurationError:
    """The error for a port that another program holds."""
    return ConfigurationError(
        "port_in_use",
        f"{service} can't start because another program listens on port {port}",
        where=f"{address}:{port}",
        now=f"{service} was not started",
        hint=f"stop that program (ss -ltnp 'sport = :{port}' shows it) or choose another port",
    )
