"""The only writer of trusted files: temp, fsync, rename, fsync the folder; and locks with their owner shown.

After a crash a reader sees the old bytes or the new ones, never a mixture and never neither.

What is made here is the user's alone, 0600 and 0700, whatever the umask: a home tells what its owner holds, fetches
and from whom. Only who says `SHARED` makes what others may read, as far as the umask allows: payload and its torrents,
a published site, files that the user named.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from p2pqwen.errors import DiskError, FailingDiskError, FormatError, InUseError, NotFoundError
from p2pqwen.portable import files
from p2pqwen.portable.locks import FileLock, file_lock
from p2pqwen.portable.owners import give_mode

PRIVATE = 0o600
SHARED = 0o644
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
MANY = 300
"""Files of a folder: from this many on, their whole file system is synced, in one wait for the disk for all of them."""
_READ_SIZE = 1 << 18  # bytes at a time
_AT_ONCE = 1024  # files that wait for their names together
_LOOKERS, _LOOKING = 1000, 0.001  # how often, and for how many seconds, those are waited for who look at a lock
_TEMPORARY = re.compile(r"\.(.+)\.[0-9]+-[0-9a-f]{8}\.tmp", re.ASCII)
_TRIES = 10  # to make a folder that others tidy away as long as it is empty


@contextlib.contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn an `OSError` of the block into `DiskError`; `doing` completes "cannot …"."""
    try:
        yield
    except OSError as error:
        raise disk_error(doing, error) from error


def disk_error(doing: str, error: OSError) -> DiskError:
    """Return the `DiskError` that `disk_errors` makes of an error."""
    got, hint = error.strerror or str(error), None
    if error.errno in files.FAILING:
        return FailingDiskError(f"cannot {doing}", got=got)
    if error.errno in _FULL:
        hint = "free some space, or point P2PQWEN_HOME at a larger disk"
    elif error.errno in _DENIED:
        hint = "check who owns the folder and whether it is mounted read-only"
    return DiskError(f"cannot {doing}", got=got, hint=hint)


def write(path: Path, data: bytes, *, mode: int = PRIVATE, sync: bool = True) -> None:
    """Put `data` at `path` atomically and durably, creating its folder; raises `DiskError`.

    Not durably without `sync`: for what is of this moment only.
    """
    with replacing(path, mode=mode, sync=sync) as file:
        file.write(data)


def write_many(root: Path, given: Iterable[tuple[Path, bytes]], *, mode: int = PRIVATE) -> None:
    """Put files below `root` as `write` does, and wait for the disk once for many of them; raises `DiskError`.

    Each stands under its name only once its content is on the disk. `given` is read as it is written.
    """
    begun: list[tuple[Path, Path]] = []
    try:
        for path, data in given:
            with disk_errors(f"write {path}"):
                temporary = temporary_beside(path, shared=mode != PRIVATE, sync=False)
                begun.append((temporary, path))
                with _new_file(temporary, mode) as file:
                    file.write(data)
            if len(begun) == _AT_ONCE:
                _let_stand(root, begun)
        _let_stand(root, begun)
    finally:
        for temporary, _ in begun:
            temporary.unlink(missing_ok=True)


def _let_stand(root: Path, begun: list[tuple[Path, Path]]) -> None:
    """Rename files that were begun, and take them off the list."""
    with disk_errors(f"write below {root}"):
        parents = {path.parent for _, path in begun}
        _sync_all(parents, [temporary for temporary, _ in begun], files.sync_file)
        above = _up_to(root, parents)
        while begun:
            temporary, path = begun[-1]
            temporary.replace(path)
            begun.pop()
        _sync_all(above, above, sync_folder)


def _up_to(root: Path, folders: Iterable[Path]) -> set[Path]:
    """Return these folders and all above them, as far as they are below `root` or are it."""
    found: set[Path] = set()
    for folder in folders:
        while folder not in found and folder.is_relative_to(root):
            found.add(folder)
            folder = folder.parent  # noqa: PLW2901 - up the tree
    return found


def _sync_all(folders: Iterable[Path], paths: Collection[Path], sync: Callable[[Path], None]) -> None:
    """Write out files or folders, each by itself, or all file systems of `folders` that hold them."""
    if len(paths) > MANY:
        disks = {folder.stat().st_dev: folder for folder in folders}  # one may be a link to another disk
        if all(files.sync_file_system(folder) for folder in disks.values()):
            return
    for path in paths:
        sync(path)


def write_pieces(path: Path, pieces: Iterable[bytes], *, mode: int = PRIVATE) -> None:
    """Do what `write` does for what comes in pieces; raises what they do, too."""
    with replacing(path, mode=mode) as file:
        file.writelines(pieces)


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = PRIVATE, sync: bool = True) -> Iterator[BinaryIO]:
    """Do what `write` does for what comes in pieces: the block writes them, and the file stands once it has ended."""
    with disk_errors(f"write {path}"):
        temporary = temporary_beside(path, shared=mode != PRIVATE)
        try:
            with _new_file(temporary, mode) as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if sync:
            sync_folder(path.parent)


@contextlib.contextmanager
def _new_file(path: Path, mode: int) -> Iterator[BinaryIO]:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        if mode == PRIVATE:
            give_mode(file.fileno(), mode)
        yield file


def temporary_beside(path: Path, *, shared: bool = False, sync: bool = True) -> Path:
    """Return a free name beside a path, for what is to take its place, and make the folder; raises `OSError`."""
    make_folder(path.parent, shared=shared, sync=sync)
    return path.parent / f".{_short(path.name)}.{os.getpid()}-{secrets.token_hex(4)}.tmp"


def target_of(temporary: str) -> str | None:
    """Return the name of the file that a temporary one was to become, None where `temporary_beside` did not name it.

    A temporary file stands there while its writer writes, and for ever where the writer was killed.
    """
    found = _TEMPORARY.fullmatch(temporary)
    return None if found is None else found[1]


def _short(name: str) -> str:
    return os.fsencode(name)[:200].decode("ascii", "replace").replace("\ufffd", "_")  # a name has 255 bytes


def open_private(path: Path, flags: int) -> int:
    """Open a file of the user's alone, made where it is missing, with its folder; raises `OSError`.

    One that others may read, of an older version, is closed to them.
    """
    make_folder(path.parent)
    descriptor = os.open(path, flags | os.O_CREAT | files.BINARY, PRIVATE)
    try:
        give_mode(descriptor, PRIVATE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def rename(source: Path, target: Path, *, shared: bool = False) -> None:
    """Rename a file or folder durably, into a folder that is made as `make_folder` does; raises `DiskError`."""
    with disk_errors(f"rename {source} to {target}"):
        for left in range(_TRIES, 0, -1):
            make_folder(target.parent, shared=shared)
            try:
                source.replace(target)  # `rename` takes no other file's place on Windows
                break
            except FileNotFoundError:  # somebody removed the folder, which was empty until now
                if left == 1 or target.parent.is_dir():
                    raise
        sync_folder(target.parent)


def remove(path: Path) -> None:
    """Remove a file durably; a missing one is fine; raises `DiskError`."""
    with disk_errors(f"remove {path}"):
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync_folder(path.parent)


def make_folder(folder: Path, *, shared: bool = False, sync: bool = True) -> None:
    """Make a folder and those above it, each durably: what is in a folder that is lost is lost; raises `OSError`.

    Without `sync` somebody else makes them durable.
    """
    for left in range(_TRIES, 0, -1):
        if folder.is_dir():
            return
        make_folder(folder.parent, shared=shared, sync=sync)
        try:
            folder.mkdir(mode=0o777 if shared else 0o700)
            break
        except FileExistsError:
            if not folder.is_dir():
                raise
            return  # another process was first
        except FileNotFoundError:  # somebody removed the parent, which was empty until now
            if left == 1:
                raise
    if not shared:
        give_mode(folder, 0o700)
    if sync:
        sync_folder(folder.parent)


def sync_tree(folder: Path) -> None:
    """Make every file below a folder durable, and every name: the files first, then the folders, this one last.

    Symlinks are names, and not followed. What is on the disk already costs a system call a file; of many files, what
    others wrote to the same file system is waited for too. Raises `DiskError`.
    """
    if not folder.is_dir():
        return
    with disk_errors(f"write {folder} out to its disk"):
        walked = list(os.walk(folder, topdown=False, onerror=_raise))
        many = sum(len(names) for _, _, names in walked) > MANY
        if many and files.sync_file_system(folder):
            return
        for parent, _, names in walked:
            for name in names:
                _sync_file(Path(parent, name))
            sync_folder(Path(parent))


def _sync_file(path: Path) -> None:
    if path.is_symlink():
        return
    descriptor = files.open_no_link(path)
    try:
        files.sync_data(descriptor, path)
    finally:
        os.close(descriptor)


def _raise(error: OSError) -> None:
    raise error


def sync_folder(folder: Path) -> None:
    """Make renames in this folder durable."""
    files.sync_folder(folder)


def read(path: Path, *, max_bytes: int) -> bytes:
    """Read a whole file of at most `max_bytes`; raises `NotFoundError`, `FormatError` (too large), `DiskError`."""
    with disk_errors(f"read {path}"):
        try:
            file = path.open("rb")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"no file {path}") from error
        with file:
            data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise FormatError(f"file {path} is too large", expected=f"at most {max_bytes} bytes")
    return data


def read_pieces(path: Path) -> Iterator[bytes]:
    """Yield a file in pieces; raises what `read` does, but for a size that it does not limit."""
    with disk_errors(f"read {path}"):
        try:
            file = path.open("rb")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"no file {path}") from error
        with file:
            while piece := file.read(_READ_SIZE):
                yield piece


class SharedLock:
    """A lock file that many hold at once, each until it closes it or ends; `alone` makes one of them the only one."""

    def __init__(self, path: Path) -> None:
        """Join those who hold it, waiting for one who is alone; raises `DiskError`."""
        with disk_errors(f"open the lock {path}"):
            self._descriptor = open_private(path, os.O_RDWR)
            self._lock = file_lock(self._descriptor)
            self._lock.take(shared=True, wait=True)

    def close(self) -> None:
        """Leave."""
        if self._descriptor >= 0:
            self._lock.free()
            os.close(self._descriptor)
            self._descriptor = -1

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Tell whether nobody else holds it; then nobody does before the block ends.

        To be called under another lock that whoever joins needs too: a lock is let go of before it is
        taken in the other way.
        """
        try:
            yield self._lock.take()
        finally:
            self._lock.take(shared=True, wait=True)


class LockHeldError(InUseError):
    """Another process holds the lock; `owner` is what it wrote there (its pid)."""

    def __init__(self, path: Path, owner: str, hint: str) -> None:
        self.owner = owner
        super().__init__(
            f"{path.name.removesuffix('.lock')} is in use by process {owner or 'unknown'}",
            hint=hint,
        )


@contextlib.contextmanager
def lock(path: Path, *, wait: bool = False, hint: str = "wait for it to end, or stop it") -> Iterator[None]:
    """Hold an exclusive lock file with our pid in it; freed by the system when the process ends.

    Raises `LockHeldError` when another process has it and `wait` is false, `DiskError`.
    """
    with disk_errors(f"open the lock {path}"):
        descriptor = open_private(path, os.O_RDWR)
    try:
        with disk_errors(f"lock {path}"):
            held = file_lock(descriptor)
            if not (held.take(wait=True) if wait else _take_at_once(held, path)):
                raise LockHeldError(path, files.read_at(descriptor, 20, 0).decode("ascii", "replace").strip(), hint)
        with contextlib.suppress(OSError):  # the lock holds without our pid in it, on a full disk too
            os.ftruncate(descriptor, 0)
            files.write_at(descriptor, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            held.free()
    finally:
        os.close(descriptor)


def _take_at_once(held: FileLock, path: Path) -> bool:
    """Take a lock unless another holds it. Who only looks (`is_locked`) shares it for a moment, and is waited for."""
    for _ in range(_LOOKERS):
        if held.take():
            return True
        if is_locked(path):
            return False
        time.sleep(_LOOKING)
    return held.take()


def is_locked(path: Path) -> bool:
    """Tell whether a process holds the exclusive lock of this file; raises `DiskError`."""
    if not path.exists():
        return False
    with disk_errors(f"look at {path}"), path.open("rb") as file:
        looking = file_lock(file.fileno())
        if not looking.take(shared=True):
            return True
        looking.free()
    return False
