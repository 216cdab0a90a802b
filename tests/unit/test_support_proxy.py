"""The proxy whose network fails: each fault does what it is called, and no more."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.proxy import COMMIT, Fault, Proxy, proxy


class Echo:
    """A server that sends back what it gets, and keeps it."""

    def __init__(self) -> None:
        self.got = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while data := connection.recv(1 << 16):
                self.got += data
                connection.sendall(data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.listener.close()


@pytest.fixture
def between(echo: Echo) -> Iterator[Proxy]:
    with proxy(echo.listener.getsockname()) as made:
        yield made


def client(between: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", between.port), timeout=5.0)


def ask(connection: socket.socket, data: bytes = b"x") -> bytes:
    """What comes back, as long as what was sent; b"" where the connection ended or was reset."""
    answer = b""
    try:
        connection.sendall(data)
        while len(answer) < len(data) and (more := connection.recv(1 << 16)):
            answer += more
    except ConnectionError:
        return b""
    return answer


def test_without_a_fault_all_bytes_pass(between: Proxy) -> None:
    data = bytes(range(256)) * 2000
    with client(between) as one, client(between) as other:
        assert (ask(one, data), ask(other)) == (data, b"x")


def test_a_reset_ends_connections_and_refuses_new_ones_until_it_is_healed(between: Proxy) -> None:
    with client(between) as one:
        assert ask(one) == b"x"
        between.strike(Fault.RESET)
        assert ask(one) == b""
    # The reset may come within connecting, or behind it.
    with suppress(ConnectionError), client(between) as one:
        assert ask(one) == b""
    between.heal()
    with client(between) as one:
        assert ask(one) == b"x"


def test_what_a_black_hole_held_arrives_when_it_is_healed(between: Proxy) -> None:
    with client(between) as one:
        assert ask(one) == b"x"
        between.strike(Fault.BLACK_HOLE)
        one.sendall(b"held")
        assert between.wait_struck(5.0)
        one.setblocking(False)
        with pytest.raises(BlockingIOError):
            one.recv(10)
        one.settimeout(5.0)
        between.heal()
        assert one.recv(10) == b"held"


def test_a_packet_is_held_by_what_is_in_it(between: Proxy) -> None:
    with client(between) as one, client(between) as other:
        between.strike(Fault.HOLD, marker=b"second")
        assert ask(one, b"the first") == b"the first"
        one.sendall(b"the second")
        assert between.wait_struck(5.0)
        assert ask(other) == b"x"
        between.heal()
        assert one.recv(20) == b"the second"


def test_a_delay_is_one_for_each_way(between: Proxy) -> None:
    with client(between) as one:
        assert ask(one) == b"x"
        between.strike(Fault.DELAY, delay_s=0.02)
        begin = time.monotonic()
        assert ask(one) == b"x"
        assert time.monotonic() - begin >= 0.04


def test_a_cut_breaks_one_connection_after_so_many_bytes(between: Proxy) -> None:
    with client(between) as one:
        between.strike(Fault.CUT, bytes_left=7)
        assert ask(one, b"123") == b"123"
        assert ask(one, b"4") == b""
    with client(between) as one:
        assert ask(one) == b"x"


@pytest.mark.parametrize(("fault", "arrived"), [(Fault.COMMIT_LOST, 0), (Fault.REPLY_LOST, 1)])
def test_a_commit_is_lost_on_its_way_there_or_back(between: Proxy, echo: Echo, fault: Fault, arrived: int) -> None:
    with client(between) as one:
        between.strike(fault)
        assert ask(one, b"select") == b"select"
        assert ask(one, COMMIT) == b""
    assert echo.got.count(COMMIT) == arrived
    with client(between) as one:
        assert ask(one, COMMIT) == COMMIT
