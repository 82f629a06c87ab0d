"""Reading from web mirrors that hang, lie, flood and redirect: attacks 17 to 19, 39, 41 and 55, over real sockets."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from p2pqwen.errors import FormatError, NetworkError, NotFoundError, P2pqwenError
from p2pqwen.library.home import Home
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.mirrors.location import Location
from p2pqwen.mirrors.reading import Timeouts, read_now
from p2pqwen.operations.indexes.update import Asked, update, update_all
from p2pqwen.operations.indexes.updated import SourceState
from tests.attacks.victim import NOW, Victim
from tests.support.addresses import LOOPBACK
from tests.support.certificates import certify
from tests.support.command import CommandLine
from tests.support.mirror_server import (
    Handler,
    MirrorServer,
    breaks_off,
    drips,
    floods,
    gives,
    gzipped,
    hangs,
    mirror,
    redirects,
)
from tests.support.processes import p2pqwen
from tests.support.publishing import Publisher, Rules, chain

HASTY = Timeouts(answer=0.5, total=2.0, slowest=10_000)  # for those that never answer
PATIENT = Timeouts(answer=60, total=120)  # for those that do, on a busy machine too
LIMIT = 1_000_000


@pytest.fixture
def server():
    with mirror() as running:
        yield running


def get(url: str, timeouts: Timeouts = PATIENT) -> bytes:
    return read_now(url, max_bytes=LIMIT, named=LOOPBACK, timeouts=timeouts)


def test_a_plain_answer(server: MirrorServer):
    server.answers["/index.json"] = gives(b"{}")
    assert get(server.url + "/index.json") == b"{}"
    assert server.headers_seen[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("answer", "error", "problem"),
    [
        pytest.param(hangs, NetworkError, "cannot reach|too slow", id="17-hangs"),
        pytest.param(drips, NetworkError, "too slow", id="17-one-byte-at-a-time"),
        pytest.param(floods, FormatError, "too large", id="17-endless"),
        pytest.param(gives(b"x" * (LIMIT + 1)), FormatError, "too large", id="17-too-large"),
        pytest.param(gzipped(b" " * 50_000_000), FormatError, "content encoding", id="18-gzip-bomb"),
        pytest.param(breaks_off(b"{"), NetworkError, "cannot reach", id="41-breaks-off"),
        pytest.param(gives(b"", 404), NotFoundError, "404", id="41-not-found"),
        pytest.param(gives(b"", 500), NetworkError, "HTTP 500", id="41-server-error"),
        pytest.param(gives(b"", 204), NetworkError, "HTTP 204", id="41-no-content"),
        pytest.param(gives(b"part", 206), NetworkError, "HTTP 206", id="41-a-part-nobody-asked-for"),
        pytest.param(redirects("/loop"), NetworkError, "too often", id="17-redirect-loop"),
        pytest.param(redirects("file:///etc/passwd"), NetworkError, "not a plain web address", id="55-file"),
        pytest.param(redirects("ftp://127.0.0.1/"), NetworkError, "not a plain web address", id="55-ftp"),
        pytest.param(
            redirects("http://me:pw@127.0.0.1/"), NetworkError, "not a plain web address", id="55-credentials"
        ),
        pytest.param(redirects(""), NetworkError, "too often", id="55-redirect-to-nowhere"),
    ],
)
def test_answers_that_are_not_taken(server: MirrorServer, answer, error, problem):
    server.answers["/loop"] = answer
    with pytest.raises(error, match=problem):
        get(server.url + "/loop", HASTY if answer in {hangs, drips} else PATIENT)


def test_a_few_redirects_are_followed(server: MirrorServer):
    for number in range(5):
        server.answers[f"/{number}"] = redirects(f"/{number + 1}", (301, 302, 303, 307, 308)[number])
    server.answers["/5"] = gives(b"found")
    assert get(server.url + "/0") == b"found"
    server.answers["/5"] = redirects("/6")
    with pytest.raises(NetworkError, match="too often"):
        get(server.url + "/0")


def test_nobody_there():
    with mirror() as server:
        url = server.url
    with pytest.raises(NetworkError, match=r"cannot reach .*, got Connection refused$"):
        get(url)


@pytest.mark.parametrize(
    ("text", "index", "torrent"),
    [
        ("https://example.org/keep", "https://example.org/keep/index.json", "https://example.org/keep/a/b.torrent"),
        ("https://example.org/keep/", "https://example.org/keep/index.json", "https://example.org/keep/a/b.torrent"),
        ("https://example.org", "https://example.org/index.json", "https://example.org/a/b.torrent"),
        ("https://example.org/x/main.json", "https://example.org/x/main.json", "https://example.org/x/a/b.torrent"),
    ],
)
def test_where_a_site_keeps_things(text, index, torrent):
    location = Location.of_user(text)
    assert (location.index, location.beside("a/b.torrent")) == (index, torrent)


def test_a_folder_and_a_file_are_the_same_place(tmp_path: Path):
    (tmp_path / "index.json").write_bytes(b"{}")
    folder, file = Location.of_user(str(tmp_path)), Location.of_user(str(tmp_path / "index.json"))
    assert folder.index == file.index
    assert folder.beside("a/b.torrent") == file.beside("a/b.torrent") == str(tmp_path / "a/b.torrent")


@pytest.mark.parametrize(
    "text", ["ftp://example.org", "file:///etc", "https://u:p@example.org", "https://x/?q", "javascript://x"]
)
def test_places_nobody_should_name(text):
    with pytest.raises(P2pqwenError):
        Location.of_user(text)


def held_back(body: bytes, started: threading.Event, go_on: threading.Event):
    """Half of a file, and the rest once somebody says so."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2])
        handler.wfile.flush()
        started.set()
        go_on.wait(60)
        with contextlib.suppress(OSError):
            handler.wfile.write(body[len(body) // 2 :])

    return answer


@pytest.mark.parametrize(("steady", "comes"), [(1, True), (None, False)])
def test_a_large_file_that_comes_steadily_has_as_long_as_its_size_takes(server: MirrorServer, steady, comes):
    started, go_on = threading.Event(), threading.Event()
    server.answers["/index.json"] = held_back(b"x" * 100_000, started, go_on)
    told: list[float] = []
    timeouts = Timeouts(answer=60, total=1.0, slowest=0, steady=steady, begun=told.append)
    timer = threading.Timer(2.0, go_on.set)  # longer than `total`
    timer.start()
    try:
        if comes:
            assert get(server.url + "/index.json", timeouts) == b"x" * 100_000
            assert told == [3600.0]
        else:
            with pytest.raises(NetworkError, match="too slow"):
                get(server.url + "/index.json", timeouts)
            assert told == []
    finally:
        timer.cancel()
        go_on.set()


def test_what_is_too_slow_for_its_size_is_told_how_long_it_had(server: MirrorServer):
    started, go_on = threading.Event(), threading.Event()
    server.answers["/index.json"] = held_back(b"x" * 100_000, started, go_on)
    try:
        with pytest.raises(NetworkError, match="too slow") as refused:
            get(server.url + "/index.json", Timeouts(answer=60, total=1.0, slowest=0, steady=50_000))
    finally:
        go_on.set()
    assert refused.value.expected == "an answer within 2 s"


@pytest.mark.parametrize(
    ("size", "seconds"), [(None, 120.0), (0, 120.0), (25 << 20, 120.0), (100 << 20, 400.0), (4 << 30, 3600.0)]
)
def test_how_long_a_file_may_take(size, seconds):
    assert Timeouts(steady=256 << 10).for_size(size) == seconds
    assert Timeouts().for_size(size) == 120.0


@pytest.fixture
def places(victim_home: Victim, server: MirrorServer):
    def ask(**answers):
        sources = []
        for name, answer in answers.items():
            server.answers[f"/{name}/index.json"] = answer
            sources.append(f"{server.url}/{name}")
        victim_home.store.pin(victim_home.publisher, sources)
        held = victim_home.store.get(victim_home.publisher, now=NOW)
        done = update(victim_home.store, held, now=NOW, timeouts=Timeouts(answer=6, total=20, slowest=10_000))
        return {one.source.rpartition("/")[2]: one.state for one in done.sources}

    return ask


@pytest.fixture
def victim_home(tmp_path: Path) -> Victim:
    victim = Victim(tmp_path)
    (victim.store.folder(victim.publisher) / "sources.json").unlink()
    return victim


def test_39_41_one_honest_mirror_is_enough(places, victim_home: Victim):
    states = places(
        hanging=hangs,
        dripping=drips,
        lying=gives(b"<html>"),
        frozen=gives(victim_home.good),
        gone=gives(b"", 410),
        honest=gives(victim_home.next_file()),
        zipped=gzipped(victim_home.next_file()),
    )
    assert states == {
        "hanging": SourceState.UNREACHABLE,
        "dripping": SourceState.UNREACHABLE,
        "lying": SourceState.REFUSED,
        "frozen": SourceState.BEHIND,
        "gone": SourceState.UNREACHABLE,
        "honest": SourceState.NEWER,
        "zipped": SourceState.REFUSED,
    }
    assert victim_home.version() == (0, 6)


NAMES = ("one", "other")


def test_41_a_mirror_of_one_publisher_keeps_no_other_waiting(server: MirrorServer, tmp_path: Path):
    """Each of the two is answered only once the other was asked too."""
    both = threading.Barrier(2)
    store = TrustStore(Home(tmp_path / "home"), LOOPBACK)
    publishers = [Publisher(chain(Rules(root=(name,), index=(name,)))) for name in NAMES]
    for number, publisher in enumerate(publishers):
        data = publisher.publish(signers=(NAMES[number],))

        def answer(handler: Handler, body: bytes = data) -> None:
            both.wait(60)
            gives(body)(handler)

        server.answers[f"/{number}/index.json"] = answer
        store.pin(publisher.id, [f"{server.url}/{number}"])
    wanted = [Asked(store.get(publisher.id, now=NOW)) for publisher in publishers]
    done = update_all(store, wanted, now=NOW, timeouts=PATIENT)
    assert [one.sources[0].state for one in done] == [SourceState.NEWER, SourceState.NEWER]


def test_over_https_the_servers_certificate_counts(server: MirrorServer, tmp_path: Path):
    """One that nobody vouches for is no answer; the address in it must be the one that was asked."""
    certified = certify(tmp_path)
    server.socket = certified.context.wrap_socket(server.socket, server_side=True)
    port = server.server_address[1]
    victim = Victim(tmp_path)
    server.answers["/index.json"] = gives(victim.next_file())
    (victim.store.folder(victim.publisher) / "sources.json").unlink()
    victim.store.pin(victim.publisher, [f"https://127.0.0.1:{port}"])
    stranger = CommandLine(tmp_path, processes=True).run("index", "update", "--json")
    assert (stranger.code, stranger.json["version"]) == (5, 5)
    assert "certificate" in stranger.json["sources"][0]["detail"].lower()
    believer = CommandLine(tmp_path, cold=True, SSL_CERT_FILE=str(certified.authority))
    assert believer.ok("index", "update")["version"] == 6


def test_48_commands_that_update_at_once(server: MirrorServer, tmp_path: Path):
    """Each is answered only once all three have asked."""
    victim, together = Victim(tmp_path), threading.Barrier(3)
    (victim.store.folder(victim.publisher) / "sources.json").unlink()
    victim.store.pin(victim.publisher, [server.url])

    def answer(handler: Handler) -> None:
        together.wait(60)
        gives(victim.next_file())(handler)

    server.answers["/index.json"] = answer
    command, environment = p2pqwen("index", "update", "--json"), CommandLine(tmp_path).environment
    runs = [
        subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for run in runs:
        stdout = run.communicate(timeout=90)[0]
        assert (run.returncode, json.loads(stdout)["version"]) == (0, 6)
    assert victim.version() == (0, 6)


def test_exit_codes_of_update(server: MirrorServer, tmp_path: Path):
    victim = Victim(tmp_path)
    user = CommandLine(tmp_path)
    (victim.store.folder(victim.publisher) / "sources.json").unlink()
    victim.store.pin(victim.publisher, [server.url])
    server.answers["/index.json"] = gives(victim.good)
    unchanged = user.ok("index", "update")
    assert (unchanged["ok"], unchanged["version"], unchanged["changed"]) == (True, 5, False)
    server.answers["/index.json"] = gives(victim.next_file())
    newer = user.ok("index", "update")
    assert (newer["version"], newer["changed"], newer["sources"][0]["state"]) == (6, True, "newer")
    server.answers["/index.json"] = gives(victim.good)
    replayed = user.run("index", "update", "--json")
    assert (replayed.code, replayed.json["ok"], replayed.json["version"]) == (3, False, 6)
    assert replayed.json["sources"][0]["step"] == 6
    assert user.ok("search", "tiny")["results"] != []
    server.answers.clear()
    nobody = user.run("index", "update", "--json")
    assert (nobody.code, nobody.json["ok"], nobody.json["version"]) == (5, False, 6)
    assert CommandLine(tmp_path / "other").run("index", "update").code == 4
