"""Whatever a file holds, loading it ends in a configuration or a ConfigurationError without secrets."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from casscade.config.keys import sections
from casscade.config.load import parse_config
from casscade.config.model import PipelineConfig
from casscade.core.errors import ConfigurationError

EXAMPLE = (Path(__file__).parents[2] / "deploy" / "casscade.example.yaml").read_bytes()
SECRET = "hunter2-correct-horse"
ENVIRON = {"CASSANDRA_PASSWORD": SECRET, "POSTGRES_PASSWORD": SECRET}
KEYS = sorted({key for _, model in sections(PipelineConfig) for key in model.model_fields})
SIGNS = st.sampled_from([*"\n\n  \t:-?&*!|>'\"%@`{}[],#$ab10~<", "${env:CASSANDRA_PASSWORD}", "---\n", "\\U", "é"])


def outcome(content: bytes) -> str:
    """How the content ends: the text of an error with the chain behind it, or of the configuration."""
    try:
        config = parse_config(content, "pipeline.yaml", ENVIRON, Path("/nowhere"))
    except ConfigurationError as error:
        return error.explain() + "".join(traceback.format_exception(error))
    return str(config.model_dump())


def check(content: bytes) -> None:
    text = outcome(content)
    assert text.startswith("{'name'") or "where: pipeline.yaml" in text
    assert text.encode()


@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    check(content)


@given(st.lists(SIGNS, max_size=60).map("".join))
def test_any_signs_of_yaml(text: str) -> None:
    check(text.encode())


@given(st.integers(0, len(EXAMPLE)), st.integers(0, 40), st.lists(SIGNS, max_size=4).map("".join))
def test_the_example_with_a_part_replaced(start: int, length: int, new: str) -> None:
    check(EXAMPLE[:start] + new.encode() + EXAMPLE[start + length :])


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from(KEYS) | st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
def test_any_tree_of_known_keys(tree: dict[str, object]) -> None:
    valid = yaml.safe_load(EXAMPLE)
    check(yaml.safe_dump({**valid, **tree}, allow_unicode=True).encode())


@pytest.mark.requirement("FR-030")
@given(st.sampled_from(KEYS), st.sampled_from(KEYS), st.booleans())
def test_a_secret_in_any_place_of_a_section_is_in_no_error(section: str, key: str, is_list: bool) -> None:
    valid = yaml.safe_load(EXAMPLE)
    inner = {key: SECRET, "unknown": SECRET}
    valid[section] = [inner] if is_list else inner
    valid["unknown"] = SECRET
    assert SECRET not in outcome(yaml.safe_dump(valid).encode())
