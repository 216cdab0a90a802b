"""The HTTP server: its routes, its page, its bounds."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping

import pytest

from casscade.core.errors import ConfigurationError
from casscade.observability.health import Health, State
from casscade.observability.http import REQUESTS_MAX, StatusServer
from casscade.observability.metrics import Metrics

STATUS: dict[str, object] = {
    "rows": 1234567,
    "latency": {"p95": 0.731, "p99": None},
    "tables": ["shop.orders", "<script>alert(1)</script>"],
}


def status() -> Mapping[str, object]:
    return STATUS


@pytest.fixture
def health() -> Health:
    health = Health(time.monotonic, time.time)
    health.set("cassandra", State.OK, "5.0.6")
    health.set("postgres", State.OK)
    return health


@pytest.fixture
def server(health: Health) -> Iterator[StatusServer]:
    server = StatusServer(("127.0.0.1", 0), "shop", health, Metrics("shop"), status)
    server.start()
    yield server
    server.close()


def get(server: StatusServer, path: str, method: str = "GET") -> tuple[int, Mapping[str, str], str]:
    connection = http.client.HTTPConnection(*server.address, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()
    finally:
        connection.close()


@pytest.mark.requirement("FR-028")
def test_a_healthy_pipeline_answers_200_with_its_components(server: StatusServer) -> None:
    assert get(server, "/livez")[::2] == (200, "ok\n")
    assert get(server, "/readyz?verbose=1")[::2] == (200, "ok\n")
    code, headers, body = get(server, "/healthz")
    assert code == 200
    assert headers["Content-Type"].startswith("application/json")
    found = json.loads(body)
    assert [(part["name"], part["state"], part["detail"]) for part in found["components"]] == [
        ("cassandra", "ok", "5.0.6"),
        ("postgres", "ok", ""),
    ]
    assert (found["pipeline"], found["live"], found["ready"], found["reasons"]) == ("shop", True, True, [])


@pytest.mark.requirement("FR-028")
def test_a_part_that_is_down_answers_503_and_says_which(server: StatusServer, health: Health) -> None:
    health.set("postgres", State.DOWN, "connection refused")
    assert get(server, "/livez")[0] == 200
    assert get(server, "/readyz")[::2] == (503, "postgres is down: connection refused\n")
    code, _, body = get(server, "/healthz")
    assert code == 503
    assert json.loads(body)["reasons"] == ["postgres is down: connection refused"]


@pytest.mark.requirement("FR-026")
def test_metrics_hold_the_health_of_the_moment(server: StatusServer, health: Health) -> None:
    health.set("postgres", State.DOWN)
    code, headers, body = get(server, "/metrics")
    assert code == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'casscade_ready_flag{pipeline="shop"} 0.0' in body
    assert 'casscade_live_flag{pipeline="shop"} 1.0' in body
    assert 'casscade_component_ok_flag{component="cassandra",pipeline="shop"} 1.0' in body
    assert 'casscade_component_ok_flag{component="postgres",pipeline="shop"} 0.0' in body


def test_status_is_what_the_pipeline_says(server: StatusServer) -> None:
    assert json.loads(get(server, "/status")[2]) == STATUS


def test_the_page_shows_everything_escaped_and_loads_nothing(server: StatusServer, health: Health) -> None:
    health.set("postgres", State.DEGRADED, '<b>slow</b> & "late"')
    code, headers, body = get(server, "/")
    assert code == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "1,234,567" in body
    assert "0.731" in body
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
    assert "&lt;b&gt;slow&lt;/b&gt; &amp; &quot;late&quot;" in body
    assert "<script" not in body
    assert "src=" not in body
    assert "http://" not in body
    assert 'http-equiv="refresh"' in body


def test_head_has_no_body_and_other_paths_and_methods_are_refused(server: StatusServer) -> None:
    code, headers, body = get(server, "/healthz", "HEAD")
    assert (code, body) == (200, "")
    assert int(headers["Content-Length"]) > 0
    assert get(server, "/etc/passwd")[0] == 404
    assert get(server, "/status", "POST")[0] == 501


@pytest.mark.requirement("FR-030")
def test_an_error_of_the_callback_shows_its_type_only(health: Health) -> None:
    def broken() -> Mapping[str, object]:
        raise ValueError("alice@example.com")

    server = StatusServer(("127.0.0.1", 0), "shop", health, Metrics("shop"), broken)
    server.start()
    try:
        assert get(server, "/status")[::2] == (500, "ValueError\n")
        assert get(server, "/livez")[0] == 200
    finally:
        server.close()


def test_a_port_in_use_is_a_configuration_error_with_a_remedy(server: StatusServer, health: Health) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StatusServer(server.address, "shop", health, Metrics("shop"), status)
    assert f"127.0.0.1:{server.address[1]}" in caught.value.what
    assert caught.value.code == "http_listen"
    assert "http.listen" in caught.value.hint


def test_an_address_of_another_machine_is_a_configuration_error(health: Health) -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1:8080"):
        StatusServer(("192.0.2.1", 8080), "shop", health, Metrics("shop"), status)


def test_a_closed_server_frees_its_port(health: Health) -> None:
    first = StatusServer(("127.0.0.1", 0), "shop", health, Metrics("shop"), status)
    address = first.address
    first.start()
    first.close()
    StatusServer(address, "shop", health, Metrics("shop"), status).close()


def test_silent_clients_cannot_take_more_than_the_bounded_threads(server: StatusServer) -> None:
    silent = [socket.create_connection(server.address, timeout=5) for _ in range(REQUESTS_MAX)]
    try:
        deadline = time.monotonic() + 5
        refused = False
        while not refused and time.monotonic() < deadline:
            with socket.create_connection(server.address, timeout=5) as extra:
                try:
                    extra.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
                    refused = extra.recv(1) == b""
                except ConnectionError:
                    refused = True
        assert refused
    finally:
        for connection in silent:
            connection.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            assert get(server, "/livez")[0] == 200
            return
        except (ConnectionError, http.client.HTTPException):
            time.sleep(0.02)
    pytest.fail("the server did not come back")
