"""What the relay answers: the right bytes with 206 or 200, or nothing and a closed connection."""

from __future__ import annotations

import http.client
import random
import socket
from urllib.parse import quote, urlsplit

import pytest

from p2pqwen.webseed.relay import Relay
from tests.support.addresses import LOOPBACK
from tests.support.models import noise
from tests.support.web_seeds import HASTY, PIECE, PlainServer, bases, make_torrent, served

FILES = {
    "config.json": b"{}",
    "empty": b"",
    "model/é [1]#%41+.bin": noise(3 * PIECE + 5, "odd"),
    "model.safetensors": noise(5 * PIECE, "weights"),
}
TORRENT = make_torrent(FILES)


@pytest.fixture(scope="module")
def relayed():
    with PlainServer(served(FILES, TORRENT)) as server, Relay(named=LOOPBACK, timeouts=HASTY) as relay:
        yield relay.offer(TORRENT, bases(TORRENT, server.url))


def ask(url, path, method="GET", **headers):
    """Return status, headers and body, or None when the connection was closed without an answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        connection.request(method, parts.path + path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    except (http.client.RemoteDisconnected, ConnectionError):
        return None
    finally:
        connection.close()


def wanted(name):
    return f"{TORRENT.name}/{quote(name)}"


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file(relayed, name):
    status, headers, body = ask(relayed.urls[0], wanted(name))
    assert (status, body) == (200, FILES[name])
    assert int(headers["Content-Length"]) == len(FILES[name])


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (PIECE - 1, PIECE + 1), (PIECE, 3 * PIECE), (5 * PIECE - 7, 5 * PIECE), (1, 5 * PIECE)]
)
def test_a_range(relayed, start, stop):
    data = FILES["model.safetensors"]
    status, headers, body = ask(relayed.urls[1], wanted("model.safetensors"), Range=f"bytes={start}-{stop - 1}")
    assert (status, body) == (206, data[start:stop])
    assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(data)}"


def test_the_zeros_of_a_pad_file(relayed):
    status, _, body = ask(relayed.urls[0], f"{TORRENT.name}/.pad/{PIECE - 5}", Range="bytes=10-19")
    assert (status, body) == (206, bytes(10))


def test_head_tells_the_length_alone(relayed):
    status, headers, body = ask(relayed.urls[0], wanted("model.safetensors"), method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == 5 * PIECE


@pytest.mark.parametrize(
    "path",
    [
        "", "/", TORRENT.name, f"{TORRENT.name}/", f"{TORRENT.name}/other", f"{'f' * 40}/config.json",
        "../../etc/passwd", f"{TORRENT.name}/../{TORRENT.name}/config.json", f"{TORRENT.name}/config.json?x=1",
        f"{TORRENT.name}/config.json/",
        f"{TORRENT.name}/.pad/{PIECE}", f"{TORRENT.name}/.pad/-1", f"{TORRENT.name}/.pad/x", f"{TORRENT.name}/%00",
    ],
)  # fmt: skip
def test_what_it_does_not_have_gets_no_answer(relayed, path):
    assert ask(relayed.urls[0], path) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_get_no_answer(relayed, method):
    assert ask(relayed.urls[0], wanted("config.json"), method=method) is None


def test_a_range_past_the_end_gets_no_answer(relayed):
    assert ask(relayed.urls[0], wanted("config.json"), Range="bytes=2-") is None


def test_the_path_cannot_be_guessed(relayed):
    token, key, lane = urlsplit(relayed.urls[0]).path.strip("/").split("/")
    assert len(token) >= 32
    for other in (f"/{'A' * len(token)}/{key}/{lane}/", f"/{key}/{lane}/", "/", f"/{token}/{'A' * len(key)}/{lane}/"):
        host = relayed.urls[0].split(f"/{token}")[0]
        assert ask(host + other, wanted("config.json")) is None


def test_it_listens_on_loopback_alone(relayed):
    port = urlsplit(relayed.urls[0]).port
    with socket.socket() as probe:
        probe.settimeout(5)
        assert probe.connect_ex(("127.0.0.2", port)) != 0


def test_random_requests_get_the_right_bytes_or_none(relayed):
    """Seeded noise for paths and ranges: whatever comes, no status but 200 and 206, and never a wrong byte."""
    dice = random.Random(4)
    for _ in range(150):
        name = dice.choice([*FILES, "nothing", ".pad/7"])
        low = dice.randrange(7 * PIECE)
        high = low + dice.randrange(-PIECE, 3 * PIECE)
        header = dice.choice(
            [f"bytes={low}-{high}", f"bytes={low}-", f"bytes=-{high}", "bytes=a-b", f"bytes={low}-{high},1-2"]
        )
        answer = ask(dice.choice(relayed.urls), wanted(name), Range=header)
        if answer is None:
            continue
        status, headers, body = answer
        data = bytes(7) if name == ".pad/7" else FILES[name]
        if status == 206:
            first, last = headers["Content-Range"].removeprefix("bytes ").split("/")[0].split("-")
            assert body == data[int(first) : int(last) + 1]
        else:
            assert (status, body) == (200, data)


def test_a_torrent_that_was_withdrawn_gets_no_answer():
    with PlainServer(served(FILES, TORRENT)) as server, Relay(named=LOOPBACK, timeouts=HASTY) as relay:
        torrent = relay.offer(TORRENT, bases(TORRENT, server.url))
        assert ask(torrent.urls[0], wanted("config.json"))[0] == 200
        torrent.withdraw()
        assert ask(torrent.urls[0], wanted("config.json")) is None
        torrent.withdraw()


def test_metadata_from_peers_has_no_piece_layers_and_is_checked_all_the_same():
    from p2pqwen.torrent.metainfo import metainfo_from_info

    bare = metainfo_from_info(TORRENT.info)
    wrong = {**FILES, "model.safetensors": b"x" * (5 * PIECE)}
    with (
        PlainServer(served(wrong, TORRENT)) as liar,
        PlainServer(served(FILES, TORRENT)) as honest,
        Relay(named=LOOPBACK, timeouts=HASTY) as relay,
    ):
        torrent = relay.offer(bare, bases(TORRENT, liar.url, honest.url))
        assert ask(torrent.urls[0], wanted("model.safetensors"))[2] == FILES["model.safetensors"]
        assert torrent.accounts[0].dropped
