"""The library over HTTP: plain answers, nothing but what was offered, and limits that cost nobody a file."""

from __future__ import annotations

import gc
import http.client
import logging
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from urllib.parse import quote

import pytest

from p2pqwen.errors import P2pqwenError
from p2pqwen.webseed.file_server import FileServer, ServerLimits
from p2pqwen.webseed.offered_file import Offer
from tests.support.command import CommandLine
from tests.support.models import noise, write_folder
from tests.support.processes import p2pqwen, running
from tests.support.swarm import QUIET
from tests.support.waiting import wait_until
from tests.support.web_seeds import PIECE, SNAPSHOT, fetching, make_torrent

FILES = {
    "config.json": b"{}",
    "empty": b"",
    "model/é [1]#%41+.bin": noise(3 * PIECE + 5, "odd"),
    "model.safetensors": noise(20 * PIECE, "weights"),
}
TORRENT = make_torrent(FILES)


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "Qwen" / "Tiny" / TORRENT.name, FILES)


@pytest.fixture
def server(folder):
    with FileServer("127.0.0.1", 0) as running_server:
        running_server.offer(Offer.of(SNAPSHOT, folder, TORRENT))
        running_server.offers_complete()
        yield running_server


def ask(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()
    finally:
        connection.close()


def at(name):
    return f"/Qwen/Tiny/{TORRENT.name}/{quote(name)}"


@pytest.mark.parametrize("name", FILES)
def test_whole_files(server, name):
    status, headers, body = ask(server, at(name))
    assert (status, body) == (200, FILES[name])
    assert headers["Accept-Ranges"] == "bytes"
    status, headers, body = ask(server, at(name), method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) == len(FILES[name])


@pytest.mark.parametrize(
    ("asked", "status", "expected", "content_range"),
    [
        ("bytes=0-0", 206, slice(0, 1), "bytes 0-0/{size}"),
        ("bytes=100-", 206, slice(100, None), "bytes 100-{last}/{size}"),
        ("bytes=-7", 206, slice(-7, None), "bytes {last7}-{last}/{size}"),
        (f"bytes={PIECE - 3}-{PIECE + 3}", 206, slice(PIECE - 3, PIECE + 4), None),
        ("bytes=0-1,5-6", 200, slice(None), None),
        ("bytes=99999999-", 416, None, "bytes */{size}"),
    ],
)
def test_ranges(server, asked, status, expected, content_range):
    data = FILES["model.safetensors"]
    got, headers, body = ask(server, at("model.safetensors"), Range=asked)
    assert got == status
    if expected is not None:
        assert body == data[expected]
    if content_range is not None:
        size = len(data)
        assert headers["Content-Range"] == content_range.format(size=size, last=size - 1, last7=size - 7)


def test_a_range_of_what_has_changed_is_the_whole(server):
    _, headers, _ = ask(server, at("config.json"))
    assert ask(server, at("config.json"), Range="bytes=0-0", If_Range=headers["ETag"])[0] == 206
    assert ask(server, at("config.json"), Range="bytes=0-0", If_Range='"other"')[0] == 200


def test_zeros_for_pad_files(server):
    pad = PIECE - 5
    assert ask(server, at(f".pad/{pad}"))[2] == bytes(pad)
    assert ask(server, at(f".pad/{pad}"), Range="bytes=1-9")[2] == bytes(9)
    assert ask(server, at(".pad/7"))[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/", "/Qwen/Tiny/", f"/Qwen/Tiny/{TORRENT.name}", f"/Qwen/Tiny/{TORRENT.name}/",
        f"/Qwen/Tiny/{'0' * 40}/config.json",
        f"/Qwen/Tiny/{TORRENT.name}/model", f"/Qwen/Tiny/{TORRENT.name}/../{TORRENT.name}.torrent",
        f"/Qwen/Tiny/{TORRENT.name}/..%2f..%2f..%2fetc/passwd",
        "/../../../../etc/passwd", "//etc/passwd", "/%2e%2e/etc/passwd",
        f"/Qwen/Tiny/{TORRENT.name}/config.json%00",
        f"/Qwen/Tiny/{TORRENT.name}/stray.txt", f"/Qwen/Tiny/{TORRENT.name}/%ff",
    ],
)  # fmt: skip
def test_nothing_else_is_there(server, folder, path):
    (folder / "stray.txt").write_text("not part of the snapshot")
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_is_read_only(server, method):
    assert ask(server, at("config.json"), method=method)[0] == 405


def test_links_out_of_the_library_lead_nowhere(server, folder, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"{}")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(secret)
    assert ask(server, at("config.json"))[0] == 404
    elsewhere = write_folder(tmp_path / "elsewhere", {"é [1]#%41+.bin": FILES["model/é [1]#%41+.bin"]})
    (folder / "model").rename(tmp_path / "moved")
    (folder / "model").symlink_to(elsewhere)
    assert ask(server, at("model/é [1]#%41+.bin"))[0] == 404


def test_a_file_of_another_length_or_kind_is_not_served(server, folder):
    (folder / "config.json").write_bytes(b"{} ")
    assert ask(server, at("config.json"))[0] == 404
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert ask(server, at("config.json"))[0] == 404


def test_what_is_withdrawn_is_gone(server):
    server.withdraw(SNAPSHOT)
    assert ask(server, at("config.json"))[0] == 404


def test_nothing_is_missing_while_the_library_is_being_loaded(folder):
    with FileServer("127.0.0.1", 0) as server, ThreadPoolExecutor(2) as clients:
        early = [clients.submit(ask, server, path) for path in (at("config.json"), "/Qwen/Tiny/other/config.json")]
        wait_until(lambda: server.requests == 2, 30, "both requests")
        assert not any(answer.done() for answer in early)
        server.offer(Offer.of(SNAPSHOT, folder, TORRENT))
        server.offers_complete()
        assert [answer.result(30)[0] for answer in early] == [200, 404]


def test_a_port_that_is_taken_is_said(server):
    with pytest.raises(P2pqwenError, match=r"cannot listen on 127\.0\.0\.1"), FileServer("127.0.0.1", server.port):
        pass


def test_connections_beyond_the_limit_are_cut_and_idle_ones_too(folder):
    limits = ServerLimits(connections=5, per_address=3, idle_seconds=0.5)
    with FileServer("127.0.0.1", 0, limits) as server:
        server.offer(Offer.of(SNAPSHOT, folder, TORRENT))
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        wait_until(lambda: _is_cut(server.port), 20, "the fourth connection from one address to be cut")
        assert server.refused_connections >= 1
        for one in silent:  # they never ask for anything, so their places come free
            one.settimeout(20)
            with one:
                wait_until(lambda one=one: _ended(one), 20, "a silent connection to be cut")
        assert ask(server, at("config.json"))[0] == 200


def _is_cut(port):
    with socket.create_connection(("127.0.0.1", port)) as probe:
        probe.settimeout(0.2)
        return _ended(probe)


def _ended(connection):
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_the_rate_is_kept(folder):
    with FileServer("127.0.0.1", 0, ServerLimits(rate=1_000_000)) as server:
        server.offer(Offer.of(SNAPSHOT, folder, TORRENT))
        started = time.monotonic()
        for _ in range(2):
            assert ask(server, at("model.safetensors"))[2] == FILES["model.safetensors"]
        # a second's worth is free; the rest takes its time
        assert time.monotonic() - started >= (2 * 20 * PIECE - 1_000_000) / 1_000_000 * 0.9


def test_whoever_comes_while_all_places_are_taken_waits(folder):
    with FileServer("127.0.0.1", 0, ServerLimits(transfers=1, per_address=64)) as server:
        server.offer(Offer.of(SNAPSHOT, folder, TORRENT))
        slow = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        slow.request("GET", at("model.safetensors"))
        assert slow.getresponse().read(10)
        slow.close()
        assert ask(server, at("model.safetensors"))[2] == FILES["model.safetensors"]


LARGE = {"model.safetensors": noise(24 << 20, "large")}
LARGE_TORRENT = make_torrent(LARGE, piece_length=1 << 20)


def open_body(server, address, *, read=1):
    """A connection from an address that asks for a body larger than all buffers, and takes so much of it."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.settimeout(30)
    reader.bind((address, 0))
    reader.connect(("127.0.0.1", server.port))
    reader.sendall(f"GET /Qwen/Tiny/{LARGE_TORRENT.name}/model.safetensors HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    if read:
        assert reader.recv(read)
    return reader


@pytest.fixture
def large(tmp_path):
    return write_folder(tmp_path / "large" / LARGE_TORRENT.name, LARGE)


@pytest.mark.parametrize(
    ("limits", "slow"),
    [
        (ServerLimits(), ["127.0.0.1"] * 32),
        (ServerLimits(transfers=4), [f"127.0.1.{number}" for number in range(4)]),
        (ServerLimits(connections=12, per_address=4), [f"127.0.1.{number}" for number in range(3)] * 4),
    ],
    ids=["one address with every place", "an address for each place", "every connection taken"],
)
def test_97_slow_readers_shut_nobody_out(large, limits, slow):
    """Real sockets: 32 readers of one address that take nothing, then somebody else who wants the file."""
    with FileServer("127.0.0.1", 0, limits) as server, ExitStack() as stack:
        server.offer(Offer.of(SNAPSHOT, large, LARGE_TORRENT))
        readers = [stack.enter_context(open_body(server, address)) for address in slow]
        newcomer = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60, source_address=("127.0.0.2", 0))
        newcomer.request("GET", f"/Qwen/Tiny/{LARGE_TORRENT.name}/model.safetensors")
        assert newcomer.getresponse().read() == LARGE["model.safetensors"]
        newcomer.close()
        assert sum(_is_open(one) for one in readers) >= len(readers) - 2  # those who made room, and nobody else


def _is_open(connection):
    connection.setblocking(False)
    try:
        while connection.recv(1 << 20):
            pass
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    return False


def test_bare_libtorrent_finishes_from_it(server, tmp_path):
    with fetching(TORRENT, tmp_path / "dst", [f"http://127.0.0.1:{server.port}/Qwen/Tiny/"]) as download:
        assert download.wait(60), download.alerts
        assert download.files == FILES
    assert server.sent(SNAPSHOT) >= sum(map(len, FILES.values()))


def test_what_is_withdrawn_is_cut_off(folder):
    with FileServer("127.0.0.1", 0, ServerLimits(rate=400_000)) as server:
        server.offer(Offer.of(SNAPSHOT, folder, TORRENT))
        reader = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        reader.request("GET", at("model.safetensors"))
        answer = reader.getresponse()
        assert answer.read(PIECE) == FILES["model.safetensors"][:PIECE]
        server.withdraw(SNAPSHOT)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
        assert server.sent(SNAPSHOT) == server.bytes_sent < len(FILES["model.safetensors"])


def test_seed_http_serves_the_library_as_it_is(tmp_path):
    user = CommandLine(tmp_path)
    write_folder(tmp_path / "src", FILES)
    done = user.ok("preserve", "--from", tmp_path / "src", "--repo", "Qwen/Tiny", "--commit", TORRENT.name)
    arguments = p2pqwen("seed", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", *QUIET, "--json")
    with running(arguments, user.environment) as process:
        port = process.json_line(30, containing='"http"')["port"]
        process.json_line(60, containing='"seeding"')
        place = type("Place", (), {"port": port})
        assert ask(place, at("model.safetensors"))[2] == FILES["model.safetensors"]
        base = f"http://127.0.0.1:{port}/Qwen/Tiny/"
        checked = user.run("webseed", "check", done["torrent"], "--web-seed", base, "--json").json
        assert next(row for row in checked["bases"] if row["url"] == base)["ok"]
        size = len(FILES["model.safetensors"])
        wait_until(lambda: user.ok("limits")["uploaded_this_month"] >= size, 30, "what went over HTTP to be counted")
        [row] = user.ok("status")["snapshots"]
        sent = row["uploaded"]
        assert size <= sent == user.ok("limits")["uploaded_this_month"]
        other = CommandLine(tmp_path / "other")
        peer = process.json_line(30, containing='"listening"')["port"]
        fetched = other.ok("fetch", done["torrent"], "--peer", f"127.0.0.1:{peer}", "--no-web-seeds", *QUIET)
        user.ok("limits", "--monthly-upload", "1GB")
        sent += fetched["bytes_from_peers"]
        wait_until(lambda: user.ok("limits")["uploaded_this_month"] >= sent, 30, "what went to a peer to be counted")
        sent = user.ok("limits")["uploaded_this_month"]  # with pieces that went twice
        for _ in range(2):  # libtorrent's own counter begins anew with each
            user.ok("pause", "Qwen/Tiny")
            wait_until(lambda: ask(place, at("config.json"), "HEAD")[0] == 404, 30, "the pause")
            user.ok("resume", "Qwen/Tiny")
            wait_until(lambda: ask(place, at("config.json"), "HEAD")[0] == 200, 30, "it to go on")
        assert ask(place, at("config.json"))[0] == 200
        sent += len(FILES["config.json"])
        wait_until(lambda: user.ok("limits")["uploaded_this_month"] == sent, 30, "each byte to be counted once")
        user.ok("limits", "--monthly-upload", "1MB")
        wait_until(lambda: ask(place, at("config.json"))[0] == 404, 30, "nothing to be served beyond the quota")
        user.ok("limits", "--monthly-upload", "0", "--upload", "1MB/s")
        wait_until(lambda: ask(place, at("config.json"))[0] == 200, 30, "the quota to be lifted")
        started = time.monotonic()
        for _ in range(3):
            assert ask(place, at("model.safetensors"))[2] == FILES["model.safetensors"]
        assert time.monotonic() - started >= (3 * size - 1_000_000) / 1_000_000 * 0.9  # a second's worth is free
        user.ok("remove", "Qwen/Tiny", "--yes")
        wait_until(lambda: ask(place, at("model.safetensors"))[0] == 404, 30, "what was removed to be gone")
        assert process.stop() == 0


NO_HTTP = [
    b"\x16\x03\x01\x00\xa5\x01\x00\x00",  # somebody speaks TLS
    b"GET http://[::1/x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Encoding: deflate\r\nContent-Length: 4\r\n\r\nabcd",
    b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
]


@pytest.mark.parametrize("sent", NO_HTTP)
def test_115_what_strangers_send_writes_nothing_to_the_log(server, caplog, sent):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(sent)
        assert connection.recv(100).startswith(b"HTTP/1.0 400")
    assert ask(server, at("config.json"))[0] == 200
    assert not [one for one in caplog.records if one.levelno > logging.DEBUG]


def test_a_fault_of_ours_is_still_written_to_the_log(server, caplog, monkeypatch):
    monkeypatch.setattr(FileServer, "_find", lambda *_: 1 / 0)
    assert ask(server, at("config.json"))[0] == 500
    assert "ZeroDivisionError" in caplog.text


def test_115_a_connection_beyond_the_limits_writes_nothing_to_the_log(caplog):
    with FileServer("127.0.0.1", 0, ServerLimits(per_address=1)) as server, ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        stack.enter_context(socket.create_connection(address, timeout=20))
        wait_until(lambda: len(server._server.connections) == 1, 20, "the first connection")
        for _ in range(4):
            beyond = stack.enter_context(socket.create_connection(address, timeout=20))
            with suppress(ConnectionError):
                assert beyond.recv(1) == b""
        assert server.refused_connections == 4
    gc.collect()  # asyncio tells of a task that failed when it is gone
    assert not [one for one in caplog.records if one.levelno > logging.DEBUG]
