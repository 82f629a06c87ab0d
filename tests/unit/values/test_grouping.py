"""Items by what they share, each group in their order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.values.grouping import group_by


@given(st.lists(st.integers(0, 50)))
def test_every_item_is_in_its_group_in_order(items):
    found = group_by(items, lambda one: one % 5)
    assert found == {key: [one for one in items if one % 5 == key] for key in {one % 5 for one in items}}
