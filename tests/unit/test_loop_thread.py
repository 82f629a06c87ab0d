"""An event loop in a thread: what it runs, for how long, and how it ends."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

import p2pqwen
from p2pqwen import loop_thread
from p2pqwen.loop_thread import LoopThread, run_now


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


async def _where():
    await asyncio.sleep(0)
    return threading.current_thread()


async def _fail():
    raise KeyError("why")


def test_a_coroutine_runs_to_its_end_whether_a_loop_runs_or_not():
    async def within(work):
        return run_now(work)

    assert run_now(_where()) is threading.current_thread()
    assert asyncio.run(within(_where())) is not threading.current_thread()
    for run in (run_now, lambda work: asyncio.run(within(work))):
        with pytest.raises(KeyError, match="why"):
            run(_fail())


def test_what_interrupts_the_wait_cancels_the_work(monkeypatch):
    begun, cancelled = threading.Event(), threading.Event()

    async def hang():
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    class Interrupted(loop_thread.Future):
        def result(self, timeout=None):
            if self.done():
                return super().result(timeout)
            assert begun.wait(30)
            raise KeyboardInterrupt

    async def within():
        return run_now(hang())

    monkeypatch.setattr(loop_thread, "Future", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(within())
    assert cancelled.wait(30)


def test_nothing_else_starts_a_loop_in_the_callers_thread():
    sources = Path(p2pqwen.__file__).parent
    found = {
        path.relative_to(sources).as_posix() for path in sources.rglob("*.py") if "asyncio.run(" in path.read_text()
    }
    assert found == {"loop_thread.py", "demo/local_hub.py"}  # the second is in a thread of its own
