"""A TCP proxy on the loopback interface whose network can be made to fail.

Invariant: without a fault it passes every byte on unchanged; a fault that was healed leaves nothing behind, except in
connections that it has broken.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from enum import Enum, auto
from typing import Final

_CHUNK: Final = 1 << 16
_ACCEPT_S: Final = 0.2
# PostgreSQL's simple query `COMMIT` as the client sends it.
COMMIT: Final = b"Q\x00\x00\x00\x0bCOMMIT\x00"
_RESET: Final = struct.pack("ii", 1, 0)


class Fault(Enum):
    """What the network does."""

    NONE = auto()
    RESET = auto()
    """Every connection is reset, new ones as soon as they are accepted."""
    BLACK_HOLE = auto()
    """Nothing arrives, in either direction, and nobody is told; when it is healed, what waited arrives."""
    DELAY = auto()
    """Every packet is `delay_s` late."""
    CUT = auto()
    """After `bytes_left` more bytes the connection that they come over is reset, once."""
    COMMIT_LOST = auto()
    """The next COMMIT does not arrive, and the connection is reset: nothing was committed. Once."""
    REPLY_LOST = auto()
    """The next COMMIT arrives, its answer does not, and the connection is reset: it was committed. Once."""
    HOLD = auto()
    """A client's packet with the bytes `marker` in it does not arrive, nor what follows, until it is healed."""


class _Pair:
    """A client's connection and the one made for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.reply_lost = False

    def reset(self) -> None:
        """End both so that each side sees an error, not an end."""
        for one in (self.client, self.server):
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            # A thread that waits in `recv` keeps the descriptor: only this wakes it.
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                one.close()


class Proxy:
    """Listens on `port` (a free one by itself) and connects to `upstream`; faults apply to all connections at once."""

    def __init__(self, upstream: tuple[str, int], port: int = 0) -> None:
        self.upstream = upstream
        self.struck = 0
        self._fault = Fault.NONE
        self._delay_s = 0.0
        self._bytes_left = 0
        self._marker = b""
        self._changed = threading.Condition()
        self._pairs: set[_Pair] = set()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self._listener.settimeout(_ACCEPT_S)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def fault(self) -> Fault:
        """The fault in force."""
        return self._fault

    def strike(self, fault: Fault, *, delay_s: float = 0.0, bytes_left: int = 0, marker: bytes = b"") -> None:
        """Put a fault in force; `struck` counts what it has hit: connections, packets held, or commits."""
        with self._changed:
            self._fault, self._delay_s, self._bytes_left, self._marker = fault, delay_s, bytes_left, marker
            self.struck = 0
            self._changed.notify_all()
        if fault is Fault.RESET:
            self._reset_all()

    def heal(self) -> None:
        """No fault from now on."""
        self.strike(Fault.NONE)

    def wait_struck(self, timeout_s: float) -> bool:
        """Wait until the fault has hit something; whether it did."""
        with self._changed:
            return self._changed.wait_for(lambda: self.struck > 0, timeout_s)

    def close(self) -> None:
        """Stop listening and end every connection."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._listener.close()
        self._reset_all()

    def _reset_all(self) -> None:
        with self._changed:
            pairs = list(self._pairs)
        for pair in pairs:
            self._break(pair)

    def _hit(self) -> None:
        self.struck += 1
        self._changed.notify_all()

    def _break(self, pair: _Pair) -> None:
        with self._changed:
            self._pairs.discard(pair)
            self._hit()
        pair.reset()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(client,), name="proxy-connect", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._changed:
            self._wait_passable()
            refused = self._closed or self._fault is Fault.RESET
        try:
            if refused:
                raise ConnectionResetError
            server = socket.create_connection(self.upstream, timeout=5.0)
        except OSError:
            _Pair(client, client).reset()
            with self._changed:
                self._hit()
            return
        server.settimeout(None)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = _Pair(client, server)
        with self._changed:
            self._pairs.add(pair)
        for source, target, up in ((client, server, True), (server, client, False)):
            pump = threading.Thread(target=self._pump, args=(pair, source, target, up), name="proxy-pump", daemon=True)
            pump.start()

    def _wait_passable(self) -> None:
        """While nothing may pass; the lock is held."""
        if self._fault is Fault.BLACK_HOLE:
            self._hit()
            self._changed.wait_for(lambda: self._closed or self._fault is not Fault.BLACK_HOLE)

    def _holds(self, data: bytes) -> bool:
        return self._fault is Fault.HOLD and self._marker in data

    def _pump(self, pair: _Pair, source: socket.socket, target: socket.socket, up: bool) -> None:
        try:
            while data := source.recv(_CHUNK):
                if not self._passes(pair, data, up=up):
                    self._break(pair)
                    return
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            with self._changed:
                self._pairs.discard(pair)
            pair.reset()

    def _passes(self, pair: _Pair, data: bytes, *, up: bool) -> bool:
        """Whether the data goes on; waits for as long as the fault says."""
        with self._changed:
            self._wait_passable()
            fault = self._fault
            if fault is Fault.DELAY:
                self._hit()
                self._changed.wait_for(lambda: self._closed or self._fault is not Fault.DELAY, self._delay_s)
            if up and self._holds(data):
                self._hit()
                self._changed.wait_for(lambda: self._closed or not self._holds(data))
            if fault is Fault.CUT:
                self._bytes_left -= len(data)
                if self._bytes_left <= 0:
                    self._fault = Fault.NONE
                    return False
            if up and COMMIT in data and fault in (Fault.COMMIT_LOST, Fault.REPLY_LOST):
                self._fault = Fault.NONE
                pair.reply_lost = fault is Fault.REPLY_LOST
                return pair.reply_lost
            return up or not pair.reply_lost


@contextmanager
def proxy(upstream: tuple[str, int]) -> Iterator[Proxy]:
    """A proxy on a free port, closed at the end."""
    with closing(Proxy(upstream)) as made:
        yield made
