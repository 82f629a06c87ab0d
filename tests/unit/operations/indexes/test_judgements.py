"""What is judged for an update leaves nothing behind, whenever it comes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from p2pqwen.errors import FormatError
from p2pqwen.index.acceptance import TrustedState
from p2pqwen.library.index_rows.judging import accept_apart
from p2pqwen.operations.indexes.judgements import Judgements
from tests.support.publishing import NOW, Publisher


def left(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


def judging(folder: Path):
    data = Publisher().publish()
    return lambda: accept_apart(data, TrustedState(None), NOW, folder=folder)


def test_what_came_in_time_is_kept_until_the_end(tmp_path: Path):
    judgements = Judgements()
    accepted = judgements.run(judging(tmp_path))
    assert len(accepted.document.entries) == 1
    assert left(tmp_path)
    assert not judgements.busy
    judgements.close()
    assert left(tmp_path) == []


def test_what_comes_after_the_end_goes_at_once(tmp_path: Path):
    judgements, begun, go_on = Judgements(), threading.Event(), threading.Event()
    judge = judging(tmp_path)

    def slowly():
        accepted = judge()
        begun.set()
        assert go_on.wait(60)
        return accepted

    thread = threading.Thread(target=judgements.run, args=(slowly,))
    thread.start()
    assert begun.wait(60)
    assert judgements.busy
    judgements.close()
    assert left(tmp_path)
    go_on.set()
    thread.join(60)
    assert (left(tmp_path), judgements.busy) == ([], False)


def test_a_judgement_that_fails_is_over(tmp_path: Path):
    judgements = Judgements()

    def fails():
        raise FormatError("no index")

    with pytest.raises(FormatError):
        judgements.run(fails)
    assert not judgements.busy
