"""The metrics of rules, constraints and the rows that they keep out.

Invariant: as in `metric_table`, of which they are a part. The names of rules are those of the configuration and of the
constraints in PostgreSQL, never values.
"""

from __future__ import annotations

from typing import Final

from casscade.observability.metric import Metric

RULE_METRICS: Final = (
    Metric(
        "gap_uncompared",
        "counter",
        "tables",
        "Repairs of gaps that could not compare a table, because a rule hashes its key.",
        "Deletions that were lost in the gap stay unseen: docs/rules.md, under Gaps.",
        ("table",),
    ),
    Metric(
        "rules_hidden",
        "counter",
        "rows",
        "Rows written that the condition of their table (`where`) keeps out of it, by table.",
        "Its rate beside that of the rows written: what part of the writes does not show.",
        ("table",),
    ),
    Metric(
        "rules_waiting",
        "gauge",
        "rows",
        "Rows that wait for the row that their foreign key names, by table.",
        "More than a moment's worth: parents come late, or not at all; then they become dead letters.",
        ("table",),
    ),
    Metric(
        "rules_broken",
        "counter",
        "rows",
        "Rows that became dead letters, by table and by the transform that failed or the constraint that they break.",
        "`casscade dlq list` has them; correct the rule, or the row in Cassandra.",
        ("table", "rule"),
    ),
)
