"""Our fetch meets every peer of the catalogue: beside an honest seed it completes, alone it ends in time, unharmed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.simulators.hostile_peers import GARBAGE, LIARS, METADATA, SLUGGARDS
from tests.simulators.peer import BLOCK, Behaviour, PeerNetwork
from tests.support.command import CommandLine
from tests.support.faults.swarms import SwarmPlan
from tests.support.faults.swarms import run as run_swarm
from tests.support.hostile import Met, Strangers
from tests.support.models import small_model
from tests.support.processes import ROOT
from tests.support.swarm import QUIET, seeding
from tests.support.warm import run_warm

PATIENT, HASTY = 60.0, 2.0  # seconds without anything arriving
BOUND = 120.0
GROUPS = {"liars": LIARS, "sluggards": SLUGGARDS, "garbage": GARBAGE}
# Whoever garbles only what nobody needs serves all the same, and is as good a seed as any.
USABLE = {
    "choke and unchoke", "keep alives", "haves without end", "unasked blocks", "chokes without end", "drip",
    "extension handshake of noise", "extension handshake, deep", "extension handshake, wrong types",
    "extension numbers out of range", "hashes that are wrong", "parts nobody asked for", "a bomb",
    "bitfield too long", "second bitfield", "unknown messages",
}  # fmt: skip


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    with PeerNetwork() as network:
        yield Strangers(tmp_path_factory.mktemp("strangers"), network)


@pytest.fixture(scope="module")
def seed(strangers):
    """An honest seed that is another p2pqwen; `strangers.peer()` is an honest one that speaks v1 alone."""
    with seeding(CommandLine(strangers.folder / "keeper")) as (_, peer):
        yield peer


def problem(strangers: Strangers, met: Met, *codes: int) -> str | None:
    """Say what is wrong with how a fetch ended; None: one of these exit codes, in time, with right bytes or none."""
    complete = strangers.on_disk(met.user) == strangers.files
    state = [one["state"] for one in met.user.ok("list")["snapshots"]]
    if met.code not in codes or met.seconds > BOUND:
        return f"{met.name}: exit code {met.code} after {met.seconds:.0f} s, {met.stderr[-300:]}"
    if met.code == 0 and not (complete and state == ["complete"]):
        return f"{met.name}: it claims to be complete"
    if met.code != 0 and (state not in ([], ["incomplete"]) or met.user.cache.exists()):
        return f"{met.name}: what is {state} is laid into the cache"
    return None


@pytest.mark.parametrize("group", GROUPS)
def test_beside_an_honest_seed_a_fetch_completes(strangers, seed, group):
    problems = [
        problem(strangers, met, 0) for met in strangers.meet_each(GROUPS[group], beside=[seed], timeout=PATIENT)
    ]
    assert not list(filter(None, problems))


def test_beside_an_honest_seed_that_speaks_v1_alone_liars_are_found_out(strangers):
    """It cannot give the hashes of single blocks, so nobody knows at once which of two peers lied."""
    honest = str(strangers.peer().endpoint)
    problems = [problem(strangers, met, 0) for met in strangers.meet_each(LIARS, beside=[honest], timeout=PATIENT)]
    assert not list(filter(None, problems))


@pytest.mark.parametrize("group", GROUPS)
def test_alone_it_ends_in_the_time_asked_and_harms_nothing(strangers, seed, group):
    problems, users = [], []
    for met in strangers.meet_each(GROUPS[group], timeout=HASTY):
        # A peer whose padding alone is wrong makes the hashes seem to contradict each other; nobody else tells.
        codes = (3, 5) if met.name.startswith("corrupt the last byte") else (0, 5)
        problems.append(problem(strangers, met, *(codes if met.name in USABLE or 3 in codes else (5,))))
        users.append(met.user)
    assert not list(filter(None, problems))
    after = users[0]  # what the liar left on the disk is in nobody's way
    ended = run_warm(after, "fetch", strangers.torrent, "--peer", seed, *QUIET, "--no-web-seeds", "--timeout", "30")
    assert ended.code == 0, ended.stderr
    assert strangers.on_disk(after) == strangers.files


def test_who_lies_about_metadata_is_passed_over(strangers, seed):
    problems = [
        problem(strangers, met, 0) for met in strangers.meet_each(METADATA, beside=[seed], magnet=True, timeout=PATIENT)
    ]
    problems += [
        problem(strangers, met, *((0, 5) if met.name in USABLE else (5,)))
        for met in strangers.meet_each(METADATA, magnet=True, timeout=HASTY)
    ]
    assert not list(filter(None, problems))


def test_who_was_caught_lying_is_not_asked_again(strangers):
    """Peers that a user names are tried again every second; not this one."""
    group = {"caught": LIARS["corrupt"], "only rude": SLUGGARDS["leave when asked"]}
    caught, rude = strangers.meet_each(group, timeout=6)
    assert (caught.code, rude.code) == (5, 5)
    assert "arrived damaged" in caught.stderr
    assert rude.peers[0].seen.connections > caught.peers[0].seen.connections + 1
    assert caught.peers[0].seen.connections <= 2


def test_many_liars_and_one_honest_seed(strangers, seed):
    liars = [strangers.peer(one) for one in LIARS.values()]
    met = strangers.meet("many", liars, beside=[seed], timeout=PATIENT)
    assert problem(strangers, met, 0) is None


def test_a_peer_that_needs_long_for_a_piece_keeps_its_turn(tmp_path):
    """Without piece layers one peer after another is asked, and blocks of one that is given up are lost."""
    with PeerNetwork() as network:
        few = Strangers(tmp_path, network, small_model(290_000))
        slow = few.peer(Behaviour(pause=0.25))
        met = few.meet("slow", [few.peer(SLUGGARDS["silent"]), slow], magnet=True, timeout=40)
        assert problem(few, met, 0) is None
        assert slow.seen.blocks <= sum(-(-len(content) // BLOCK) for content in few.files.values()) + 2


def test_magnets_among_peers_that_lie_where_nobody_gives_piece_layers(strangers, seed):
    """Swarms in which libtorrent 2.1.1 crashed, or never let a torrent go, while all were asked at once."""
    plans = [SwarmPlan.of(number) for number in (164, 198, 219, 1034, 2133)]
    assert all(plan.magnet and "real" not in plan.honest for plan in plans)
    with ThreadPoolExecutor(len(plans)) as pool:
        outcomes = list(pool.map(lambda plan: run_swarm(plan, strangers, seed), plans))
    assert [outcome for outcome in outcomes if outcome.problems] == []


@contextmanager
def listener() -> Iterator[tuple[int, list[object]]]:
    """A service of this machine, and who called it."""
    calls: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:
                    return
                calls.append(address)
                connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1], calls
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize(
    "named",
    [
        "&tr=http%3A%2F%2F127.0.0.1%3A{port}%2Fannounce",
        "&tr=http%3A%2F%2Flocalhost%3A{port}%2Fannounce",
        "&ws=http%3A%2F%2F127.0.0.1%3A{port}%2F",
        "&xs=http%3A%2F%2F127.0.0.1%3A{port}%2Freboot",
        "&xs=http%3A%2F%2F127.0.0.1%3A{port}%2Fx.torrent%3Freboot",
        "&x.pe=127.0.0.1:{port}",
        "&x.pe=[::ffff:127.0.0.1]:{port}",
    ],
)
def test_what_a_magnet_names_on_this_machine_is_never_called(tmp_path, strangers, named):
    user = CommandLine(tmp_path / "user")
    with listener() as (port, calls):
        magnet = strangers.magnet.partition("&ws=")[0] + named.format(port=port)
        quiet = ("--no-dht", "--no-lsd", "--no-upnp")
        ended = run_warm(user, "fetch", magnet, *quiet, "--timeout", "2")
    assert ended.code in {1, 2, 5}, ended
    assert calls == []


@pytest.mark.parametrize(
    ("stranger", "allowed", "called"),
    [
        ("private", ["lan", "loopback"], {"private", "own"}),
        ("private", ["lan"], {"private"}),
        ("public", ["lan", "loopback"], set()),  # a peer outside may not name addresses inside
        ("public", [], set()),
    ],
)
def test_addresses_that_a_stranger_names_are_called_only_where_they_are_allowed(stranger, allowed, called):
    """In a network namespace, since nothing on loopback alone is a private or a public network."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("needs root, unshare and ip for a network namespace")
    program = [sys.executable, "-m", "tests.support.named_by_peers"]
    command = ["unshare", "--net", *program, stranger, ",".join(sorted(called)) or "none", *allowed]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip("this machine does not let us make network namespaces")
    assert done.returncode == 0, done.stderr
    assert {name for name, calls in json.loads(done.stdout).items() if calls} == called
