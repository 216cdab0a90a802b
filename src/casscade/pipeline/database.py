"""Connections to PostgreSQL as a configuration describes them.

Invariant: every connection that the pipeline works with takes binary fields as they are, gives up after the
configured time, and joins by index, because staging tables have no statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import Connection
from psycopg_pool import ConnectionPool, PoolTimeout

from casscade.config import PipelineConfig
from casscade.core.errors import ConfigurationError
from casscade.load.faults import Kind, kind_of
from casscade.load.raw import register

CONNECT_TIMEOUT_S: Final = 10
# Transactions of the pool ask Cassandra and Kafka in between, which may take its time.
IDLE_TIMEOUT_MS: Final = 60_000
# The least that libpq takes; a server that needs longer is not back yet.
LOOK_TIMEOUT_S: Final = 2
# Recycled so that a rotated credential or a moved host takes effect without a restart.
CONNECTION_AGE_MAX_S: Final = 3600.0
# The pool waits twice as long after each attempt that failed: in a long outage for minutes, and as long after it. Given
# up so soon, it begins anew with whoever wants a connection next.
RECONNECT_S: Final = 4.0
# A host that vanished, or a network that swallows packets, says nothing: by itself TCP would wait for it for a quarter
# of an hour after a write, and for two hours while it listens. What the connection string says goes before.
TCP_LIMITS: Final[Mapping[str, int]] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}


class Database:
    """A pool of connections in autocommit mode; transactions are opened where they are needed."""

    def __init__(self, config: PipelineConfig) -> None:
        password = config.postgres.password
        # Temporary tables have no statistics: without these settings a big target could be scanned for each batch.
        timeout = f"-c statement_timeout={config.load.statement_timeout_ms}"
        # Who vanished with its host, or was stopped, must not hold its locks until TCP notices or it goes on.
        idle = "-c idle_in_transaction_session_timeout"
        self._writer_timeout = f" {idle}={config.load.statement_timeout_ms}"
        # Whoever waits for one table must not keep the others, which it has locked, from the other writers.
        self._writer_timeout += f" -c lock_timeout={config.load.lock_timeout_ms}"
        pool_timeout = f"{idle}={max(config.load.statement_timeout_ms, IDLE_TIMEOUT_MS)}"
        # Writers wait for each other, then read what the other has committed (`load.table_lock`).
        isolation = "-c default_transaction_isolation=read\\ committed"
        self._dsn = config.postgres.dsn.reveal()
        self._worked = False
        self._arguments: dict[str, Any] = {
            "autocommit": True,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": f"casscade {config.name}",
            "options": f"{timeout} {pool_timeout} {isolation} -c enable_hashjoin=off -c enable_mergejoin=off",
        }
        said = psycopg.conninfo.conninfo_to_dict(self._dsn)
        self._arguments |= {name: value for name, value in TCP_LIMITS.items() if name not in said}
        if password is not None:
            self._arguments["password"] = password.reveal()
        self._pool: ConnectionPool[Connection[Any]] = ConnectionPool(
            self._dsn,
            kwargs=self._arguments,
            min_size=config.load.pool.min,
            max_size=config.load.pool.max,
            max_lifetime=CONNECTION_AGE_MAX_S,
            reconnect_timeout=RECONNECT_S,
            configure=register,
            open=False,
            name=f"casscade-{config.name}",
        )

    def open(self) -> None:
        """Connect once to see whether it works, then open the pool.

        Raises ConfigurationError with code `postgres_unreachable` or `postgres_encoding`.
        """
        try:
            with psycopg.connect(self._dsn, **self._arguments) as connection:
                encoding = connection.info.parameter_status("server_encoding")
        except psycopg.Error as error:
            reason = " ".join(str(error).split())
            raise ConfigurationError(
                "postgres_unreachable",
                f"PostgreSQL does not accept the connection: {reason}",
                where="postgres.dsn",
                now="nothing was started",
                hint="check that the server runs at this address and that the role may connect to the database",
            ) from None
        if encoding != "UTF8":
            raise ConfigurationError(
                "postgres_encoding",
                f"The database has the encoding {encoding}; Cassandra's text needs UTF8",
                where="postgres.dsn",
                now="nothing was started",
                hint="name a database that was made with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            )
        self._pool.open()

    def connect(self) -> Connection[Any]:
        """A connection outside the pool, for the writer, whose staging tables live in its session."""
        options = self._arguments["options"] + self._writer_timeout
        connection = psycopg.connect(self._dsn, **{**self._arguments, "options": options})
        register(connection)
        return connection

    def answers(self) -> bool:
        """Whether PostgreSQL takes a connection and answers, now and quickly: a test that costs it nearly nothing."""
        try:
            with psycopg.connect(self._dsn, **{**self._arguments, "connect_timeout": LOOK_TIMEOUT_S}) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.Error:
            return False

    @contextmanager
    def transaction(self) -> Iterator[Connection[Any]]:
        """A pooled connection with a transaction that commits at the end of the block.

        Raises ConfigurationError with code `postgres_refused` when rights or relations are missing.
        """
        try:
            with self._pool.connection(timeout=CONNECT_TIMEOUT_S) as connection, connection.transaction():
                yield connection
        except PoolTimeout as error:
            raise psycopg.OperationalError(str(error)) from error
        except psycopg.ProgrammingError as error:
            # A right that was there before is not missing: the role was replaced (see `load.faults`).
            if self._worked and kind_of(error) is Kind.LOST:
                raise psycopg.OperationalError("the role lost its rights") from error
            raise _refused(error) from error
        self._worked = True

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def _refused(error: psycopg.ProgrammingError) -> ConfigurationError:
    """The main message names relations and rights, never values; its details might."""
    return ConfigurationError(
        "postgres_refused",
        f"PostgreSQL refuses what the pipeline needs: {error.diag.message_primary or type(error).__name__}",
        where="postgres.dsn",
        now="the pipeline stops; nothing of the transaction stays",
        hint="give the role the right to create schemas in the database, and make it the owner of the target tables"
        if isinstance(error, psycopg.errors.InsufficientPrivilege)
        else "see what was changed by hand in the control schema or the target schemas",
    )
