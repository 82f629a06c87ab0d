"""`trees/<commit>.json` of a Hugging Face cache: a commit's files, in the format of huggingface_hub's _tree_cache.py.

{"format_version": 1, "files": {"<path>": {"size", "blob_id"[, "lfs_sha256", "lfs_size"][, "xet_hash"]}}}
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from p2pqwen.errors import FormatError
from p2pqwen.hub.looked_for import absent_names
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoKind

TREE_FORMAT = 1
MAX_TREE_FILE = 64 * 1024 * 1024


def tree_entry(row: FileRow) -> dict[str, str | int]:
    """Return a file's entry in the list."""
    entry: dict[str, str | int] = {"size": row.size, "blob_id": str(row.git_oid)}
    if row.lfs:
        entry |= {"lfs_sha256": str(row.sha256), "lfs_size": row.size}
    return entry


def without_xet(entry: object) -> object:
    """Return an entry without its Xet hash, which only the Hub knows."""
    return {key: value for key, value in entry.items() if key != "xet_hash"} if isinstance(entry, dict) else entry


def read_tree(path: Path) -> dict[str, object] | None:
    """Return the files that a list names, None if it is missing or malformed; raises `OSError`."""
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


def files_of_tree(repo_folder: Path, commit: str) -> list[RepoPath]:
    """Return the file names in the cache's list of a commit, none without a list; raises `OSError`."""
    found = []
    for name in read_tree(repo_folder / "trees" / f"{commit}.json") or {}:
        with suppress(FormatError):  # not a name that p2pqwen would have laid
            found.append(RepoPath(name))
    return found


def names_to_mark(kind: RepoKind, snapshot_folder: Path, files: Collection[RepoPath]) -> list[RepoPath]:
    """Return the names that loaders look for and a commit with these files lacks: each needs a marker.

    Only models get markers: `datasets` asks the Hub in any case. A file that the snapshot's folder shows gets none,
    whatever the list says: a marker would hide it.
    """
    if kind is not RepoKind.MODEL:
        return []
    return [name for name in absent_names(files) if not os.path.lexists(snapshot_folder / name.text)]
