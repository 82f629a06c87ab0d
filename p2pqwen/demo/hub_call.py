"""One parsed request to the local Hub, and its outcome: the Hub's log is a list of these."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote

from p2pqwen.hub_api import request
from p2pqwen.hub_api.request import parse_path
from p2pqwen.values.snapshot_id import RepoKind

Kind = request.Kind | Literal["cdn", "xet-token", "cas", "xorb", "xet-telemetry"]
_XET_TOKEN = re.compile(r"/api/(model|dataset)s/([^/]+/[^/]+)/xet-read-token/([^/]+)")


@dataclass(slots=True)
class Call:
    """A request: `repo` as `org/model` or `datasets/org/name`, `revision` and `path` if the URL has them.

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
    repo_kind: RepoKind = RepoKind.MODEL


def parse_call(method: str, raw_path: str, *, cdn: bool) -> Call:
    """Parse a request's path; `raw_path` is still percent-encoded, so an encoded slash stays inside its segment."""
    if cdn:
        parts = [unquote(part) for part in raw_path.split("/")[1:]]
        return Call("cdn", method, raw_path, repo="/".join(parts[1:-1]), path=parts[-1])
    if match := _XET_TOKEN.fullmatch(raw_path):
        kind = RepoKind(match[1])
        repo = match[2] if kind is RepoKind.MODEL else f"{kind}s/{match[2]}"
        return Call("xet-token", method, raw_path, repo, unquote(match[3]), repo_kind=kind)
    asked = parse_path(raw_path)
    kind = asked.repo_kind
    repo = asked.repo if kind is RepoKind.MODEL or not asked.repo else f"{kind}s/{asked.repo}"
    return Call(asked.kind, method, raw_path, repo, asked.revision, asked.path, repo_kind=kind)
