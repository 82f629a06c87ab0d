"""Work beside a node: it pauses, is woken, is told to stop, and is not waited for without end."""

from __future__ import annotations

import os
import queue
import threading
import time

import pytest

from p2pqwen.operations.background import BackgroundThread
from tests.support.waiting import wait_until

LONG = 3600.0


def rounds(done: queue.SimpleQueue[str], pause: float = LONG, **options):
    """Return a thread whose work notes each round and pauses."""

    def work():
        while not thread.wait(pause):
            done.put("round")
        done.put("end")

    thread = BackgroundThread("rounds", work, **options)
    return thread


def test_it_works_in_rounds_until_it_is_stopped():
    done = queue.SimpleQueue()
    thread = rounds(done, pause=0.001)
    assert not thread.busy
    thread.start()
    assert [done.get(timeout=30) for _ in range(3)] == ["round"] * 3
    assert thread.busy
    thread.stop(LONG)
    assert not thread.busy
    assert thread.is_stopping()


def test_a_pause_ends_when_it_is_woken_and_that_is_one_round():
    done = queue.SimpleQueue()
    thread = rounds(done)
    thread.wake()  # before it began to pause: the next pause is none
    thread.start()
    assert done.get(timeout=30) == "round"
    thread.wake()
    assert done.get(timeout=30) == "round"
    thread.stop(LONG)
    assert done.get(timeout=30) == "end"
    assert done.empty()


def test_a_stop_ends_the_pauses_of_all_threads_for_good():
    thread = BackgroundThread("none", lambda: None)
    heard = queue.SimpleQueue()
    waiting = [threading.Thread(target=lambda: heard.put(thread.wait(LONG))) for _ in range(3)]
    for one in waiting:
        one.start()
    thread.tell()
    assert [heard.get(timeout=30) for _ in waiting] == [True] * 3
    assert thread.wait(LONG) is True


def test_what_hangs_is_told_but_not_waited_for():
    begun, release = threading.Event(), threading.Event()
    thread = BackgroundThread("hangs", lambda: begun.set() or release.wait(60))
    thread.start()
    assert begun.wait(30)
    thread.stop(0.01)
    assert thread.busy
    thread.stop(-1)  # the time that was left is over
    release.set()
    wait_until(lambda: not thread.busy, 10, "its end")
    thread.stop()


def test_one_that_was_never_started_is_stopped_at_once():
    thread = BackgroundThread("never", lambda: pytest.fail("it was not started"))
    before = time.monotonic()
    thread.stop(LONG)
    assert time.monotonic() - before < LONG
    assert not thread.busy


@pytest.mark.parametrize("idle", [True, False])
def test_it_lets_others_first_where_it_is_idle(idle):
    found = queue.SimpleQueue()
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    look = lambda: found.put(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))  # noqa: E731
    BackgroundThread("priority", look, idle=idle).start()
    assert found.get(timeout=30) == (19 if idle else ours)


def test_work_that_breaks_is_told_of_and_begun_again():
    done, told = queue.SimpleQueue(), []

    def work():
        done.put("begun")
        if done.qsize() == 1:
            raise OSError("no more files")
        while not thread.wait(LONG):
            pass

    thread = BackgroundThread("index updates", work, report=told.append)
    thread.start()
    wait_until(lambda: told, 30, "a word about it")
    assert told[0].text == "index updates failed and starts again in 60 s: OSError: no more files"
    thread.wake()
    wait_until(lambda: done.qsize() == 2, 30, "the work to be begun again")
    thread.stop(LONG)
    assert not thread.busy


def test_work_may_stop_itself_and_what_was_stopped_does_not_begin():
    ended = queue.SimpleQueue()

    def work():
        thread.stop()
        ended.put("ended")

    thread = BackgroundThread("once", work)
    thread.start()
    assert ended.get(timeout=30) == "ended"
    late = BackgroundThread("late", lambda: ended.put("begun"))
    late.stop()
    late.start()
    assert not late.busy
    assert ended.empty()
