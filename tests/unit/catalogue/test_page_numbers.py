"""Which pages of the list a page leads to: few, whatever their number, and every page within a few steps."""

from __future__ import annotations

import pytest

from p2pqwen.catalogue.pages import linked


@pytest.mark.parametrize(
    ("number", "count", "pages"),
    [
        (1, 1, [1]),
        (1, 4, [1, 2, 3, 4]),
        (5, 8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (1, 67, [1, 2, 3, 9, 18, 27, 36, 45, 54, 63, 67]),
        (30, 67, [1, 9, 18, 27, 28, 29, 30, 31, 32, 36, 45, 54, 63, 67]),
        (67, 67, [1, 9, 18, 27, 36, 45, 54, 63, 65, 66, 67]),
    ],
)
def test_a_page_leads_to_its_neighbours_the_ends_and_some_between(number, count, pages):
    assert linked(number, count) == pages


@pytest.mark.parametrize("count", range(1, 700, 23))
def test_no_page_leads_to_many_or_to_one_that_is_not_there(count):
    for number in range(1, count + 1):
        pages = linked(number, count)
        assert len(pages) <= 15
        assert {1, number, count} <= set(pages) <= set(range(1, count + 1))
