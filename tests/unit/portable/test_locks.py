"""Both kinds of locks keep the same rules; that of Windows runs on record locks of Linux that behave like its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading

import pytest

from p2pqwen.errors import DiskError
from p2pqwen.library import durable
from p2pqwen.portable import locks
from p2pqwen.portable.locks import ByteRangeLock, WholeFileLock, file_lock
from tests.support.waiting import wait_until
from tests.support.windows_locks import WINDOWS


@pytest.fixture(params=["flock", "msvcrt"])
def opened(request, tmp_path, monkeypatch):
    """Return what opens the lock file once more and gives its lock."""
    if request.param == "msvcrt":
        monkeypatch.setattr(locks, "_fcntl", None)
        monkeypatch.setattr(locks, "_msvcrt", WINDOWS)
    descriptors: list[int] = []

    def open_it():
        descriptors.append(os.open(tmp_path / "one.lock", os.O_RDWR | os.O_CREAT))
        lock = file_lock(descriptors[-1])
        assert isinstance(lock, WholeFileLock if request.param == "flock" else ByteRangeLock)
        return lock

    yield open_it
    for one in descriptors:
        os.close(one)


def test_one_at_a_time(opened):
    mine, theirs = opened(), opened()
    assert mine.take()
    assert not theirs.take()
    assert not theirs.take(shared=True)


def test_many_share_and_nobody_is_alone_among_them(opened):
    sharing = [opened() for _ in range(5)]
    assert all(one.take(shared=True) for one in sharing)
    assert not opened().take()
    assert not sharing[0].take()


def test_one_who_shared_may_be_alone_and_share_again(opened):
    mine, theirs = opened(), opened()
    assert mine.take(shared=True)
    assert mine.take()
    assert not theirs.take(shared=True)
    assert mine.take(shared=True)
    assert theirs.take(shared=True)


@pytest.mark.parametrize("shared", [True, False])
def test_who_waits_gets_it(opened, shared):
    mine, theirs, got = opened(), opened(), threading.Event()
    assert mine.take()
    waiting = threading.Thread(target=lambda: theirs.take(shared=shared, wait=True) and got.set())
    waiting.start()
    assert not got.is_set()
    mine.take(shared=True) if shared else _let_go(mine)
    waiting.join(30)
    assert got.is_set()


def _let_go(lock) -> None:
    lock.free()
    if isinstance(lock, WholeFileLock):
        fcntl.flock(lock._descriptor, fcntl.LOCK_UN)  # what closing the file does


def test_where_there_are_no_locks_nothing_is_guarded_by_none(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_fcntl", None)
    monkeypatch.setattr(locks, "_msvcrt", None)
    with pytest.raises(DiskError, match="cannot lock"), durable.lock(tmp_path / "one.lock"):
        pytest.fail("it was not locked")


@pytest.mark.parametrize("windows", [False, True])
def test_the_locks_of_a_home(tmp_path, monkeypatch, windows):
    if windows:
        monkeypatch.setattr(locks, "_fcntl", None)
        monkeypatch.setattr(locks, "_msvcrt", WINDOWS)
    path = tmp_path / "one.lock"
    assert not durable.is_locked(path)
    with durable.lock(path):
        assert durable.is_locked(path)
        with pytest.raises(durable.LockHeldError) as caught, durable.lock(path):
            pytest.fail("held twice")
        assert caught.value.owner == str(os.getpid())  # it can be read while the lock is held
    assert not durable.is_locked(path)
    with contextlib.closing(durable.SharedLock(tmp_path / "many.lock")) as first:
        with first.alone() as alone:
            assert alone
        with contextlib.closing(durable.SharedLock(tmp_path / "many.lock")), first.alone() as alone:
            assert not alone
        with first.alone() as alone:
            assert alone


def test_more_than_there_are_slots_wait_for_one(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_SLOTS", 2)
    descriptors = [os.open(tmp_path / "one.lock", os.O_RDWR | os.O_CREAT) for _ in range(3)]
    first, second, third = (ByteRangeLock(one, WINDOWS) for one in descriptors)
    assert first.take(shared=True)
    assert second.take(shared=True)
    assert not third.take(shared=True)
    second.free()
    wait_until(lambda: third.take(shared=True), 10, "a slot")
    for one in descriptors:
        os.close(one)
