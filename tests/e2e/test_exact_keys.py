"""Keys that PostgreSQL can't tell apart, and elements that Cassandra does not, on both servers."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import closing
from typing import Any

import pytest
from psycopg import sql

from casscade.devstack.cassandra import CassandraNode
from casscade.testing.samples import EXACT, LOOSE_PATHS
from casscade.testing.workload import Options
from tests.support.cdc_reader import CdcReader
from tests.support.differential import Differential, Outcome, connection_to

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("cdc")]


@pytest.mark.requirement("FR-009")
def test_hostile_keys_and_range_deletes_over_them(
    cassandra_node: CassandraNode, cassandra_session: Any, keyspace: str, database: str
) -> None:
    with (
        closing(CdcReader(cassandra_node.cdc_directory)) as reader,
        connection_to(database) as connection,
        closing(Differential(cassandra_session, reader, connection, keyspace, EXACT)) as differential,
    ):
        assert all(target.rows.exact for target in differential.targets)
        # Most seeds have no key that is too long for an index, or delete it.
        cassandra_session.execute(
            f"INSERT INTO {keyspace}.exact_texts (p, f, k1, k2, k3, k4, v) VALUES (%s, {{1}}, 0, 0x01, {{}}, 0, 1)",
            ("long" * 1000,),
        )
        options = Options(timestamps=(1, 30), partitions=5, clusterings=4, deletions=0.4)
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        outcome = differential.run(seed, 400, options=options)
        # How many deletions leave is up to the seed.
        assert outcome.rows > 20
        assert outcome.differences == 0, outcome.report()
        shown = list(cassandra_session.execute(f"SELECT p, s FROM {keyspace}.exact_ranges"))
        view = sql.SQL("SELECT count(*) FROM {}.exact_ranges_with_static").format(sql.Identifier(keyspace))
        assert connection.execute(view).fetchone() == (len(shown),)
        long = sql.SQL("SELECT count(*) FROM {}.exact_texts WHERE _cdc_long_key IS NOT NULL").format(
            sql.Identifier(keyspace)
        )
        assert connection.execute(long).fetchone() != (0,)


FORMS = ("1", "1.0", "1.00", "2", "2.0", "-1E+1", "-10")

PARTITIONS = 8


def _element_write(rng: random.Random) -> str:
    """An assignment to a column of `LOOSE_PATHS`."""
    form = rng.choice(FORMS)
    match rng.randrange(7):
        case 0 | 1:
            return f"a = a + {{{form}}}"
        case 2:
            return f"a = a - {{{form}}}"
        case 3 | 4:
            return f"b[{form}] = {rng.choice(('1', '2', 'null'))}"
        case 5:
            return f"c = c + {{({form}, {rng.choice(('true', 'null'))})}}"
        case _:
            return f"c = c - {{({form}, null)}}"


@pytest.mark.requirement("FR-009")
def test_elements_of_one_value_are_one_element(
    cassandra_node: CassandraNode, cassandra_session: Any, keyspace: str, database: str
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with (
        closing(CdcReader(cassandra_node.cdc_directory)) as reader,
        connection_to(database) as connection,
        closing(Differential(cassandra_session, reader, connection, keyspace, (LOOSE_PATHS,))) as differential,
    ):
        # A row that nobody inserted goes with its last element.
        for number in range(PARTITIONS):
            cassandra_session.execute(f"INSERT INTO {keyspace}.loose_paths (p) VALUES ({number})")
        # Ties are left out: of elements written at one time Cassandra keeps the one that it met first.
        for timestamp in rng.sample(range(1, 1000), 200):
            cassandra_session.execute(
                f"UPDATE {keyspace}.loose_paths USING TIMESTAMP {timestamp} SET {_element_write(rng)} "
                f"WHERE p = {rng.randrange(PARTITIONS)}"
            )
        outcome = differential.compare(Outcome(seed, Counter()))
        assert outcome.rows == PARTITIONS
        assert outcome.differences == 0, outcome.report()
