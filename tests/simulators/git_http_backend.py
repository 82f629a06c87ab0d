"""Answer git requests with the real `git http-backend`, to test our client against it."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path

from aiohttp import web
from dulwich.objects import ObjectID
from dulwich.refs import Ref
from dulwich.repo import Repo

from p2pqwen.demo.hub_call import Call
from p2pqwen.demo.hub_repository import HubRepository


def write_bare(repository: HubRepository, path: Path) -> None:
    """Write the repository to disk in git's own format."""
    with Repo.init_bare(str(path), mkdir=True) as bare:
        for oid in repository.objects:
            bare.object_store.add_object(repository.objects[oid])
        for name, commit in repository.branches.items():
            bare.refs[Ref(f"refs/heads/{name}".encode())] = ObjectID(str(commit).encode())
        bare.refs.set_symbolic_ref(Ref(b"HEAD"), Ref(b"refs/heads/main"))


class GitHttpBackend:
    """A bare copy of one repository and the CGI program that serves it."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="p2pqwen-git-"))

    def close(self) -> None:
        shutil.rmtree(self._root)

    async def answer(
        self, request: web.BaseRequest, call: Call, repository: HubRepository, *, allow_filter: bool
    ) -> web.StreamResponse:
        """Run the CGI program for one request."""
        body = await request.read()
        output = await asyncio.to_thread(self._run, request, call, body, repository, allow_filter)
        head, _, content = output.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=headers, body=content)

    def _run(
        self, request: web.BaseRequest, call: Call, body: bytes, repository: HubRepository, allow_filter: bool
    ) -> bytes:
        bare = self._root / "repo"
        if not bare.exists():
            write_bare(repository, bare)
        settings = {"uploadpack.allowFilter": str(allow_filter).lower(), "uploadpack.allowAnySHA1InWant": "true"}
        environment = {
            "PATH": "/usr/bin:/bin",
            "GIT_PROJECT_ROOT": str(self._root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/repo/{call.path}",
            "REQUEST_METHOD": request.method,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_COUNT": str(len(settings)),
        }
        for index, (key, value) in enumerate(settings.items()):
            environment |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
        # It exits with 1 after it has sent the client an error.
        return subprocess.run(
            ["git", "http-backend"], input=body, env=environment, capture_output=True, check=False, timeout=60
        ).stdout
