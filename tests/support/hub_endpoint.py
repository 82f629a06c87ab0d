"""The Hub endpoint as a process, and requests to it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.command import CommandLine
from tests.support.processes import p2pqwen, running
from tests.support.swarm import QUIET

SECONDS = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. Headers by their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        return self.headers.get("x-error-code")


def ask(url: str, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    """Make one request for exactly this path, without following redirects."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=given)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by its path, following links."""
    return {one.relative_to(folder).as_posix(): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


@contextmanager
def hub_process(user: CommandLine, *options: str | Path, within: Sequence[str] = ()) -> Iterator[str]:
    """Run a user's `p2pqwen hub`, `within` a namespace, and yield its URL."""
    command = [*within, *p2pqwen("hub", "--listen", "127.0.0.1:0", "--json", *QUIET, *options)]
    with running(command, user.environment) as process:
        yield process.json_line(60, containing='"hub"')["url"]
    assert process.exit_code == 0, process.stderr
    assert "Traceback" not in process.stderr, process.stderr
