"""How many are let in at once, where some count for more than one."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from p2pqwen.hub.turns import Turns
from tests.support.waiting import wait_until


class _EnoughError(Exception):
    """Somebody has waited long enough."""


def _enough() -> None:
    raise _EnoughError


@pytest.mark.parametrize(
    ("most", "inside", "next_one", "enters"),
    [
        (2, [1], 1, True),
        (2, [1, 1], 1, False),
        (4, [2], 2, True),
        (4, [2, 1], 2, False),
        (4, [2, 1], 1, True),
        (4, [], 9, True),
        (4, [1], 9, False),
        (0, [], 1, True),
    ],
)
def test_who_is_let_in(most, inside, next_one, enters):
    turns = Turns(lambda: most, _enough)
    with ExitStack() as stack:
        for one in inside:
            stack.enter_context(turns.one(one))
        if enters:
            stack.enter_context(turns.one(next_one))
        else:
            with pytest.raises(_EnoughError):
                stack.enter_context(turns.one(next_one))


def test_who_waits_is_let_in_once_there_is_room():
    turns, entered, ticks = Turns(lambda: 2, lambda: ticks.append(1)), threading.Event(), []

    def enter() -> None:
        with turns.one(2):
            entered.set()

    with turns.one():
        waiting = threading.Thread(target=enter)
        waiting.start()
        wait_until(lambda: ticks, 30, "it looks whether to go on waiting")
        assert not entered.is_set()
    assert entered.wait(30)
    waiting.join()
