"""The Hugging Face cache: find a file in it, and lay a verified snapshot into it as huggingface_hub 2.x would.

    <root>/models--org--name/blobs/<etag>               content; etag is the SHA-256 for LFS, else the git blob id
    <root>/models--org--name/snapshots/<commit>/<path>  relative symlinks to blobs; real files where links do not work
    <root>/models--org--name/trees/<commit>.json        the whole commit, so that a partial snapshot shows as partial
    <root>/models--org--name/.no_exist/<commit>/<name>  empty: the commit has no such file (see `looked_for`)
    <root>/models--org--name/refs/p2pqwen/<commit>      our own ref, so that `hf cache prune` keeps the snapshot
    <root>/models--org--name/refs/<name>                40 hex digits without a newline; written last, on request
    <root>/.locks/models--org--name/<etag>.lock         huggingface_hub's own lock, taken around each blob
    <root>/blobs/<2 digits>/<Xet hash>                  what several repositories share (see `shared_blobs`)

Sources: huggingface_hub's "Understand caching", and file_download.py, _tree_cache.py, _shared_blobs.py of 2.4.0.

A blob may be a symlink into a store that other repositories share. So a blob is never modified in place: a correct one
is kept, and a wrong one is replaced by rename and reported. Several users may share the cache, so our files get the
mode and the group of any new file there. When everything is already in place, nothing is written and no lock is taken.
Every change goes through `CachePlace`, which does not follow links that other users placed.

Other programs trust the cache as they trust the Hub. So a snapshot enters only with an `Admission`, which only the
judgement of its standing issues (`index.standing`), and only under the name that was judged. If the cache has other
content for the same commit, a proven snapshot replaces it; any other is refused before anything is written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from p2pqwen.errors import DiskError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.hub.cache_place import CachePlace
from p2pqwen.hub.cache_refs import CachedRef, all_refs, own_ref, read_ref
from p2pqwen.hub.cache_tree import TREE_FORMAT, names_to_mark, read_tree, tree_entry, without_xet
from p2pqwen.index.standing import Admission, NotAdmittedError, Standing
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.portable.files import sync_file, sync_folder
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.digest import Sha256
from p2pqwen.values.listing import ListedFile
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.snapshot_place import cache_folder

if TYPE_CHECKING:
    from p2pqwen.hub.shared_blobs import SharedBlobs

LOCK_SECONDS = 120.0
_TEMPORARY = ".p2pqwen-tmp"
_LEFT_AFTER = 3600.0
_ROUND = "--no-hf-cache does without it"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_FOR_WANT_OF_LINKS = _FULL | {errno.EACCES, errno.EROFS}
_TAG = """Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by p2pqwen.
# For information about cache directory tags, see:
#\thttps://bford.info/cachedir/
"""

Place = Callable[[Path, Path], object]
"""Create the second path with the content of the first: reflink, hard link or copy."""
XetNaming = Callable[[SnapshotId, Mapping[Sha256, Path]], Mapping[Sha256, str]]
"""Compute the Xet hashes of a snapshot's verified files; leaves out those that cannot be computed."""


class CacheNotWrittenError(DiskError):
    """The cache cannot be read or written: it is read-only, full, or another user's. The message has the path."""


class CacheBusyError(P2pqwenError):
    """Another program has held a blob's lock for too long."""


class HubCache:
    """The cache under one `HF_HUB_CACHE`. Methods raise `CacheNotWrittenError` unless they say otherwise."""

    def __init__(self, root: Path, xet_naming: XetNaming = lambda *_: {}) -> None:
        """`xet_naming` gives the names under which other repositories find the files laid here."""
        self.root = root
        self._cache = CachePlace(root)
        self._xet_naming = xet_naming

    @cached_property
    def _shared(self) -> SharedBlobs:
        from p2pqwen.hub.shared_blobs import SharedBlobs

        return SharedBlobs(self.root, self._cache)

    def find(self, repo: RepoId, file: ListedFile | FileRow) -> Path | None:
        """Return where this file's content should be, by name and size; the caller hashes it before using it.

        An LFS file is found in any repository's blobs, since its blob is named after its SHA-256. Returns None for what
        cannot be read; raises nothing.
        """
        try:
            for candidate in self._candidates(repo, file):
                if _is_readable(candidate, file.size):
                    return candidate
        except OSError:  # another user's folder
            return None
        return None

    def snapshot_folder(self, snapshot: SnapshotId) -> Path:
        """Return where readers of the cache look for this snapshot's files."""
        return self._repo_folder(snapshot.repo) / "snapshots" / str(snapshot.commit)

    def holds(self, snapshot: SnapshotId) -> bool:
        """Tell whether the snapshot has a folder here that we may see; raises nothing."""
        return os.path.isdir(self.snapshot_folder(snapshot))  # noqa: PTH112 - False for a forbidden one

    def missing(self, snapshot: SnapshotId, rows: Iterable[FileRow], payload: Path) -> list[RepoPath]:
        """Return the rows' files that readers do not find here; `payload/<path>` is their verified content.

        A file is present if it is the payload's file or has the row's SHA-256; that is checked by reading all of it.
        """
        folder = self.snapshot_folder(snapshot)
        with self._disk_errors(f"read {snapshot} in the Hugging Face cache"):
            return [row.path for row in rows if not _is_laid(folder / row.path.text, payload / row.path.text, row)]

    def ref(self, repo: RepoId, name: str) -> CachedRef | None:
        """Return a ref such as `main`, or None."""
        with self._disk_errors(f"read refs/{name} of {repo}"):
            return read_ref(self._repo_folder(repo), RepoPath(name).text)

    def materialise(
        self,
        admission: Admission,
        payload: Path,
        *,
        place: Place,
        only: Collection[RepoPath] | None = None,
        ref: str | None = None,
        report: Report = ignore,
    ) -> Path:
        """Lay an admitted snapshot's verified files, `payload/<path>`, into the cache and return its folder there.

        `only` are the files that the payload has (None: all). `ref` (such as `main`) is made to point at the commit.
        Raises `VerificationError` for a payload file of another size, `NotAdmittedError` if the cache has other content
        that must stay, and `CacheBusyError`. Markers and our own ref help loaders but are not needed: a failure to
        write them is only reported.
        """
        snapshot, rows = admission.snapshot, admission.rows
        folder = self.snapshot_folder(snapshot)
        laying = _Laying(
            self._cache, self._shared, self._repo_folder(snapshot.repo), folder, payload, place, report, admission
        )
        with self._disk_errors(f"put {snapshot} into the Hugging Face cache"):
            laying.refuse_links(ref)
            if not admission.replaces:
                laying.refuse_other_content()
            missing = [row for row in rows if (only is None or row.path in only) and not laying.is_laid(row)]
            if missing:
                self._require_room(payload, size := sum(row.size for row in missing))
                if size and self._is_apart(payload):
                    what = f"{format_size(size)} of {snapshot} are copied into the Hugging Face cache"
                    why = f"a second copy, since {self.root} is on another disk; --no-hf-cache makes none"
                    report(Notice("info", f"{what}: {why}"))
                self._cache.make_root("CACHEDIR.TAG", _TAG)
                laying.begin()
                if laying.shares:
                    files = {row.sha256: payload / row.path.text for row in missing if row.lfs}
                    laying.xet_hashes = self._xet_naming(snapshot, files) if files else {}
            for row in missing:
                with self._lock(snapshot.repo, _etag(row)):
                    laying.lay(row)
            laying.write_tree()
            laying.remove_wrong_markers()
            laying.sync()
            laying.write_aids()
            laying.mend_refs()
            if ref is not None:
                laying.write_ref(RepoPath(ref))
        return folder

    def _require_room(self, payload: Path, size: int) -> None:
        """Raise `OSError` if these bytes must be copied to another disk that has no room for them."""
        if self._is_apart(payload) and _free(self._existing) < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.root))

    @property
    def _existing(self) -> Path:
        """The cache, or the nearest folder above it that exists."""
        return next(path for path in (self.root, *self.root.parents) if path.is_dir())

    def _is_apart(self, payload: Path) -> bool:
        return _on_another_disk(self._existing, payload)

    def _candidates(self, repo: RepoId, file: ListedFile | FileRow) -> Iterator[Path]:
        own = self._repo_folder(repo)
        etag = _etag(file)
        yield own / "blobs" / etag
        if _is_lfs(file):
            yield from (other / "blobs" / etag for other in sorted(self.root.glob("*s--*")))
            if isinstance(file, ListedFile) and file.xet_hash and (store := self._shared.find(file.xet_hash)):
                yield store
        # Where links do not work, huggingface_hub keeps the content in the snapshots themselves.
        held = (commit / file.path.text for commit in sorted(own.glob("snapshots/*")))
        yield from (path for path in held if not path.is_symlink())

    def _repo_folder(self, repo: RepoId) -> Path:
        return self.root / cache_folder(repo)

    @contextmanager
    def _lock(self, repo: RepoId, etag: str) -> Iterator[None]:
        from huggingface_hub.utils._fixes import WeakFileLock

        path = self.root / ".locks" / self._repo_folder(repo).name / f"{etag}.lock"
        self._cache.make_lock_folder(path)
        with ExitStack() as held:
            try:
                held.enter_context(WeakFileLock(path, timeout=LOCK_SECONDS))
            except TimeoutError as error:
                raise CacheBusyError(
                    f"another program is writing {etag} of {repo} into the Hugging Face cache",
                    hint=f"if there is none, remove {path}",
                ) from error
            except OSError as error:  # another user's, closed to us
                raise OSError(error.errno, error.strerror or str(error), str(path)) from error
            yield

    @contextmanager
    def _disk_errors(self, doing: str) -> Iterator[None]:
        """Turn a disk's errors into `CacheNotWrittenError`, which names the path and a way around it."""
        try:
            yield
        except CacheNotWrittenError:
            raise
        except DiskError as error:  # from the `Place` function
            raise CacheNotWrittenError(f"cannot {doing}: {error.what}", got=error.got, hint=_ROUND) from error
        except OSError as error:
            path = error.filename2 or error.filename or self.root
            hint = f"make it writable, or set HF_HUB_CACHE to a folder of your own; {_ROUND}"
            if error.errno in _FULL:
                hint = f"free some space, or set HF_HUB_CACHE to a larger disk; {_ROUND}"
            elif error.errno == errno.ELOOP:
                hint = f"remove the link, or set HF_HUB_CACHE to a folder of your own; {_ROUND}"
            raise CacheNotWrittenError(
                f"cannot {doing}: {path}", got=error.strerror or str(error), hint=hint
            ) from error


class _Laying:
    """One snapshot on its way into the cache. Methods raise `OSError`."""

    def __init__(
        self,
        cache: CachePlace,
        shared: SharedBlobs,
        repo_folder: Path,
        folder: Path,
        payload: Path,
        place: Place,
        report: Report,
        admission: Admission,
    ) -> None:
        self._cache, self._shared = cache, shared
        self.xet_hashes: Mapping[Sha256, str] = {}
        self._repo_folder, self._folder, self._payload = repo_folder, folder, payload
        self._place, self._report, self._admission = place, report, admission
        self._kind, self._commit = admission.snapshot.repo.kind, str(admission.snapshot.commit)
        self._tree = repo_folder / "trees" / f"{self._commit}.json"
        self._markers = repo_folder / ".no_exist" / self._commit
        self._blobs = repo_folder / "blobs"
        self._use_links = True
        self._new_file: os.stat_result | None = None
        self._touched: set[Path] = set()

    def refuse_links(self, ref: str | None) -> None:
        """Raise `OSError` if a folder that will be written to is a link; call it before writing anything."""
        needed = [self._folder / row.path.text for row in self._admission.rows]
        needed += [self._blobs / "a blob", self._tree]
        if ref is not None:
            needed.append(self._repo_folder / "refs" / RepoPath(ref).text)
        for path in needed:
            self._cache.require_plain(path)

    def refuse_other_content(self) -> None:
        """Raise `NotAdmittedError` if the cache shows other content for the commit than was admitted."""
        rows = self._admission.rows
        known: Mapping[str, object] = {}
        with suppress(PermissionError):  # another user's, closed to us
            known = read_tree(self._tree) or {}
        listed = {row.path.text: tree_entry(row) for row in rows}
        other = [
            name for name in sorted(known.keys() | listed) if known and without_xet(known.get(name)) != listed.get(name)
        ]
        other += [row.path.text for row in rows if self._shows_other_content(row)]
        for path in self._wrong_markers():
            self._cache.require_plain(path)  # otherwise the hint below would name another user's folder
            other.append(path.relative_to(self._markers).as_posix())
        if other:
            raise NotAdmittedError(
                f"the Hugging Face cache has another {other[0]} of {self._admission.snapshot}, which is kept",
                expected="a proven snapshot, to replace it",
                got=f"one that is {self._admission.standing}",
                hint=f"if the cache is wrong, remove {self._folder}, {self._markers} and {self._tree}",
            )

    def _shows_other_content(self, row: FileRow) -> bool:
        pointer = self._folder / row.path.text
        if not pointer.is_file() or (pointer.is_symlink() and pointer.readlink().name == _etag(row)):
            return False
        return not _holds(pointer, row)

    def is_laid(self, row: FileRow) -> bool:
        """Tell whether the content is already where readers look for it."""
        return _is_laid(self._folder / row.path.text, self._payload / row.path.text, row)

    def begin(self) -> None:
        """Make the folders; find out the mode and group of a new file here, and whether links work."""
        self._cache.make_folder(self._folder)
        self._cache.make_folder(self._blobs)
        self._tidy()
        self._touched |= {self._folder, self._blobs}
        probe = self._blobs / f"{_TEMPORARY}-{secrets.token_hex(4)}"
        self._cache.write_new(probe)
        self._new_file = probe.stat()
        self._cache.remove(probe)
        from huggingface_hub import constants

        self._use_links = not constants.HF_HUB_DISABLE_SYMLINKS and _links_work(self._cache, probe)

    def _tidy(self) -> None:
        """Remove what killed runs left; the temporary files of a live run are younger than an hour."""
        with suppress(OSError):
            for folder in (self._repo_folder, self._blobs):
                for path in folder.glob(f"{_TEMPORARY}-*"):
                    if time.time() - path.lstat().st_mtime > _LEFT_AFTER:
                        self._cache.remove(path)

    def lay(self, row: FileRow) -> None:
        """Put one file's blob and the link to it in place; the caller holds the blob's lock."""
        pointer = self._folder / row.path.text
        self._cache.make_folder(pointer.parent)
        if not self._use_links:
            self._put(row, pointer)
            return
        self._put_shared(row, self._blobs / _etag(row))
        self._link(row, pointer)

    @property
    def shares(self) -> bool:
        """Whether a blob may be a link into the store that repositories share; call `begin` first."""
        from p2pqwen.hub.shared_blobs import sharing_is_on

        return self._use_links and sharing_is_on()

    def _put_shared(self, row: FileRow, blob: Path) -> None:
        """Put a blob in place: a new one goes into the shared store if its Xet hash is known."""
        xet_hash = self.xet_hashes.get(row.sha256)
        if xet_hash is None or (blob.is_file() and self._is_right(row, blob)):
            self._put(row, blob)
            return
        right, temporary = (lambda path: self._is_right(row, path)), self._temporary(row)
        if not os.path.lexists(blob) and self._shared.lead(blob, xet_hash, right, temporary):
            self._touched.add(blob.parent)
            return
        self._put(row, blob)
        if self._shared.share(blob, xet_hash, right, temporary, mends=self._admission.mends):
            what = f"mended {row.path} in the store that repositories of the Hugging Face cache share"
            self._report(Notice("warning", f"{what}: it was damaged for all of them"))
        self._touched |= {blob.parent, blob.resolve().parent}

    def _is_right(self, row: FileRow, path: Path) -> bool:
        return path.samefile(self._payload / row.path.text) or _holds(path, row)

    def _put(self, row: FileRow, target: Path) -> None:
        source = self._payload / row.path.text
        if (size := source.stat().st_size) != row.size:
            raise VerificationError(f"{source} has the wrong size", expected=row.size, got=size)
        if target.is_file():
            if self._is_right(row, target):
                return
            if not self._admission.mends:
                raise NotAdmittedError(
                    f"the Hugging Face cache has other content in {target}, which is kept",
                    expected=f"sha256 {row.sha256}",
                    hint=f"if it is damaged, remove {target}",
                )
            self._report(Notice("warning", f"replaced a damaged copy of {row.path} in the Hugging Face cache"))
        temporary = self._temporary(row)
        self._cache.fill_new(temporary, lambda path: self._place(source, path))
        self._open_to_others(source, temporary)
        sync_file(temporary)
        self._cache.replace(temporary, target)
        self._touched.add(target.parent)

    def _open_to_others(self, source: Path, temporary: Path) -> None:
        """Replace a hard link by a copy if its mode or group would hide it from other readers of the cache.

        A hard link is the library's own file, so its mode must not be changed.
        """
        new, linked = self._new_file, temporary.stat()
        if new is None or linked.st_nlink == 1:
            return
        closed = new.st_mode & ~linked.st_mode & (stat.S_IRGRP | stat.S_IROTH)
        other_group = new.st_gid != linked.st_gid and not linked.st_mode & stat.S_IROTH
        if closed or (other_group and new.st_mode & stat.S_IRGRP):
            self._cache.remove(temporary)
            self._cache.fill_new(temporary, lambda path: shutil.copyfile(source, path))

    def _link(self, row: FileRow, pointer: Path) -> None:
        blob = self._blobs / _etag(row)
        if pointer.is_file() and (pointer.samefile(blob) or (not pointer.is_symlink() and _holds(pointer, row))):
            return
        temporary = self._temporary(row)
        self._cache.link(temporary, os.path.relpath(blob, pointer.parent))
        self._cache.replace(temporary, pointer)
        self._touched.add(pointer.parent)

    def _temporary(self, row: FileRow) -> Path:
        """Return a free name beside the blobs, so that a snapshot never shows a half-written file."""
        temporary = self._blobs / f"{_etag(row)}{_TEMPORARY}"
        self._cache.remove(temporary)  # left by a run that was killed: the lock is ours
        return temporary

    def write_tree(self) -> None:
        """Write the list of the commit's files, unless an equal one is there."""
        rows = sorted(self._admission.rows, key=lambda row: row.path.text)
        files = {row.path.text: tree_entry(row) for row in rows}
        try:
            known = read_tree(self._tree)
        except PermissionError:  # huggingface_hub makes them 0600, so another user's cannot be read
            if not self._admission.replaces:
                return
            known = None
        # huggingface_hub's own list also has xet hashes, so it stays if it agrees.
        if known is None or {name: without_xet(entry) for name, entry in known.items()} != files:
            self._write(self._tree, json.dumps({"format_version": TREE_FORMAT, "files": files}, indent=1))

    def remove_wrong_markers(self) -> None:
        """Remove `.no_exist` markers of files that the commit has: they hide those files from loaders."""
        for path in self._wrong_markers():
            name = path.relative_to(self._markers).as_posix()
            told = f"the Hugging Face cache said that there is no {name}: there is"
            try:
                self._cache.remove_empty(path)
            except OSError as error:
                if error.errno not in {errno.ELOOP, errno.EINVAL}:
                    raise
                told += f", but {error.filename} stays, since {error.strerror}; loaders may not find the file"
            self._report(Notice("warning", told))

    def _wrong_markers(self) -> list[Path]:
        if not self._markers.is_dir():
            return []
        paths = (self._markers / row.path.text for row in self._admission.rows)
        return [path for path in paths if path.is_file()]

    def write_aids(self) -> None:
        """Write the markers that spare loaders requests, and the ref that protects from pruning; only warn on failure.

        Markers need a proven snapshot: an unproven manifest may leave out files that the commit has.
        """
        try:
            if self._admission.standing is Standing.PROVEN:
                for name in names_to_mark(self._kind, self._folder, [row.path for row in self._admission.rows]):
                    self._mark(self._markers / name.text)
            self._point(own_ref(self._commit))
        except OSError as error:
            path = error.filename2 or error.filename
            what = f"cannot write {path}: {error.strerror}; loaders may ask the Hub for files that do not exist"
            self._report(Notice("warning", f"{what}, and `hf cache prune` may delete the snapshot"))

    def _mark(self, marker: Path) -> None:
        self._cache.require_plain(marker)
        if not os.path.lexists(marker):
            self._cache.make_folder(marker.parent)
            self._cache.write_new(marker)

    def mend_refs(self) -> None:
        """Strip blanks from refs that name a held snapshot; raise only if `main` cannot be written."""
        for ref in all_refs(self._repo_folder):
            if ref.mendable and ref.commit is not None:
                told = f"refs/{ref.name} of the Hugging Face cache had blanks after {ref.commit}, which no loader reads"
                try:
                    self._write(self._repo_folder / "refs" / ref.name, ref.commit)
                except OSError as error:
                    if ref.name == "main":
                        raise
                    self._report(Notice("warning", f"{told}: they stay, {error.strerror}"))
                else:
                    self._report(Notice("warning", f"{told}: they are gone"))

    def write_ref(self, name: RepoPath) -> None:
        """Point a ref at the commit; report it if the ref named a snapshot that the cache lacks."""
        before = read_ref(self._repo_folder, name.text)
        if before is not None and not before.held:
            shown = before.commit or f"{before.text[:80]!r}"
            told = f"refs/{name} of the Hugging Face cache named {shown}, of which nothing is there"
            self._report(Notice("warning", f"{told}: it names {self._commit} now"))
        self._point(name.text)

    def _point(self, name: str) -> None:
        """Write 40 hex digits and no newline: readers would take a newline for part of the id."""
        path = self._repo_folder / "refs" / name
        before = read_ref(self._repo_folder, name)
        if before is None or before.text != self._commit:
            self._write(path, self._commit)
            sync_folder(path.parent)

    def sync(self) -> None:
        """Make the renames so far durable."""
        for folder in self._touched:
            sync_folder(folder)

    def _write(self, path: Path, text: str) -> None:
        self._cache.make_folder(path.parent)
        # Not beside it: readers take every file below refs for a ref.
        temporary = self._repo_folder / f"{_TEMPORARY}-{secrets.token_hex(4)}"
        try:
            self._cache.write_new(temporary, text)
            sync_file(temporary)
            self._cache.replace(temporary, path)
        finally:
            self._cache.remove(temporary)
        self._touched.add(path.parent)


def _is_lfs(file: ListedFile | FileRow) -> bool:
    return file.lfs if isinstance(file, FileRow) else file.lfs_sha256 is not None


def _etag(file: ListedFile | FileRow) -> str:
    if isinstance(file, FileRow):
        return str(file.sha256 if file.lfs else file.git_oid)
    return str(file.lfs_sha256 or file.blob_oid)


def _is_laid(pointer: Path, source: Path, row: FileRow) -> bool:
    return pointer.is_file() and (pointer.samefile(source) or _holds(pointer, row))


def _holds(path: Path, row: FileRow) -> bool:
    """Tell whether a file has the row's content."""
    if path.stat().st_size != row.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest() == row.sha256.raw


def _on_another_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev != other.stat().st_dev


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _is_readable(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size and os.access(path, os.R_OK)


def _links_work(cache: CachePlace, probe: Path) -> bool:
    """Tell whether symlinks can be made; raises `OSError` if nothing can be written at all."""
    try:
        cache.link(probe, "nowhere")
        cache.remove(probe)
    except OSError as error:
        if error.errno in _NOT_FOR_WANT_OF_LINKS:
            raise
        return False
    return True
