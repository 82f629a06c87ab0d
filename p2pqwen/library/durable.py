"""The only writer of trusted files (temporary file, fsync, rename, fsync of the folder), and lock files.

After a crash a reader sees the old bytes or the new ones, never a mixture and never neither.

Files and folders made here are private to the user, 0600 and 0700, whatever the umask: a home shows what its owner
holds and fetches, and from whom. Only `SHARED` makes files that others may read, as far as the umask allows: payload
and its torrents, a published site, and files that the user named.
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
"""Above this many files, their whole file system is synced: one wait for the disk instead of one for each file."""
_READ_SIZE = 1 << 18  # bytes at a time
_AT_ONCE = 1024  # temporary files that are renamed together
_LOOKERS, _LOOKING = 1000, 0.001  # how often, and for how many seconds each time, we wait for processes that only look
_TEMPORARY = re.compile(r"\.(.+)\.[0-9]+-[0-9a-f]{8}\.tmp", re.ASCII)
_TRIES = 10  # to make a folder that other processes remove while it is empty


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

    Without `sync` the write is not durable: for files that matter only now.
    """
    with replacing(path, mode=mode, sync=sync) as file:
        file.write(data)


def write_many(root: Path, given: Iterable[tuple[Path, bytes]], *, mode: int = PRIVATE) -> None:
    """Write files below `root` as `write` does, but wait for the disk once for many of them; raises `DiskError`.

    A file gets its name only once its content is on the disk. `given` is consumed lazily.
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
    """Rename the temporary files to their names, and remove them from the list."""
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
    """Return these folders and their parents, up to and including `root`."""
    found: set[Path] = set()
    for folder in folders:
        while folder not in found and folder.is_relative_to(root):
            found.add(folder)
            folder = folder.parent  # noqa: PLW2901 - up the tree
    return found


def _sync_all(folders: Iterable[Path], paths: Collection[Path], sync: Callable[[Path], None]) -> None:
    """Sync these files or folders: each one, or, if there are many, the file systems of `folders`."""
    if len(paths) > MANY:
        disks = {folder.stat().st_dev: folder for folder in folders}  # one may be a link to another disk
        if all(files.sync_file_system(folder) for folder in disks.values()):
            return
    for path in paths:
        sync(path)


def write_pieces(path: Path, pieces: Iterable[bytes], *, mode: int = PRIVATE) -> None:
    """Do what `write` does, for content that comes in pieces; raises what `write` and `pieces` raise."""
    with replacing(path, mode=mode) as file:
        file.writelines(pieces)


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = PRIVATE, sync: bool = True) -> Iterator[BinaryIO]:
    """Do what `write` does, for content that the block writes; the file gets its name when the block ends."""
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
    """Return a free temporary name beside a path, and make its folder; raises `OSError`."""
    make_folder(path.parent, shared=shared, sync=sync)
    return path.parent / f".{_short(path.name)}.{os.getpid()}-{secrets.token_hex(4)}.tmp"


def target_of(temporary: str) -> str | None:
    """Return the name that a temporary file was to get, None if `temporary_beside` did not name it.

    A temporary file exists while its writer writes, and for ever if the writer was killed.
    """
    found = _TEMPORARY.fullmatch(temporary)
    return None if found is None else found[1]


def _short(name: str) -> str:
    return os.fsencode(name)[:200].decode("ascii", "replace").replace("\ufffd", "_")  # a name has 255 bytes


def open_private(path: Path, flags: int) -> int:
    """Open a file that only the user may read; create it and its folder if missing. Raises `OSError`.

    A file that others may read, made by an older version, becomes private.
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
    """Rename a file or folder durably, and make its new parent as `make_folder` does; raises `DiskError`."""
    with disk_errors(f"rename {source} to {target}"):
        for left in range(_TRIES, 0, -1):
            make_folder(target.parent, shared=shared)
            try:
                source.replace(target)  # `rename` takes no other file's place on Windows
                break
            except FileNotFoundError:  # another process removed the folder, which was empty until now
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
    """Make a folder and its parents, each durably: a lost folder loses what it contains. Raises `OSError`.

    Without `sync` the caller makes them durable.
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
        except FileNotFoundError:  # another process removed the parent, which was empty until now
            if left == 1:
                raise
    if not shared:
        give_mode(folder, 0o700)
    if sync:
        sync_folder(folder.parent)


def sync_tree(folder: Path) -> None:
    """Make every file below a folder durable, and every name: the files first, then the folders, this one last.

    Symlinks are synced as names and not followed. A file that is on the disk already still costs a system call. If
    there are many files, this also waits for what others wrote to the same file system. Raises `DiskError`.
    """
    if not folder.is_dir():
        return
    with disk_errors(f"flush {folder} to its disk"):
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


def read(path: Path, *, max_bytes: int, pipe: bool = False) -> bytes:
    """Read a whole file of at most `max_bytes`; raises `NotFoundError`, `FormatError` (too large), `DiskError`.

    `pipe`: the path may name a pipe too, as `<(…)` in a shell does.
    """
    with disk_errors(f"read {path}"):
        try:
            file = files.open_plain_or_pipe(path) if pipe else files.open_plain(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"no file {path}") from error
        with file:
            data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise FormatError(f"file {path} is too large", expected=f"at most {max_bytes} bytes")
    return data


def read_pieces(path: Path) -> Iterator[bytes]:
    """Yield a file in pieces, whatever its size; raises what `read` does, except for size."""
    with disk_errors(f"read {path}"):
        try:
            file = files.open_plain(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"no file {path}") from error
        with file:
            while piece := file.read(_READ_SIZE):
                yield piece


class SharedLock:
    """A lock file that many processes hold at once, each until it closes it or ends; `alone` makes it exclusive."""

    def __init__(self, path: Path) -> None:
        """Join the holders, and wait while one is alone; raises `DiskError`."""
        with disk_errors(f"open the lock {path}"):
            self._descriptor = open_private(path, os.O_RDWR)
            self._lock = file_lock(self._descriptor)
            self._lock.take(shared=True, wait=True)

    def close(self) -> None:
        """Release the lock."""
        if self._descriptor >= 0:
            self._lock.free()
            os.close(self._descriptor)
            self._descriptor = -1

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Yield whether no other process holds it; if so, none can join before the block ends.

        Call this under another lock that every joiner needs too: changing between shared and exclusive frees the lock
        first.
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
    """Hold an exclusive lock file that contains our pid; the system frees it when the process ends.

    Raises `DiskError`, and `LockHeldError` if another process has it and `wait` is false.
    """
    with disk_errors(f"open the lock {path}"):
        descriptor = open_private(path, os.O_RDWR)
    try:
        with disk_errors(f"lock {path}"):
            held = file_lock(descriptor)
            if not (held.take(wait=True) if wait else _take_at_once(held, path)):
                raise LockHeldError(path, files.read_at(descriptor, 20, 0).decode("ascii", "replace").strip(), hint)
        with contextlib.suppress(OSError):  # on a full disk, the lock holds without our pid
            os.ftruncate(descriptor, 0)
            files.write_at(descriptor, f"{os.getpid()}\n".encode(), 0)
        try:
            yield
        finally:
            held.free()
    finally:
        os.close(descriptor)


def _take_at_once(held: FileLock, path: Path) -> bool:
    """Take a lock unless another process holds it. `is_locked` shares a lock for a moment; wait for that to end."""
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
