"""The reference of the configuration and the sample file agree with the models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from casscade.config import load_config
from casscade.config.keys import fields, sections
from casscade.config.model import PipelineConfig
from casscade.config.reference import main, render

ROOT = Path(__file__).parents[2]
ENVIRON = {"CASSANDRA_PASSWORD": "a", "POSTGRES_PASSWORD": "b"}


def test_the_reference_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == render(), "run: python -m casscade.config.reference > docs/configuration.md"
    main()
    assert capsys.readouterr().out == written


def test_the_reference_has_every_key_with_a_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| [^|]*\w[^|]* \|$", render(), re.MULTILINE)
    assert sorted(rows) == sorted(key for _, model in sections(PipelineConfig) for key in fields(model))


@pytest.mark.requirement("FR-038")
def test_the_sample_loads_and_shows_the_defaults() -> None:
    config = load_config(ROOT / "deploy" / "casscade.example.yaml", ENVIRON)
    given = {name: getattr(config, name) for name in ("name", "cassandra", "capture", "postgres", "tables")}
    assert config.model_dump() == PipelineConfig(**given).model_dump(), (
        "the sample shows a value that is not the default"
    )
