"""Files: holes, clones, reads at an offset, syncing to the disk, and opening without following links."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Sequence
from io import BufferedReader, FileIO
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Final

from p2pqwen.portable.optional import optional_module

BINARY: Final[int] = getattr(os, "O_BINARY", 0)
"""For `os.open`: without it, Windows changes line endings."""

_FICLONE = 0x40049409  # ioctl_ficlone(2): share extents, copy on write (btrfs, XFS, bcachefs)
FAILING = frozenset({errno.EIO, getattr(errno, "EUCLEAN", errno.EIO)})
"""Error numbers of a failing disk, or of a file system that contradicts itself."""
_NEVER_CLONED = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.ENOSYS})  # for any file there
_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_NO_CLONE = _NEVER_CLONED | {errno.EINVAL, errno.EPERM}
_FOLDER = getattr(os, "O_DIRECTORY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # a FIFO there must not block us
_NO_TERMINAL = getattr(os, "O_NOCTTY", 0)
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_BLOCK = 512
_NO_SIZE = 0xFFFFFFFF  # INVALID_FILE_SIZE

_ctypes = optional_module("ctypes")
_fcntl = optional_module("fcntl")
_moving = threading.Lock()
_without_clones: set[tuple[int, int]] = set()
"""Pairs of devices between which no file can be cloned; remembered, since each try makes a file and deletes it."""


def clone(source: Path, target: Path) -> bool:
    """Create `target` as a clone of `source` that shares its blocks until one of them is written to.

    Return False, without a `target`, if that is not possible. Raises `OSError`, also if the target exists.
    """
    if _fcntl is None or (source.stat().st_dev, target.parent.stat().st_dev) in _without_clones:
        return False
    with source.open("rb") as reader:
        devices = os.fstat(reader.fileno()).st_dev, target.parent.stat().st_dev
        with target.open("xb") as writer:
            try:
                made = _clone_opened(reader.fileno(), writer.fileno(), devices)
            except OSError:
                target.unlink()
                raise
            if not made:
                target.unlink()
    return made


def link_opened(source: Path, link: Path) -> bool:
    """Give an open file a second name, which can be renamed; return False if that is not possible.

    Windows cannot rename any name of an open file.
    """
    if _fcntl is None:
        return False
    with contextlib.suppress(OSError):
        link.hardlink_to(source)
        return True
    return False


def can_clone(source: Path, folder: Path) -> bool:
    """Tell whether `clone` can clone a file into a folder; raises `OSError`.

    The trial file has no name if the system supports that, so that a killed program leaves none there.
    """
    if _fcntl is None:
        return False
    with source.open("rb") as reader:
        devices = os.fstat(reader.fileno()).st_dev, folder.stat().st_dev
        if devices in _without_clones:
            return False
        with tempfile.TemporaryFile(dir=folder) as writer:
            return _clone_opened(reader.fileno(), writer.fileno(), devices)


def _clone_opened(reader: int, writer: int, devices: tuple[int, int]) -> bool:
    if _fcntl is None:
        return False
    try:
        _fcntl.ioctl(writer, _FICLONE, reader)
    except OSError as error:
        if error.errno not in _NO_CLONE:
            raise
        if error.errno in _NEVER_CLONED:
            _without_clones.add(devices)
        return False
    return True


def has_data(descriptor: int, start: int, size: int) -> bool:
    """Tell whether a range is more than a hole, without reading it; True if that is unknown."""
    if not hasattr(os, "SEEK_DATA"):
        return start < os.fstat(descriptor).st_size
    try:
        return os.lseek(descriptor, start, os.SEEK_DATA) < start + size
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False  # a hole to the end, or past the end
        if error.errno == errno.EINVAL:
            return True  # the file system does not know
        raise


def hole_after(descriptor: int, offset: int) -> int:
    """Return where the next hole begins: `offset` itself in a hole or past the end; the end of a file without any.

    Systems and file systems that do not report holes have none here. The file's position stays at `offset`.
    """
    if not hasattr(os, "SEEK_HOLE"):
        os.lseek(descriptor, offset, os.SEEK_SET)
        return max(offset, os.fstat(descriptor).st_size)
    try:
        return os.lseek(descriptor, offset, os.SEEK_HOLE)
    except OSError:
        return offset  # the file is still shorter than that
    finally:
        os.lseek(descriptor, offset, os.SEEK_SET)


def _seek_and_read(descriptor: int, count: int, offset: int) -> bytes:
    with _moving:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, count)


def _seek_and_write(descriptor: int, data: bytes, offset: int) -> int:
    with _moving:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)


read_at: Callable[[int, int, int], bytes] = getattr(os, "pread", _seek_and_read)
"""Return up to `count` bytes from `offset` on: `read_at(descriptor, count, offset)`."""
write_at: Callable[[int, bytes, int], int] = getattr(os, "pwrite", _seek_and_write)
"""Write bytes from `offset` on and return how many: `write_at(descriptor, data, offset)`."""


def sync_data(descriptor: int, path: Path) -> None:
    """Write a file's bytes and size, but not its times, out to the disk. Raises `OSError`.

    `descriptor` is open at `path`, perhaps only for reading: Windows syncs only files that are open for writing.
    """
    if hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    elif _fcntl is not None and hasattr(_fcntl, "F_FULLFSYNC"):
        _fcntl.fcntl(descriptor, _fcntl.F_FULLFSYNC)  # macOS: fsync(2) there stops at the disk's own cache
    else:
        sync_file(path)


def sync_growing(path: Path) -> None:
    """Write out what a file has so far, while others write to it and may move it; raises `OSError`.

    This begins the work that `sync_data` finishes. It does nothing where that is expensive, or where an open file
    cannot be moved.
    """
    if not hasattr(os, "fdatasync"):
        return
    descriptor = open_no_link(path)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> bool:
    """Write out everything on the file system of a folder; return False if no call does that (Linux: syncfs(2)).

    It waits for the disk once, instead of once for each file. Raises `OSError`.
    """
    if _ctypes is None or not _FOLDER:
        return False
    call = getattr(_ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is None:
        return False
    descriptor = os.open(folder, os.O_RDONLY | _FOLDER)
    try:
        if call(descriptor):
            number = _ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
    return True


def sync_file(path: Path) -> None:
    """Write a whole file out to the disk; raises `OSError`."""
    _sync_opened(path, os.O_RDONLY if _fcntl is not None else os.O_RDWR | BINARY)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; raises `OSError`. Windows opens no folders, and NTFS has a journal."""
    if _FOLDER:
        _sync_opened(folder, os.O_RDONLY | _FOLDER)


def _sync_opened(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prefix_of(folder: Path) -> str:
    """Return the text that a path below a folder begins with: to make a `Path` costs more than a system call."""
    return os.path.join(folder, "")  # noqa: PTH118 - as text


def stat_if_there(path: Path | str) -> os.stat_result | None:
    """Return the stat result of a path, links followed; None if there is nothing. Raises `OSError`."""
    try:
        return os.stat(path)  # noqa: PTH116 - of each of many files
    except OSError as error:
        if error.errno in _NOWHERE:
            return None
        raise


def allocated(path: Path | str, found: os.stat_result | None = None) -> int:
    """Return the bytes that a file takes on its disk: fewer than its size if it has holes. Raises `OSError`.

    `found` is its stat result, if the caller has it. If the system does not tell, returns the size.
    """
    state = os.stat(path) if found is None else found  # noqa: PTH116 - of each of many files
    blocks: int | None = getattr(state, "st_blocks", None)
    if blocks is not None:
        return blocks * _BLOCK
    return _compressed_size(path, _ctypes) if _ctypes is not None and hasattr(_ctypes, "windll") else state.st_size


def _compressed_size(path: Path | str, ctypes: ModuleType) -> int:
    """Ask Windows what a sparse or compressed file takes (GetCompressedFileSizeW)."""
    kernel, high = ctypes.windll.kernel32, ctypes.c_ulong(0)
    low = kernel.GetCompressedFileSizeW(str(path), ctypes.byref(high)) & _NO_SIZE
    if low == _NO_SIZE and kernel.GetLastError():
        raise OSError(errno.EIO, f"Windows does not say how much of the disk {path} takes")
    return int(high.value) << 32 | int(low)


def open_plain(path: Path) -> BinaryIO:
    """Do what `open_plain_raw` does, with buffering."""
    return BufferedReader(open_plain_raw(path))


def open_plain_raw(path: Path) -> FileIO:
    """Open a regular file for reading, following links; raises `OSError`, also for anything but a regular file.

    A pipe may have no writer, a device no end, and opening a device may have effects, so these are not even opened.
    """
    _require_plain(path.stat())
    file = FileIO(path, "rb", opener=_without_waiting)
    try:
        _require_plain(os.fstat(file.fileno()))  # in case something took its place
    except OSError:
        file.close()
        raise
    return file


def open_plain_descriptor(path: str) -> tuple[int, os.stat_result]:
    """Open a regular file for reading in two system calls, and look at it; the caller closes the descriptor.

    It is for each of many files: it costs one call less than `open_plain_raw`, but opens a device before it refuses it.
    Raises `OSError`.
    """
    descriptor = _without_waiting(path, os.O_RDONLY | BINARY)
    try:
        found = os.fstat(descriptor)
        _require_plain(found)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, found


def open_plain_or_pipe(path: Path) -> BinaryIO:
    """Do what `open_plain` does, and also open a pipe, such as a shell's `<(…)`.

    A pipe without a writer reads as empty. Another one is read as fast as its writer writes.
    """
    if not stat.S_ISFIFO(path.stat().st_mode):
        return open_plain(path)
    file = FileIO(path, "rb", opener=_without_waiting)
    os.set_blocking(file.fileno(), True)
    return BufferedReader(file)


def _without_waiting(path: str, flags: int) -> int:
    """Open what may be a pipe without waiting for a writer. An `opener` of `open`; `_require_plain` follows."""
    try:
        return os.open(path, flags | _NO_WAIT | _NO_TERMINAL)
    except OSError as error:
        if error.errno == errno.ENXIO:
            _require_plain(os.stat(path))  # noqa: PTH116 - a text, of each of many files
        raise


def _require_plain(found: os.stat_result) -> None:
    """Raise `OSError` for anything but a regular file."""
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFREG:
        return
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise OSError(errno.EINVAL, f"{_KINDS.get(kind, 'something else')}, not a file")


def open_no_link(path: Path) -> int:
    """Open a file for reading, but not through a symbolic link; raises `OSError`."""
    if not _NO_LINK and path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return os.open(path, os.O_RDONLY | BINARY | _NO_LINK)


def open_beneath(folder: Path, parts: Sequence[str]) -> int:
    """Open a file below a folder for reading, without following links on the way; the caller closes it.

    Raises `OSError`. The file need not be a regular one; opening it never blocks.
    """
    if _NO_LINK and os.open in os.supports_dir_fd:
        return _open_step_by_step(folder, parts)
    return _open_between_looks(folder, parts)


def _open_step_by_step(folder: Path, parts: Sequence[str]) -> int:
    """Open each folder inside the one before, so that a link that someone puts there meanwhile leads nowhere."""
    here = os.open(folder, os.O_RDONLY | _FOLDER)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_RDONLY | _FOLDER | _NO_LINK, dir_fd=here)
            os.close(here)
            here = below
        return os.open(parts[-1], os.O_RDONLY | _NO_LINK | _NO_WAIT, dir_fd=here)
    finally:
        os.close(here)


def _open_between_looks(folder: Path, parts: Sequence[str]) -> int:
    """Open a file whose path is the same before and after, without a link or a Windows junction in it."""
    ways = [folder.joinpath(*parts[: count + 1]) for count in range(len(parts))]
    before = [_plain(way) for way in ways]
    if not stat.S_ISREG(before[-1][0]):
        raise OSError(errno.EINVAL, f"{ways[-1]} is not a regular file")
    with contextlib.ExitStack() as stack:
        opened = os.open(ways[-1], os.O_RDONLY | BINARY)
        stack.callback(os.close, opened)
        here = os.fstat(opened)
        if [_plain(way) for way in ways] == before and (here.st_dev, here.st_ino) == before[-1][1:]:
            stack.pop_all()
            return opened
    raise OSError(errno.ELOOP, f"{ways[-1]} was changed while it was opened")


def _plain(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", None):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return stat.S_IFMT(found.st_mode), found.st_dev, found.st_ino


def drop_cached(descriptor: int) -> None:
    """Drop a file's clean pages from the page cache, if the system can; raises `OSError`."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
