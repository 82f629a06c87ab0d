"""Numbers in words."""

from __future__ import annotations

import pytest

from p2pqwen.values.plural import plural


@pytest.mark.parametrize(("number", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_only_one_is_singular(number, text):
    assert plural(number, "file") == text
