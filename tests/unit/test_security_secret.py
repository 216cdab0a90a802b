"""A secret shows nowhere but in `reveal()`."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casscade.security.secret import MASK, Secret, mask_dsn

PLAIN = "hunter2"


@pytest.mark.requirement("FR-030")
def test_a_secret_masks_itself_in_every_text() -> None:
    secret = Secret(PLAIN)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>20}", f"{secret!r}", repr([secret])]
    assert all(PLAIN not in text and MASK in text for text in shown)
    assert secret.reveal() == PLAIN


def test_a_secret_refuses_to_be_pickled_and_copies_to_itself() -> None:
    secret = Secret(PLAIN)
    with pytest.raises(TypeError, match="pickled") as caught:
        pickle.dumps(secret)
    assert PLAIN not in str(caught.value)
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"a": secret})["a"] is secret


def test_secrets_compare_by_value_and_never_with_text() -> None:
    assert Secret("a\ud800") == Secret("a\ud800")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))
    assert not Secret("")
    assert Secret("a")


@pytest.mark.requirement("FR-030")
@pytest.mark.parametrize(
    ("dsn", "masked"),
    [
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgresql://h:5432/db", "postgresql://h:5432/db"),
        ("postgresql://u:hunter2@h/db", f"postgresql://u:{MASK}@h/db"),
        ("postgres://u:hun@ter2@h:1/db?a=b", f"postgres://u:{MASK}@h:1/db?a=b"),
        ("postgres://u:hun/ter2?@h:1/db", f"postgres://u:{MASK}@h:1/db"),
        ("postgresql://u@h/db?password=hunter2&x=1", f"postgresql://u@h/db?password={MASK}&x=1"),
        ("postgresql://u@h/db?pass%77ord=hunter2", f"postgresql://u@h/db?pass%77ord={MASK}"),
        ("host=h password=hunter2 user=u", f"host=h password={MASK} user=u"),
        ("host=h password = 'hun ter\\'2' user=u", f"host=h password = {MASK} user=u"),
        ("host=h password='hunter2", f"host=h password={MASK}"),
        ("sslpassword=hunter2 password=hun\\ ter2", f"sslpassword={MASK} password={MASK}"),
        ("host='password=x' user=u", "host='password=x' user=u"),
    ],
)
def test_the_secrets_of_a_dsn_are_masked(dsn: str, masked: str) -> None:
    assert mask_dsn(dsn) == masked


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_no_password_in_the_user_part_survives_masking(password: str) -> None:
    assert mask_dsn(f"postgresql://u:{password}@h/db") == f"postgresql://u:{MASK}@h/db"
