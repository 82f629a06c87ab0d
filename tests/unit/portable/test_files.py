"""Both ways of everything that is done to files: this system's own, and that of a system that has nothing of it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from p2pqwen.library.linking import Placement, place
from p2pqwen.portable import files

HOLE, DATA = 1 << 20, 1 << 16
ABSENT = (
    "fdatasync", "posix_fadvise", "SEEK_DATA", "SEEK_HOLE",
)  # fmt: skip


@pytest.fixture(params=["here", "elsewhere"])
def system(request, monkeypatch):
    """Run a test here, and once more as where nothing of Linux is."""
    if request.param == "elsewhere":
        for name in ABSENT:
            monkeypatch.delattr(os, name)
        monkeypatch.setattr(files, "_fcntl", None)
        monkeypatch.setattr(files, "_FOLDER", 0)
        monkeypatch.setattr(files, "_NO_LINK", 0)
        monkeypatch.setattr(files, "read_at", files._seek_and_read)
        monkeypatch.setattr(files, "write_at", files._seek_and_write)
    return request.param


@pytest.fixture
def sparse(tmp_path):
    """Open a file that is a hole, data, and a hole to its end."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.seek(HOLE)
        file.write(b"\1" * DATA)
        file.truncate(HOLE + DATA + HOLE)
    descriptor = os.open(path, os.O_RDWR)
    if os.lseek(descriptor, 0, os.SEEK_DATA) != HOLE:
        pytest.skip("this file system keeps no holes")
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    ("start", "size", "here", "elsewhere"),
    [
        (0, HOLE, False, True),
        (0, HOLE + 1, True, True),
        (HOLE, 1, True, True),
        (HOLE + DATA, HOLE, False, True),
        (HOLE + DATA + HOLE, 1, False, False),  # behind the end
    ],
)
def test_a_range_that_is_all_hole(sparse, system, start, size, here, elsewhere):
    assert files.has_data(sparse, start, size) is (here if system == "here" else elsewhere)


@pytest.mark.parametrize(
    ("offset", "here", "elsewhere"),
    [
        (0, 0, HOLE + DATA + HOLE),
        (HOLE, HOLE + DATA, HOLE + DATA + HOLE),
        (HOLE + DATA, HOLE + DATA, HOLE + DATA + HOLE),
        (3 * HOLE, 3 * HOLE, 3 * HOLE),  # behind the end
    ],
)
def test_where_the_next_hole_is(sparse, system, offset, here, elsewhere):
    assert files.hole_after(sparse, offset) == (here if system == "here" else elsewhere)
    assert os.lseek(sparse, 0, os.SEEK_CUR) == offset


@pytest.mark.parametrize(("error", "found"), [(errno.EINVAL, True), (errno.ENXIO, False)])
def test_a_file_system_that_does_not_know_is_believed_to_have_data(tmp_path, monkeypatch, error, found):
    def refuse(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "lseek", refuse)
    assert files.has_data(0, 0, 1) is found


def test_reading_and_writing_at_a_place(tmp_path, system):
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    assert files.write_at(descriptor, b"abcdef", 2) == 6
    assert files.read_at(descriptor, 3, 3) == b"bcd"
    assert files.read_at(descriptor, 9, 6) == b"ef"
    assert files.read_at(descriptor, 9, 8) == b""
    os.close(descriptor)


def test_what_is_written_out(tmp_path, system, monkeypatch):
    synced: list[tuple[str, str]] = []

    def noting(name):
        real = getattr(os, name)

        def sync(descriptor):
            real(descriptor)
            synced.append((name, Path(f"/proc/self/fd/{descriptor}").readlink().name))

        monkeypatch.setattr(os, name, sync)

    noting("fsync")
    if system == "here":
        noting("fdatasync")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(b"bytes")
    with (folder / "file").open("rb") as file:
        files.sync_data(file.fileno(), folder / "file")
    files.sync_file(folder / "file")
    files.sync_folder(folder)
    here = [("fdatasync", "file"), ("fsync", "file"), ("fsync", "folder")]
    assert synced == (here if system == "here" else [("fsync", "file"), ("fsync", "file")])


def test_a_whole_file_system_is_written_out_where_a_call_does_that(tmp_path, monkeypatch):
    assert files.sync_file_system(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.sync_file_system(tmp_path / "gone")
    monkeypatch.setattr(files, "_ctypes", SimpleNamespace(CDLL=lambda *_, **__: SimpleNamespace()))
    assert not files.sync_file_system(tmp_path)


def test_what_the_disk_could_not_take_is_said(tmp_path, monkeypatch):
    library = SimpleNamespace(syncfs=lambda descriptor: -1)
    stands_in = SimpleNamespace(CDLL=lambda *_, **__: library, get_errno=lambda: errno.EIO)
    monkeypatch.setattr(files, "_ctypes", stands_in)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        files.sync_file_system(tmp_path)


def test_macos_writes_out_more_than_fsync_does(tmp_path, monkeypatch):
    asked = []
    monkeypatch.delattr(os, "fdatasync")
    stands_in = SimpleNamespace(F_FULLFSYNC=51, fcntl=lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(files, "_fcntl", stands_in)
    files.sync_data(7, tmp_path / "file")
    assert asked == [(7, 51)]


def test_windows_tells_what_a_file_takes(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    state = path.stat()
    assert files.allocated(path) == files.allocated(path, state) == state.st_blocks * 512
    no_blocks = SimpleNamespace(st_size=1000)
    assert files.allocated(path, no_blocks) == 1000

    def compressed(name, high):
        assert name == str(path)
        high._obj.value = 3
        return answers.pop()

    answers = [0xFFFFFFFF, 512 - 2**32, 512]  # a C function returns a signed number
    kernel = SimpleNamespace(GetCompressedFileSizeW=compressed, GetLastError=lambda: 5)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    assert files.allocated(path, no_blocks) == (3 << 32) + 512
    assert files.allocated(path, no_blocks) == (3 << 32) + 512
    with pytest.raises(OSError, match="does not say"):
        files.allocated(path, no_blocks)


def test_a_clone_is_made_or_nothing(tmp_path, system):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"bytes")
    if files.clone(source, target):
        assert target.read_bytes() == b"bytes"
    else:
        assert not target.exists()
        assert place(source, target) is Placement.COPY
        assert target.read_bytes() == b"bytes"


def test_what_cannot_be_cloned_is_tried_once(tmp_path, monkeypatch):
    """A try makes a file and drops it: of 10,000 files only the first shall cost that."""
    tried = []

    def ioctl(*_: object) -> None:
        tried.append(1)
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(files, "_fcntl", SimpleNamespace(ioctl=ioctl))
    monkeypatch.setattr(files, "_without_clones", set())
    (tmp_path / "source").write_bytes(b"bytes")
    assert [files.clone(tmp_path / "source", tmp_path / "target") for _ in range(3)] == [False] * 3
    assert len(tried) == 1
    assert not (tmp_path / "target").exists()


def test_a_clone_by_the_ioctl(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_without_clones", set())
    (tmp_path / "source").write_bytes(b"bytes")
    asked = []
    stands_in = SimpleNamespace(ioctl=lambda writer, request, reader: asked.append((request, os.pread(reader, 9, 0))))
    monkeypatch.setattr(files, "_fcntl", stands_in)
    assert files.clone(tmp_path / "source", tmp_path / "target")
    assert asked == [(0x40049409, b"bytes")]


def test_a_clone_that_fails_otherwise_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_without_clones", set())

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "source").write_bytes(b"bytes")
    monkeypatch.setattr(fcntl, "ioctl", full)
    with pytest.raises(OSError, match="No space"):
        files.clone(tmp_path / "source", tmp_path / "target")
    assert not (tmp_path / "target").exists()


@pytest.fixture
def tree(tmp_path):
    """Return a folder with a file two folders down, and links of all kinds beside it."""
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").write_bytes(b"inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"outside")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "a" / "name").symlink_to(tmp_path / "outside" / "file")
    os.mkfifo(root / "a" / "fifo")
    return root


def test_a_file_below_a_folder(tree, system):
    descriptor = files.open_beneath(tree, ("a", "b", "file"))
    assert os.read(descriptor, 100) == b"inside"
    os.close(descriptor)


@pytest.mark.parametrize("parts", [("link", "file"), ("a", "name"), ("a", "b", "file", "more"), ("a", "none"), ("no",)])
def test_a_way_with_a_link_in_it_leads_nowhere(tree, system, parts):
    with pytest.raises(OSError):  # noqa: PT011 - which one differs
        files.open_beneath(tree, parts)


def test_a_fifo_does_not_hang_it(tree, system):
    try:
        os.close(files.open_beneath(tree, ("a", "fifo")))
    except OSError:
        assert system == "elsewhere"


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_swapped_while_it_is_opened_is_not_given(tree, system, monkeypatch, what):
    real = os.open

    def swap_first(path, flags, *rest, **more):
        if Path(path).name == "file":
            if what == "file":
                (tree / "a" / "b" / "file").unlink()
                (tree / "a" / "b" / "file").symlink_to(tree.parent / "outside" / "file")
            else:
                (tree / "a" / "b").rename(tree / "a" / "was")
                (tree / "a" / "b").symlink_to(tree.parent / "outside")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", swap_first)
    monkeypatch.setattr(os, "supports_dir_fd", {swap_first})
    try:
        descriptor = files.open_beneath(tree, ("a", "b", "file"))
    except OSError:
        return
    assert (system, what) == ("here", "folder")  # the folder that was opened is still the one it was
    assert os.read(descriptor, 100) == b"inside"
    os.close(descriptor)


def test_a_file_that_is_a_link_is_not_opened(tree, system):
    with pytest.raises(OSError, match="symbolic links"):
        files.open_no_link(tree / "a" / "name")
    os.close(files.open_no_link(tree / "a" / "b" / "file"))


def test_the_page_cache(tmp_path, system, monkeypatch):
    asked = []
    if system == "here":
        monkeypatch.setattr(os, "posix_fadvise", lambda *arguments: asked.append(arguments))
    files.drop_cached(5)
    assert asked == ([(5, 0, 0, os.POSIX_FADV_DONTNEED)] if system == "here" else [])


@pytest.mark.parametrize("on_windows", [False, True])
def test_a_second_name_of_an_open_file(tmp_path, monkeypatch, on_windows):
    if on_windows:
        monkeypatch.setattr(files, "_fcntl", None)
    (source := tmp_path / "source").write_bytes(b"content")
    link = tmp_path / "link"
    with source.open("rb"):
        assert files.link_opened(source, link) is not on_windows
    assert link.exists() is not on_windows
    assert files.link_opened(source, link) is False  # where something stands already
