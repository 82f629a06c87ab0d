"""The Hugging Face cache: find a file in it, and lay a verified snapshot into it as huggingface_hub 2.x would.

    <root>/models--org--name/blobs/<etag>               content; etag is the SHA-256 for LFS, else the git blob id
    <root>/models--org--name/snapshots/<commit>/<path>  relative symlinks to blobs; real files where links do not work
    <root>/models--org--name/trees/<commit>.json        the whole commit, so that a partial snapshot shows as partial
    <root>/models--org--name/refs/<name>                40 hex digits without a newline; written last, when asked for
    <root>/.locks/models--org--name/<etag>.lock         huggingface_hub's own lock, taken around each blob

Followed: huggingface_hub's "Understand caching" and file_download.py, _tree_cache.py, _shared_blobs.py of 2.4.0. A
blob may be a symlink into a store that other repositories share, so none is ever written to in place: a right one is
kept, a wrong one is replaced by rename and reported.

What lies here, other programs take for the repository's own word. So a snapshot enters with an `Admission` alone, which
only the judgement of its standing makes (`index.standing`), and under the name that was judged. Where the cache has
other content for the same commit, a proven snapshot replaces it, and any other is refused before anything is written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.utils._fixes import WeakFileLock

from p2pqwen.errors import DiskError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.index.standing import Admission, NotAdmittedError
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.portable.files import sync_file, sync_folder
from p2pqwen.values.listing import ListedFile
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.snapshot_place import cache_folder

TREE_FORMAT = 1
LOCK_SECONDS = 120.0
MAX_TREE_FILE = 64 * 1024 * 1024
_TEMPORARY = ".p2pqwen-tmp"

Place = Callable[[Path, Path], object]
"""Create the second path with the content of the first: reflink, hard link or copy."""


class HubCache:
    """The cache under one `HF_HUB_CACHE`. Every method raises `DiskError`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, repo: RepoId, file: ListedFile | FileRow) -> Path | None:
        """Return where this file's content should be, by name and size; the caller hashes it before using it.

        An LFS file is found in any repository's blobs, since its blob is named after its SHA-256.
        """
        for candidate in self._candidates(repo, file):
            if candidate.is_file() and candidate.stat().st_size == file.size and os.access(candidate, os.R_OK):
                return candidate
        return None

    def snapshot_folder(self, snapshot: SnapshotId) -> Path:
        """Return where readers of the cache look for this snapshot's files."""
        return self._repo_folder(snapshot.repo) / "snapshots" / str(snapshot.commit)

    def ref(self, repo: RepoId, name: str) -> str | None:
        """Return the commit that a ref such as `main` points at, None if there is no such ref."""
        path = self._repo_folder(repo) / "refs" / RepoPath(name).text
        with _disk_errors(f"read {path}"):
            return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else None

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

        `only` are the files that are there (None: all). `ref` (such as `main`) is made to point at the commit. Raises
        `VerificationError` for a payload file of another size, `NotAdmittedError` where the cache has other content
        that must stay, `P2pqwenError` when another program holds a blob's lock for long.
        """
        snapshot, rows = admission.snapshot, admission.rows
        folder = self.snapshot_folder(snapshot)
        laying = _Laying(self._repo_folder(snapshot.repo), folder, payload, place, report, mends=admission.mends)
        with _disk_errors(f"lay {snapshot} into the Hugging Face cache"):
            if not admission.replaces:
                laying.refuse_other_content(admission)
            laying.begin()
            for row in rows:
                if only is None or row.path in only:
                    with self._lock(snapshot.repo, _etag(row)):
                        laying.lay(row)
            laying.write_tree(str(snapshot.commit), rows)
            laying.sync()
            if ref is not None:
                laying.write_ref(RepoPath(ref), str(snapshot.commit))
        return folder

    def _candidates(self, repo: RepoId, file: ListedFile | FileRow) -> Iterator[Path]:
        own = self._repo_folder(repo)
        etag = _etag(file)
        yield own / "blobs" / etag
        if _is_lfs(file):
            yield from (other / "blobs" / etag for other in sorted(self.root.glob("models--*")))
        # Where links do not work, huggingface_hub keeps the content in the snapshots themselves.
        held = (commit / file.path.text for commit in sorted(own.glob("snapshots/*")))
        yield from (path for path in held if not path.is_symlink())

    def _repo_folder(self, repo: RepoId) -> Path:
        return self.root / cache_folder(repo)

    @contextmanager
    def _lock(self, repo: RepoId, etag: str) -> Iterator[None]:
        path = self.root / ".locks" / self._repo_folder(repo).name / f"{etag}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with WeakFileLock(path, timeout=LOCK_SECONDS):
                yield
        except TimeoutError as error:
            raise P2pqwenError(
                f"another program is writing {etag} of {repo} into the Hugging Face cache",
                hint=f"if there is none, remove {path}",
            ) from error


class _Laying:
    """One snapshot on its way into the cache."""

    def __init__(
        self, repo_folder: Path, folder: Path, payload: Path, place: Place, report: Report, *, mends: bool
    ) -> None:
        self._repo_folder, self._folder, self._payload = repo_folder, folder, payload
        self._place, self._report, self._mends = place, report, mends
        self._blobs = repo_folder / "blobs"
        self._use_links = True
        self._touched: set[Path] = {folder, self._blobs}

    def refuse_other_content(self, admission: Admission) -> None:
        """Raise `NotAdmittedError` where the cache says that the commit holds anything else than is admitted."""
        commit = admission.snapshot.commit
        known = _read_tree(self._repo_folder / "trees" / f"{commit}.json") or {}
        listed = {row.path.text: _tree_entry(row) for row in admission.rows}
        other = [
            name
            for name in sorted(known.keys() | listed)
            if known and _without_xet(known.get(name)) != listed.get(name)
        ]
        other += [row.path.text for row in admission.rows if self._shows_other_content(row)]
        if other:
            raise NotAdmittedError(
                f"the Hugging Face cache has another {other[0]} of {admission.snapshot}, which stays",
                expected="a proven snapshot, to replace it",
                got=f"one that is {admission.standing}",
                hint=f"if the cache is wrong, remove {self._folder} and {self._repo_folder}/trees/{commit}.json",
            )

    def _shows_other_content(self, row: FileRow) -> bool:
        pointer = self._folder / row.path.text
        if not pointer.is_file() or (pointer.is_symlink() and pointer.readlink().name == _etag(row)):
            return False
        return not _holds(pointer, row)

    def begin(self) -> None:
        """Make the folders, and see whether links work here."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._blobs.mkdir(exist_ok=True)
        self._use_links = not constants.HF_HUB_DISABLE_SYMLINKS and _links_work(self._blobs / _TEMPORARY)

    def lay(self, row: FileRow) -> None:
        """Put one file's blob and the link to it in place; the blob's lock is held."""
        pointer = self._folder / row.path.text
        pointer.parent.mkdir(parents=True, exist_ok=True)
        if not self._use_links:
            self._put(row, pointer)
            return
        self._put(row, self._blobs / _etag(row))
        self._link(row, pointer)

    def _put(self, row: FileRow, target: Path) -> None:
        source = self._payload / row.path.text
        if (size := source.stat().st_size) != row.size:
            raise VerificationError(f"{source} has the wrong size", expected=row.size, got=size)
        if target.is_file():
            if target.samefile(source) or _holds(target, row):
                return
            if not self._mends:
                raise NotAdmittedError(
                    f"the Hugging Face cache has other content in {target}, which stays",
                    expected=f"sha256 {row.sha256}",
                    hint=f"if it is damaged, remove {target}",
                )
            self._report(Notice("warning", f"replaced a damaged copy of {row.path} in the Hugging Face cache"))
        temporary = self._temporary(row)
        self._place(source, temporary)
        sync_file(temporary)
        temporary.replace(target)
        self._touched.add(target.parent)

    def _link(self, row: FileRow, pointer: Path) -> None:
        blob = self._blobs / _etag(row)
        if pointer.is_file() and (pointer.samefile(blob) or (not pointer.is_symlink() and _holds(pointer, row))):
            return
        temporary = self._temporary(row)
        temporary.symlink_to(os.path.relpath(blob, pointer.parent))
        temporary.replace(pointer)
        self._touched.add(pointer.parent)

    def _temporary(self, row: FileRow) -> Path:
        """Return a free name beside the blobs, so that a snapshot never shows anything half-made."""
        temporary = self._blobs / f"{_etag(row)}{_TEMPORARY}"
        temporary.unlink(missing_ok=True)  # left by a run that was killed: the lock is ours
        return temporary

    def write_tree(self, commit: str, rows: Iterable[FileRow]) -> None:
        """Write the list of the commit's files, unless one that says the same is there."""
        path = self._repo_folder / "trees" / f"{commit}.json"
        files = {row.path.text: _tree_entry(row) for row in sorted(rows, key=lambda row: row.path.text)}
        known = _read_tree(path)
        # huggingface_hub's own has more to say (xet hashes); it stays when it agrees.
        if known is None or {name: _without_xet(entry) for name, entry in known.items()} != files:
            self._write(path, json.dumps({"format_version": TREE_FORMAT, "files": files}, indent=1))

    def write_ref(self, name: RepoPath, commit: str) -> None:
        """Point a ref at the commit: 40 hex digits and no newline, which readers would take for part of the id."""
        path = self._repo_folder / "refs" / name.text
        if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != commit:
            self._write(path, commit)
            sync_folder(path.parent)

    def sync(self) -> None:
        """Make the renames so far durable."""
        for folder in self._touched:
            sync_folder(folder)

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + _TEMPORARY)
        temporary.write_text(text, encoding="utf-8")
        sync_file(temporary)
        temporary.replace(path)
        self._touched.add(path.parent)


def _is_lfs(file: ListedFile | FileRow) -> bool:
    return file.lfs if isinstance(file, FileRow) else file.lfs_sha256 is not None


def _etag(file: ListedFile | FileRow) -> str:
    if isinstance(file, FileRow):
        return str(file.sha256 if file.lfs else file.git_oid)
    return str(file.lfs_sha256 or file.blob_oid)


def _tree_entry(row: FileRow) -> dict[str, str | int]:
    entry: dict[str, str | int] = {"size": row.size, "blob_id": str(row.git_oid)}
    if row.lfs:
        entry |= {"lfs_sha256": str(row.sha256), "lfs_size": row.size}
    return entry


def _without_xet(entry: object) -> object:
    return {key: value for key, value in entry.items() if key != "xet_hash"} if isinstance(entry, dict) else entry


def _read_tree(path: Path) -> dict[str, object] | None:
    try:
        if path.stat().st_size > MAX_TREE_FILE:
            return None
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("format_version") != TREE_FORMAT:
        return None
    files = document.get("files")
    return files if isinstance(files, dict) else None


def _holds(path: Path, row: FileRow) -> bool:
    """Tell whether a file has the row's content."""
    if path.stat().st_size != row.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest() == row.sha256.raw


def _links_work(probe: Path) -> bool:
    try:
        probe.unlink(missing_ok=True)
        probe.symlink_to("nowhere")
        probe.unlink()
    except OSError:
        return False
    return True


@contextmanager
def _disk_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "free some space, or set HF_HUB_CACHE to a larger disk" if error.errno == errno.ENOSPC else None
        raise DiskError(f"cannot {doing}", got=error.strerror or str(error), hint=hint) from error
