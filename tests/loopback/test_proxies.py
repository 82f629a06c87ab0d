"""Where only a proxy leads outside, everything that speaks HTTP goes through it: no name is resolved here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.certificates import certify
from tests.support.command import CommandLine
from tests.support.mirror_server import mirror
from tests.support.models import noise, write_folder
from tests.support.processes import p2pqwen, running
from tests.support.proxies import ProxyServer, proxy

QUIET = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")
LOGIN = "keeper:s3cret-of-mine"
REPO = "Qwen/Tiny"
FILES = {"config.json": b"{}", "README.md": b"---\nlicense: mit\n---\n", "weights.gguf": noise(300_000, "weights")}


def environment(variable: str, scheme: str, server: ProxyServer) -> dict[str, str]:
    login = f"{server.login}@" if server.login else ""
    return {
        **{name: "" for base in ("http", "https", "all", "no") for name in (f"{base}_proxy", f"{base.upper()}_PROXY")},
        variable: f"{scheme}://{login}127.0.0.1:{server.port}",
        "HF_ENDPOINT": "http://hub.example",
    }


@pytest.fixture
def hub(tmp_path):
    with HubSimulator() as hub:
        hub.add(REPO, write_folder(tmp_path / "model", FILES))
        yield hub


@pytest.mark.parametrize(
    ("kind", "variable", "scheme", "login"),
    [
        ("http", "http_proxy", "http", None),
        ("http", "HTTP_PROXY", "http", LOGIN),
        ("http", "ALL_PROXY", "http", None),
        ("socks5", "all_proxy", "socks5", None),
        ("socks5", "ALL_PROXY", "socks5h", LOGIN),
    ],
)
def test_everything_goes_through_it(hub, tmp_path, kind, variable, scheme, login):
    with proxy(kind, urlsplit(hub.endpoint).port, login=login) as server:
        user = CommandLine(tmp_path / "user", processes=True)
        user.environment |= environment(variable, scheme, server)
        preserved = user.run("preserve", REPO, "--json")
        assert preserved.code == 0, preserved.stderr
        assert preserved.json["provenance"] == "proven"  # over git, too
        assert server.asked
        server.asked.clear()
        reader = CommandLine(tmp_path / "reader", processes=True)
        reader.environment |= environment(variable, scheme, server)
        fetched = reader.run(
            "fetch", preserved.json["torrent"], "--only-web-seeds", "--timeout", "60", *QUIET, "--json"
        )
        assert fetched.code == 0, fetched.stderr
        assert fetched.json["bytes_from_web_seeds"] == fetched.json["size"]
        assert server.asked
        server.asked.clear()
        trusted = reader.run("trust", "add", "0" * 64, "--index", "http://hub.example/site/")
        assert "no file http://hub.example/site/index.json" in trusted.stderr
        assert any("hub.example" in one for one in server.asked)
        checked = reader.run("doctor", "--json")
        way = next(one for one in checked.json["findings"] if one["check"] == "proxy")
        assert f"127.0.0.1:{server.port}" in way["detail"]
        for said in (preserved, fetched, trusted, checked):
            assert "s3cret" not in said.stdout + said.stderr


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_https_goes_through_it_and_the_certificate_is_the_servers(tmp_path, kind):
    certified = certify(tmp_path, "index.example")
    with mirror() as server:
        server.socket = certified.context.wrap_socket(server.socket, server_side=True)
        with proxy(kind, server.server_address[1]) as by:
            user = CommandLine(tmp_path / "user", cold=True, SSL_CERT_FILE=str(certified.authority))
            user.environment |= environment("https_proxy", kind, by)
            ended = user.run("trust", "add", "0" * 64, "--index", "https://index.example/")
            assert "no file https://index.example/index.json" in ended.stderr
            wrong = user.run("trust", "add", "0" * 64, "--index", "https://other.example/")
            assert "certificate" in wrong.stderr
        assert server.asked == ["/index.json"]


@pytest.mark.parametrize("kind", ["http", "socks5"])
@pytest.mark.parametrize("excepted", ["no_proxy", "this machine"])
def test_what_is_excepted_is_asked_directly(hub, tmp_path, kind, excepted):
    with proxy(kind, 9) as server:
        user = CommandLine(tmp_path / "user", processes=True)
        user.environment |= environment("ALL_PROXY", kind, server) | {"HF_ENDPOINT": hub.endpoint}
        if excepted == "no_proxy":
            user.environment["no_proxy"] = "other.example, 127.0.0.0/8"
        ended = user.run("preserve", REPO)
        assert ended.code == 0, ended.stderr
        assert server.asked == []


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_what_a_proxy_refuses_is_told_by_its_name(tmp_path, hub, kind):
    with proxy(kind, urlsplit(hub.endpoint).port, login=LOGIN) as server:
        user = CommandLine(tmp_path / "user", processes=True)
        user.environment |= environment("all_proxy", kind, server)
        user.environment["all_proxy"] = user.environment["all_proxy"].replace("s3cret", "0ther")
        for arguments in (("preserve", REPO), ("trust", "add", "0" * 64, "--index", "http://hub.example/")):
            ended = user.run(*arguments)
            assert ended.code == 5, ended
            assert ("407" if kind == "http" else "refuses the user name") in ended.stderr


@pytest.mark.parametrize(
    "bad", ["ftp://127.0.0.1:1", "http://127.0.0.1:99999", "socks4://127.0.0.1:1", "http://u:s3cret@"]
)
def test_what_is_no_proxy_is_named_where_one_is_needed(tmp_path, bad):
    user = CommandLine(tmp_path / "user", processes=True, HTTP_PROXY=bad, http_proxy="", ALL_PROXY="", all_proxy="")
    assert user.run("list").code == 0
    ended = user.run("trust", "add", "0" * 64, "--index", "http://hub.example/")
    assert ended.code == 2
    assert re.search(r"HTTP_PROXY names no (usable )?proxy", ended.stderr)
    assert "s3cret" not in ended.stderr
    found = {one["check"]: one for one in user.run("doctor", "--json").json["findings"]}
    assert not found["proxy"]["ok"]


def test_a_redirect_behind_a_proxy_into_a_private_network_is_refused(tmp_path):
    with mirror() as server, proxy("http", server.server_address[1]) as by:

        def away(handler):
            handler.send_response(302)
            handler.send_header("Location", "http://10.0.0.1/index.json")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        server.answers["/index.json"] = away
        user = CommandLine(tmp_path / "user", processes=True)
        user.environment |= environment("http_proxy", "http", by)
        ended = user.run("trust", "add", "0" * 64, "--index", "http://index.example/")
        assert ended.code == 5
        assert by.asked == ["GET index.example"]


def test_the_service_knows_them(tmp_path):
    user = CommandLine(
        tmp_path / "user",
        XDG_CONFIG_HOME=str(tmp_path / "config"),
        PATH="/nowhere",
        https_proxy="http://keeper:s3cret-of-mine@127.0.0.1:3128",
        NO_PROXY="localhost",
        SSL_CERT_FILE="/etc/ours.pem",
    )
    path = Path(user.ok("service", "install")["path"])
    text = path.read_text()
    assert 'Environment="https_proxy=http://keeper:s3cret-of-mine@127.0.0.1:3128"' in text
    assert 'Environment="NO_PROXY=localhost"' in text
    assert 'Environment="SSL_CERT_FILE=/etc/ours.pem"' in text
    assert path.stat().st_mode & 0o077 == 0


def test_a_node_and_its_control_api_do_not_ask_a_proxy(tmp_path):
    with proxy("http", 9) as server:
        user = CommandLine(tmp_path / "user", processes=True)
        user.environment |= environment("ALL_PROXY", "http", server)
        with running(p2pqwen("seed", "--listen", "127.0.0.1:0", "--json", *QUIET), user.environment) as node:
            assert json.loads(node.line(30, containing='"listening"'))["port"]
            assert user.run("status", "--json").json["node"]["pid"] == node.pid
        assert server.asked == []
