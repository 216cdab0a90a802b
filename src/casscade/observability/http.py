"""The HTTP server for probes, Prometheus and people: it only reads, and answers only on the address it was given.

Invariant: it never slows the pipeline down or takes it with it: few threads, short timeouts, and an error in what it
asks for is the answer 500 with the type of the error alone.

    /livez /readyz   200 or 503, one line of text          /healthz   200 or 503, JSON of all components
    /metrics         Prometheus' text format               /status    JSON from the pipeline        /   a page
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from casscade.core.errors import ConfigurationError
from casscade.observability.health import Health, Verdict
from casscade.observability.metrics import CONTENT_TYPE, Metrics
from casscade.observability.page import render_page

# A few probes, one Prometheus, some browsers; who comes beyond that is turned away and comes again.
REQUESTS_MAX: Final = 8
# Of a client that is slow to send or to read.
CLIENT_S_MAX: Final = 5.0

_JSON: Final = "application/json; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"
_HTML: Final = "text/html; charset=utf-8"
Answer = tuple[HTTPStatus, str, bytes]


class StatusServer:
    """The server of one pipeline. `status` is called in its threads and gives what `/status` shows (plain JSON values).

    Raises `ConfigurationError` when the address can't be had.
    """

    def __init__(
        self,
        address: tuple[str, int],
        pipeline: str,
        health: Health,
        metrics: Metrics,
        status: Callable[[], Mapping[str, object]],
    ) -> None:
        self._pipeline = pipeline
        self._health = health
        self._metrics = metrics
        self._status = status
        self._routes: dict[str, Callable[[], Answer]] = {
            "/": self._page,
            "/livez": lambda: _probe(health.live()),
            "/readyz": lambda: _probe(health.ready()),
            "/healthz": self._healthz,
            "/metrics": lambda: (HTTPStatus.OK, CONTENT_TYPE, metrics.render()),
            "/status": lambda: (HTTPStatus.OK, _JSON, _dump(status())),
        }
        metrics.before_scrape(self._copy_health)
        self._server = _listen(address, self.answer)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="http", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port in use; the port is the real one where 0 was asked for."""
        host, port = self._server.socket.getsockname()[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Answer requests, in threads of its own."""
        self._thread.start()

    def close(self) -> None:
        """Stop and free the port; requests under way end by themselves."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def answer(self, path: str) -> Answer:
        """Status, content type and body for a path."""
        route = self._routes.get(path.partition("?")[0])
        if route is None:
            return HTTPStatus.NOT_FOUND, _TEXT, b"not found; try " + " ".join(self._routes).encode() + b"\n"
        try:
            return route()
        except Exception as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, f"{type(error).__name__}\n".encode()

    def _page(self) -> Answer:
        text = render_page(self._pipeline, self._health.ready(), self._health.components(), self._status())
        return HTTPStatus.OK, _HTML, text.encode()

    def _healthz(self) -> Answer:
        live, ready = self._health.live(), self._health.ready()
        body = {
            "pipeline": self._pipeline,
            "live": live.ok,
            "ready": ready.ok,
            "reasons": list(ready.reasons),
            "components": [
                {"name": part.name, "state": part.state.value, "detail": part.detail, "since": part.since}
                for part in self._health.components()
            ],
        }
        return (HTTPStatus.OK if ready.ok else HTTPStatus.SERVICE_UNAVAILABLE), _JSON, _dump(body)

    def _copy_health(self) -> None:
        self._metrics.set("casscade_live_flag", float(self._health.live().ok))
        self._metrics.set("casscade_ready_flag", float(self._health.ready().ok))
        for part in self._health.components():
            self._metrics.set("casscade_component_ok_flag", float(part.state == "ok"), component=part.name)


def _probe(verdict: Verdict) -> Answer:
    text = "ok" if verdict.ok else "; ".join(verdict.reasons)
    return (HTTPStatus.OK if verdict.ok else HTTPStatus.SERVICE_UNAVAILABLE), _TEXT, f"{text}\n".encode()


def _dump(value: object) -> bytes:
    return json.dumps(value, indent=2, default=str).encode() + b"\n"


class _Server(ThreadingHTTPServer):
    """Bounded in its threads; binds without asking the name service who we are."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int], answer: Callable[[str], Answer]) -> None:
        self.address_family = family
        self.answer = answer
        self._room = threading.BoundedSemaphore(REQUESTS_MAX)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "casscade", 0

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event; `answer` has dealt with every error of ours."""


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_S_MAX
    server: _Server

    def do_GET(self) -> None:
        self._send(body_too=True)

    def do_HEAD(self) -> None:
        self._send(body_too=False)

    def _send(self, *, body_too: bool) -> None:
        status, content_type, body = self.server.answer(self.path)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.end_headers()
        if body_too:
            self.wfile.write(body)

    def version_string(self) -> str:
        return "casscade"

    def log_message(self, format: str, *args: object) -> None:
        """Probes come every second; a line for each would drown the log."""


def _listen(address: tuple[str, int], answer: Callable[[str], Answer]) -> _Server:
    host, port = address
    try:
        family, *_, found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return _Server(family, (str(found[0]), int(found[1])), answer)
    except OSError as error:
        raise ConfigurationError(
            "http_listen",
            f"the HTTP server can't listen on {host}:{port}: {error.strerror or error}",
            where="http.listen",
            now="nothing was started",
            hint="set http.listen to a free address of this machine, or stop what uses it (ss -ltnp shows it)",
        ) from error
