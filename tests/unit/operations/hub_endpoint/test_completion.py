"""Files that have come are written out many at a time, compared, and called done or refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from p2pqwen.containment import as_error
from p2pqwen.errors import VerificationError
from p2pqwen.operations.hub_endpoint.arriving import ArrivingFile
from p2pqwen.operations.hub_endpoint.completion import Completion, difference_from
from p2pqwen.operations.hub_endpoint.reading import PieceFile
from tests.support.models import noise
from tests.support.swarm import make_snapshot
from tests.support.waiting import wait_until

FILES = {"a.bin": noise(600_000, "a"), "b.json": b"{}", "c.json": b"[]"}
A, B, C = range(3)


class Torrent:
    """What a completion asks of a download; it writes out when the test says so."""

    def __init__(self, pieces: int) -> None:
        self.have = bytearray(pieces)
        self.flushes = self.asked = 0

    def request_flush(self) -> None:
        self.asked += 1


@pytest.fixture
def snapshot(tmp_path):
    return make_snapshot(tmp_path, FILES)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as found:
        yield found


def arriving(snapshot, index):
    pieces = PieceFile(snapshot.metainfo, index, snapshot.folder, quick=True)
    return ArrivingFile(pieces, index, snapshot.metainfo.layout.pieces(index).start, lambda: None, whole=True)


def row(snapshot, file):
    return next(one for one in snapshot.manifest.files if one.path == file.path)


def started(snapshot, pool):
    torrent = Torrent(snapshot.metainfo.layout.piece_count)
    found = Completion(torrent, lambda file: difference_from(snapshot.metainfo, row(snapshot, file), file), pool)
    return torrent, found, [arriving(snapshot, index) for index in (A, B, C)]


def come(torrent, completion, *files):
    for file in files:
        for piece in file.numbers:
            torrent.have[piece] = 1
        completion.look_at(file)


def finish(completion):
    def step():
        completion.step(as_error, at_once=True)
        return not completion.pending

    wait_until(step, 20, "every file was compared")


def test_what_has_come_by_then_is_written_out_at_once(snapshot, pool):
    torrent, completion, files = started(snapshot, pool)
    completion.look_at(files[A])
    assert not completion.pending  # not one piece of it is here
    come(torrent, completion, *files)
    come(torrent, completion, *files)  # looked at again
    completion.step(as_error)
    assert (torrent.asked, completion.pending) == (1, True)
    torrent.flushes += 1
    finish(completion)
    assert (torrent.asked, [file.done for file in files]) == (1, [True] * 3)


def test_a_file_that_comes_while_others_are_written_out_waits_for_its_own_turn(snapshot, pool):
    torrent, completion, files = started(snapshot, pool)
    come(torrent, completion, files[A])
    completion.step(as_error)
    come(torrent, completion, files[B])
    torrent.flushes += 1  # the answer to what was asked before B came
    wait_until(lambda: completion.step(as_error, at_once=True) or files[A].done, 20, "A is done")
    assert (torrent.asked, files[B].done) == (2, False)
    torrent.flushes += 1
    finish(completion)
    assert files[B].done


def test_files_that_come_one_after_the_other_are_written_out_together(snapshot, pool):
    torrent, completion, files = started(snapshot, pool)
    come(torrent, completion, files[A])
    completion.step(as_error)
    torrent.flushes += 1
    come(torrent, completion, files[B])
    completion._next_flush = float("inf")  # not yet
    completion.step(as_error)
    come(torrent, completion, files[C])
    completion._next_flush = 0.0
    completion.step(as_error)
    torrent.flushes += 1
    finish(completion)
    assert (torrent.asked, [file.done for file in files]) == (2, [True] * 3)


@pytest.mark.parametrize("index", [A, B])
def test_one_that_is_not_what_the_manifest_names_is_refused_and_the_others_are_not(snapshot, pool, index):
    torrent, completion, files = started(snapshot, pool)
    path = snapshot.folder / files[index].path.text
    path.write_bytes(bytes(path.stat().st_size))
    waiting = files[index].wait(0)
    come(torrent, completion, *files)
    completion.step(as_error)
    torrent.flushes += 1
    finish(completion)
    assert [file.done for file in files] == [file is not files[index] for file in files]
    assert isinstance(waiting.exception(0), VerificationError)
    assert not files[index].active


def test_without_a_manifest_the_torrents_own_hashes_decide(snapshot):
    file = arriving(snapshot, A)
    assert difference_from(snapshot.metainfo, None, file) is None
    (snapshot.folder / "a.bin").write_bytes(bytes(600_000))
    assert isinstance(difference_from(snapshot.metainfo, None, file), VerificationError)
    (snapshot.folder / "a.bin").unlink()
    assert difference_from(snapshot.metainfo, None, file) is not None
