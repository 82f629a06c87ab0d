"""hf_xet's processes: they read no code from the folder in which a user stands, and fetch one file after another."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from p2pqwen.hub import xet_process
from p2pqwen.hub.xet_job import XetAccess, XetFailedError, XetFile
from p2pqwen.hub.xet_process import KeptProcesses, XetProcess


@pytest.mark.parametrize("module", ["hf_xet", "json", "p2pqwen"])
def test_a_module_of_a_downloaded_model_does_not_run(tmp_path, monkeypatch, module):
    model, ran = tmp_path / "model", tmp_path / "ran"
    model.mkdir()
    model.joinpath(f"{module}.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    monkeypatch.chdir(model)
    access = XetAccess("http://127.0.0.1:1", "token", 0)
    file = XetFile("0" * 64, 1, tmp_path / "file")
    with XetProcess(tmp_path / "xet") as process:
        process.begin(access, file, lambda: None, windows=False)
        with pytest.raises((XetFailedError, OSError)):
            process.follow(lambda *_: None)
    assert not ran.exists()


class Started:
    """Stands for a `XetProcess`."""

    def __init__(self, folder: Path) -> None:
        self.ended, self.is_alive = False, True

    def close(self) -> None:
        self.ended = True


@pytest.fixture
def kept(monkeypatch):
    monkeypatch.setattr(xet_process, "XetProcess", Started)
    return KeptProcesses()


ONE, OTHER = (XetAccess("http://127.0.0.1:1", token, 0) for token in ("one", "other"))


def test_the_next_file_of_a_snapshot_gets_the_process_of_the_last(kept, tmp_path):
    with kept:
        with kept.one(ONE, tmp_path) as first:
            pass
        with kept.one(ONE, tmp_path) as second, kept.one(ONE, tmp_path) as beside:
            assert second is first
            assert beside is not first
        assert not any(process.ended for process in (first, beside))
    assert first.ended
    assert beside.ended


def test_a_process_learns_one_token(kept, tmp_path):
    with kept:
        with kept.one(ONE, tmp_path) as first:
            pass
        with kept.one(OTHER, tmp_path) as other:
            assert other is not first
            assert first.ended


def test_a_process_that_failed_is_not_used_again(kept, tmp_path):
    with kept:
        with pytest.raises(XetFailedError), kept.one(ONE, tmp_path) as failed:
            raise XetFailedError("no bytes")
        with kept.one(ONE, tmp_path) as fresh:
            assert fresh is not failed
        assert failed.ended


def test_a_process_that_ended_while_it_waited_is_not_used(kept, tmp_path):
    with kept:
        with kept.one(ONE, tmp_path) as killed:
            pass
        killed.is_alive = False
        with kept.one(ONE, tmp_path) as fresh:
            assert fresh is not killed
        assert killed.ended


def test_few_wait_and_none_once_nobody_fetches(kept, tmp_path):
    with kept:
        with kept, ExitStack() as at_work:
            all_of_them = [at_work.enter_context(kept.one(ONE, tmp_path)) for _ in range(4)]
        assert sum(not one.ended for one in all_of_them) == 2  # the outer one still fetches
    assert all(one.ended for one in all_of_them)
