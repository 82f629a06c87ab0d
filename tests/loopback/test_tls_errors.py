"""TLS that fails says how, whichever of our HTTP clients met it, and ends as a network error."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.certificates import certify
from tests.support.command import CommandLine, Ended
from tests.support.mirror_server import MirrorServer, mirror

COMMIT = "1" * 40
CLIENTS = ["hub", "git", "index", "torrent", "web seed"]


@pytest.fixture
def server() -> Iterator[MirrorServer]:
    with mirror() as server:
        yield server


def with_tls(server: MirrorServer, folder: Path, **how: object) -> Path:
    """Make it speak TLS; return the file of the authority that vouches for it."""
    folder.mkdir(exist_ok=True)
    certified = certify(folder, **how)
    server.socket = certified.context.wrap_socket(server.socket, server_side=True)
    return certified.authority


def ask(client: str, server: MirrorServer, folder: Path, **extra: str) -> Ended:
    """Let one of our clients ask the server over HTTPS."""
    url = f"https://127.0.0.1:{server.server_address[1]}"
    # aiohttp reads which authorities are accepted while it is imported.
    user = CommandLine(folder, processes=True, cold=bool(extra), **extra)
    model = folder / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}")
    match client:
        case "hub":
            return user.run("preserve", "Org/Tiny", HF_ENDPOINT=url)
        case "git":
            given = ("--repo", "Org/Tiny", "--commit", COMMIT, "--git", f"{url}/Org/Tiny")
            return user.run("preserve", "--from", model, *given)
        case "index":
            return user.run("trust", "add", "0" * 64, "--index", f"{url}/site/")
        case "torrent":
            return user.run("fetch", f"{url}/x.torrent")
    held = user.ok("preserve", "--from", model, "--repo", "Org/Tiny", "--commit", COMMIT, HF_ENDPOINT=url)
    return user.run("webseed", "check", held["torrent"], HF_ENDPOINT=url)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("how", "known", "said"),
    [
        ({}, False, ["certificate", "issuer", "SSL_CERT_FILE"]),
        ({"valid_from": timedelta(days=-9)}, True, ["certificate has expired", "clock"]),
        ({"valid_from": timedelta(days=9)}, True, ["certificate is not yet valid", "clock"]),
        ({"host": "127.0.0.2"}, True, ["certificate", "127.0.0.1"]),
    ],
    ids=["unknown authority", "expired", "of tomorrow", "another host"],
)
def test_a_certificate_that_is_not_accepted(server, tmp_path, client, how, known, said):
    authority = with_tls(server, tmp_path / "tls", **how)
    ended = ask(client, server, tmp_path, **({"SSL_CERT_FILE": str(authority)} if known else {}))
    shown = ended.stdout + ended.stderr
    assert [word for word in said if word not in shown] == [], shown
    assert "not permitted" not in shown
    assert ended.code in {0, 5}, shown  # 0 where it is one source of several, and told as a warning
    assert not server.asked


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_that_speaks_no_tls(server, tmp_path, client):
    ended = ask(client, server, tmp_path)
    shown = ended.stdout + ended.stderr
    assert "TLS fails there: " in shown
    assert ended.code in {0, 5}, shown


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize("client", ["hub", "index", "web seed"])
def test_authorities_that_are_not_there_are_named(server, tmp_path, client, variable):
    with_tls(server, tmp_path / "tls")
    gone = tmp_path / "gone.pem"
    ended = ask(client, server, tmp_path, **{variable: str(gone)})
    assert f"{variable} names" in ended.stdout + ended.stderr
    assert str(gone) in ended.stdout + ended.stderr
    assert ended.code != 6
