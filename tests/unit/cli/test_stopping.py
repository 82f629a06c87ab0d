"""What interrupts a command that tidies up: one KeyboardInterrupt, whatever becomes of it."""

from __future__ import annotations

import contextlib
import signal
import threading

import pytest

from p2pqwen.cli.stopping import InterruptOnce
from p2pqwen.demo.local_hub import LocalHub
from p2pqwen.errors import DiskError

BOTH = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in BOTH}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def uncaught(number):
    signal.raise_signal(number)


def swallowed(number):
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(number)


def failing_while_it_is_tidied_up(number):
    try:
        signal.raise_signal(number)
    finally:
        raise DiskError("what was being written")


def interrupted_while_it_is_tidied_up(number):
    try:
        signal.raise_signal(number)
    finally:
        for again in (*BOTH, *BOTH):
            signal.raise_signal(again)


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("way", [uncaught, swallowed, failing_while_it_is_tidied_up, interrupted_while_it_is_tidied_up])
def test_an_interrupted_block_ends_with_that(way, number):
    with pytest.raises(KeyboardInterrupt), InterruptOnce():
        way(number)


@pytest.mark.parametrize("number", BOTH)
def test_what_was_swallowed_is_raised_at_the_next_step(number):
    interruption = InterruptOnce()
    with interruption:
        interruption.check()
        swallowed(number)
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
        with pytest.raises(KeyboardInterrupt):
            interruption.__exit__(None, None, None)
        interruption._came = False


def test_a_block_without_a_signal_says_what_it_says():
    with InterruptOnce():
        pass
    with pytest.raises(DiskError), InterruptOnce():
        raise DiskError("full")


@pytest.mark.parametrize("number", BOTH)
def test_after_the_block_it_is_too_late(number):
    with InterruptOnce():
        pass
    signal.raise_signal(number)


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_that_is_expected_ends_the_wait(number):
    interruption = InterruptOnce()
    with interruption:
        interruption.expect()
        signal.raise_signal(number)
        interruption.wait()
        signal.raise_signal(number)
        interruption.check()


def test_a_hub_whose_close_was_interrupted_can_be_closed(monkeypatch):
    def join_and_be_interrupted(thread):
        monkeypatch.undo()
        thread.join()
        raise KeyboardInterrupt

    with LocalHub() as hub:
        monkeypatch.setattr(threading.Thread, "join", join_and_be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            hub.close()
