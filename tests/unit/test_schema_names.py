"""Identifiers on the PostgreSQL side."""

from __future__ import annotations

import pytest

from casscade.core.errors import ConfigurationError
from casscade.schema.names import column_identifier, quote_identifier, quote_qualified, relation_identifier


def test_names_that_fit_stay_as_they_are() -> None:
    assert relation_identifier("Orders é") == "Orders é"
    assert relation_identifier("x" * 63) == "x" * 63


def test_a_long_name_is_cut_and_told_apart_by_its_hash() -> None:
    short = relation_identifier("x" * 64)
    assert short == "x" * 54 + "_7ce100971f64e700"[:9]
    assert len(short) == 63
    assert short != relation_identifier("x" * 65)


def test_a_cut_never_splits_a_character() -> None:
    short = relation_identifier("é" * 40)
    assert len(short.encode()) <= 63
    assert short.startswith("é" * 27 + "_")


def test_system_columns_get_another_name() -> None:
    assert column_identifier("xmin") != "xmin"
    assert column_identifier("xmin").startswith("xmin_")
    assert relation_identifier("xmin") == "xmin"


@pytest.mark.requirement("FR-035")
def test_quotes_are_doubled() -> None:
    assert quote_identifier('a"; DROP TABLE x; --') == '"a""; DROP TABLE x; --"'
    assert quote_qualified("s", "t") == '"s"."t"'


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_impossible_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        quote_identifier(name)
    assert caught.value.code == "name_impossible"
