"""Git's SHA-1 object ids: the hash of `<type> <length>NUL<content>`.

They are as strong as git's own SHA-1, with its check for collision attacks (`git_sha1`). The manifest's SHA-256 also
covers the content.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from p2pqwen.errors import FormatError
from p2pqwen.manifest.git_sha1 import object_id
from p2pqwen.values.digest import CommitId, GitOid
from p2pqwen.values.repo_path import RepoPath

if TYPE_CHECKING:
    from hashlib import _Hash

MAX_COMMIT_OBJECT = 64 * 1024
# A regular file, an executable, a symlink (its content is the target's name), and a mode from git's early days.
FILE_MODE, EXECUTABLE_MODE, LINK_MODE = "100644", "100755", "120000"
FILE_MODES = frozenset({FILE_MODE, EXECUTABLE_MODE, LINK_MODE, "100664"})
_FOLDER_MODE = "40000"
_LATEST = int(datetime(9000, 1, 1, tzinfo=UTC).timestamp())
_COMMITTER = re.compile(rb"^committer [^\n]* (\d{1,12}) [+-]\d{4}$", re.MULTILINE)
_TREE_LINE = re.compile(rb"tree ([0-9a-f]{40})\n(?=parent [0-9a-f]{40}\n|author )")


def blob_hasher(size: int) -> _Hash:
    """Return a SHA-1 primed for a blob of `size` bytes: feed it the content, and its digest is the blob's id.

    It does not detect collision attacks; `library.hashing` checks large files separately.
    """
    return hashlib.sha1(b"blob %d\0" % size)  # noqa: S324 - git's own


def blob_oid(data: bytes) -> GitOid:
    """Return the id of a blob with this content; raises `CollisionAttackError`."""
    return GitOid(object_id("blob", data))


def commit_oid(raw: bytes) -> CommitId:
    """Return the id of a raw commit object, given without its header; raises `CollisionAttackError`."""
    return CommitId(object_id("commit", raw))


def commit_tree(raw: bytes) -> GitOid:
    """Return the tree that a raw commit object names in its first line; raises `FormatError`."""
    match = _TREE_LINE.match(raw)
    if match is None or len(raw) > MAX_COMMIT_OBJECT:
        raise FormatError(
            "not a git commit object",
            expected="a line `tree <40 hex>`, then its parents and author",
            got=repr(raw[:60]),
        )
    return GitOid(bytes.fromhex(match[1].decode()))


def commit_time(raw: bytes) -> datetime | None:
    """Return the committer time of a raw commit object, None if it is missing, malformed or after the year 9000."""
    match = _COMMITTER.search(raw.partition(b"\n\n")[0])
    return None if match is None or int(match[1]) > _LATEST else datetime.fromtimestamp(int(match[1]), UTC)


def tree_oid(rows: Iterable[tuple[RepoPath, str, GitOid]]) -> GitOid:
    """Return the id of the git tree of exactly these files: (path, mode, blob id), in any order.

    Raises `FormatError` for files that cannot be in one tree, and `CollisionAttackError`.
    """
    root: _Folder = {}
    for path, mode, oid in rows:
        *folders, name = path.parts
        folder = root
        for part in folders:
            below = folder.setdefault(part, {})
            if not isinstance(below, dict):
                raise FormatError(f"path {path} needs a folder where there is a file")
            folder = below
        if name in folder:
            raise FormatError(f"path {path} is there already")
        folder[name] = (mode, oid)
    return _folder_oid(root)


_Folder = dict[str, "tuple[str, GitOid] | _Folder"]


def _folder_oid(folder: _Folder) -> GitOid:
    entries: list[tuple[bytes, bytes]] = []
    for name, node in folder.items():
        encoded = name.encode()
        if isinstance(node, dict):
            # git compares a folder's name as if it ended in "/", which is not the file order of BEP 52
            entries.append((encoded + b"/", _entry(_FOLDER_MODE, encoded, _folder_oid(node))))
        else:
            entries.append((encoded, _entry(node[0], encoded, node[1])))
    return GitOid(object_id("tree", b"".join(entry for _, entry in sorted(entries))))


def _entry(mode: str, name: bytes, oid: GitOid) -> bytes:
    return mode.encode() + b" " + name + b"\0" + oid.raw
