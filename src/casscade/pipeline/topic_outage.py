"""An outage of PostgreSQL that outlasts the retries, with Kafka: messages wait in the topic of dead letters.

Invariant: a batch counts as applied only when the brokers hold all of it there; one loader at a time, by a lock in
PostgreSQL, puts back what waits, and its progress commits after the pipeline's topic holds it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from casscade.core import failpoints
from casscade.core.errors import RetryableError
from casscade.core.part import Part
from casscade.debezium.message import DEBEZIUM
from casscade.load.contents import Batch
from casscade.load.sources import Sources
from casscade.observability.logs import get_logger
from casscade.observability.metrics import Metrics
from casscade.pipeline.database import Database
from casscade.transport.chunk import Progress
from casscade.transport.kafka.client import KafkaSettings
from casscade.transport.kafka.dead_letters import LetterProducer, LetterReader, letter_header, waits_for_postgres

log = get_logger("casscade.outage")

# How often a loader looks whether it is the one that puts back.
_LOOK_S: Final = 2.0
_AGAIN_S: Final = 5.0


class TopicOutage:
    """The refuge of a loader (`casscade.load.loader.Refuge`)."""

    def __init__(
        self, letters: KafkaSettings, sources: Sources, task: str, stop: threading.Event, *, keeps: bool
    ) -> None:
        """`letters` names the topic of dead letters, `task` this loader in the headers; without `keeps` it waits."""
        self._producer = LetterProducer(letters, "dead-letters") if keeps else None
        self._sources = sources
        self._task = task
        self._stop = stop
        self._away = False
        self._kept = 0

    def take(self, batch: Batch, code: str) -> bool:
        """Bring a batch to the topic. Debezium's messages stay where they are: they are in topics of their own."""
        if self._producer is None or any(chunk.version == DEBEZIUM for chunk in batch.chunks):
            return False
        if not self._away:
            log.error("PostgreSQL stays away: messages wait in the topic of dead letters", code=code)
        self._away = True
        try:
            if not self._producer.keep(batch.chunks, code, self._task, self._stop):
                return False
        except RetryableError as error:
            log.error("the topic of dead letters can't be written: the pipeline waits", reason=error.what)
            return False
        if failpoints.ARMED:
            failpoints.reach("messages_kept")
        self._kept += sum(len(chunk.mutations) + len(chunk.refused) for chunk in batch.chunks)
        # PostgreSQL hears of it with the next checkpoint; until then another owner would only read them twice.
        self._sources.advanced(batch.positions)
        return True

    def applied(self, progress: Sequence[Progress]) -> None:
        """Nothing is kept here that would have to be freed."""

    def recovered(self) -> None:
        """PostgreSQL works again; `Resubmitter` finds out by itself."""
        self._away = False

    def close(self) -> None:
        """Close the producer."""
        if self._producer is not None:
            self._producer.close()

    def status(self) -> dict[str, Any]:
        """What the status document shows."""
        return {"messages_kept": self._kept, "filling": self._away}

    def copy(self, metrics: Metrics) -> None:
        """What the metrics show."""
        metrics.set_total("casscade_kafka_set_aside_messages_total", self._kept)


class Resubmitter(Part):
    """A thread of every loader, one of which puts messages back; `failure` says why it ended by itself."""

    def __init__(
        self,
        settings: KafkaSettings,
        letters: KafkaSettings,
        database: Database,
        schema: str,
        pipeline: str,
        stop: threading.Event,
    ) -> None:
        super().__init__("resubmit", stop)
        self._settings = settings
        self._letters = letters
        self._database = database
        self._table = sql.Identifier(schema, "resubmissions")
        self._pipeline = pipeline
        self.resubmitted = 0

    def status(self) -> dict[str, Any]:
        """What the status document shows."""
        return {"messages_put_back": self.resubmitted}

    def copy(self, metrics: Metrics) -> None:
        """What the metrics show."""
        metrics.set_total("casscade_kafka_resubmitted_messages_total", self.resubmitted)

    def work(self) -> None:
        """Be the one that puts back, or wait to become it."""
        while not self._stop.is_set():
            try:
                self._lead()
            except (psycopg.OperationalError, RetryableError) as error:
                log.info("dead letters are looked through later", reason=type(error).__name__)
                self._stop.wait(_AGAIN_S)

    def _lead(self) -> None:
        """Put messages back for as long as this process has the lock, which ends with its connection."""
        with self._database.connect() as connection:
            connection.autocommit = True
            while not self._locked(connection):
                if self._stop.wait(_LOOK_S):
                    return
            reader = LetterReader(self._letters, self._offsets(connection))
            producer = LetterProducer(self._settings, "resubmit")
            try:
                while not self._stop.is_set():
                    self.step(connection, reader, producer)
            finally:
                reader.close()
                producer.close()

    def step(self, connection: Connection[Any], reader: LetterReader, producer: LetterProducer) -> int:
        """Put back what comes next; returns how many messages. Also proves that the lock is still ours."""
        messages = reader.read()
        offsets: dict[int, int] = {}
        back = 0
        for message in messages:
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            if waits_for_postgres(message):
                key, value = message.key() or b"", message.value() or b""
                assert isinstance(key, bytes)
                assert isinstance(value, bytes)
                if not producer.send(key, value, letter_header(message), self._stop):
                    return 0
                back += 1
            offsets[partition] = offset + 1
        if not producer.flush(self._stop):
            return 0
        if failpoints.ARMED and back:
            failpoints.reach("messages_put_back")
        self._save(connection, offsets)
        if failpoints.ARMED and back:
            failpoints.reach("resubmission_saved")
        self.resubmitted += back
        if back:
            log.info("put messages back that waited for PostgreSQL", messages=back)
        return back

    def _locked(self, connection: Connection[Any]) -> bool:
        name = f"casscade {self._pipeline} {self._letters.topic}"
        row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (name,)).fetchone()
        return row == (True,)

    def _offsets(self, connection: Connection[Any]) -> dict[int, int]:
        rows = connection.execute(
            sql.SQL("SELECT partition, next_offset FROM {} WHERE pipeline = %s AND topic = %s").format(self._table),
            (self._pipeline, self._letters.topic),
        ).fetchall()
        return dict(rows)

    def _save(self, connection: Connection[Any], offsets: dict[int, int]) -> None:
        # Without any message it is a question to PostgreSQL all the same: a lost connection has lost the lock.
        connection.execute(
            sql.SQL(
                "INSERT INTO {} AS r (pipeline, topic, partition, next_offset) "
                "SELECT %s, %s, * FROM unnest(%s::int[], %s::bigint[]) ON CONFLICT (pipeline, topic, partition) "
                "DO UPDATE SET next_offset = greatest(r.next_offset, EXCLUDED.next_offset), updated_at = now()"
            ).format(self._table),
            (self._pipeline, self._letters.topic, list(offsets), list(offsets.values())),
        )
