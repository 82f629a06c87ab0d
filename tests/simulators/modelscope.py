"""ModelScope with faults: its API on top of the repositories, git and signed URLs of `LocalHub`.

Sources: the requests of the real client (modelscope 1.40.2, modelscope_hub 0.5.1: `_legacy_api.py`, `_openapi.py`,
`_download.py`) and published answers. `tests/loopback/test_modelscope_client.py` tests it with that client, if it is
installed.

As on ModelScope: the main branch is `master`. The listing gives each file's SHA-256 and the commit that last changed
it, no git blob ids, and of the listed commit often only the first 8 digits. A listing silently stops at 3,000 rows.
Small files are sent whole whatever the range; LFS files redirect to a signed URL on another host.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from aiohttp import web
from dulwich.objects import Commit, ObjectID

from p2pqwen.demo.hub_call import Call, Kind
from p2pqwen.demo.hub_repository import HubRepository, StoredFile
from p2pqwen.demo.local_hub import LocalHub
from p2pqwen.errors import NotFoundError
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, RepoKind
from tests.simulators.hub import HubSimulator

_PLURALS = {"models": RepoKind.MODEL, "datasets": RepoKind.DATASET}
_BELOW: dict[tuple[str, ...], Kind] = {(): "info", ("repo", "files"): "tree", ("repo", "tree"): "tree"}
_BELOW |= {("repo",): "resolve", ("revisions",): "refs"}
_NO_SUCH_REPOSITORY = 10010205001
_NO_SUCH_REVISION = 10010205002
_NO_ACCESS = 10010201002
_MODES = {0o100644: "33188", 0o100755: "33261", 0o120000: "40960"}


class _ModelScopeAnswers(LocalHub):
    """ModelScope's answers, without faults."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.listing_limit = 3000
        self.names_commit: Literal["whole", "short", "not"] = "short"
        """How much of the listed commit's id `LatestCommitter` gives."""
        self.tells_lfs = True
        """Whether rows say which files are LFS."""
        self.ranges_of_small = False
        """Whether ranges of files that are not LFS are honoured."""

    def add(self, repo: str, folder: Path, *, branch: str = "master") -> CommitId:
        return super().add(repo, folder, branch=branch)

    async def _handle_hub(self, request: web.BaseRequest) -> web.StreamResponse:
        call = _parse(request)
        return await self._handle(request, call)

    async def answer(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        if call.kind == "cdn":
            return await self._answer_cdn(request, call)
        if call.kind == "list":
            return self._list_owner(request, call)
        if call.kind == "other":
            return web.Response(status=404, text="404 page not found")
        repository = self.repositories.get(call.repo)
        if repository is None:
            return _refused(404, _NO_SUCH_REPOSITORY, "模型不存在")
        if repository.private and not self._knows(call):
            return _refused(403, _NO_ACCESS, "access denied")
        if call.kind == "git":
            return await self.answer_git(request, call, repository)
        return await self._of_api(request, call, repository)

    async def _of_api(self, request: web.BaseRequest, call: Call, repository: HubRepository) -> web.StreamResponse:
        if call.kind == "info":
            return self._info(request, repository)
        if call.kind == "refs":
            return _answered({"RevisionMap": {"Branches": _revisions(repository.branches), "Tags": []}})
        try:
            commit = repository.resolve(call.revision or "master")
        except NotFoundError:
            return _refused(404, _NO_SUCH_REVISION, f"revision {call.revision} not found")
        if call.kind == "tree":
            return self._listing(request, repository, commit)
        return await self._file(request, call, repository, commit)

    def _knows(self, call: Call) -> bool:
        return (call.authorization or "").removeprefix("Bearer ") in self.tokens

    def _list_owner(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        number, size = int(request.query.get("page_number", "1")), int(request.query.get("page_size", "10"))
        mine = [
            one
            for one in self.repositories.values()
            if (one.repo.org, one.repo.kind) == (request.query.get("owner"), call.repo_kind) and not one.private
        ]
        page = {"total_count": len(mine), "page_number": number, "page_size": size}
        rows = [_described(one) for one in mine[(number - 1) * size : number * size]]
        return web.json_response({"success": True, "data": {f"{call.repo_kind}s": rows} | page})

    @staticmethod
    def _info(request: web.BaseRequest, repository: HubRepository) -> web.StreamResponse:
        if request.rel_url.path.startswith("/openapi/"):
            return web.json_response({"success": True, "data": _described(repository)})
        visibility = 1 if repository.private else 5
        row = {"Path": repository.repo.org, "Name": repository.repo.name, "Visibility": visibility}
        return _answered(row | {"License": "apache-2.0"})

    def _listing(self, request: web.BaseRequest, repository: HubRepository, commit: CommitId) -> web.StreamResponse:
        root = request.query.get("Root", "").strip("/")
        rows = _rows(repository, commit, recursive=request.query.get("Recursive", "").lower() == "true", root=root)
        if root and not rows:
            return _refused(404, _NO_SUCH_REVISION, f"{root} not found")
        if repository.repo.kind is RepoKind.DATASET:
            number, size = int(request.query.get("PageNumber", "1")), int(request.query.get("PageSize", "200"))
            rows = rows[(number - 1) * size : number * size]
        if not self.tells_lfs:
            rows = [{key: value for key, value in row.items() if key != "IsLFS"} for row in rows]
        named = {"whole": (str(commit), str(commit)[:8]), "short": ("", str(commit)[:8]), "not": ("", "")}
        whole, short = named[self.names_commit]
        latest = {"Id": whole, "ShortId": short, "CommittedDate": 1_700_000_000, "Message": "A model"}
        return _answered({"Files": rows[: self.listing_limit], "IsVisual": 0, "LatestCommitter": latest})

    async def _file(
        self, request: web.BaseRequest, call: Call, repository: HubRepository, commit: CommitId
    ) -> web.StreamResponse:
        file = repository.commits[commit].get(call.path)
        if file is None:
            return _refused(404, _NO_SUCH_REVISION, f"{call.path} not found")
        if repository.gated and not self._knows(call):
            return _refused(403, _NO_ACCESS, "access denied")
        if file.sha256:
            target = f"/lfs/{repository.repo}/{file.sha256}"
            location = f"{self.cdn}{target}?{self.signer.query(target, file.path.rsplit('/', 1)[-1])}"
            return web.Response(status=302, headers={"Location": location})
        if not self.ranges_of_small:
            call.range = None
        return await self.send_file(request, call, file, {"X-Request-Id": "0"})


class ModelScopeSimulator(HubSimulator, _ModelScopeAnswers):
    """ModelScope with the switches and faults of `HubSimulator`."""


def _parse(request: web.BaseRequest) -> Call:
    parts = [unquote(part) for part in request.rel_url.raw_path.split("/")[1:]]
    query = request.rel_url.query
    call = Call("other", request.method, request.rel_url.raw_path)
    match parts:
        case ["openapi", "v1", plural] if plural in _PLURALS:
            call.kind, call.repo_kind = "list", _PLURALS[plural]
        case ["openapi", "v1", plural, org, name] if plural in _PLURALS:
            _name(call, "info", plural, org, name)
        case ["api", "v1", plural, org, name, *rest] if plural in _PLURALS and tuple(rest) in _BELOW:
            _name(call, _BELOW[tuple(rest)], plural, org, name)
            call.revision, call.path = query.get("Revision", ""), query.get("FilePath", "")
        case [plural, org, name, "resolve", revision, *path] if plural in _PLURALS:
            _name(call, "resolve", plural, org, name)
            call.revision, call.path = revision, "/".join(path)
        case ["datasets", org, name, *rest] if name.endswith(".git"):
            _name(call, "git", "datasets", org, name.removesuffix(".git"))
            call.path = "/".join(rest)
        case [org, name, *rest] if name.endswith(".git"):
            _name(call, "git", "models", org, name.removesuffix(".git"))
            call.path = "/".join(rest)
    return call


def _name(call: Call, kind: Kind, plural: str, org: str, name: str) -> None:
    call.kind, call.repo_kind = kind, _PLURALS[plural]
    call.repo = str(RepoId(f"{org}/{name}", call.repo_kind))


def _rows(repository: HubRepository, commit: CommitId, *, recursive: bool, root: str) -> list[dict[str, Any]]:
    files = repository.commits[commit]
    below = {path: file for path, file in files.items() if not root or path.startswith(f"{root}/")}
    start = len(root) + 1 if root else 0
    rows: dict[str, dict[str, Any]] = {}
    for path, file in sorted(below.items()):
        folders = path[start:].split("/")[:-1]
        for depth in range(1, len(folders) + 1):
            folder = path[:start] + "/".join(folders[:depth])
            if recursive or depth == 1:
                rows.setdefault(folder, {"Name": folder.rsplit("/", 1)[-1], "Path": folder, "Type": "tree", "Size": 0})
        if recursive or not folders:
            rows[path] = _file_row(file, _last_change(repository, commit, file))
    return list(rows.values())


def _file_row(file: StoredFile, revision: CommitId) -> dict[str, Any]:
    content = file.source if isinstance(file.source, bytes) else b""
    return {
        "CommitMessage": "A model",
        "CommittedDate": 1_700_000_000,
        "CommitterName": "A Publisher",
        "InCheck": False,
        "IsLFS": file.sha256 is not None,
        "Mode": _MODES[file.mode],
        "Name": file.path.rsplit("/", 1)[-1],
        "Path": file.path,
        "Revision": str(revision),
        "Sha256": file.sha256 or hashlib.sha256(content).hexdigest(),
        "Size": file.size,
        "Type": "blob",
    }


def _last_change(repository: HubRepository, commit: CommitId, file: StoredFile) -> CommitId:
    while True:
        item = repository.objects[ObjectID(str(commit).encode())]
        assert isinstance(item, Commit)
        parents = [CommitId.parse(one.decode()) for one in item.parents]
        before = repository.commits[parents[0]].get(file.path) if parents else None
        if before is None or before.blob_id != file.blob_id:
            return commit
        commit = parents[0]


def _described(repository: HubRepository) -> dict[str, Any]:
    row = {"id": repository.repo.text, "private": repository.private, "gated": bool(repository.gated)}
    return row | {"license": "apache-2.0", "downloads": 0, "likes": 0}


def _revisions(branches: dict[str, CommitId]) -> list[dict[str, Any]]:
    return [{"Revision": name, "CreatedAt": 1_700_000_000} for name in branches]


def _answered(data: Any) -> web.StreamResponse:
    return web.json_response({"Code": 200, "Data": data, "Message": "success", "RequestId": "0", "Success": True})


def _refused(status: int, code: int, message: str) -> web.StreamResponse:
    body = {"Code": code, "Data": {}, "Message": message, "RequestId": "0", "Success": False}
    return web.json_response(body, status=status)
