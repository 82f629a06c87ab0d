"""A running node: fetches, pauses and limits go through it, and end the same as without one."""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import socket
import time
import urllib.request

import pytest

from tests.support.models import noise
from tests.support.nodes import quiet_config, row, seeding
from tests.support.preserved import COMMITS, REPO, Preserver, small_model, tree
from tests.support.processes import p2pqwen, running
from tests.support.waiting import wait_until

SIZE = 2_000_000  # of the weights
SLOW = ("--upload", "250kB/s")  # at which nobody is done before somebody has looked, on the busiest machine


def preserved(folder):
    keeper = Preserver(folder)
    keeper.preserve({**small_model(), "model.safetensors": noise(SIZE, "weights")})
    return keeper


def trusting(preserver, name="user"):
    user = preserver.trusted_by(name)
    quiet_config(user)
    return user


@pytest.fixture
def preserver(tmp_path):
    return preserved(tmp_path)


@pytest.fixture
def user(preserver):
    return trusting(preserver)


@pytest.fixture(scope="module")
def running_node(tmp_path_factory):
    """A publisher whose node runs, with metrics, for all tests that leave both as they are."""
    keeper = preserved(tmp_path_factory.mktemp("node"))
    with seeding(keeper.user, "--metrics", "127.0.0.1:0") as (node, _):
        node.line(30, containing='"seeding"')
        yield keeper, node


@pytest.fixture(scope="module")
def with_and_without(running_node):
    """Two users alike; the node of the second runs."""
    keeper, _ = running_node
    alone, user = trusting(keeper, "without"), trusting(keeper, "with")
    with seeding(user):
        yield alone, user


def fetch(port, *options):
    return "fetch", REPO, "--peer", f"127.0.0.1:{port}", "--no-hf-cache", *options


def downloaded(user):
    return user.ok("limits")["downloaded_this_month"]


def folder(user):
    return user.home / "library" / REPO / COMMITS[0]


def test_a_fetch_goes_through_the_node_and_says_the_same(preserver, user, tmp_path):
    alone = trusting(preserver, "alone")
    with seeding(preserver.user) as (seeder, port):
        seeder.line(30, containing='"seeding"')
        without = alone.ok(*fetch(port))
        with seeding(user) as (node, _):
            through = user.ok(*fetch(port))
            node.line(30, containing='"seeding"')
            status = user.ok("status")
            assert status["node"]["pid"] == node.pid
            assert row(user, COMMITS[0])["state"] == "seeding"
            assert user.ok(*fetch(port))["unchanged"]
            wait_until(lambda: downloaded(user) >= through["bytes_from_peers"], 30, "the counting")
    assert downloaded(alone) >= without["bytes_from_peers"] >= SIZE
    assert tree(folder(user)) == tree(folder(alone))
    assert set(through) == set(without)
    different = {"path", "file_paths", "torrent", "seconds"}
    assert {key: value for key, value in through.items() if key not in different} == {
        key: value for key, value in without.items() if key not in different
    }
    log = [json.loads(line) for line in (user.home / "log" / "node.jsonl").read_text().splitlines()]
    assert {"listening", "seeding", "fetch done", "stopped"} <= {line["event"] for line in log}
    assert all(line["time"].endswith("Z") for line in log)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("fetch", "Qwen/Unknown"), 4),
        (("fetch", "magnet:?xt=urn:btih:" + "ab" * 20 + "&dn=Qwen/Tiny", "--timeout", "1"), 5),
        (("remove", "Qwen/Unknown", "--yes"), 4),
        (("pause", "Qwen/Unknown"), 4),
        (("pause", "not a name"), 2),
        (("limits", "--upload", "fast"), 2),
        (("priority", REPO, "absurd"), 2),
    ],
)
def test_failures_are_the_same_with_a_node_and_without(with_and_without, arguments, code):
    without, through = (user.run(*arguments, "--json") for user in with_and_without)
    assert (without.code, through.code) == (code, code)
    assert without.json["error"] == through.json["error"]


def test_interrupting_the_command_leaves_the_download_running(preserver, user):
    preserver.user.ok("limits", *SLOW)
    with seeding(preserver.user) as (seeder, port), seeding(user):
        seeder.line(30, containing='"seeding"')
        with running(p2pqwen(*fetch(port)), user.environment) as command:
            wait_until(lambda: row(user, COMMITS[0]).get("progress", 0) > 0.1, 30, "a tenth of it")
            command.send_signal(signal.SIGINT)
            assert command.wait(20) == 130
            assert "the node continues" in command.stderr
        assert row(user, COMMITS[0])["progress"] < 1
        preserver.user.ok("limits", "--upload", "0")
        wait_until(lambda: row(user, COMMITS[0])["state"] == "seeding", 30, "the rest of it")
    assert user.ok("verify", REPO)["ok"]


def test_a_killed_node_goes_on_with_its_fetches_and_loses_nothing(preserver, user):
    size = sum(map(len, tree(folder(preserver.user)).values()))
    preserver.user.ok("limits", *SLOW)
    with seeding(preserver.user) as (seeder, port):
        seeder.line(30, containing='"seeding"')
        with seeding(user) as (node, _), running(p2pqwen(*fetch(port)), user.environment) as command:
            wait_until(lambda: row(user, COMMITS[0]).get("progress", 0) > 0.5, 40, "half of it")
            node.kill()
            assert command.wait(20) == 5  # the node stopped answering
        preserver.user.ok("limits", "--upload", "0")
        assert user.ok("status")["node"] is None
        with seeding(user) as (node, _):
            wait_until(lambda: row(user, COMMITS[0]).get("state") == "seeding", 40, "the rest of it")

        def uploaded():
            return preserver.user.ok("limits")["uploaded_this_month"]

        wait_until(lambda: uploaded() >= size, 30, "the counting")
        assert uploaded() < size + size // 3  # what came twice are the pieces that were on their way
    assert user.ok("verify", REPO)["ok"]


def test_pause_holds_a_seed_and_a_fetch_and_survives_a_restart(preserver, user):
    preserver.user.ok("limits", *SLOW)
    with seeding(preserver.user) as (seeder, port):
        seeder.line(30, containing='"seeding"')
        with seeding(user), running(p2pqwen(*fetch(port)), user.environment) as command:
            wait_until(lambda: row(user, COMMITS[0]).get("progress", 0) > 0.1, 30, "a tenth of it")
            assert user.ok("pause", REPO)["paused"] is True
            wait_until(lambda: row(user, COMMITS[0])["state"] == "paused", 15, "the pause")
            wait_until(lambda: f"p2pqwen resume {REPO}" in command.stderr, 15, "the waiting command to be told")
            here = row(user, COMMITS[0])["progress"]
            assert here < 1
        preserver.user.ok("limits", "--upload", "0")
        with seeding(user) as (node, _):
            wait_until(lambda: user.ok("status")["node"], 10, "status")
            assert user.ok("resume", REPO)["paused"] is False
            wait_until(lambda: row(user, COMMITS[0]).get("state") == "seeding", 40, "the rest of it")
            user.ok("pause", REPO)
            wait_until(lambda: row(user, COMMITS[0])["state"] == "paused", 15, "the seed to be held")
            node.line(15, containing='"event": "paused"')
        assert user.ok("pause", REPO)["paused"] is True  # without a node it is the same command
        with seeding(user) as (node, _):
            node.line(30, containing='"event": "paused"')
            assert not [line for line in node.lines if '"event": "seeding"' in line]
        assert user.ok("remove", REPO, "--yes")["removed"][0]["commit"] == COMMITS[0]
        assert user.ok("list")["snapshots"] == []


def test_remove_through_the_node_drops_what_it_serves(preserver):
    user = preserver.user
    with seeding(user) as (node, _):
        node.line(30, containing='"seeding"')
        path = user.ok("remove", REPO, "--yes")["removed"][0]["path"]
        assert json.loads(node.line(10, containing='"removed"'))["commit"] == COMMITS[0]
        assert user.ok("status")["snapshots"] == []
    assert not folder(user).exists()
    assert path == str(folder(user))


def test_limits_hold_at_once_and_the_quota_survives_a_restart(preserver, user):
    with seeding(preserver.user) as (seeder, port):
        seeder.line(30, containing='"seeding"')
        done = preserver.user.ok("limits", "--upload", "1MB/s", "--monthly-upload", "30MB")
        assert (done["upload"], done["monthly_upload"], done["may_upload"]) == (1_000_000, 30_000_000, True)
        started = time.monotonic()
        user.ok(*fetch(port))
        assert time.monotonic() - started > 1.0  # 2 MB at 1 MB/s; a bound from below, which load does not break
        wait_until(lambda: preserver.user.ok("limits")["uploaded_this_month"] >= SIZE, 30, "the counting")
    preserver.user.ok("limits", "--upload", "0", "--monthly-upload", "1MB")
    assert preserver.user.ok("limits")["reason"] == "this month's upload of 1.00 MB is used up"
    with seeding(preserver.user) as (seeder, port):
        seeder.line(30, containing='"limits"')
        other = trusting(preserver, "other")
        assert other.run(*fetch(port, "--timeout", "1")).code == 5
        preserver.user.ok("limits", "--monthly-upload", "0")
        other.ok(*fetch(port))


def test_a_fast_line_does_not_run_past_the_quota(preserver, user):
    def sent():
        return row(preserver.user, COMMITS[0])["uploaded"]

    preserver.user.ok("limits", "--monthly-upload", "400kB")  # of 2 MB that loopback carries before anybody looks
    with seeding(preserver.user) as (seeder, port):
        seeder.line(30, containing='"seeding"')
        with running(p2pqwen(*fetch(port)), user.environment):
            wait_until(lambda: sent() >= 100_000, 60, "a quarter of the quota")
            assert sent() < 420_000


def test_outside_the_hours_a_fetch_is_refused_or_waits(preserver, user):
    now = time.localtime()
    later = f"{(now.tm_hour + 2) % 24:02}:00-{(now.tm_hour + 3) % 24:02}:00"
    user.ok("limits", "--hours", later)
    with seeding(preserver.user) as (seeder, port):
        seeder.line(30, containing='"seeding"')
        refused = user.run(*fetch(port))
        assert (refused.code, later in refused.stderr) == (1, True)
        with seeding(user), running(p2pqwen(*fetch(port)), user.environment) as command:
            wait_until(lambda: "waiting: outside" in command.stderr, 20, "the wait to be told")
            user.ok("limits", "--hours", "always")
            assert command.wait(30) == 0


def ask(user, path, headers, method="GET", body=None):
    """One request over the node's unix socket with headers of our own."""
    with socket.socket(socket.AF_UNIX) as client:
        import os

        home = os.open(user.home, os.O_RDONLY)
        try:
            client.connect(f"/proc/self/fd/{home}/control.sock")
        finally:
            os.close(home)
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\n{lines}Connection: close\r\nContent-Length: {len(data)}\r\n\r\n"
        client.sendall(head.encode() + data)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, answer.read()


def test_the_api_refuses_web_pages_and_shows_metrics(running_node):
    preserver, node = running_node
    user = preserver.user
    assert (user.home / "control.sock").stat().st_mode & 0o777 == 0o600
    assert ask(user, "/v1/node", {"Host": "localhost"})[0] == 200
    for headers in (
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "localhost", "Origin": "http://evil.example"},
        {"Host": "localhost", "Origin": "null"},
        {"Host": "localhost", "Sec-Fetch-Site": "cross-site"},
        {},
    ):
        assert ask(user, "/v1/node", headers)[0] in {400, 403}, headers
    port = node.json_line(10, containing='"metrics"')["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert 'p2pqwen_snapshots{state="seeding"} 1.0' in text
    assert f'p2pqwen_snapshot_size_bytes{{commit="{COMMITS[0]}",repo="{REPO}"}}' in text
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/node", timeout=10)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "problem"),
    [
        ("POST", "/v1/fetches", {"target": 5}, 400, "needs a target"),
        ("POST", "/v1/fetches", {}, 400, "needs a target"),
        ("POST", "/v1/fetches", {"target": REPO, "colour": "red"}, 400, "no setting 'colour'"),
        ("POST", "/v1/fetches", {"target": REPO, "kind": "destroy"}, 400, "setting 'kind' of a fetch"),
        ("POST", "/v1/fetches", {"target": REPO, "timeout": "soon"}, 400, "setting 'timeout' of a fetch"),
        ("POST", "/v1/fetches", {"target": REPO, "dht": 1}, 400, "setting 'dht' of a fetch"),
        ("POST", "/v1/fetches", {"target": REPO, "peers": [[]]}, 400, "setting 'peers' of a fetch"),
        ("POST", "/v1/fetches?target=a", {"target": "b"}, 400, "has 'target' twice"),
        ("POST", "/v1/snapshots/pause?target=a&target=b", None, 400, "has 'target' twice"),
        ("DELETE", "/v1/fetches/9?id=8", None, 400, "has 'id' twice"),
        ("DELETE", "/v1/fetches/" + "9" * 5000, None, 400, "not the number of a fetch"),
        ("PUT", "/v1/limits", {"upload": {"a": 1}}, 400, "limit 'upload'"),
        ("PUT", "/v1/limits", {"uplod": "5MB/s"}, 400, "no limit 'uplod'"),
        ("GET", "/v1/nothing", None, 404, "GET /v1/nothing: Not Found"),
        ("PATCH", "/v1/limits", None, 405, "PATCH /v1/limits: Method Not Allowed"),
        ("POST", "/v1/fetches", {"target": "x" * (1 << 20)}, 413, "POST /v1/fetches: Request Entity Too Large"),
    ],
)
def test_the_api_refuses_what_it_does_not_understand(running_node, method, path, body, status, problem):
    preserver, _ = running_node
    found, answer = ask(preserver.user, path, {"Host": "localhost"}, method=method, body=body)
    assert (found, problem in json.loads(answer)["error"]["what"]) == (status, True), answer


BODIES = {
    "nested": (b"[" * 100_000, "nested too deep"),
    "nested objects": (b'{"target":' * 20 + b"1" + b"}" * 20, "nested too deep"),
    "closed": (b"[" * 300_000 + b"]" * 300_000, "nested too deep"),
    "no JSON": (b"target=Qwen", "not a JSON document"),
    "no object": (b"[]", "JSON document"),
    "twice": (b'{"target": "a", "target": "b"}', "repeats a key"),
    "no UTF-8": (b'{"target": "\xff"}', "not UTF-8"),
    "surrogate": (b'{"target": "\\ud800"}', "lone surrogate"),
    "not a number": (b'{"target": "a/b", "timeout": NaN}', "not an integer"),
    "endless": (b'{"target": "a/b", "timeout": 1e999}', "out of range"),
    "digits": (b'{"target": "a/b", "timeout": ' + b"1" * 5000 + b"}", "out of range"),
}


def test_98_bodies_that_are_no_call_are_refused_by_every_call(preserver):
    """With the fields of every other refusal, and status 400; the node answers on."""
    fields = {"kind", "what", "expected", "got", "hint"}
    paths = ["/v1/fetches", *(f"/v1/snapshots/{name}" for name in ("pause", "resume", "remove", "pin", "priority"))]
    calls = [("POST", path) for path in [*paths, "/v1/scrub"]] + [("PUT", "/v1/limits"), ("DELETE", "/v1/fetches/1")]
    with seeding(preserver.user):
        for (method, path), (name, (body, problem)) in itertools.product(calls, BODIES.items()):
            status, answer = ask(preserver.user, path, {"Host": "localhost"}, method=method, body=body)
            error = json.loads(answer)["error"]
            assert (status, error.keys() == fields, error["kind"]) == (400, True, "UsageError"), (path, name, answer)
            assert problem in error["what"], (path, name, answer)
        assert ask(preserver.user, "/v1/node", {"Host": "localhost"})[0] == 200


def test_116_a_body_that_is_not_compressed_as_it_says_is_refused_like_every_other(preserver):
    with seeding(preserver.user):
        headers = {"Host": "localhost", "Content-Encoding": "deflate"}
        status, answer = ask(preserver.user, "/v1/snapshots/pin", headers, method="POST", body=b"abcde")
    assert (status, json.loads(answer)["error"]["kind"]) == (400, "UsageError")


def test_without_unix_sockets_a_token_is_needed(preserver):
    user = preserver.user
    quiet_config(user, 'control = "loopback"\n')
    with seeding(user) as (node, _):
        node.line(30, containing='"seeding"')
        path = user.home / "control.json"
        wait_until(path.exists, 10, "the token file")
        assert path.stat().st_mode & 0o777 == 0o600
        known = json.loads(path.read_text())
        connection = http.client.HTTPConnection("127.0.0.1", known["port"], timeout=10)
        for token, expected in (("", 401), ("wrong", 401), ("\xff\xfe", 401), (known["token"], 200)):
            connection.request("GET", "/v1/node", headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            json.loads(answer.read())
            assert answer.status == expected
        connection.close()
        assert user.ok("limits")["upload"] == 0
    assert not path.exists()


def test_one_node_for_each_home(running_node):
    preserver, node = running_node
    second = preserver.user.run("seed", "--listen", "127.0.0.1:0")
    assert second.code == 1
    assert f"process {node.pid}" in second.stderr


def test_it_stops_in_time_with_fetches_that_hang(preserver, user):
    """A server that says nothing, trackers that say nothing: within ten seconds all the same, and nothing is lost."""
    with socket.socket() as tarpit, seeding(user) as (node, _):
        tarpit.bind(("127.0.0.1", 0))
        tarpit.listen(50)
        port = tarpit.getsockname()[1]
        magnet = f"magnet:?xt=urn:btih:{'ab' * 20}&dn=Qwen/Tiny&tr=http://127.0.0.1:{port}/announce"
        commands = [p2pqwen("fetch", f"http://127.0.0.1:{port}/a.torrent"), p2pqwen("fetch", magnet)]
        with running(commands[0], user.environment), running(commands[1], user.environment):
            wait_until(
                lambda: [one["state"] for one in api(user, "/v1/fetches")["fetches"]] == ["downloading"] * 2, 30, "both"
            )
            node.send_signal(signal.SIGTERM)
            assert node.wait(10) == 0
    stored = [json.loads(line) for line in (user.home / "log" / "node.jsonl").read_text().splitlines()]
    assert "fetch failed" not in {line["event"] for line in stored}
    with seeding(user):
        wait_until(lambda: len(api(user, "/v1/fetches")["fetches"]) == 2, 20, "both fetches to be remembered")


def api(user, path):
    return json.loads(ask(user, path, {"Host": "localhost"})[1])
