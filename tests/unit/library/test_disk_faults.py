"""Which errors say that a disk fails, of which folder, and for how long."""

from __future__ import annotations

import errno
import os
from datetime import timedelta
from pathlib import Path

import pytest

from p2pqwen.errors import DiskError, FailingDiskError
from p2pqwen.library import durable
from p2pqwen.library.disk_faults import COUNTS_FOR, DiskFaults
from p2pqwen.library.state_store import StateStore
from tests.support.publishing import NOW

ONE, TWO = Path("/disks/one"), Path("/disks/two")


class Disks:
    """Two folders, a clock, and what the kernel counts."""

    def __init__(self, store: StateStore) -> None:
        self.store, self.now, self.counts = store, NOW, dict[Path, int]()
        self.faults = DiskFaults(
            store, lambda: [ONE, TWO], lambda: self.now, counted=lambda one: self.counts.get(one, 0)
        )

    def met(self, number: int, folder: Path) -> DiskError:
        with pytest.raises(DiskError) as caught, durable.disk_errors(f"read {folder}"):
            raise OSError(number, os.strerror(number))
        self.faults.note(folder, caught.value)
        return caught.value


@pytest.fixture
def disks(tmp_path):
    with StateStore(tmp_path / "state.sqlite") as store:
        yield Disks(store)


@pytest.mark.parametrize(
    ("number", "fails"), [(errno.EIO, True), (errno.EUCLEAN, True), (errno.ENOSPC, False), (errno.EACCES, False)]
)
def test_an_error_of_the_disk_itself_is_noted_for_its_folder(disks, number, fails):
    error = disks.met(number, ONE / "Qwen" / "Model")
    assert isinstance(error, FailingDiskError) is fails
    assert list(disks.faults.all()) == ([str(ONE)] if fails else [])
    if fails:
        assert os.strerror(number) in disks.faults.all()[str(ONE)]


def test_it_counts_for_a_week_after_the_last_one(disks):
    disks.met(errno.EIO, ONE / "a")
    disks.now += COUNTS_FOR - timedelta(hours=1)
    disks.met(errno.EIO, ONE / "b")
    disks.now += timedelta(hours=2)
    assert "read /disks/one/b" in disks.faults.all()[str(ONE)]
    disks.now += COUNTS_FOR
    assert disks.faults.all() == {}


def test_of_many_in_a_minute_one_is_written_down(disks):
    disks.met(errno.EIO, ONE / "a")
    version = disks.store.version()
    disks.now += timedelta(seconds=59)
    disks.met(errno.EIO, ONE / "a")
    assert disks.store.version() == version
    disks.now += timedelta(seconds=1)
    disks.met(errno.EIO, ONE / "a")
    assert disks.store.version() != version


def test_what_the_kernel_counted_is_told_without_any_error_of_ours(disks):
    disks.counts[TWO] = 1
    assert disks.faults.all() == {str(TWO): "the kernel counted 1 error of its file system"}


def test_what_makes_no_sense_in_the_store_is_nothing(disks):
    for value in ({}, [], {"seen": "yesterday", "what": "x"}, {"seen": 5}):
        disks.store.put(f"disk-fault/{ONE}", value)
        assert disks.faults.all() == {}
