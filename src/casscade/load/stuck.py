"""Sessions of this pipeline whose process does not answer the server any more, in the middle of a statement.

Invariant: only sessions of the same role and the same pipeline are ended, and only those in which PostgreSQL has waited
for their own process for longer than any statement may take: what they did is rolled back, and done again by its owner.

A process that was stopped (SIGSTOP, a frozen machine) within a COPY holds the locks of its transaction for as long as
it is stopped: the server waits for the rest of the data, which no timeout of its own ends.
"""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection

# Of a statement that was given up, most often while it waited for a lock.
TIMED_OUT: Final = ("57014", "55P03")

_END: Final = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
  AND application_name = current_setting('application_name') AND application_name LIKE 'casscade %'
  AND state = 'active' AND wait_event_type = 'Client'
  AND query_start < clock_timestamp() - current_setting('statement_timeout')::interval
"""


def end_stuck_sessions(connection: Connection[Any]) -> int:
    """End them; returns how many there were."""
    row = connection.execute(_END, prepare=False).fetchone()
    return 0 if row is None else int(row[0])
