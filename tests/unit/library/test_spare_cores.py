"""Large files hashed by processes: the same digests whatever the number of cores and files, though processes fail."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import DisabledError, DiskError
from p2pqwen.library import hashing, run_process
from p2pqwen.library.hash_child import OtherFileError
from p2pqwen.library.hashing import FileChangedError, hash_file
from p2pqwen.library.run_child import Answers, Run, Wish, hash_run, identity
from p2pqwen.library.run_process import RunProcess, RunProcesses
from p2pqwen.library.spare_cores import SpareCores, digest_file
from p2pqwen.torrent.merkle import BLOCK_SIZE
from p2pqwen.torrent.piece_hasher import FileHashes, PieceHasher
from p2pqwen.values.digest import Sha256
from tests.strategies import content, edge_sizes
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

PIECE = 2 * BLOCK_SIZE


class ProcessHere:
    """Stands for a `RunProcess`: does what one would, on the same thread."""

    def __init__(self) -> None:
        self.answers = Answers()

    def hash(self, run: Run) -> FileHashes:
        return hash_run(run)

    def digest(self, run: Run, *, pieces: bool, last: bool) -> tuple[FileHashes | None, bytes]:
        answer = self.answers.answer(run, Wish(pieces, whole=True))
        count = (run.stop - run.start) // run.piece_length if pieces else 0
        rows, end = 20 * count, 52 * count
        assert len(answer) == end + 32 * last
        hashes = FileHashes.of_pieces(answer[:rows], answer[rows:end], run.piece_length) if pieces else None
        return hashes, answer[end:]


class ProcessesHere(RunProcesses):
    """No processes."""

    def take(self) -> ProcessHere:
        return ProcessHere()

    def give_back(self, process: ProcessHere) -> None:
        pass

    end = give_back

    def hash(self, run: Run) -> FileHashes:
        return hash_run(run)


def cores(number: int) -> SpareCores:
    spare = SpareCores(number)
    spare.processes = ProcessesHere()
    return spare


CORES = {number: cores(number) for number in (1, 2, 5)}


def hashes_of(data: bytes, piece_length: int = PIECE, *, padded: bool = False) -> FileHashes:
    hasher = PieceHasher(piece_length, padded=padded)
    hasher.update(data)
    return hasher.finish()


def run_of(path: Path, piece_length: int = PIECE, start: int = 0, stop: int | None = None) -> Run:
    stat = path.stat()
    return Run(str(path), identity(stat), piece_length, start, stat.st_size if stop is None else stop)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("spread")


@given(st.data(), st.sampled_from(sorted(CORES)), st.booleans(), st.booleans(), st.sampled_from([PIECE, 3 * PIECE]))
def test_any_runs_on_any_cores_give_the_digests_of_the_whole(shared, data, cores, padded, busy, run):
    file = content(data.draw(edge_sizes(PIECE).filter(bool)), 1)
    (path := shared / "file").write_bytes(file)
    spare, told = CORES[cores], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("p2pqwen.library.spare_cores._RUN", run)
        if busy:
            patch.setattr(spare, "hash_run", lambda run: None)
        found = digest_file(run_of(path), padded=padded, spare=spare, on_bytes=told.append)
    assert found == (Sha256.of(file), hashes_of(file, padded=padded))
    assert sum(told) == len(file)


def test_a_file_is_digested_in_its_order_or_not_at_all(tmp_path):
    (path := tmp_path / "file").write_bytes(content(3 * PIECE, 3))
    answers, wish = Answers(), Wish(pieces=False, whole=True)
    assert answers.answer(run_of(path, stop=PIECE), wish) == b""
    assert answers.answer(run_of(path, start=PIECE), Wish(pieces=True, whole=False))  # moves nothing
    with pytest.raises(OtherFileError, match="up to"):
        answers.answer(run_of(path, start=2 * PIECE), wish)
    assert answers.answer(run_of(path), wish) == Sha256.of(content(3 * PIECE, 3)).raw


@pytest.mark.parametrize("pieces", [1, 2, 3, 8])
def test_hashes_of_pieces_are_those_of_a_file_of_them(pieces):
    whole = hashes_of(content(pieces * PIECE, 4))
    assert FileHashes.of_pieces(whole.pieces, whole.rows, PIECE) == whole


def test_pieces_hashed_elsewhere_are_taken_where_a_piece_begins():
    data = content(4 * PIECE + 5, 2)
    hasher = PieceHasher(PIECE, padded=False)
    hasher.update(data[:PIECE])
    hasher.add(hashes_of(data[PIECE : 3 * PIECE]))
    with pytest.raises(ValueError, match="whole pieces"):
        hasher.add(hashes_of(data[:7]))
    hasher.add(hashes_of(data[3 * PIECE : 4 * PIECE]))
    hasher.update(data[4 * PIECE :])
    with pytest.raises(ValueError, match="whole pieces"):
        hasher.add(hashes_of(bytes(PIECE)))
    assert hasher.finish() == hashes_of(data)


def test_no_core_is_promised_twice(tmp_path, monkeypatch):
    """With two cores and one reader two runs are out, one at work and one waiting; with two readers none is."""
    (tmp_path / "file").write_bytes(bytes(PIECE))
    run, go, spare = run_of(tmp_path / "file"), threading.Event(), cores(2)
    monkeypatch.setattr(ProcessesHere, "hash", lambda self, run: go.wait(30))
    with spare.reading():
        given_out = [spare.hash_run(run) for _ in range(4)]
        assert [one is not None for one in given_out] == [True, True, False, False]
        with spare.reading():
            assert spare.hash_run(run) is None
        go.set()
        assert all(one.result(30) for one in given_out[:2])
        wait_until(lambda: spare.hash_run(run), 30, "a core that is free again")


@pytest.mark.parametrize(("number", "readers", "given_out"), [(1, 1, 0), (2, 1, 2), (4, 1, 6), (4, 3, 2), (64, 1, 6)])
def test_as_many_runs_are_out_as_cores_are_free(tmp_path, monkeypatch, number, readers, given_out):
    (tmp_path / "file").write_bytes(bytes(PIECE))
    go, spare = threading.Event(), cores(number)
    monkeypatch.setattr(ProcessesHere, "hash", lambda self, run: go.wait(30))
    monkeypatch.setattr(spare, "_readers", readers)
    assert sum(spare.hash_run(run_of(tmp_path / "file")) is not None for _ in range(20)) == given_out
    go.set()


@pytest.fixture
def large(monkeypatch):
    """Let a file of a few pieces be a large one, which processes hash; returns those."""
    spare = SpareCores(2)
    monkeypatch.setattr(hashing, "SPREAD_FROM", 1)
    monkeypatch.setattr(hashing, "SPARE", spare)
    yield spare.processes
    spare.close()


def hash_large(path: Path, **wishes) -> hashing.FileDigests:
    return hash_file(path, piece_length=1 << 18, padded=True, git_blob=False, **wishes)


def test_a_file_of_many_pieces_and_a_process(tmp_path, large):
    data = content(70 * (1 << 18) + 12_345, 3)
    (tmp_path / "caf\udce9.bin").write_bytes(data)  # a name that is no text
    seen = []
    got = hash_large(tmp_path / "caf\udce9.bin", on_bytes=seen.append)
    assert got.hashes == hashes_of(data, 1 << 18, padded=True)
    assert sum(seen) == got.size == len(data)
    assert large._free == []  # none waits where nobody hashes
    with hashing.SPARE.in_use():
        assert hash_large(tmp_path / "caf\udce9.bin") == got
        kept = set(large._free)
        assert len(kept) == 2  # one for the file, and one for the spare core
        assert hash_large(tmp_path / "caf\udce9.bin") == got
        assert set(large._free) == kept
    assert all(process._process.returncode is not None for process in kept)


@pytest.mark.parametrize("code", ["", "input()", "print('short', flush=True); input(); input()"])
def test_a_process_that_fails_is_done_without(tmp_path, large, monkeypatch, code):
    data, told = content(40 * (1 << 18) + 1, 5), []
    (tmp_path / "file").write_bytes(data)
    monkeypatch.setattr(run_process, "python", lambda *given: [sys.executable, "-I", "-S", "-c", code])
    if "short" in code:  # it would wait for more runs: it is killed
        answer = RunProcess.digest
        monkeypatch.setattr(RunProcess, "digest", lambda self, *run, **how: (self.kill(), answer(self, *run, **how))[1])
    assert hash_large(tmp_path / "file", on_bytes=told.append).hashes == hashes_of(data, 1 << 18, padded=True)
    assert sum(told) == len(data)
    assert large._free == []


def test_a_process_that_ends_in_the_middle_has_the_file_read(tmp_path, large, monkeypatch):
    data, told = content(80 * (1 << 18) + 1, 5), []
    (tmp_path / "file").write_bytes(data)
    digest = RunProcess.digest

    def ended(self: RunProcess, run: Run, **how: bool) -> object:
        if run.start:
            self.kill()
        return digest(self, run, **how)

    monkeypatch.setattr(RunProcess, "digest", ended)
    got = hash_large(tmp_path / "file", on_bytes=told.append)
    assert (got.sha256, got.hashes) == (Sha256.of(data), hashes_of(data, 1 << 18, padded=True))
    assert sum(told) == len(data)


def test_a_file_that_gets_shorter_is_told_of(tmp_path, large):
    (path := tmp_path / "file").write_bytes(content(80 * (1 << 18), 5))
    with pytest.raises(FileChangedError, match="changed while it was read"):
        hash_large(path, on_bytes=lambda _: os.truncate(path, 1 << 18))


def test_processes_that_never_answer_are_tried_once(tmp_path, large, monkeypatch):
    started = []
    monkeypatch.setattr(run_process, "python", lambda *_: started.append(1) or [sys.executable, "-I", "-S", "-c", ""])
    data = content(200 * (1 << 18), 5)
    (tmp_path / "file").write_bytes(data)
    assert hash_large(tmp_path / "file").hashes == hashes_of(data, 1 << 18, padded=True)
    wait_until(lambda: hashing.SPARE._waiting == 0, 30, "the runs that were given out")
    tried = len(started)
    assert tried <= 3  # one for the file, and one for each run that was given out at once
    assert hash_large(tmp_path / "file").hashes == hashes_of(data, 1 << 18, padded=True)
    assert len(started) == tried


def test_what_else_is_printed_is_no_answer(tmp_path, large, monkeypatch):
    noisy = "print('a notice of the site', flush=True); from p2pqwen.library import run_child; run_child.main()"
    monkeypatch.setattr(run_process, "python", lambda *_: [sys.executable, "-c", noisy])
    data = content(80 * (1 << 18), 5)
    (tmp_path / "file").write_bytes(data)
    assert hash_large(tmp_path / "file").hashes == hashes_of(data, 1 << 18, padded=True)
    assert large._free == []


def test_an_idle_thread_gives_nothing_to_other_cores(tmp_path, large, monkeypatch):
    monkeypatch.setattr(hashing, "is_thread_idle", lambda: True)
    data = content(80 * (1 << 18), 5)
    (tmp_path / "file").write_bytes(data)
    assert hash_large(tmp_path / "file").hashes == hashes_of(data, 1 << 18, padded=True)
    assert large._free == []


def test_no_process_can_be_started(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(content(3 * PIECE, 6))
    monkeypatch.setattr(run_process, "python", lambda *given: [str(tmp_path / "none")])
    assert RunProcesses().hash(run_of(tmp_path / "file")) == hashes_of(content(3 * PIECE, 6))


def test_a_process_ends_with_its_parent(tmp_path):
    (tmp_path / "file").write_bytes(content(2 * PIECE, 7))
    process = RunProcess()
    try:
        assert process.hash(run_of(tmp_path / "file")) == hashes_of(content(2 * PIECE, 7))
        process._process.stdin.close()  # what the system does when we end
        assert process._process.wait(30) == 0
    finally:
        process.close()


def test_another_file_in_the_place_of_the_one_that_is_read(tmp_path, large):
    data = content(80 * (1 << 18), 8)
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "other").write_bytes(data[::-1])
    with pytest.raises(FileChangedError, match="changed while it was read"):
        hash_large(tmp_path / "file", on_bytes=lambda _: _replaced(tmp_path / "other", tmp_path / "file"))


def _replaced(other: Path, file: Path) -> None:
    if other.exists():
        other.replace(file)


@pytest.mark.parametrize("change", ["longer", "shorter", "other times", "moved"])
def test_a_run_of_a_file_that_is_not_the_same_is_not_hashed(tmp_path, change):
    (path := tmp_path / "file").write_bytes(content(2 * PIECE, 9))
    run = run_of(path)
    match change:
        case "longer":
            path.write_bytes(bytes(3 * PIECE))
        case "shorter":
            path.write_bytes(b"")
        case "other times":
            os.utime(path, ns=(1, 1))
        case "moved":
            path.rename(tmp_path / "elsewhere")
    with pytest.raises(OtherFileError):
        hash_run(run)


def test_a_file_that_cannot_be_read(tmp_path, large, monkeypatch):
    """What a process meets this one meets when it reads the file itself."""
    (tmp_path / "file").write_bytes(content(80 * (1 << 18), 8))

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(RunProcesses, "hash", fail)
    monkeypatch.setattr(hashing, "_feed", fail)
    with pytest.raises(DiskError, match=r"cannot read .*file"):
        hash_large(tmp_path / "file")


def test_what_progress_raises_ends_it_and_keeps_no_half_digested_process(tmp_path, large, monkeypatch):
    (tmp_path / "file").write_bytes(content(80 * (1 << 18), 8))

    def stop(_: int) -> None:
        raise DisabledError("enough")

    ended, end = [], RunProcesses.end
    monkeypatch.setattr(RunProcesses, "end", lambda self, process: (ended.append(process), end(self, process)))
    with pytest.raises(DisabledError, match="enough"):
        hash_large(tmp_path / "file", on_bytes=stop)
    assert ended[0]._process.returncode is not None
    assert ended[0] not in large._free
    wait_until(lambda: large._taken == 0, 30, "the pieces that were still at work")


def test_a_file_that_changed_is_no_reason_to_do_without_processes(tmp_path, large, monkeypatch):
    (path := tmp_path / "file").write_bytes(content(80 * (1 << 18), 8))
    take = RunProcesses.take
    monkeypatch.setattr(RunProcesses, "take", lambda self: (os.utime(path, ns=(1, 1)), take(self))[1])
    with pytest.raises(FileChangedError):
        hash_large(path)
    assert not large._none_here


def test_more_files_than_processes(tmp_path, large, monkeypatch):
    monkeypatch.setattr(run_process, "MAX_PROCESSES", 1)
    data = content(40 * (1 << 18) + 1, 5)
    (tmp_path / "file").write_bytes(data)
    taken = large.take()
    assert taken is not None
    assert hash_large(tmp_path / "file").hashes == hashes_of(data, 1 << 18, padded=True)
    large.end(taken)
