"""Parse ModelScope's file listings strictly: their rows, and the commit that they list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from p2pqwen.errors import FormatError, VerificationError
from p2pqwen.manifest.lfs_pointer import pointer_oid
from p2pqwen.values.digest import CommitId, GitOid, Sha256
from p2pqwen.values.listing import ListedFile
from p2pqwen.values.printable_text import printable
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.strict_json import MAX_INTEGER

_FOLDER = "tree"
_FILES = frozenset({"blob", "file"})
_WHOLE = 40
_SHORTEST = 7


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a file or a folder. `revision` is the commit that last changed a file, if given."""

    path: RepoPath
    folder: bool
    size: int = 0
    sha256: Sha256 | None = None
    lfs: bool = False
    revision: CommitId | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one answer. `commit` is the listed commit's id, or its first digits, or empty."""

    rows: tuple[Row, ...]
    commit: str = ""

    def of_commit(self) -> CommitId | None:
        """Return the commit, None if the answer does not determine it.

        First digits are completed from the `revision` of the files that the commit changed.
        """
        if len(self.commit) == _WHOLE:
            return CommitId.parse(self.commit)
        if len(self.commit) < _SHORTEST:
            return None
        found = {row.revision for row in self.rows if row.revision and str(row.revision).startswith(self.commit)}
        return found.pop() if len(found) == 1 else None


def read_page(answer: object, what: str) -> Page:
    """Read an answer of `repo/files` or `repo/tree`; raises `FormatError`."""
    data = answer.get("Data") if isinstance(answer, dict) else None
    files = data.get("Files") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(files, list):
        raise FormatError(f"ModelScope's listing of {what}", expected="Data.Files, a list")
    latest = data.get("LatestCommitter")
    commit = (latest.get("Id") or latest.get("ShortId") or "") if isinstance(latest, dict) else ""
    return Page(tuple(_row(row, what) for row in files), commit if isinstance(commit, str) else "")


def listed_files(rows: Iterable[Row], tree: Mapping[RepoPath, GitOid] | None, what: str) -> tuple[ListedFile, ...]:
    """Return the files of a listing with their git ids; `tree` is the commit's tree from git, None if unknown.

    Raises `VerificationError` if the two have different files, `FormatError` for a file without a hash.
    """
    files = {row.path: row for row in rows if not row.folder}
    if tree is not None and files.keys() != tree.keys():
        wrong = min(files.keys() ^ tree.keys())
        where = "in its git commit alone" if wrong in tree else "in its listing alone"
        raise VerificationError(f"ModelScope's listing of {what} is not its git commit: {wrong} is {where}")
    return tuple(_listed(files[path], None if tree is None else tree[path], what) for path in sorted(files))


def _listed(row: Row, oid: GitOid | None, what: str) -> ListedFile:
    if row.sha256 is None and (row.lfs or oid is None):
        raise FormatError(f"ModelScope lists {row.path} of {what} without a SHA-256")
    pointer = None if row.sha256 is None else pointer_oid(row.sha256, row.size)
    if row.lfs or (oid is not None and oid == pointer):
        return ListedFile(row.path, row.size, oid or pointer, row.sha256)
    return ListedFile(row.path, row.size, oid, None, row.sha256)


def _row(row: object, what: str) -> Row:
    if not isinstance(row, dict):
        raise FormatError(f"a row of ModelScope's listing of {what}", expected="an object", got=type(row).__name__)
    path, kind = row.get("Path"), row.get("Type", "blob")
    if not isinstance(path, str):
        raise FormatError(f"a row of ModelScope's listing of {what} names no path")
    if kind == _FOLDER:
        return Row(RepoPath(path), folder=True)
    size, lfs = row.get("Size"), row.get("IsLFS", False)
    if kind not in _FILES:
        got = printable(repr(kind), limit=40)
        raise FormatError(f"{path} of {what} is no part of a snapshot", expected="a file", got=got)
    if type(size) is not int or not 0 <= size <= MAX_INTEGER or type(lfs) is not bool:
        raise FormatError(f"ModelScope's row of {printable(path)}", expected="a size, and whether it is LFS")
    return Row(RepoPath(path), folder=False, size=size, sha256=_sha256(row), lfs=lfs, revision=_revision(row))


def _sha256(row: Mapping[str, Any]) -> Sha256 | None:
    text = row.get("Sha256")
    return Sha256.parse(text) if isinstance(text, str) and text else None


def _revision(row: Mapping[str, Any]) -> CommitId | None:
    text = row.get("Revision")
    try:
        return CommitId.parse(text) if isinstance(text, str) else None
    except FormatError:
        return None
