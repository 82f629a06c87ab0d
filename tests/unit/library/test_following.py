"""Hashing a file that grows: on the thread that brings it, or in a process of its own, with the same digests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from p2pqwen.library import follow_child, following
from p2pqwen.library.following import Follower, Followers, ProcessFollower, ThreadFollower, Wanted
from p2pqwen.library.hash_child import OtherFileError
from p2pqwen.library.hashing import SPREAD_FROM, FileChangedError, hash_file
from p2pqwen.library.run_child import READ_SIZE
from tests.support.models import noise
from tests.support.waiting import wait_until

PIECE = 1 << 18
DATA = noise(5 * READ_SIZE + 77, "a large file")


def wanted(*, padded: bool = True) -> Wanted:
    return Wanted(len(DATA), PIECE, padded, git_blob=False)


def plain(path: Path, *, padded: bool = True):
    return hash_file(path, piece_length=PIECE, padded=padded, git_blob=False)


@pytest.fixture(params=[ThreadFollower, ProcessFollower], ids=["thread", "process"])
def make(request):
    """Makes followers of one kind, and ends them all."""
    made: list[Follower] = []

    def make_one(what: Wanted) -> Follower:
        made.append(request.param(what))
        return made[-1]

    yield make_one
    for one in made:
        one.close()


def settle(one: Follower, path: Path, done: int, read: list[int]) -> None:
    """A process answers in its own time."""

    def has_come() -> bool:
        one.advance(path, read.append)
        return one.done == done

    wait_until(has_come, 30, f"{done} bytes are hashed")


@pytest.mark.parametrize("padded", [True, False])
def test_a_file_that_grows_is_read_once(make, tmp_path, padded):
    path, read = tmp_path / "growing", []
    one = make(wanted(padded=padded))
    one.advance(path, read.append)  # not there yet
    for end in (10, READ_SIZE + 5, 2 * READ_SIZE):
        path.write_bytes(DATA[:end])
        settle(one, path, end, read)
    assert sum(read) == 2 * READ_SIZE
    path.write_bytes(DATA)
    place = path.rename(tmp_path / "finished")
    found = one.finish(place, read.append)
    assert sum(read) == len(DATA)
    assert found == plain(place, padded=padded)
    assert found.look == plain(place).look


def test_a_writer_that_begins_again(make, tmp_path):
    path, read = tmp_path / "growing", []
    one = make(wanted())
    path.write_bytes(b"a" * READ_SIZE)
    settle(one, path, READ_SIZE, read)
    one.restart()
    assert one.done == 0
    path.write_bytes(DATA[:READ_SIZE])
    settle(one, path, READ_SIZE, read)
    path.write_bytes(DATA)
    assert one.finish(path, read.append) == plain(path)


def test_a_writer_that_goes_back_makes_a_wrong_digest(make, tmp_path):
    """The caller compares it, and hashes the file anew."""
    path, read = tmp_path / "growing", []
    one = make(wanted())
    path.write_bytes(b"a" * READ_SIZE)
    settle(one, path, READ_SIZE, read)
    path.write_bytes(DATA)
    found = one.finish(path, read.append)
    assert (found.size, found.sha256 == plain(path).sha256) == (len(DATA), False)


def test_what_was_never_begun_is_hashed_at_the_end(make, tmp_path):
    path, read = tmp_path / "whole", []
    path.write_bytes(DATA)
    assert make(wanted()).finish(path, read.append) == plain(path)
    assert sum(read) == len(DATA)


@pytest.mark.parametrize("when", ["between", "at the end"])
def test_a_process_that_dies_costs_one_more_reading(tmp_path, when):
    path, read = tmp_path / "growing", []
    path.write_bytes(DATA[:READ_SIZE])
    one = ProcessFollower(wanted())
    settle(one, path, READ_SIZE, read)
    one._process.kill()
    one._process._process.wait()
    path.write_bytes(DATA)
    if when == "between":
        one.advance(path, read.append)
    assert one.finish(path, read.append) == plain(path)
    assert sum(read) == len(DATA)


def test_a_python_that_does_not_start_costs_nothing_but_the_following(tmp_path, monkeypatch):
    monkeypatch.setattr(following, "python", lambda *_: [str(tmp_path / "no such program")])
    path, read = tmp_path / "growing", []
    path.write_bytes(DATA)
    one = ProcessFollower(wanted())
    one.advance(path, read.append)
    assert one.finish(path, read.append) == plain(path)
    assert sum(read) == len(DATA)


def test_what_something_else_prints_is_no_answer(tmp_path, monkeypatch):
    noisy = "print('a notice of the site', flush=True); from p2pqwen.library import follow_child; follow_child.main()"
    monkeypatch.setattr(following, "python", lambda *given: [sys.executable, "-c", noisy, *given[2:]])
    path = tmp_path / "growing"
    path.write_bytes(DATA)
    one = ProcessFollower(wanted())
    one.advance(path, lambda _: None)
    assert one.finish(path, lambda _: None) == plain(path)


def test_a_file_that_changes_once_its_end_was_hashed_is_refused(tmp_path, monkeypatch):
    path, read = tmp_path / "growing", []
    path.write_bytes(DATA)
    one = ProcessFollower(wanted())
    settle(one, path, len(DATA), read)
    ask = one._ask

    def ask_and_change(*given, **more):
        answer = ask(*given, **more)
        os.utime(path, ns=(1, 1))
        return answer

    monkeypatch.setattr(one, "_ask", ask_and_change)
    with pytest.raises(FileChangedError):
        one.finish(path, read.append)


def test_the_child_refuses_a_file_that_changes_while_its_end_is_read(tmp_path, monkeypatch):
    path = tmp_path / "whole"
    path.write_bytes(DATA)
    digests = follow_child.GrowingDigests(PIECE, padded=True)
    advance = digests.advance
    monkeypatch.setattr(digests, "advance", lambda place: (advance(place), os.utime(place, ns=(1, 1))))
    with pytest.raises(OtherFileError):
        digests.finish(path)


def test_no_process_outlives_its_follower(tmp_path):
    path = tmp_path / "growing"
    path.write_bytes(DATA)
    one = ProcessFollower(wanted())
    settle(one, path, len(DATA), [])
    process = one._process._process
    one.close()
    assert process.poll() is not None
    with pytest.raises(BrokenPipeError):  # and none is started afterwards
        one._ask(path, 0, is_whole=False)


@pytest.mark.parametrize(
    ("size", "git_blob", "cores", "kind"),
    [
        (SPREAD_FROM, False, 2, ProcessFollower),
        (SPREAD_FROM - 1, False, 2, ThreadFollower),
        (SPREAD_FROM, True, 2, ThreadFollower),
        (SPREAD_FROM, False, 1, ThreadFollower),
    ],
)
def test_large_files_get_a_process_where_there_is_a_core_for_it(monkeypatch, size, git_blob, cores, kind):
    monkeypatch.setattr(following, "usable_cores", lambda: cores)
    with Followers() as followers:
        assert type(followers.begin(Wanted(size, PIECE, padded=False, git_blob=git_blob))) is kind


def test_few_are_processes(monkeypatch):
    monkeypatch.setattr(following, "usable_cores", lambda: 2)
    monkeypatch.setattr(following, "MOST_PROCESSES", 2)
    large = Wanted(SPREAD_FROM, PIECE, padded=False, git_blob=False)
    with Followers() as followers:
        first, _, third = (followers.begin(large) for _ in range(3))
        assert type(third) is ThreadFollower
        followers.end(first)
        assert type(followers.begin(large)) is ProcessFollower


def test_another_file_in_its_place_is_hashed_anew(make, tmp_path):
    """What an origin left behind that failed, and the file of the next one: together they would be neither."""
    left, path, read = tmp_path / "left", tmp_path / "whole", []
    left.write_bytes(b"a" * READ_SIZE)
    one = make(wanted())
    settle(one, left, READ_SIZE, read)
    path.write_bytes(DATA)
    assert one.finish(path, read.append) == plain(path)
    assert sum(read) == len(DATA)


def test_a_file_that_grows_faster_than_it_is_hashed_has_an_end(tmp_path):
    path = tmp_path / "growing"
    path.write_bytes(DATA[:READ_SIZE])
    digests = follow_child.GrowingDigests(PIECE, padded=True)
    whole, update = digests._whole, digests._whole.update

    class Growing:
        def update(self, part: memoryview) -> None:
            update(part)
            with path.open("ab") as file:
                file.write(b"more")

        digest = whole.digest

    digests._whole = Growing()
    digests.advance(path)
    assert digests.done == READ_SIZE
