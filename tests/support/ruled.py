"""Rules for tables that tests make: a configuration's entry, read against a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from casscade.config import PipelineConfig
from casscade.config.load import parse_config
from casscade.config.tables import resolve_tables
from casscade.rules.table import TableRules, read_rules
from casscade.schema.choices import ColumnChoices
from casscade.schema.mapping import Target, build_target
from casscade.schema.model import Table

KEY = "0123456789abcdef0123456789abcdef"


def configuration(entry: dict[str, Any], *, source: str = "*.*", key: str | None = KEY) -> PipelineConfig:
    """A whole configuration with one entry of `tables`."""
    content: dict[str, Any] = {
        "name": "shop",
        "cassandra": {"contact_points": ["h"], "local_datacenter": "dc"},
        "capture": {"cdc_directory": "/cdc", "state_directory": "/state"},
        "postgres": {"dsn": "postgresql://h/db"},
        "tables": [{"source": source, **entry}],
    }
    if key is not None:
        content["rules"] = {"key": key}
    return parse_config(yaml.safe_dump(content, sort_keys=False).encode(), "pipeline.yaml", {}, Path("/"))


def rules_of(table: Table, entry: dict[str, Any], *, key: str | None = KEY, foreign: bool = False) -> TableRules:
    """The rules that an entry makes for `table`."""
    config = configuration(entry, key=key)
    (rule,) = resolve_tables(config, [(table.keyspace, table.name)])
    return read_rules(rule, table, config.rules, rule.exclude, foreign=foreign)


def target_of(table: Table, rules: TableRules, **options: Any) -> Target:
    """The target of a table with rules."""
    choices = ColumnChoices(results=rules.results, renames=rules.renames)
    return build_target(table, exclude=rules.dropped, choices=choices, **options)
