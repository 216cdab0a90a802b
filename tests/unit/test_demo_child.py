"""The pipeline's process as the demo sees it; and the directory and servers around it."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from casscade.core.errors import ConfigurationError, InvariantError
from casscade.demo import surroundings
from casscade.demo.child import PipelineChild, fetch_status, peak_rss_bytes
from casscade.demo.screen import open_screen
from casscade.demo.surroundings import own_directory, own_servers
from casscade.devstack.places import free_port


@pytest.fixture
def status_server() -> Iterator[HTTPServer]:
    """Answers /status with a small document and everything else with an error."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/status" and not broken else 503)
            self.end_headers()
            self.wfile.write(json.dumps({"pid": 7}).encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    broken: list[bool] = []
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.broken = broken  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_status_document_is_fetched_past_any_proxy(
    status_server: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert fetch_status(status_server.server_port) == {"pid": 7}


def test_no_answer_is_no_document(status_server: HTTPServer) -> None:
    assert fetch_status(free_port()) is None
    status_server.broken.append(True)  # type: ignore[attr-defined]
    assert fetch_status(status_server.server_port) is None


def test_the_peak_of_memory_is_read_from_the_kernel() -> None:
    assert peak_rss_bytes(os.getpid()) > 10_000_000
    assert peak_rss_bytes(2**22 + 1) == 0


def test_a_pipeline_that_ends_by_itself_is_an_error_with_the_end_of_its_log(tmp_path: Path) -> None:
    file = tmp_path / "casscade.yaml"
    file.write_text("name: broken\nno_such_key: 1\n", encoding="utf-8")
    child = PipelineChild(file, tmp_path, free_port())
    child.start()
    deadline = time.monotonic() + 30
    while child.pid is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(InvariantError) as raised:
        child.watch()
    assert "no_such_key" in raised.value.where
    assert raised.value.code == "pipeline_died"
    assert child.stop()
    assert (child.lives, child.kills) == (1, 0)


def test_a_directory_of_its_own_is_removed_whatever_happens(tmp_path: Path) -> None:
    with own_directory(None) as temporary:
        assert temporary.stat().st_mode & 0o005 == 0o005, "PostgreSQL's user gets in"
    assert not temporary.exists()
    wanted = tmp_path / "here" / "deep"
    with pytest.raises(IsADirectoryError), own_directory(wanted) as directory:
        directory.write_text("a directory is no file", encoding="utf-8")
    assert not wanted.exists()


def test_a_directory_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("precious", encoding="utf-8")
    for path in (tmp_path, mine):
        with pytest.raises(ConfigurationError) as raised, own_directory(path):
            raise AssertionError("it must not be used")
        assert raised.value.code == "directory_not_empty"
    assert mine.read_text(encoding="utf-8") == "precious"


def test_servers_that_do_not_come_up_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Broken:
        def __init__(self, directory: Path, **options: Any) -> None:
            calls.append((directory, options["owner"], options["cassandra_port"] != options["postgres_port"]))

        def up(self) -> None:
            raise ConfigurationError("java_missing", "no Java")

        @property
        def services(self) -> list[Any]:
            return [SimpleNamespace(kill=lambda name=name: calls.append(name)) for name in ("cassandra", "postgres")]

    monkeypatch.setattr(surroundings, "Stack", Broken)
    text = io.StringIO()
    with (
        open_screen(Console(file=text)) as screen,
        pytest.raises(ConfigurationError, match="no Java"),
        own_servers(tmp_path, screen),
    ):
        raise AssertionError("it must not be used")
    assert calls == [(tmp_path, os.getpid(), True), "cassandra", "postgres"]
