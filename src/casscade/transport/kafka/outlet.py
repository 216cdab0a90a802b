"""The agent's side: chunks become messages, and what the brokers hold becomes the acknowledged position.

Invariant: a position is acknowledged only when every mutation before it was acknowledged by all in-sync replicas; the
messages that wait for that are bounded in bytes, and while the brokers are away `put` waits.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from casscade.core import failpoints
from casscade.core.errors import CasscadeError, ConfigurationError
from casscade.core.limits import KAFKA_MESSAGE_BYTES_MAX, KAFKA_PRODUCER_BYTES, KAFKA_PRODUCER_MESSAGES
from casscade.core.position import START, Position
from casscade.transport.chunk import Chunk, ReplayProgress
from casscade.transport.envelope import seal_notice, sealer
from casscade.transport.kafka.chunks import LETTER_HEADER, host_of
from casscade.transport.kafka.client import LOGIN, KafkaSettings, client_properties, translate
from casscade.transport.kafka.keys import key_of

# Messages of one request: more does not raise the throughput of one broker, and adds latency.
_LINGER_MS: Final = 5
_WAIT_S: Final = 0.02
# How soon it shows that brokers are back although nothing is to be sent; a few kilobytes of JSON each time.
_STATISTICS_MS: Final = 1000
# Whoever may not log in any more is as far from the brokers as one whose brokers are down.
_AWAY: Final = LOGIN | {KafkaError._ALL_BROKERS_DOWN}
# A chunk that only moves the position costs nothing; so many may wait behind one that is not acknowledged.
CHUNKS_WAITING_MAX: Final = 4096

Headers = list[tuple[str, str | bytes | None]]


class _Sent:
    """A chunk under way: how many of its messages are not acknowledged yet."""

    __slots__ = ("empty", "end", "left", "on_done", "owner", "source")

    def __init__(
        self, owner: KafkaOutlet, source: str, end: Position, left: int, on_done: Callable[[], None] | None
    ) -> None:
        self.owner = owner
        self.source = source
        self.end = end
        self.left = left
        self.empty = left == 0
        self.on_done = on_done

    def delivered(self, error: KafkaError | None, _message: Message) -> None:
        """One message was acknowledged, or has failed for good."""
        if error is not None:
            self.owner.fail(error)
            return
        self.left -= 1


class KafkaOutlet:
    """Produces chunks to the pipeline's topic: one thread calls `put`, one `poll`; `acknowledged` may any.

    Raises from `put` and `poll`: RetryableError when the producer failed for good (a new outlet begins at the last
    acknowledged position), ConfigurationError when Kafka refuses for want of rights.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        properties = client_properties(settings, "capture") | {
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": settings.compression,
            "linger.ms": _LINGER_MS,
            # A broker that is away is waited for: the commit log is the buffer, not a timeout.
            "message.timeout.ms": 0,
            "queue.buffering.max.kbytes": KAFKA_PRODUCER_BYTES // 1024,
            "queue.buffering.max.messages": KAFKA_PRODUCER_MESSAGES,
            # What loaders reckon with, too (`chunks.place_of`).
            "partitioner": "consistent",
            "error_cb": self._on_error,
            "stats_cb": self._on_statistics,
            "statistics.interval.ms": _STATISTICS_MS,
        }
        self._producer = Producer(properties)
        self._waiting: deque[_Sent] = deque()
        self._acknowledged: dict[str, Position] = {}
        self._lock = threading.Lock()
        self._failure: CasscadeError | None = None
        self._down_since = 0.0

    def put(self, chunk: Chunk, stop: threading.Event, on_done: Callable[[], None] | None = None) -> bool:
        """Produce what the chunk holds; waits while too much is under way. False when `stop` was set meanwhile.

        A chunk that was refused may have been produced in part: it is produced again, which changes nothing.
        `on_done` is called without arguments by `poll` once all of it is acknowledged.
        """
        sent = _Sent(self, chunk.source, chunk.end, len(chunk.mutations) + len(chunk.notices), on_done)
        host = host_of(chunk)
        own = chunk.own_progress
        # A replayed letter is settled by the loader that applies it, which knows it by this header.
        headers: Headers | None = (
            [(LETTER_HEADER, str(own.ids[0]).encode())] if isinstance(own, ReplayProgress) else None
        )
        first, second = sealer(chunk.version, host, chunk.segment, int(chunk.captured_at * 1_000_000))
        produce, topic, delivered = self._producer.produce, self._settings.topic, sent.delivered
        for notice in chunk.notices:
            value = seal_notice(notice, host, int(chunk.captured_at * 1_000_000))
            if not self._produce(value, host, sent, stop, (chunk, notice.position.offset)):
                return False
        for offset, mutation in zip(chunk.offsets, chunk.mutations, strict=True):
            value = b"".join((first, offset.to_bytes(4, "big"), second, mutation))
            key = key_of(mutation)
            if headers is None:
                try:
                    produce(topic, value, key, on_delivery=delivered)
                except (BufferError, KafkaException):
                    pass  # below there is a wait for room, or the reason
                else:
                    continue
            if not self._produce(value, key, sent, stop, (chunk, offset), headers):
                return False
        while len(self._waiting) >= CHUNKS_WAITING_MAX:
            if not self._wait(stop):
                return False
        self._waiting.append(sent)
        if failpoints.ARMED:
            failpoints.reach("chunk_produced")
        return True

    def _produce(
        self,
        value: bytes,
        key: bytes,
        sent: _Sent,
        stop: threading.Event,
        place: tuple[Chunk, int],
        headers: Headers | None = None,
    ) -> bool:
        """Produce a message; waits while there is no room. False when `stop` was set meanwhile.

        `place` has the chunk and the offset of its mutation.
        """
        while True:
            try:
                self._producer.produce(
                    self._settings.topic, value, key, on_delivery=sent.delivered, headers=headers or []
                )
            except BufferError:
                if not self._wait(stop):
                    return False
            except KafkaException as error:
                raise self._not_taken(error, *place, len(value)) from error
            else:
                return True

    def _not_taken(self, error: KafkaException, chunk: Chunk, offset: int, size: int) -> CasscadeError:
        """What the client itself refuses: a mutation that no message may hold, or a passing state."""
        if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
            return self._failure or translate(error, self._settings, "producing")
        return ConfigurationError(
            "kafka_message_size",
            f"a mutation needs a message of {size} bytes, {KAFKA_MESSAGE_BYTES_MAX} is the most",
            where=f"{chunk.origin}, segment {chunk.segment}, offset {offset}",
            now="the process stops in front of it, and what follows stays in the commit log",
            hint="bound mutations by max_mutation_size in cassandra.yaml of every node",
        )

    def _wait(self, stop: threading.Event) -> bool:
        """Leave `poll` time to make room; False when `stop` was set."""
        if self._failure is not None:
            raise self._failure
        return not stop.wait(_WAIT_S)

    def poll(self, timeout_s: float) -> None:
        """Serve acknowledgements, for `timeout_s` seconds at most if there are none."""
        self._serve(timeout_s)
        if self._failure is not None:
            raise self._failure
        self._settle()

    def _serve(self, timeout_s: float) -> None:
        """Serve the client's events; what ends the producer comes as an exception, whatever `error_cb` does."""
        try:
            self._producer.poll(timeout_s)
        except KafkaException as error:
            if self._failure is None:
                self._failure = translate(error, self._settings, "producing")

    def acknowledged(self, source: str) -> Position:
        """Everything of `source` up to here is held by the brokers."""
        with self._lock:
            return self._acknowledged.get(source, START)

    @property
    def messages_waiting(self) -> int:
        """Messages that are not acknowledged yet."""
        return len(self._producer)

    @property
    def down_seconds(self) -> float:
        """For how long no broker could be reached, 0.0 when one can."""
        return time.monotonic() - self._down_since if self._down_since else 0.0

    def fail(self, error: KafkaError) -> None:
        """A message failed for good: nothing more is acknowledged."""
        if self._failure is None:
            self._failure = translate(error, self._settings, "producing")

    def close(self, timeout_s: float) -> None:
        """Wait for what is under way, at most `timeout_s`; the rest is produced again by the next outlet."""
        deadline = time.monotonic() + timeout_s
        while self._waiting and self._failure is None and time.monotonic() < deadline:
            self._serve(_WAIT_S)
            self._settle()
        self._producer.purge()
        with suppress(KafkaException):  # of a producer that has ended; what it says is in `_failure` or does not matter
            self._producer.flush(1.0)

    def _settle(self) -> None:
        """Acknowledge the chunks at the front of which every message is acknowledged."""
        waiting = self._waiting
        while waiting and waiting[0].left == 0:
            done = waiting.popleft()
            with self._lock:
                self._acknowledged[done.source] = max(done.end, self._acknowledged.get(done.source, START))
            if done.on_done is not None:
                done.on_done()
            if not done.empty:
                self._down_since = 0.0
            if failpoints.ARMED:
                failpoints.reach("chunk_acknowledged")

    def _on_error(self, error: KafkaError) -> None:
        """The client's own events: all brokers down passes by itself, a fatal error does not."""
        if error.code() in _AWAY and not self._down_since:
            self._down_since = time.monotonic()
        if error.fatal():
            self.fail(error)

    def _on_statistics(self, text: str) -> None:
        """Brokers that are back answer before anything is acknowledged, which may be long after."""
        if self._down_since and any(broker["state"] == "UP" for broker in json.loads(text)["brokers"].values()):
            self._down_since = 0.0
