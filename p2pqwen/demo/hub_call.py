"""One request as the local Hub understands it, and what became of it: the Hub's log is a list of these."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

Kind = Literal["list", "info", "tree", "refs", "resolve", "resolve-cache", "cdn", "git", "other"]


@dataclass(slots=True)
class Call:
    """A request: `repo` as `org/model`, `revision` and `path` where the URL names them.

    `status` and `sent` (body bytes) are filled in while it is answered; `status` stays 0 when the connection was cut
    before a status line.
    """

    kind: Kind
    method: str
    url: str
    repo: str = ""
    revision: str = ""
    path: str = ""
    range: str | None = None
    authorization: str | None = None
    at: float = field(default_factory=time.monotonic)
    status: int = 0
    sent: int = 0


def parse_call(method: str, raw_path: str, *, cdn: bool) -> Call:
    """Sort a request by its path; `raw_path` is still percent-encoded, so an encoded slash stays inside its part."""
    parts = [unquote(part) for part in raw_path.split("/")[1:]]
    call = Call("other", method, raw_path)
    if cdn:
        call.kind, call.repo, call.path = "cdn", "/".join(parts[1:3]), "/".join(parts[3:])
    elif parts[:2] == ["api", "models"]:
        _parse_api(call, parts[2:])
    elif parts[:3] == ["api", "resolve-cache", "models"] and len(parts) > 6:
        call.kind, call.repo, call.revision, call.path = (
            "resolve-cache",
            _repo(parts[3:]),
            parts[5],
            "/".join(parts[6:]),
        )
    elif len(parts) > 4 and parts[2] == "resolve":
        call.kind, call.repo, call.revision, call.path = "resolve", _repo(parts), parts[3], "/".join(parts[4:])
    elif parts[2:] in (["info", "refs"], ["git-upload-pack"]):
        call.kind, call.repo, call.path = "git", _repo(parts).removesuffix(".git"), "/".join(parts[2:])
    return call


def _parse_api(call: Call, parts: list[str]) -> None:
    if not parts:
        call.kind = "list"
        return
    call.repo = _repo(parts)
    match parts[2:]:
        case []:
            call.kind, call.revision = "info", "main"
        case ["revision", revision]:
            call.kind, call.revision = "info", revision
        case ["refs"]:
            call.kind = "refs"
        case ["tree", revision, *folders]:
            call.kind, call.revision, call.path = "tree", revision, "/".join(folders)


def _repo(parts: list[str]) -> str:
    return "/".join(parts[:2])
