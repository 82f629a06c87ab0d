"""Is a file what was signed? The one place where a file's digests are compared with its torrent and its manifest.

Fetch, verify, import, scrub and preserve all come here. In order: size, SHA-256, LFS pointer, git blob id, pieces root.
The pointer has its place among them because no hash shows it: a manifest that lists the pointer of the weights as a
plain file has the tree of the commit, so it would be proven, of files that nobody can load (SPEC section 2).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import VerificationError
from p2pqwen.library.hashing import NO_HASHES, FileDigests
from p2pqwen.manifest.lfs_pointer import MAX_POINTER_SIZE, parse_pointer
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath

_SHORT = {"SHA-256": "sha256 ", "git blob id": "git blob ", "pieces root": "pieces root "}


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing that is not as signed; `what` completes "the … of the file"."""

    what: str
    expected: str
    got: str

    @property
    def shown(self) -> tuple[str, str]:
        """Expected and got in words that stand alone, as in a list of bad files."""
        label = _SHORT.get(self.what, "")
        return f"{label}{self.expected}", f"{label}{self.got}"

    def error(self, path: RepoPath) -> VerificationError:
        """Return the error of a file that must not be kept."""
        return VerificationError(
            f"the {self.what} of {path} is not what was signed", expected=self.expected, got=self.got
        )


def difference(digests: FileDigests, *, size: int, root: Sha256 | None, row: FileRow | None) -> Difference | None:
    """Return in what a file differs from its torrent (`size`, `root`) and its manifest row, None where in nothing.

    Without torrent hashes among the digests `root` is not looked at; a plain row asks for the git blob id.
    """
    if digests.size != size:
        return Difference("size", f"{size} bytes", f"{digests.size} bytes")
    if row is not None and digests.sha256 != row.sha256:
        return Difference("SHA-256", str(row.sha256), str(digests.sha256))
    if (pointed := pointer_in_place(digests, lfs=row is not None and row.lfs)) is not None:
        return pointed
    if row is not None and not row.lfs and digests.git_blob != row.git_oid:
        return Difference("git blob id", str(row.git_oid), str(digests.git_blob))
    if digests.hashes is not NO_HASHES and digests.hashes.pieces_root != root:
        return Difference("pieces root", str(root), str(digests.hashes.pieces_root))
    return None


def pointer_in_place(digests: FileDigests, *, lfs: bool) -> Difference | None:
    """Refuse content that is an LFS pointer, unless LFS is known to hold a file that looks like one (`lfs`).

    Then its git blob is the pointer of the pointer, which nobody gets by leaving the content away.
    """
    if digests.pointer is None or lfs:
        return None
    return Difference("content", "the file itself", str(digests.pointer))


def pointer_files(folder: Path, rows: Iterable[FileRow]) -> dict[RepoPath, Difference]:
    """Return the plain files below `folder` whose content is an LFS pointer; only what is small enough is read.

    One that is missing is none. Raises `OSError`. Snapshots may be older than this rule.
    """
    found = {}
    for row in rows:
        if row.lfs or row.size > MAX_POINTER_SIZE:
            continue
        with suppress(FileNotFoundError, NotADirectoryError), (folder / row.path.text).open("rb") as file:
            if (pointer := parse_pointer(file.read(MAX_POINTER_SIZE + 1))) is not None:
                found[row.path] = Difference("content", "the file itself", str(pointer))
    return found
