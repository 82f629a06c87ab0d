"""The Hub's API answers for a repository, field by field as huggingface_hub reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from p2pqwen.demo.hub_repository import FIRST_COMMIT_TIME, SECONDS_BETWEEN_COMMITS, HubRepository, StoredFile
from p2pqwen.values.digest import CommitId

Json = dict[str, Any]


def model_info(repository: HubRepository, commit: CommitId, *, blobs: bool) -> Json:
    """Answer `/api/models/{repo}[/revision/{revision}][?blobs=true]`."""
    files = repository.commits[commit].values()
    return summary(repository, commit) | {"siblings": [_sibling(file, blobs=blobs) for file in files]}


def summary(repository: HubRepository, commit: CommitId) -> Json:
    """Answer one row of `/api/models?author=…`: the model without its files."""
    time = FIRST_COMMIT_TIME + list(repository.commits).index(commit) * SECONDS_BETWEEN_COMMITS
    return {
        "_id": str(commit)[:24],
        "id": str(repository.repo),
        "modelId": str(repository.repo),
        "author": repository.repo.org,
        "sha": str(commit),
        "lastModified": datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "private": repository.private,
        "gated": repository.gated,
        "disabled": repository.disabled,
        "downloads": 0,
        "likes": 0,
        "tags": [],
    }


def refs(repository: HubRepository) -> Json:
    """Answer `/api/models/{repo}/refs`."""

    def rows(names: dict[str, CommitId], prefix: str) -> list[Json]:
        return [
            {"name": name, "ref": f"{prefix}/{name}", "targetCommit": str(commit)} for name, commit in names.items()
        ]

    return {
        "branches": rows(repository.branches, "refs/heads"),
        "tags": rows(repository.tags, "refs/tags"),
        "converts": [],
    }


def tree(repository: HubRepository, commit: CommitId, folder: str, *, recursive: bool) -> list[Json] | None:
    """Answer `/api/models/{repo}/tree/{revision}[/folder]`, all rows; None where there is no such folder."""
    prefix = f"{folder}/" if folder else ""
    files = {path: file for path, file in repository.commits[commit].items() if path.startswith(prefix)}
    if not files and folder:
        return None
    rows: dict[str, Json] = {}
    for path, file in files.items():
        parts = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)) if recursive else range(1, min(len(parts), 2)):
            name = prefix + "/".join(parts[:depth])
            rows[name] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": name}
        if recursive or len(parts) == 1:
            rows[path] = _tree_file(file)
    return list(rows.values())


def _sibling(file: StoredFile, *, blobs: bool) -> Json:
    row: Json = {"rfilename": file.path}
    if blobs:
        row |= {"blobId": file.blob_id, "size": file.size}
        if file.sha256:
            row["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return row


def _tree_file(file: StoredFile) -> Json:
    row: Json = {"type": "file", "oid": file.blob_id, "size": file.size, "path": file.path}
    if file.sha256:
        row["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}
    return row
