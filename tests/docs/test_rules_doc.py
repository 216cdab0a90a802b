"""docs/rules.md: every example in it is true, and every transform has one."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from casscade.config.rules import RulesSection, Transform
from casscade.cql.types import CqlType
from casscade.cql.values import decode, encode
from casscade.rules.chain import Chain
from casscade.rules.predicate import Predicate
from casscade.rules.steps import step_of
from casscade.rules.syntax import parse
from tests.support.ruled import KEY, configuration

TEXT = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
TYPES = {name: CqlType("text") for name in ("country", "name", "note", "kind")} | {
    "age": CqlType("int"),
    "vip": CqlType("boolean"),
}


def rows(*header: str) -> list[list[str]]:
    """The cells of the table with these columns."""
    lines = TEXT.splitlines()
    first = lines.index("| " + " | ".join(header) + " |") + 2
    found = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip().strip("`") for cell in re.split(r"(?<!\\)\|", line.strip("|"))])
    return found


@pytest.mark.parametrize(("condition", "row", "wanted"), rows("Condition", "Row", "Wanted"))
def test_the_examples_of_conditions(condition: str, row: str, wanted: str) -> None:
    predicate = Predicate(parse(condition), TYPES)
    given = json.loads(row)
    values = [encode(TYPES[name], given[name]) if name in given else None for name in predicate.columns]
    assert predicate.matches(values) is (wanted == "yes")


def _hash(text: str) -> str:
    return hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.requirement("FR-013")
@pytest.mark.parametrize(("transform", "type_", "value", "shown"), rows("Transform", "Type", "Value", "Shown"))
def test_the_examples_of_transforms(transform: str, type_: str, value: str, shown: str) -> None:
    ((word, section),) = yaml.safe_load(transform).items()
    made = Transform.model_validate({word: {"columns": ["c"], **section}})
    source = CqlType(type_)
    chain = Chain(source, [step_of(made, source, RulesSection.model_validate({"key": KEY}))])
    found = chain.apply(encode(source, json.loads(value)))
    result: Any = None if found is None else decode(chain.result, found)
    if shown == '"a hash"':
        assert result == _hash(str(json.loads(value)))
    else:
        assert result == json.loads(shown)


def test_every_transform_is_described() -> None:
    for word in Transform.model_fields:
        assert re.search(rf"`{word}[:`]", TEXT), word


def test_the_sample_is_a_configuration() -> None:
    sample = TEXT.partition("```yaml\n")[2].partition("```")[0]
    document = yaml.safe_load(sample)
    for entry in document["tables"]:
        source = entry.pop("source")
        configuration(entry, source=source)
        if "where" in entry:
            parse(entry["where"])
