#!/usr/bin/env python3
"""Measure what other BitTorrent programs do with a published torrent, for the table of tests/CLIENTS.md.

Each program gets the same hybrid torrent and one source: our `seed` over BitTorrent, our `seed --http`, only the Hub's
redirects (302 to a signed URL on another host for large files, 307 to a relative path for small ones), both bases of
the Hub, or both with signed URLs that expire during the download. Or it gets the complete files, as `export` writes
them, without and with pad files, and must recognise them. The Hub is the tests' simulator. Transmission 3.00 refuses
hybrids, so it gets a v1 torrent of the same files. Bytes are compared with the source when a program reports
completion, or after `--seconds`. The last row is our own fetch.

For newer programs than this machine's: `scripts/clients_root FOLDER`, then P2PQWEN_CLIENTS_ROOT=FOLDER; files must then
be below /tmp. rqbit: `pip install pyrqbit` in an environment, then `--rqbit ITS/bin/python`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from p2pqwen.hub.hub_site import HubSite
from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo
from p2pqwen.values.snapshot_id import SnapshotId
from tests.simulators.faults import Effect, Fault
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import noise, small_model, write_folder
from tests.support.other_clients import aria2, opentracker, qbittorrent, rtorrent, transmission, v1_torrent
from tests.support.processes import p2pqwen, running
from tests.support.swarm import QUIET
from tests.support.web_seeds import SNAPSHOT, make_torrent

PIECE = 1 << 20
EXPIRING = 3
SLOW = 8_000_000
GIVEN = ("given, no pads", "given, with pads")
SOURCES = ("our seed", "seed --http", "redirects alone", "both bases", "both, expiring", *GIVEN)


@dataclass(frozen=True, slots=True)
class World:
    """The files, their torrent, the Hub that has them and our HTTP web seed."""

    folder: Path
    files: Mapping[str, bytes]
    metainfo: Metainfo
    hub: HubSimulator
    http: str

    def urls(self, source: str) -> tuple[str, ...]:
        first, second = HubSite(self.hub.endpoint).web_seeds(SNAPSHOT.repo).all
        alone = {"our seed": (), "seed --http": (self.http,), "redirects alone": (first,)} | dict.fromkeys(GIVEN, ())
        return alone.get(source, (first, second))

    def renamed(self) -> int:
        """The number of files that are in `out` under another name."""
        folder = self.out / self.metainfo.name
        return sum(not (folder / name).exists() and any(folder.rglob(f"{Path(name).name}*")) for name in self.files)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def payload(self) -> Path:
        return self.folder / "keeper" / "home" / "library" / SNAPSHOT.repo.text / self.metainfo.name

    def share_right(self) -> float:
        """The fraction of the payload that is correct in `out`, 0 to 1."""
        right = 0
        for name, data in self.files.items():
            path = self.out / self.metainfo.name / name
            there = path.read_bytes() if path.is_file() else b""
            steps = range(0, len(data), PIECE)
            right += sum(len(data[at : at + PIECE]) for at in steps if there[at : at + PIECE] == data[at : at + PIECE])
        return right / sum(map(len, self.files.values()))


Row = Callable[[World, Path, float], float | None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=120, help="size of the model, in two shards (default 120)")
    parser.add_argument("--seconds", type=float, default=120, help="how long to wait for each (default 120)")
    parser.add_argument("--only", nargs="+", metavar="PROGRAM")
    parser.add_argument("--sources", nargs="+", metavar="SOURCE", choices=SOURCES, default=SOURCES)
    parser.add_argument("--rqbit", type=Path, metavar="PYTHON", help="a Python that has pyrqbit")
    given = parser.parse_args()
    programs = {
        "aria2c": aria2_row,
        "transmission-daemon": transmission_row,
        "qbittorrent-nox": qbittorrent_row,
        "rtorrent": rtorrent_row,
        "p2pqwen fetch": our_row,
    }
    if given.rqbit is not None:
        programs["rqbit"] = partial(rqbit_row, given.rqbit)
    print(f"| | {' | '.join(given.sources)} |\n|---|{'---|' * len(given.sources)}")
    for name, row in programs.items():
        if given.only is None or name in given.only:
            cells = [
                "not tried"
                if row is our_row and source in GIVEN
                else one(row, source, given.megabytes * 500_000, given.seconds)
                for source in given.sources
            ]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def one(row: Row, source: str, shard: int, seconds: float) -> str:
    with world(shard, tracked=source == "our seed") as made:
        if source == "both, expiring":
            made.hub.signer = type(made.hub.signer)(EXPIRING)
            made.hub.faults.add(Fault(Effect(bytes_per_second=SLOW), on=("cdn",)))
        torrent = made.folder / "model.torrent"
        torrent.write_bytes(replace(made.metainfo, web_seeds=made.urls(source)).encode())
        if source in GIVEN:
            options = ("--with-pads",) if source == GIVEN[1] else ()
            CommandLine(made.folder / "keeper").ok("export", SNAPSHOT.repo.text, made.out, *options)
        else:
            made.out.mkdir()
        took = row(made, torrent, seconds)
        share, renamed = made.share_right(), made.renamed()
        asked = len(made.hub.log)
    if source in GIVEN:
        found = f"finds all, {took:.0f} s" if took is not None else "does not find all"
        return f"{found}, {renamed} of {len(made.files)} renamed"
    state = f"finishes, {took:.0f} s" if took is not None and share == 1 else f"does not finish, {share:.2%}"
    return f"{state}, {asked} requests" if asked else state


@contextmanager
def world(shard: int, *, tracked: bool) -> Iterator[World]:
    """Make the files and their servers; `tracked`: our seed is found through a tracker."""
    files = small_model(1000) | {
        # Two sizes, since Transmission 4.1 refuses a torrent with two pad files of the same length.
        f"model-{number}.safetensors": noise(shard + number, f"shard {number}")
        for number in (1, 2)
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        hub = stack.enter_context(HubSimulator())
        commit = hub.add(SNAPSHOT.repo.text, write_folder(folder / "source", files))
        metainfo = make_torrent(files, piece_length=PIECE, snapshot=SnapshotId(SNAPSHOT.repo, commit))
        if tracked:
            metainfo = replace(metainfo, trackers=((stack.enter_context(opentracker(metainfo)),),))
        keeper = CommandLine(folder / "keeper")
        held = keeper.home / "library" / SNAPSHOT.repo.text
        shutil.copytree(folder / "source", held / metainfo.name)
        (held / f"{metainfo.name}.torrent").write_bytes(metainfo.encode())
        quiet = [option for option in QUIET if not (tracked and option == "--no-trackers")]
        seed = p2pqwen("seed", "--listen", "127.0.0.1:0", *quiet, "--http", "127.0.0.1:0", "--json")
        process = stack.enter_context(running(seed, keeper.environment))
        port = process.json_line(60, containing='"http"')["port"]
        process.line(60, containing='"seeding"')
        yield World(folder, files, metainfo, hub, f"http://127.0.0.1:{port}/{SNAPSHOT.repo}/")


def wait(done: Callable[[], bool], seconds: float) -> float | None:
    """Wait until the program reports completion; return the seconds that it took, None if it did not."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if done():
            return time.monotonic() - started
        time.sleep(0.2)
    return None


def aria2_row(made: World, torrent: Path, seconds: float) -> float | None:
    with aria2(torrent, made.out, "--seed-time=0", "--check-integrity=true") as client:
        return wait(lambda: client.process.exit_code == 0, seconds)


def qbittorrent_row(made: World, torrent: Path, seconds: float) -> float | None:
    with qbittorrent(torrent, made.out, made.folder / "profile") as client:
        return wait(lambda: client.progress == 1, seconds)


def transmission_row(made: World, torrent: Path, seconds: float) -> float | None:
    with transmission(made.out, made.folder / "profile") as client:
        if client.add(torrent) != "success":
            seeds = parse_metainfo(torrent.read_bytes()).web_seeds
            if not seeds:
                return None
            torrent.write_bytes(v1_torrent(made.payload, seeds[0], PIECE))
            assert client.add(torrent) == "success"
        return wait(lambda: client.progress == 1, seconds)


def rtorrent_row(made: World, torrent: Path, seconds: float) -> float | None:
    """Run rTorrent, which reports progress only over its own protocol, so completion is judged by the files."""
    with rtorrent(torrent, made.out, made.folder / "profile"):
        return wait(lambda: made.share_right() == 1, seconds)


_RQBIT = """
import sys
from pyrqbit import TorrentClient
torrent, folder, seconds = sys.argv[1:]
with TorrentClient(folder, listen_port=None, disable_dht=True) as client:
    client.download(torrent, output_folder=folder, timeout=float(seconds))
"""


def rqbit_row(python: Path, made: World, torrent: Path, seconds: float) -> float | None:
    folder = made.out / made.metainfo.name
    with running([python, "-c", _RQBIT, torrent, folder, str(seconds)]) as process:
        return wait(lambda: process.exit_code == 0, seconds)


def our_row(made: World, torrent: Path, seconds: float) -> float | None:
    user = CommandLine(made.folder / "user", made.hub.endpoint)
    quiet = ("--no-web-seeds", *(option for option in QUIET if option != "--no-trackers"))
    options = ("--only-web-seeds",) if parse_metainfo(torrent.read_bytes()).web_seeds else quiet
    started = time.monotonic()
    ended = user.run("fetch", torrent, *options, "--no-hf-cache", "--timeout", str(seconds), "--json")
    took = time.monotonic() - started
    if ended.code == 0:
        shutil.copytree(ended.json["path"], made.out / made.metainfo.name)
    return took if ended.code == 0 else None


if __name__ == "__main__":
    main()
