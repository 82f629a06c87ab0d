"""The Hub's JSON answers for a repository, with the fields that its clients read.

No answer has `xetHash`: given one in a tree listing, hf_xet contacts a server that only the Hub has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from p2pqwen.hub_api.listing import Commit, HubFile, NamedCommit, Refs, folders_of
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoKind
from p2pqwen.values.strict_json import JsonObject, JsonValue

Row: TypeAlias = JsonObject
_NO_OID = "0" * 40


def info(commit: Commit, *, blobs: bool) -> Row:
    """Answer `/api/models/{repo}[/revision/{revision}][?blobs=true]`."""
    return summary(commit) | {"siblings": [_sibling(file, blobs=blobs) for file in commit.files.values()]}


def summary(commit: NamedCommit) -> Row:
    """Answer one row of `/api/models?author=…`: the repository without its files."""
    time = commit.time.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    access = commit.access
    row: Row = {
        "_id": str(commit.commit)[:24],
        "id": commit.repo.text,
        "author": commit.repo.org,
        "sha": str(commit.commit),
        "lastModified": time,
        "createdAt": time,
        "private": access.private,
        "gated": access.gated,
        "disabled": access.disabled,
        "downloads": 0,
        "likes": 0,
        "tags": [f"license:{commit.license}"] if commit.license else [],
    }
    if commit.repo.kind is RepoKind.MODEL:
        row["modelId"] = commit.repo.text
    return row


def refs(known: Refs) -> Row:
    """Answer `/api/models/{repo}/refs`."""
    return {
        "branches": _refs(known.branches, "refs/heads"),
        "tags": _refs(known.tags, "refs/tags"),
        "converts": [],
    }


def tree(commit: Commit, folder: str, *, recursive: bool) -> list[Row] | None:
    """Answer `/api/models/{repo}/tree/{revision}[/folder]`, all rows; None if there is no such folder."""
    prefix = f"{folder}/" if folder else ""
    files = {path: file for path, file in commit.files.items() if path.startswith(prefix)}
    if not files and folder:
        return None
    rows: dict[str, Row] = {}
    for path, file in files.items():
        parts = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)) if recursive else range(1, min(len(parts), 2)):
            name = prefix + "/".join(parts[:depth])
            rows[name] = _folder(name)
        if recursive or len(parts) == 1:
            rows[path] = _tree_file(file)
    return list(rows.values())


def paths_info(commit: Commit, paths: Iterable[str]) -> list[Row]:
    """Answer `POST /api/models/{repo}/paths-info/{revision}`: rows for the paths that exist, files or folders."""
    files, folders = commit.files, folders_of(commit.files)
    wanted = [path.strip("/") for path in dict.fromkeys(paths)]
    return [
        _tree_file(files[path]) if path in files else _folder(path)
        for path in wanted
        if path in files or path in folders
    ]


def _refs(names: Mapping[str, CommitId], prefix: str) -> list[JsonValue]:
    return [{"name": name, "ref": f"{prefix}/{name}", "targetCommit": str(commit)} for name, commit in names.items()]


def _sibling(file: HubFile, *, blobs: bool) -> Row:
    row: Row = {"rfilename": file.path}
    if blobs:
        row |= {"blobId": file.blob_id, "size": file.size}
        if file.sha256:
            row["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return row


def _tree_file(file: HubFile) -> Row:
    row: Row = {"type": "file", "oid": file.blob_id, "size": file.size, "path": file.path}
    if file.sha256:
        row["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": file.pointer_size}
    return row


def _folder(path: str) -> Row:
    return {"type": "directory", "oid": _NO_OID, "size": 0, "path": path}
