"""Files are hashed behind their writer, right whatever the order and timing of the pieces."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from p2pqwen.errors import DiskError
from p2pqwen.library import trailing
from p2pqwen.library.hashing import hash_file
from p2pqwen.library.trailing import GrowingFile, TrailingHasher
from p2pqwen.torrent.layout import Layout, PayloadFile
from p2pqwen.values.repo_path import RepoPath
from tests.support.models import noise
from tests.support.waiting import wait_until

PIECE = 1 << 14
SIZES = {"a.bin": 5 * PIECE + 7, "b/c.json": 10, "empty": 0, "z": 3 * PIECE}


def make(folder: Path, *, hashes: bool = True):
    layout = Layout(tuple(PayloadFile(RepoPath(name), size) for name, size in sorted(SIZES.items())), PIECE)
    growing = [
        GrowingFile(
            file.path,
            str(folder / file.path.text),
            file.size,
            layout.pieces(index),
            PIECE,
            git_blob=True,
            hashes=hashes,
            padded=layout.pad_after(index) > 0,
        )
        for index, file in enumerate(layout.files)
    ]
    contents = {name: noise(size, name) for name, size in SIZES.items()}
    return layout, growing, contents


def write_piece(folder: Path, layout: Layout, contents, piece: int) -> None:
    for index, file in enumerate(layout.files):
        if piece in layout.pieces(index):
            start = (piece - layout.pieces(index).start) * PIECE
            path = folder / file.path.text
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("r+b" if path.exists() else "w+b") as opened:
                opened.seek(start)
                opened.write(contents[file.path.text][start : start + PIECE])


def expected(folder, layout):
    return {
        file.path: hash_file(folder / file.path.text, piece_length=PIECE, padded=layout.pad_after(index) > 0)
        for index, file in enumerate(layout.files)
    }


@pytest.mark.parametrize("seed", range(6))
def test_pieces_in_any_order_give_the_digests_of_the_whole(tmp_path, seed):
    layout, growing, contents = make(tmp_path)
    pieces = list(range(layout.piece_count))
    random.Random(seed).shuffle(pieces)
    have = bytearray(layout.piece_count)
    with TrailingHasher(growing, have, workers=2) as hasher:
        for piece in pieces:
            write_piece(tmp_path, layout, contents, piece)
            have[piece] = 1
            hasher.arrived()
        hasher.written()
        found = hasher.results()
    (tmp_path / "empty").touch()
    assert found == expected(tmp_path, layout)
    assert hasher.bytes_hashed == layout.total_size


def test_a_piece_that_is_reported_before_it_is_written_is_waited_for(tmp_path):
    layout, growing, contents = make(tmp_path)
    have = bytearray(b"\1" * layout.piece_count)  # everything reported, nothing written
    for name in ("a.bin", "b/c.json", "z"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with TrailingHasher(growing, have, workers=4) as hasher:
        hasher.arrived()
        for piece in reversed(range(layout.piece_count)):
            write_piece(tmp_path, layout, contents, piece)
        wait_until(lambda: hasher.done, 10, "everything is hashed without having been told that it is written")
        found = hasher.results()
    (tmp_path / "empty").touch()
    assert found == expected(tmp_path, layout)


def test_it_is_behind_the_writer_before_the_end(tmp_path):
    layout, growing, contents = make(tmp_path)
    have = bytearray(layout.piece_count)
    with TrailingHasher(growing, have) as hasher:
        for piece in range(3):
            write_piece(tmp_path, layout, contents, piece)
            have[piece] = 1
        hasher.arrived()
        wait_until(lambda: hasher.bytes_hashed == 3 * PIECE, 10, "what is there is hashed")
        assert not hasher.done


def test_what_is_hashed_goes_to_the_disk_on_the_way(tmp_path, monkeypatch):
    layout, growing, contents = make(tmp_path)
    synced = []
    monkeypatch.setattr(trailing, "READ_SIZE", PIECE)
    monkeypatch.setattr(trailing, "SYNC_EVERY", 2 * PIECE)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    for piece in range(layout.piece_count):
        write_piece(tmp_path, layout, contents, piece)
    with TrailingHasher(growing, bytearray(b"\1" * layout.piece_count), workers=1) as hasher:
        hasher.written()
        hasher.results()
    on_the_way = sum(size // (2 * PIECE) for size in SIZES.values())
    at_the_end = sum(size > PIECE for size in SIZES.values())  # the small ones are synced with their folder
    assert len(synced) == on_the_way + at_the_end


def test_its_threads_let_others_first(tmp_path, monkeypatch):
    _, growing, _ = make(tmp_path)
    asked = []
    monkeypatch.setattr(os, "setpriority", lambda _, thread, priority: asked.append((thread, priority)))
    with TrailingHasher(growing, bytearray(1), workers=1):
        wait_until(lambda: asked, 10, "a thread has begun")
    ((thread, priority),) = asked
    assert thread != threading.get_native_id()
    assert priority > os.getpriority(os.PRIO_PROCESS, 0)


def test_a_file_that_stays_short_has_no_digest(tmp_path):
    layout, growing, contents = make(tmp_path)
    have = bytearray(b"\1" * layout.piece_count)
    for piece in range(layout.piece_count - 1):
        write_piece(tmp_path, layout, contents, piece)
    with TrailingHasher(growing, have) as hasher:
        hasher.written()
        found = hasher.results()
    assert RepoPath("z") not in found
    assert RepoPath("a.bin") in found


def test_leaving_early_ends_the_threads(tmp_path):
    _, growing, _ = make(tmp_path)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), TrailingHasher(growing, bytearray(20)):
        raise KeyboardInterrupt
    assert threading.active_count() == before


def test_a_file_that_cannot_be_read_is_a_disk_error(tmp_path):
    layout, growing, _ = make(tmp_path)
    (tmp_path / "a.bin").mkdir()
    with TrailingHasher(growing, bytearray(b"\1" * layout.piece_count)) as hasher:
        hasher.written()
        with pytest.raises(DiskError, match=r"a\.bin"):
            hasher.results()


def test_git_and_torrent_hashes_only_where_wanted(tmp_path):
    layout, growing, contents = make(tmp_path, hashes=False)
    for piece in range(layout.piece_count):
        write_piece(tmp_path, layout, contents, piece)
    with TrailingHasher(growing, bytearray(b"\1" * layout.piece_count)) as hasher:
        hasher.written()
        found = hasher.results()[RepoPath("a.bin")]
    assert found.hashes.pieces == b""
    assert found.git_blob is not None


def test_no_digest_waits_for_the_disk_but_the_results_do(tmp_path, monkeypatch):
    layout, growing, contents = make(tmp_path)
    disk, asked = threading.Event(), []

    def slow(descriptor: int) -> None:
        asked.append(descriptor)
        assert disk.wait(30)

    monkeypatch.setattr(trailing, "READ_SIZE", PIECE)
    monkeypatch.setattr(trailing, "SYNC_EVERY", PIECE)
    monkeypatch.setattr(os, "fdatasync", slow)
    for piece in range(layout.piece_count):
        write_piece(tmp_path, layout, contents, piece)
    with TrailingHasher(growing, bytearray(b"\1" * layout.piece_count), workers=1) as hasher:
        hasher.written()
        wait_until(lambda: hasher.done and asked, 10, "everything is hashed while the disk has not answered once")
        assert len(asked) == 1
        hasher.results(disk.set)
    assert len(asked) > 1


def test_a_disk_that_fails_on_the_way_fails_the_results(tmp_path, monkeypatch):
    layout, growing, contents = make(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trailing, "READ_SIZE", PIECE)
    monkeypatch.setattr(os, "fdatasync", full)
    for piece in range(layout.piece_count):
        write_piece(tmp_path, layout, contents, piece)
    with TrailingHasher(growing, bytearray(b"\1" * layout.piece_count)) as hasher:
        hasher.written()
        with pytest.raises(DiskError, match="No space left"):
            hasher.results()
