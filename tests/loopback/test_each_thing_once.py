"""One command reads, proves and tries the signatures of one torrent once; the calls are counted as they happen."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from p2pqwen.library.home import Home
from p2pqwen.manifest import manifest, proof
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.torrent import metainfo, signature
from p2pqwen.torrent.metainfo import Metainfo
from tests.support.command import CommandLine
from tests.support.nodes import quiet_config
from tests.support.snapshots import FILES, hold
from tests.support.swarm import QUIET
from tests.support.waiting import wait_until
from tests.support.world import REPO, World, seeded_world

COUNTED = (
    (metainfo, "parse_metainfo"),
    (manifest, "parse_manifest"),
    (signature, "is_made_by"),
    (proof, "prove"),
)


@dataclass(slots=True)
class Calls:
    """How often each function was called, and how often with the same first argument."""

    times: Counter[str] = field(default_factory=Counter)
    same: Counter[tuple[object, ...]] = field(default_factory=Counter)

    def wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.times[name] += 1
            self.same[name, *map(_identity, arguments)] += 1
            return real(*arguments, **options)

        return call

    @property
    def table(self) -> tuple[int, ...]:
        """The calls of each, in the order of `COUNTED`."""
        return tuple(self.times[name] for _, name in COUNTED)

    @property
    def repeated(self) -> list[str]:
        """What was called again with what it had been called with."""
        return sorted({str(name) for (name, *_), times in self.same.items() if times > 1})


def _identity(argument: Any) -> object:
    """What makes two arguments the same thing: bytes, or the parts of a torrent that hashes and signatures cover."""
    if isinstance(argument, Metainfo):
        return argument.info, argument.manifest, tuple(argument.signatures.items())
    return argument.encode() if isinstance(argument, Manifest) else argument


@contextmanager
def counting() -> Iterator[Calls]:
    """Count real calls, in every module that has imported one of these functions, and in those that will."""
    calls = Calls()
    with ExitStack() as patched:
        for home, name in COUNTED:
            real = getattr(home, name)
            importers = [
                module
                for module in list(sys.modules.values())
                if module.__name__.startswith("p2pqwen") and vars(module).get(name) is real
            ]
            assert home in importers
            for module in importers:
                patched.enter_context(mock.patch.object(module, name, calls.wrapped(name, real)))
        yield calls


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A publisher who lists a proven snapshot and seeds it; every module of a fetch is imported."""
    with seeded_world(tmp_path_factory.mktemp("world")) as found:
        found.trusting("first").ok("fetch", REPO, *from_peer(found))
        yield found


def from_peer(world: World) -> tuple[str, ...]:
    return "--peer", world.peer, *QUIET, "--no-web-seeds", "--timeout", "60"


def by_name(world: World, user: CommandLine) -> None:
    user.ok("trust", "add", world.identity, "--index", world.site)


def fetched(world: World, user: CommandLine) -> None:
    by_name(world, user)
    user.ok("fetch", REPO, *from_peer(world))


def fetched_by_magnet(world: World, user: CommandLine) -> None:
    user.ok("fetch", world.entry["magnet"], *from_peer(world))


def fetched_by_magnet_and_listed_now(world: World, user: CommandLine) -> None:
    fetched_by_magnet(world, user)
    by_name(world, user)


def fetched_by_torrent(world: World, user: CommandLine) -> None:
    user.ok("fetch", world.torrent, *from_peer(world))


def nothing(*_: object) -> None:
    """An empty home."""


# In the order of `COUNTED`. There is one signature, by a key that only those know who trust the publisher. What a
# magnet brings has none, and its manifest is made of the bytes; the one .torrent that is read then is what libtorrent
# gives with the piece layers. A snapshot that rises has two torrents: the held one, and the listed one in its place.
@pytest.mark.parametrize(
    ("before", "command", "calls"),
    [
        pytest.param(by_name, ("fetch", REPO), (1, 1, 1, 1), id="fetch-by-name"),
        pytest.param(fetched, ("fetch", REPO), (1, 1, 1, 1), id="fetch-again"),
        pytest.param(nothing, ("fetch", "MAGNET"), (1, 0, 0, 1), id="fetch-by-magnet"),
        pytest.param(fetched_by_magnet, ("fetch", "MAGNET"), (1, 1, 0, 1), id="fetch-by-magnet-again"),
        pytest.param(fetched_by_magnet_and_listed_now, ("fetch", REPO), (2, 2, 1, 2), id="fetch-of-what-rises"),
        pytest.param(nothing, ("fetch", "TORRENT"), (1, 1, 0, 1), id="fetch-by-torrent"),
        pytest.param(fetched_by_torrent, ("fetch", "TORRENT"), (1, 1, 0, 1), id="fetch-by-torrent-again"),
        pytest.param(fetched, ("verify", REPO), (1, 1, 1, 1), id="verify"),
        pytest.param(fetched_by_magnet, ("verify", REPO), (1, 1, 0, 1), id="verify-unproven"),
        pytest.param(fetched_by_torrent, ("verify", "TORRENT"), (1, 1, 0, 1), id="verify-torrent"),
        pytest.param(fetched, ("library", "scrub", "--all"), (1, 1, 0, 1), id="scrub"),
        pytest.param(fetched, ("webseed", "check", REPO), (1, 1, 1, 1), id="web-seed-check"),
        pytest.param(fetched, ("list",), (1, 1, 0, 1), id="list"),
        pytest.param(fetched, ("status",), (1, 1, 0, 1), id="status"),
    ],
)
def test_each_thing_once(world, tmp_path, before, command, calls):
    """What the library wrote it reads back from the disk, under its lock, but does not parse the same bytes again."""
    user = CommandLine(tmp_path / "user", world.hub.endpoint)
    quiet_config(user)
    before(world, user)
    named = {"MAGNET": world.entry["magnet"], "TORRENT": str(world.torrent)}
    arguments = [named.get(one, one) for one in command]
    with counting() as counted:
        user.ok(*arguments, *(from_peer(world) if command[0] == "fetch" else ()))
    assert (counted.table, counted.repeated) == (calls, [])


def holding(number: int, folder: Path) -> CommandLine:
    """A publisher who holds that many snapshots; the first web seed of each is a Hub that has none of them."""
    user = CommandLine(folder)
    quiet_config(user)
    for one in range(number):
        hold(Home(user.home), {**FILES, "config.json": b'{"number": %d}' % one}, repo=f"Qwen/Tiny-{one}")
    user.ok("keys", "init", "--name", "Keepers", "--no-passphrase")
    return user


@pytest.mark.parametrize("number", [1, 7])
def test_a_publishing_reads_each_torrent_once(tmp_path, number):
    """It goes through the library for what may be listed, its web seeds, the rows, the signatures, and the pages.

    The second one reads other bytes than the first: with the signatures. What is signed needs no trial.
    """
    user = holding(number, tmp_path)
    for _ in range(2):
        with counting() as counted:
            published = user.ok("publish", "--out", tmp_path / "site", "--yes")
        assert published["entries"] == number
        assert (counted.table, counted.repeated) == ((number, number, 0, number), [])


@pytest.mark.parametrize("number", [1, 7])
def test_a_node_that_starts_reads_each_torrent_once(tmp_path, monkeypatch, number):
    """It loads every snapshot, shares it, and judges its standing; the node runs in this process."""

    def once_all_are_seeded() -> threading.Event:
        stop, printed = threading.Event(), sys.stdout

        def wait() -> None:
            try:
                wait_until(lambda: printed.getvalue().count('"seeding"') == number, 30, "every snapshot seeding")
            finally:
                stop.set()

        threading.Thread(target=wait).start()
        return stop

    user = holding(number, tmp_path)
    monkeypatch.setattr("p2pqwen.cli.seed.stop_on_signals", once_all_are_seeded)
    with counting() as counted:
        ended = user.run("seed", "--listen", "127.0.0.1:0", "--json")
    events = [json.loads(line)["event"] for line in ended.stdout.splitlines()]
    assert (ended.code, events.count("seeding"), events[-1]) == (0, number, "stopped")
    assert (counted.table, counted.repeated) == ((number, number, 0, number), [])
