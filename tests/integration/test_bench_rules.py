"""`casscade bench --rules` measures every rule with the rows of the benchmark."""

from __future__ import annotations

import io
import json

import psycopg
import pytest
from rich.console import Console

from casscade.bench import rules
from casscade.load.raw import register

pytestmark = pytest.mark.servers


@pytest.mark.requirement("FR-013")
def test_the_price_of_rules_is_measured(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = (rules.NONE, "where, half match", "mask hmac-sha256", "hash of the key", "cast")
    monkeypatch.setattr(rules, "CASES", {name: rules.CASES[name] for name in chosen})
    told: list[str] = []
    with psycopg.connect(database, autocommit=True) as connection:
        register(connection)
        prices = rules.measure(connection, 40 * rules.ROUNDS, told.append)
        document = json.loads(rules.to_json(prices, connection))
    assert {(price.rule, price.workload) for price in prices} == {
        (rule, workload) for rule in chosen for workload in ("insert", "partial update")
    }
    assert all(price.rows_per_second > 0 for price in prices)
    assert {price.factor for price in prices if price.rule == rules.NONE} == {1.0}
    assert len(document["rules"]) == len(prices)
    shown = io.StringIO()
    rules.show(prices, Console(file=shown, width=200))
    assert "mask hmac-sha256" in shown.getvalue()
    assert len(told) == 2
