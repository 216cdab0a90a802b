"""The errors of this package.

Invariant: no message holds a value or a key, only names of the schema and the rule that was broken.
"""

from __future__ import annotations

from typing import Final

from casscade.core.errors import BadDataError

MALFORMED: Final = "debezium_json"
FOREIGN: Final = "debezium_envelope"
VALUE: Final = "debezium_value"

_SET_ASIDE: Final = "the message is set aside as a dead letter, the others go on"


def not_json(part: str, rule: str) -> BadDataError:
    """The error for a message whose `part` (key or value) is no JSON, because `rule`."""
    return BadDataError(
        MALFORMED,
        f"The {part} of a message is not JSON: {rule}",
        now=_SET_ASIDE,
        hint="set key.converter and value.converter of the connector to org.apache.kafka.connect.json.JsonConverter",
    )


def no_event(rule: str) -> BadDataError:
    """The error for JSON that is no event of Debezium's Cassandra connector, because `rule`."""
    return BadDataError(
        FOREIGN,
        f"A message is not an event of Debezium's Cassandra connector: {rule}",
        now=_SET_ASIDE,
        hint="let transport.topic_prefix name topics of that connector only, written without transforms",
    )


def no_value(table: str, column: str, rule: str) -> BadDataError:
    """The error for what an event says of `column` of `table` (keyspace.name) and does not fit, because `rule`."""
    return BadDataError(
        VALUE,
        f"An event of {table} does not fit column {column}: {rule}",
        now=_SET_ASIDE,
        hint="compare the column's type with the connector's handling modes (docs/debezium.md)",
    )
