#!/usr/bin/env python3
"""What other people's BitTorrent programs do with a published torrent: the table of tests/CLIENTS.md, measured.

Each program gets the same hybrid torrent and one source: our `seed --http`, the Hub's redirects alone (302 to a signed
URL on another host for large files, 307 to a relative path for small ones), both bases of the Hub, and both with
signed URLs that expire during the download. The Hub is the tests' simulator. Transmission 3.00 refuses hybrids, so it
gets a v1 torrent of the same files. Bytes are compared with the source when a program says that it is done, or after
`--seconds`. Our own fetch stands in the last row.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from p2pqwen.hub.site import HubSite
from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo
from p2pqwen.values.snapshot_id import SnapshotId
from tests.simulators.faults import Effect, Fault
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import noise, small_model, write_folder
from tests.support.other_clients import aria2, qbittorrent, transmission, v1_torrent
from tests.support.processes import p2pqwen, running
from tests.support.swarm import QUIET
from tests.support.web_seeds import SNAPSHOT, make_torrent

PIECE = 1 << 20
EXPIRING = 3
SLOW = 8_000_000
SOURCES = ("seed --http", "redirects alone", "both bases", "both, expiring")


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
        return {"seed --http": (self.http,), "redirects alone": (first,)}.get(source, (first, second))

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def payload(self) -> Path:
        return self.folder / "keeper" / "home" / "library" / SNAPSHOT.repo.text / self.metainfo.name

    def share_right(self) -> float:
        """How much of the payload stands rightly in `out`, 0 to 1."""
        right = 0
        for name, data in self.files.items():
            path = self.out / self.metainfo.name / name
            there = path.read_bytes() if path.is_file() else b""
            steps = range(0, len(data), PIECE)
            right += sum(len(data[at : at + PIECE]) for at in steps if there[at : at + PIECE] == data[at : at + PIECE])
        return right / sum(map(len, self.files.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=120, help="size of the model, in two shards (default 120)")
    parser.add_argument("--seconds", type=float, default=120, help="how long to wait for each (default 120)")
    parser.add_argument("--only", nargs="+", metavar="PROGRAM")
    given = parser.parse_args()
    programs = {"aria2c": aria2_row, "transmission-daemon": transmission_row, "qbittorrent-nox": qbittorrent_row}
    programs["p2pqwen fetch"] = our_row
    print(f"| | {' | '.join(SOURCES)} |\n|---|{'---|' * len(SOURCES)}")
    for name, row in programs.items():
        if given.only is None or name in given.only:
            cells = [one(row, source, given.megabytes * 500_000, given.seconds) for source in SOURCES]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def one(row: Callable[[World, Path, float], float | None], source: str, shard: int, seconds: float) -> str:
    with world(shard) as made:
        if source == "both, expiring":
            made.hub.signer = type(made.hub.signer)(EXPIRING)
            made.hub.faults.add(Fault(Effect(bytes_per_second=SLOW), on=("cdn",)))
        torrent = made.folder / "model.torrent"
        torrent.write_bytes(replace(made.metainfo, web_seeds=made.urls(source)).encode())
        made.out.mkdir()
        took = row(made, torrent, seconds)
        share = made.share_right()
        asked = len(made.hub.log)
    state = f"finishes, {took:.0f} s" if took is not None and share == 1 else f"does not finish, {share:.2%}"
    return f"{state}, {asked} requests" if asked else state


@contextmanager
def world(shard: int) -> Iterator[World]:
    files = small_model(1000) | {f"model-{number}.safetensors": noise(shard, f"shard {number}") for number in (1, 2)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        hub = stack.enter_context(HubSimulator())
        commit = hub.add(SNAPSHOT.repo.text, write_folder(folder / "source", files))
        metainfo = make_torrent(files, piece_length=PIECE, snapshot=SnapshotId(SNAPSHOT.repo, commit))
        keeper = CommandLine(folder / "keeper")
        held = keeper.home / "library" / SNAPSHOT.repo.text
        shutil.copytree(folder / "source", held / metainfo.name)
        (held / f"{metainfo.name}.torrent").write_bytes(metainfo.encode())
        seed = p2pqwen("seed", "--listen", "127.0.0.1:0", *QUIET, "--http", "127.0.0.1:0", "--json")
        process = stack.enter_context(running(seed, keeper.environment))
        port = process.json_line(60, containing='"http"')["port"]
        process.line(60, containing='"seeding"')
        yield World(folder, files, metainfo, hub, f"http://127.0.0.1:{port}/{SNAPSHOT.repo}/")


def wait(done: Callable[[], bool], seconds: float) -> float | None:
    """Wait until the program says that it is done; the seconds it took, None if it did not."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if done():
            return time.monotonic() - started
        time.sleep(0.2)
    return None


def aria2_row(made: World, torrent: Path, seconds: float) -> float | None:
    with aria2(torrent, made.out, "--seed-time=0") as client:
        return wait(lambda: client.process.exit_code == 0, seconds)


def qbittorrent_row(made: World, torrent: Path, seconds: float) -> float | None:
    with qbittorrent(torrent, made.out, made.folder / "profile") as client:
        return wait(lambda: client.progress == 1, seconds)


def transmission_row(made: World, torrent: Path, seconds: float) -> float | None:
    with transmission(made.out, made.folder / "profile") as client:
        if client.add(torrent) != "success":
            torrent.write_bytes(v1_torrent(made.payload, parse_metainfo(torrent.read_bytes()).web_seeds[0], PIECE))
            assert client.add(torrent) == "success"
        return wait(lambda: client.progress == 1, seconds)


def our_row(made: World, torrent: Path, seconds: float) -> float | None:
    user = CommandLine(made.folder / "user", made.hub.endpoint)
    started = time.monotonic()
    ended = user.run("fetch", torrent, "--only-web-seeds", "--no-hf-cache", "--timeout", str(seconds), "--json")
    took = time.monotonic() - started
    if ended.code == 0:
        shutil.copytree(ended.json["path"], made.out / made.metainfo.name)
    return took if ended.code == 0 else None


if __name__ == "__main__":
    main()
