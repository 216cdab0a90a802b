"""Download what the stack runs from, pinned by SHA-256, into a cache outside the checkout.

Invariant: a path that is handed out names a file whose SHA-256 is the one in the lock file; a file under its final
name is always whole (written beside it, then renamed).
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from casscade.core.errors import ConfigurationError
from casscade.devstack.places import disk_full, locked, make_directory

Progress = Callable[[str], None]

# Small jars are bound by round trips, not by the line; more connections than this annoys repositories.
DOWNLOADS_MAX: Final = 8
# One retry for a hiccup, one for a slow proxy; then the network is not there.
ATTEMPTS_MAX: Final = 3
CONNECT_TIMEOUT_S: Final = 15.0
READ_TIMEOUT_S: Final = 60.0
CHUNK_BYTES: Final = 256 * 1024
PROGRESS_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class MavenArtifact:
    """One jar of a Maven repository with the SHA-256 (hexadecimal) it must have."""

    group: str
    name: str
    version: str
    classifier: str
    sha256: str

    @property
    def path(self) -> str:
        """Its path in a Maven repository, and in the cache."""
        suffix = f"-{self.classifier}" if self.classifier else ""
        directory = f"{self.group.replace('.', '/')}/{self.name}/{self.version}"
        return f"{directory}/{self.name}-{self.version}{suffix}.jar"


def no_progress(_: str) -> None:
    """A progress callback that drops its lines."""


class _WrongChecksum(Exception):
    """The bytes received are not the pinned ones."""


class _Unavailable(Exception):
    """The repository answered, but not with the file."""


def lock_text(name: str) -> str:
    """The text of the lock file `name`; ConfigurationError (`version_unknown`) if there is none."""
    folder = resources.files("casscade.devstack").joinpath("locks")
    known = sorted(entry.name for entry in folder.iterdir())
    if name not in known:
        raise ConfigurationError(
            "version_unknown",
            f"no download is pinned under the name {name}",
            now="nothing was started",
            hint=f"pinned are: {', '.join(known)}",
        )
    return folder.joinpath(name).read_text(encoding="ascii")


def read_lock(name: str) -> list[MavenArtifact]:
    """The artifacts of one lock file, whose lines are `group:artifact:version[:classifier] sha256`."""
    artifacts = []
    for line in lock_text(name).splitlines():
        if not line or line.startswith("#"):
            continue
        coordinates, sha256 = line.split()
        group, artifact, version, *classifier = coordinates.split(":")
        artifacts.append(MavenArtifact(group, artifact, version, "".join(classifier), sha256))
    return artifacts


def fetch(artifacts: Sequence[MavenArtifact], cache: Path, what: str, progress: Progress) -> list[Path]:
    """The paths of `artifacts` in the cache, downloaded where they are missing or damaged.

    Safe for several processes at once. Raises ConfigurationError (`download_failed`, `checksum_mismatch`,
    `disk_full`, `directory_unwritable`).
    """
    root = make_directory(cache / "maven")
    paths = [root / artifact.path for artifact in artifacts]
    if not _unsound(artifacts, root):
        return paths
    with locked(make_directory(cache) / ".lock"):
        missing = _unsound(artifacts, root)
        if missing:
            _download_all(missing, root, what, progress)
    return paths


def _unsound(artifacts: Iterable[MavenArtifact], root: Path) -> list[MavenArtifact]:
    """Those that are missing or whose bytes are not the pinned ones (hashing 66 MB takes about 0.1 s)."""
    return [artifact for artifact in artifacts if sha256_of(root / artifact.path) != artifact.sha256]


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file; empty if it can't be read."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError:
        return ""


def maven_repository() -> str:
    """`CASSCADE_MAVEN_REPOSITORY` (a mirror) or Maven Central, without a slash at the end."""
    mirror = os.environ.get("CASSCADE_MAVEN_REPOSITORY", "")
    if mirror:
        return mirror.rstrip("/")
    from jgo.constants import MAVEN_CENTRAL_URL

    return str(MAVEN_CENTRAL_URL).rstrip("/")


def _download_all(missing: Sequence[MavenArtifact], root: Path, what: str, progress: Progress) -> None:
    try:
        from jgo.util import http
    except ImportError as error:
        raise ConfigurationError(
            "extra_missing",
            f"{what} must be downloaded, and the library for that (jgo) is not installed",
            now="nothing was started",
            hint="pip install 'casscade[dev]'",
        ) from error
    repository = maven_repository()
    progress(f"{what}: downloading {len(missing)} files into {root}")
    with ThreadPoolExecutor(DOWNLOADS_MAX, thread_name_prefix="download") as pool:
        pending = {pool.submit(_obtain, http, repository, artifact, root) for artifact in missing}
        done_files = done_bytes = 0
        reported = time.monotonic()
        try:
            while pending:
                done, pending = wait(pending, timeout=PROGRESS_EVERY_S, return_when=FIRST_COMPLETED)
                done_files += len(done)
                done_bytes += sum(future.result() for future in done)
                if time.monotonic() - reported >= PROGRESS_EVERY_S or not pending:
                    reported = time.monotonic()
                    progress(f"{what}: {done_files} of {len(missing)} files, {done_bytes / 1e6:.1f} MB")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _obtain(http: Any, repository: str, artifact: MavenArtifact, root: Path) -> int:
    """Download one artifact with retries and return its size in bytes."""
    url = f"{repository}/{artifact.path}"
    target = root / artifact.path
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            make_directory(target.parent)
            return _download(http, url, target, artifact.sha256)
        except _WrongChecksum as error:
            # Once more, in case a proxy cut or damaged it; the same wrong bytes twice are another file.
            if attempt >= 2:
                raise ConfigurationError(
                    "checksum_mismatch",
                    f"the SHA-256 of {target.name} is {error}, but {artifact.sha256} is pinned",
                    where=url,
                    now="the file was deleted; nothing was started",
                    hint="check CASSCADE_MAVEN_REPOSITORY and any proxy in between, then try again",
                ) from error
        except _Unavailable as error:
            raise _no_download(url, str(error)) from error
        except OSError as error:  # the HTTP library's errors are OSErrors too
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise disk_full(target.parent) from error
            if isinstance(error, PermissionError) or attempt == ATTEMPTS_MAX:
                raise _no_download(url, f"{type(error).__name__}: {error.strerror or 'no connection'}") from error
        time.sleep(0.3 * attempt)
    raise AssertionError("the last attempt returns or raises")


def _download(http: Any, url: str, target: Path, sha256: str) -> int:
    response = http.get(url, stream=True, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S))
    with response:
        if response.status_code != 200:
            raise _Unavailable(f"the repository answered with HTTP status {response.status_code}")
        digest = hashlib.sha256()
        size = 0
        part = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_native_id()}")
        try:
            with part.open("wb") as handle:
                for chunk in response.iter_content(chunk_size=CHUNK_BYTES):
                    handle.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
            if digest.hexdigest() != sha256:
                target.unlink(missing_ok=True)
                raise _WrongChecksum(digest.hexdigest())
            part.chmod(0o644)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    return size


def _no_download(url: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        "download_failed",
        f"a pinned file is not in the cache and can't be downloaded: {why}",
        where=url,
        now="nothing was started",
        hint="connect to the network (HTTPS_PROXY is honoured), set CASSCADE_MAVEN_REPOSITORY to a mirror, "
        "or copy the cache directory of a machine that has it and name it in CASSCADE_CACHE",
    )
