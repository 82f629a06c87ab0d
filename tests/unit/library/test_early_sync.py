"""What has come of a large file goes to its disk while more comes; what fails there is told."""

from __future__ import annotations

import os

import pytest

from p2pqwen.errors import DiskError
from p2pqwen.library.early_sync import EarlySync


def test_a_file_is_written_out_and_one_that_was_moved_is_no_error(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    file = tmp_path / "growing"
    file.write_bytes(b"some")
    with EarlySync() as early:
        early.begin(file)
        early.begin(tmp_path / "moved")
        early.wait()
    assert synced == [file.stat().st_ino]


def test_a_disk_that_fails_is_told_once_it_is_waited_for(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    file = tmp_path / "growing"
    file.write_bytes(b"some")
    with EarlySync() as early:
        early.begin(file)
        with pytest.raises(DiskError, match="No space left"):
            early.wait()


def test_after_its_end_nothing_is_begun(tmp_path):
    with EarlySync() as early:
        pass
    early.begin(tmp_path / "growing")
    early.wait()


def test_where_it_would_cost_too_much_nothing_is_done(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "fdatasync")
    with EarlySync() as early:
        early.begin(tmp_path / "nowhere")
        early.wait()
