"""What the Hub endpoint passes on from the Hub behind it, to whom, and what it keeps to itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from p2pqwen.hub_api.problem import repo_not_found
from p2pqwen.server import hub_upstream
from p2pqwen.server.hub_access import HubAccess
from p2pqwen.server.hub_catalogue import HubRefusedError
from p2pqwen.server.hub_endpoint import HubEndpoint, HubServerSettings
from p2pqwen.server.hub_upstream import HubUpstream
from p2pqwen.values.named_hosts import Guard
from tests.support.addresses import LOOPBACK, served_by_thread
from tests.support.hub_endpoint import ask

TOKEN = "the-token-of-this-endpoint"
LARGE = json.dumps([{"path": f"file-{number}", "size": number} for number in range(40_000)]).encode()
"""An answer that comes in many pieces."""


class Nothing:
    """A catalogue that knows no repository."""

    def own_name(self, repo):
        return None

    def snapshot(self, repo, revision):
        raise HubRefusedError(repo_not_found(repo.text))


class Hub(ThreadingHTTPServer):
    """Answers every GET with the same JSON, and remembers the headers of each."""

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.body, self.asked = body, list[Mapping[str, str]]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        hub = self.server
        assert isinstance(hub, Hub)
        hub.asked.append(dict(self.headers.items()))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(hub.body)))
        self.end_headers()
        self.wfile.write(hub.body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def passing_on(body: bytes) -> Iterator[tuple[Hub, str]]:
    with Hub(body) as hub, served_by_thread(hub):
        upstream = HubUpstream(hub.url, Guard(LOOPBACK), TOKEN)
        settings = HubServerSettings(access=HubAccess(TOKEN))
        with HubEndpoint(Nothing(), settings, upstream=upstream) as endpoint:
            yield hub, endpoint.url


def test_a_long_document_passes_whole():
    with passing_on(LARGE) as (_, url):
        answer = ask(url, "/api/models/Else/Where/tree/main")
    assert (answer.status, answer.json) == (200, json.loads(LARGE))


def test_a_document_beyond_the_limit_is_refused_and_not_cut(monkeypatch):
    monkeypatch.setattr(hub_upstream, "MAX_ANSWER", len(LARGE) - 1)
    with passing_on(LARGE) as (_, url):
        assert ask(url, "/api/models/Else/Where/tree/main").status == 502


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("Bearer hf_of_the_client", "Bearer hf_of_the_client"),
        (basic("me:hf_of_the_client"), basic("me:hf_of_the_client")),
        (f"Bearer {TOKEN}", None),
        (f"bearer  {TOKEN}", None),
        (basic(f"me:{TOKEN}"), None),
        (basic(f"{TOKEN}:"), None),
    ],
)
def test_the_endpoints_own_token_goes_to_nobody_however_it_came(given, sent):
    with passing_on(b"{}") as (hub, url):
        assert ask(url, "/api/models/Else/Where", Authorization=given).status == 200
    assert hub.asked[0].get("Authorization") == sent
