import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.values.printable_text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Qwen/Qwen3-0.6B 模型 é", "Qwen/Qwen3-0.6B 模型 é"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb", r"a\nb"),
        ("\u202etxt", r"\u202etxt"),
        ("\u200b", r"\u200b"),
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
    ],
)
def test_shown(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_nothing_hidden_is_left(text):
    shown = printable(text, limit=20)
    assert all(unicodedata.category(character)[0] != "C" for character in shown)


def test_long_text_is_cut():
    assert printable("x" * 11, limit=10) == "x" * 10 + "…"
    assert printable("x" * 10, limit=10) == "x" * 10
