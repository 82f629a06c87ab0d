"""An event loop in a thread: what it runs, for how long, and how it ends."""

from __future__ import annotations

import asyncio
import threading

import pytest

from p2pqwen.loop_thread import LoopThread


@pytest.fixture
def thread():
    one = LoopThread("test")
    one.start()
    yield one
    one.stop()
    assert one.loop.is_closed()


def test_a_coroutine_runs_on_the_loops_thread_and_its_result_comes_back(thread):
    async def where():
        return threading.current_thread().name, asyncio.get_running_loop()

    assert thread.call(where()) == ("test", thread.loop)


def test_an_error_comes_back(thread):
    async def fail():
        raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        thread.call(fail())


def test_what_takes_too_long_is_cancelled(thread):
    cancelled = threading.Event()

    async def hang():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(TimeoutError):
        thread.call(hang(), 0.05)
    assert cancelled.wait(30)


def test_one_that_was_never_started_leaves_nothing_open():
    thread = LoopThread("never")
    thread.stop()
    assert thread.loop.is_closed()
    thread.stop()


def test_a_stop_waits_no_longer_than_it_is_told():
    thread, release = LoopThread("busy"), threading.Event()
    thread.start()
    thread.loop.call_soon_threadsafe(release.wait, 60)
    thread.stop(0.01)
    assert not thread.loop.is_closed()
    release.set()
    thread.stop()
    assert thread.loop.is_closed()
