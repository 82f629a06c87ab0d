"""When a download is given up: nothing new for so long, the time that a server asked for not counted."""

from __future__ import annotations

import pytest

from p2pqwen.operations.fetch.download import Stall


@pytest.mark.parametrize(
    ("moments", "given_up_at"),
    [
        ([(second, 0, False) for second in range(20)], 10),
        ([(second, second // 4, False) for second in range(40)], None),
        ([(second, 5 - second % 2, False) for second in range(20)], 10),  # going to and fro is no progress
        ([(second, 0, True) for second in range(60)], 30),  # asked to wait: up to twice as long again
        ([(second, 0, second < 8) for second in range(40)], 17),
        ([(second, second // 25, True) for second in range(100)], None),  # what came ends the count
    ],
)
def test_nothing_new_for_ten_seconds(moments, given_up_at):
    clock = [0.0]
    stall, found = Stall(10, lambda: clock[0]), None
    for at, figure, waiting in moments:
        clock[0] = float(at)
        if stall.look(figure, waiting=waiting):
            found = at
            break
    assert found == given_up_at
