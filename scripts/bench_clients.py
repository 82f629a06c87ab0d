#!/usr/bin/env python3
"""Time a whole fetch of one model from one seed, by p2pqwen and by other programs, in turn.

    scripts/bench_clients.py [--megabytes 1000] [--shards 2] [--runs 3] [--only PROGRAM...] [--folder DIR]
                             [--rqbit PYTHON] [--webtorrent FOLDER]

Each program gets the same hybrid torrent, an empty folder and a tracker that names our seed, all on loopback.
qBittorrent also gets the seed's address, and must use TCP: over uTP, its default, loopback carries 8 MB/s. The clock
runs from the start of the process until the program reports completion. p2pqwen completes when the snapshot is
verified, hashed again as whole files and synced to disk; a bare libtorrent session, with the tuned settings of
`bench_fetch.py`, when all is synced. The others do not say when their bytes are on the disk. `through a node` is
`p2pqwen fetch` with a running node, which then does the work. A fetch that takes longer than 10 minutes ends the run.

Programs that this machine lacks are left out, and so is aria2: version 1.36 requests another infohash than the hybrid
torrent's. rqbit: `pip install pyrqbit` in an environment, then `--rqbit ITS/bin/python`. webtorrent (3.0; 2.8 refuses
the torrent): `npm install webtorrent` in a folder, then `--webtorrent FOLDER`.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import bench_fetch  # noqa: E402 - the project's root must be found first

from p2pqwen.swarm.tracker_scrape import NOBODY, parse_scrape, scrape_url  # noqa: E402
from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo  # noqa: E402
from tests.support.command import CommandLine  # noqa: E402
from tests.support.other_clients import opentracker, qbittorrent  # noqa: E402
from tests.support.processes import Process, p2pqwen, running  # noqa: E402
from tests.support.swarm import QUIET  # noqa: E402
from tests.support.waiting import wait_until  # noqa: E402

LONGEST = 600.0
_WITH_TRACKERS = tuple(option for option in QUIET if option != "--no-trackers")
_OURS = ("--no-hf-cache", "--no-web-seeds", "--json")
_RQBIT = """
import sys
from pyrqbit import TorrentClient
with TorrentClient(sys.argv[2], listen_port=None, disable_dht=True) as client:
    client.download(sys.argv[1], output_folder=sys.argv[2], timeout=600)
"""
_WEBTORRENT = """
import { createRequire } from "node:module";
const [folder, torrent, out] = process.argv.slice(2);
const file = createRequire(folder + "/").resolve("webtorrent");
const { default: WebTorrent } = await import(file);
const client = new WebTorrent({ dht: false, lsd: false, natUpnp: false, natPmp: false, utp: false });
client.add(torrent, { path: out }, (added) => added.on("done", () => process.exit(0)));
"""


@dataclass(frozen=True, slots=True)
class World:
    """A torrent with a tracker, the port of the seed that the tracker names, and a folder for each run."""

    torrent: Path
    port: int
    out: Path


Program = Callable[[World], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="PROGRAM")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rqbit", type=Path, metavar="PYTHON")
    parser.add_argument("--webtorrent", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    programs: dict[str, Program] = {"bare libtorrent": bare, "p2pqwen fetch": fetch, "through a node": through_a_node}
    if shutil.which("qbittorrent-nox"):
        programs["qbittorrent-nox"] = qbit
    if given.rqbit:
        programs["rqbit"] = partial(process, [given.rqbit, "-c", _RQBIT])
    if given.webtorrent:
        programs["webtorrent"] = partial(webtorrent, given.webtorrent.resolve())
    chosen = {name: run for name, run in programs.items() if given.only is None or name in given.only}
    size = given.megabytes * 1_000_000
    times: dict[str, list[float]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory(dir=given.folder) as name, seed(Path(name), size, given.shards) as world:
        for _ in range(given.runs):
            for program, run in random.sample(list(chosen.items()), len(chosen)):
                shutil.rmtree(world.out, ignore_errors=True)
                world.out.mkdir()
                bench_fetch.use_memory(world.out.parent, 3 * size)
                os.sync()  # otherwise the disk would still be busy with the previous run's files
                times[program].append(run(world))
                print(f"  {program:16} {times[program][-1]:6.2f} s", file=sys.stderr, flush=True)
    report(times, size, given.shards)


def report(times: dict[str, list[float]], size: int, shards: int) -> None:
    cores, when = len(os.sched_getaffinity(0)), f"{datetime.now(UTC):%Y-%m-%d}"
    print(f"machine: {platform.machine()}, {cores} cores, {bench_fetch.cpu()}, {when}")
    print(f"data: {size / 1e6:.0f} MB in {shards} files; whole processes")
    first = min(times["bare libtorrent"]) if "bare libtorrent" in times else None
    for program, seconds in sorted(times.items(), key=lambda row: min(row[1])):
        best, middle = min(seconds), statistics.median(seconds)
        ratio = "" if first is None else f"   {best / first:5.2f} of bare libtorrent"
        print(f"{program:16} best {best:6.2f} s   median {middle:6.2f} s{ratio}")


@contextmanager
def seed(folder: Path, size: int, shards: int) -> Iterator[World]:
    bench_fetch.make_model(folder / "model", size, shards)
    keeper = CommandLine(folder / "keeper")
    source = ("--from", folder / "model", "--hard-links", "--repo", bench_fetch.REPO, "--commit", bench_fetch.COMMIT)
    made = Path(keeper.ok("preserve", *source)["torrent"])
    metainfo = parse_metainfo(made.read_bytes())
    with ExitStack() as stack:
        tracked = replace(metainfo, trackers=((stack.enter_context(opentracker(metainfo)),),), web_seeds=())
        made.write_bytes(tracked.encode())
        torrent = folder / "model.torrent"
        torrent.write_bytes(tracked.encode())
        command = p2pqwen("seed", "--listen", "127.0.0.1:0", *_WITH_TRACKERS, "--json")
        node = stack.enter_context(running(command, keeper.environment))
        port = node.json_line(60, containing='"listening"')["port"]
        node.line(60, containing='"seeding"')
        _wait_for_seed(tracked)
        yield World(torrent, port, folder / "out")


def _wait_for_seed(metainfo: Metainfo) -> None:
    """Wait until the tracker names the seed: clients that get an empty answer ask again only half an hour later."""
    v1 = metainfo.infohash.v1
    url = str(scrape_url(metainfo.trackers[0][0], [v1]))

    def is_named() -> bool:
        with urllib.request.urlopen(url) as answer:
            return parse_scrape(answer.read()).get(v1, NOBODY).seeds > 0

    wait_until(is_named, 60, "the tracker names the seed")


def _ended(program: Process, started: float) -> float:
    if program.wait(LONGEST) != 0:
        raise SystemExit(f"{program}: {program.stderr}")
    return time.monotonic() - started


def process(command: list[str | Path], world: World) -> float:
    started = time.monotonic()
    with running([*command, world.torrent, world.out]) as program:
        return _ended(program, started)


def bare(world: World) -> float:
    command = [sys.executable, bench_fetch.__file__, "--bare", world.torrent, world.port, world.out / "files"]
    (world.out / "files").mkdir()
    started = time.monotonic()
    subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, check=True, timeout=LONGEST)
    return time.monotonic() - started


def fetch(world: World) -> float:
    user = CommandLine(world.out)
    command = [sys.executable, "-m", "p2pqwen", "fetch", str(world.torrent), *_WITH_TRACKERS, *_OURS]
    started = time.monotonic()
    subprocess.run(command, env={**os.environ, **user.environment}, stdout=subprocess.PIPE, check=True, timeout=LONGEST)
    return time.monotonic() - started


def through_a_node(world: World) -> float:
    user = CommandLine(world.out)
    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", *_WITH_TRACKERS, "--json"), user.environment) as node:
        node.line(60, containing='"listening"')
        return fetch(world)


def qbit(world: World) -> float:
    started = time.monotonic()
    with qbittorrent(world.torrent, world.out, world.out / "profile", protocol="TCP") as client:
        _wait(lambda: client.has_torrent, started)
        client.connect(f"127.0.0.1:{world.port}")  # it may wait minutes for its first tracker answer
        _wait(lambda: client.progress == 1, started)
        return time.monotonic() - started


def _wait(done: Callable[[], bool], started: float) -> None:
    while not done():
        if time.monotonic() - started > LONGEST:
            raise SystemExit("qbittorrent-nox stands still")
        time.sleep(0.02)


def webtorrent(folder: Path, world: World) -> float:
    script = world.out / "fetch.mjs"
    script.write_text(_WEBTORRENT)
    return process(["node", script, folder], world)


if __name__ == "__main__":
    main()
