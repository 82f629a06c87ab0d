"""The dashboard of a running node: who may ask it, and what it streams."""

from __future__ import annotations

import http.client
import json
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.nodes import seeding
from tests.support.world import World


@dataclass(frozen=True, slots=True)
class Page:
    world: World
    port: int
    token: str

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, *, token: str | None = "", body: str = ""
    ):
        """Ask as a browser would; `token` None sends none, empty the right one."""
        given = {"Host": f"127.0.0.1:{self.port}", **(headers or {})}
        if token is not None:
            given["Authorization"] = f"Bearer {token or self.token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body or None, given)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Page]:
    with HubSimulator() as hub:
        world = World(tmp_path_factory.mktemp("world"), hub)
        with seeding(world.publisher, "--dashboard", "127.0.0.1:0") as (node, _):
            node.json_line(30, containing='"seeding"')
            url = world.publisher.ok("dashboard")["url"]
            parts = urlsplit(url)
            yield Page(world, parts.port, parts.fragment)


def test_the_page_says_nothing_and_has_the_headers(page):
    status, headers, body = page.ask("GET", "/", token=None)
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not any(name.lower().startswith("access-control-") for name in headers)
    assert page.token not in body.decode()
    assert page.world.commit not in body.decode()


CALLS = [("GET", "/v1/status"), ("GET", "/v1/pictures"), ("POST", "/v1/snapshots/pause"), ("PUT", "/v1/limits")]
OWN = "http://127.0.0.1:{port}"
REFUSED = {
    "without a token": ({}, None, 401),
    "with a wrong token": ({}, "wrong", 401),
    "of another page": ({"Origin": "http://evil.example"}, "", 403),
    "of another port": ({"Origin": "http://127.0.0.1:1"}, "", 403),
    "of a sandboxed frame": ({"Origin": "null"}, "", 403),
    "from another site": ({"Sec-Fetch-Site": "cross-site"}, "", 403),
    "from another subdomain": ({"Sec-Fetch-Site": "same-site"}, "", 403),
    "rebound": ({"Host": "evil.example"}, "", 403),
    "rebound, with its own origin": ({"Host": "evil.example", "Origin": "http://evil.example"}, "", 403),
    "a form's": ({"Content-Type": "text/plain", "Origin": "http://evil.example"}, None, 403),
}


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("case", REFUSED)
def test_who_may_not_ask_is_refused(page, case, method, path):
    headers, token, status = REFUSED[case]
    got, answered, body = page.ask(method, path, headers, token=token, body='{"target": "Qwen/Tiny"}')
    assert got == status
    assert "error" in json.loads(body)
    assert not any(name.lower().startswith("access-control-") for name in answered)


@pytest.mark.parametrize("path", ["/", "/dashboard.js"])
def test_even_the_files_are_refused_to_a_rebound_name(page, path):
    assert page.ask("GET", path, {"Host": "evil.example"}, token=None)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "localhost:1234", "[::1]:8080"])
def test_it_answers_its_own_page_through_a_tunnel_too(page, host):
    name = host.format(port=page.port)
    status, _, body = page.ask(
        "GET", "/v1/status", {"Host": name, "Origin": f"http://{name}", "Sec-Fetch-Site": "same-origin"}
    )
    assert status == 200
    assert json.loads(body)["snapshots"][0]["commit"] == page.world.commit


def test_preflights_get_nothing(page):
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    status, answered, _ = page.ask("OPTIONS", "/v1/snapshots/remove", headers, token=None)
    assert status == 403
    assert not any(name.lower().startswith("access-control-") for name in answered)


def test_pictures_come_as_server_sent_events_first_all_then_what_changed(page):
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)
    headers = {"Authorization": f"Bearer {page.token}", "Accept": "text/event-stream"}
    connection.request("GET", "/v1/pictures", headers=headers)
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"

    def picture() -> dict:
        while not (line := answer.readline()).startswith(b"data: "):
            assert line
        return json.loads(line[6:])

    first, second = picture(), picture()
    assert [one["commit"] for one in first["snapshots"]] == [page.world.commit]
    assert second["snapshots"] == []
    page.world.publisher.ok("pause", "Qwen/Tiny")
    states = next(one for one in (picture()["snapshots"] for _ in range(20)) if one)
    assert states[0]["state"] == "paused"
    page.world.publisher.ok("resume", "Qwen/Tiny")
    connection.close()


def test_the_token_is_the_owners_alone(page):
    path = page.world.publisher.home / "dashboard.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["token"] == page.token
    log = page.world.publisher.home / "log"
    logged = b"".join(one.read_bytes() for one in log.rglob("*") if one.is_file()) if log.is_dir() else log.read_bytes()
    assert page.token.encode() not in logged


def test_without_a_node_there_is_none(page):
    done = page.world.reader.run("dashboard", "--json")
    assert done.code == 4
    assert "seed --dashboard" in done.stderr


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.0.2.1:9470"])
def test_it_listens_on_this_machine_alone(page, address):
    done = page.world.reader.run("seed", "--dashboard", address)
    assert done.code == 2
    assert "--dashboard" in done.stderr


NAVIGATION = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize(
    ("path", "changes", "status"),
    [
        ("/", {}, 200),
        ("/", {"Sec-Fetch-Dest": "iframe"}, 403),
        ("/", {"Sec-Fetch-Mode": "no-cors"}, 403),
        ("/", {"Host": "evil.example"}, 403),
        ("/v1/status", {}, 403),
        ("/metrics", {}, 403),
    ],
)
def test_a_person_may_come_to_the_page_from_anywhere_and_to_nothing_else(page, path, changes, status):
    assert page.ask("GET", path, NAVIGATION | changes, token=None)[0] == status


# The way in that a browser is given


def opened(page: Page, monkeypatch) -> str:
    """What `p2pqwen dashboard` hands to the browser."""
    given = []
    monkeypatch.setattr("webbrowser.open", given.append)
    assert page.world.publisher.run("dashboard").code == 0
    (address,) = given
    return address


def ticket_in(path: Path) -> str:
    found = re.search(r"#ticket=([\w-]+)", path.read_text())
    assert found
    return found[1]


def test_what_the_browser_is_given_holds_no_token(page, monkeypatch):
    address = opened(page, monkeypatch)
    path = page.world.publisher.home / "dashboard.html"
    assert address == path.as_uri()
    assert page.token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def session(page: Page, ticket: str, headers: dict[str, str] | None = None):
    status, _, body = page.ask("POST", "/v1/session", headers, token=None, body=json.dumps({"ticket": ticket}))
    return status, json.loads(body)


def test_a_ticket_gives_the_token_once(page, monkeypatch):
    opened(page, monkeypatch)
    ticket = ticket_in(page.world.publisher.home / "dashboard.html")
    assert session(page, ticket) == (200, {"token": page.token})
    status, said = session(page, ticket)
    assert status == 400
    assert page.token not in json.dumps(said)


@pytest.mark.parametrize("ticket", ["", "x", "\ud800", "a" * 43])
def test_no_other_ticket_does(page, ticket):
    assert session(page, ticket)[0] == 400


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_another_page_may_not_use_one(page, monkeypatch, headers):
    opened(page, monkeypatch)
    ticket = ticket_in(page.world.publisher.home / "dashboard.html")
    assert session(page, ticket, headers)[0] == 403
    assert session(page, ticket)[0] == 200, "and it was not used up by that"


def test_a_page_cannot_make_itself_a_ticket(page):
    assert page.ask("POST", "/v1/dashboard/ticket", token=None)[0] == 401


# Adopting


def test_a_plan_is_shown_and_what_was_shown_is_fetched(page):
    world = page.world
    with seeding(world.trusting("adopter"), "--dashboard", "127.0.0.1:0") as (node, _):
        adopter = CommandLine(world.folder / "adopter", world.hub.endpoint)
        node.json_line(30, containing='"dashboard"')
        parts = urlsplit(adopter.ok("dashboard")["url"])
        there = Page(world, parts.port, parts.fragment)
        status, _, body = there.ask("POST", "/v1/adopt/plan", body='{"budget": "1GB"}')
        plan = json.loads(body)
        assert status == 200
        assert [one["repo"] for one in plan["chosen"]] == ["Qwen/Tiny"]
        assert plan["chosen"][0]["reason"]
        assert plan["dry_run"]
        name = f"Qwen/Tiny@{world.commit}"
        status, _, body = there.ask("POST", "/v1/adopt", body=json.dumps({"budget": "1GB", "snapshots": [name]}))
        assert status == 200
        assert [one["target"] for one in json.loads(body)["fetches"]] == [name]
        rows = json.loads(there.ask("GET", "/v1/fetches")[2])["fetches"]
        assert rows[0]["target"] == name


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/adopt/plan", "{}"),
        ("/v1/adopt/plan", '{"budget": "much"}'),
        ("/v1/adopt", '{"budget": "1GB"}'),
        ("/v1/adopt", '{"budget": "1GB", "snapshots": []}'),
        ("/v1/adopt", '{"budget": "1GB", "snapshots": ["../../etc"]}'),
        ("/v1/adopt", '{"budget": "1GB", "snapshots": "Qwen/Tiny"}'),
        ("/v1/adopt", '{"snapshots": ["Qwen/Tiny@' + "ab" * 20 + '"]}'),
    ],
)
def test_what_is_no_plan_is_refused(page, path, body):
    assert page.ask("POST", path, body=body)[0] == 400
