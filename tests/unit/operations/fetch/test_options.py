"""What a fetch may not be asked for."""

from __future__ import annotations

import math

import pytest

from p2pqwen.errors import UsageError
from p2pqwen.operations.fetch.context import FetchOptions


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf, 1e14, 10**15])
def test_a_timeout_that_no_clock_reaches_is_refused(seconds):
    with pytest.raises(UsageError) as caught:
        FetchOptions(timeout=seconds)
    assert "above 0, and at most 31,622,400" in str(caught.value.expected)


@pytest.mark.parametrize("seconds", [0.001, 60, 366 * 86400])
def test_a_timeout_within_a_year_is_taken(seconds):
    assert FetchOptions(timeout=seconds).timeout == seconds
