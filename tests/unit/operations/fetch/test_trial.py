"""How long one try of a download goes on."""

from __future__ import annotations

from p2pqwen.operations.fetch.download import Trial


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def idle_at(rate, *, others, seconds=200):
    """The second at which a try that brings so many bytes a second counts as idle; None: never."""
    clock = Clock()
    trial = Trial(3.0, clock)
    for second in range(1, seconds):
        clock.now = float(second)
        if trial.is_idle(second * rate, others=others):
            return second
    return None


def test_whoever_gives_nothing_is_idle_after_its_seconds():
    assert idle_at(0, others=False) == 4


def test_a_block_now_and_then_is_enough_where_nobody_waits():
    assert idle_at(8_000, others=False) is None


def test_whoever_only_drips_makes_room_for_others():
    assert idle_at(8_000, others=True) == 30


def test_bytes_that_make_no_block_do_not_count():
    assert idle_at(20, others=False) == 4


def test_a_slow_line_keeps_its_turn():
    assert idle_at(100_000, others=True) is None
