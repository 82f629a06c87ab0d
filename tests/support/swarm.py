"""Snapshots with their torrents, and peers that serve them, all on loopback."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pqwen.library.hashing import hash_files
from p2pqwen.manifest.lfs_pointer import pointer_oid
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.snapshot_torrent import build_metainfo
from p2pqwen.values.digest import CommitId
from p2pqwen.values.network_choices import SWITCHES, UNRESTRICTED
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.support.addresses import LOOPBACK
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.processes import Process, p2pqwen, running
from tests.support.waiting import PATIENT, wait_until

REPO = "Qwen/Tiny"
COMMIT = "c0ffee" * 6 + "c0de"
QUIET = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")
SWITCHED_OFF = UNRESTRICTED.without(*SWITCHES)
ALONE = SwarmSettings(loopback=True, named=LOOPBACK, choices=SWITCHED_OFF)
LISTENING = SwarmSettings(listen=Endpoint("127.0.0.1", 0), named=LOOPBACK, choices=SWITCHED_OFF)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Files below `save_path/<commit>/` and their torrent."""

    save_path: Path
    files: Mapping[str, bytes]
    manifest: Manifest
    metainfo: Metainfo

    @property
    def folder(self) -> Path:
        return self.save_path / self.metainfo.name

    @property
    def size(self) -> int:
        return sum(map(len, self.files.values()))

    def write_torrent(self, path: Path) -> Path:
        path.write_bytes(self.metainfo.encode())
        return path


def make_snapshot(save_path: Path, files: Mapping[str, bytes] | None = None, commit: str = COMMIT) -> Snapshot:
    """Write a snapshot's files and make its torrent, as `preserve` would without a commit object."""
    files = small_model() if files is None else files
    folder = write_folder(save_path / commit, files)
    layout = Layout.of((RepoPath(name), len(content)) for name, content in files.items())
    digests = hash_files(folder, layout)
    rows = []
    for file in layout.files:
        one = digests[file.path]
        lfs = file.path.text.endswith((".safetensors", ".bin"))
        oid = pointer_oid(one.sha256, one.size) if lfs else one.git_blob
        rows.append(FileRow(file.path, one.size, one.sha256, oid, lfs))
    manifest = Manifest(SnapshotId(RepoId(REPO), CommitId.parse(commit)), None, "apache-2.0", tuple(rows))
    metainfo = build_metainfo(manifest, layout, {path: one.hashes for path, one in digests.items()})
    return Snapshot(save_path, files, manifest, metainfo)


def pump_until(condition: Callable[[], Any], *swarms: Swarm, seconds: float = 20.0, what: str = "") -> Any:
    """Run sessions until a condition is true; the failure names what never happened, and the sessions' state."""
    deadline = time.monotonic() + PATIENT * seconds
    while not (found := condition()):
        for swarm in swarms:
            swarm.pump(0.02)
        if time.monotonic() >= deadline:
            stood = "; ".join(map(_standing, swarms))
            raise AssertionError(f"not within {PATIENT * seconds:g} s: {what} [{stood}]")
    return found


def _standing(swarm: Swarm) -> str:
    torrents = [(one.progress(), one.peers()) for one in swarm._torrents.values()]
    return f"listens on {swarm.listening}, tries uTP: {swarm.tries_utp}, torrents and peers: {torrents}"


@contextlib.contextmanager
def serving(snapshot: Snapshot, settings: SwarmSettings = LISTENING) -> Iterator[tuple[Swarm, Endpoint]]:
    """A session in this process that serves a snapshot; the caller pumps it."""
    with Swarm(settings) as swarm:
        torrent = swarm.add_seed(snapshot.metainfo, snapshot.save_path)
        pump_until(lambda: torrent.checked, swarm, what="the seed has checked its files")
        torrent.share(())
        yield swarm, swarm.listening[0]


def preserve(user: CommandLine, folder: Path, files: Mapping[str, bytes], commit: str = COMMIT) -> Any:
    """Have a user preserve a folder; return the command's JSON."""
    write_folder(folder, files)
    return user.ok("preserve", "--from", folder, "--repo", REPO, "--commit", commit)


@contextlib.contextmanager
def seeding(user: CommandLine, *options: str, snapshots: int = 1) -> Iterator[tuple[Process, str]]:
    """A `p2pqwen seed` process that serves `snapshots` snapshots, and its HOST:PORT."""
    arguments = p2pqwen("seed", "--listen", "127.0.0.1:0", *QUIET, "--json", *options)
    with running(arguments, user.environment) as process:
        listening = process.json_line(30, containing='"listening"')
        wait_until(lambda: process.stdout.count('"event": "seeding"') >= snapshots, 60, f"{snapshots} snapshots seeded")
        yield process, f"{listening['host']}:{listening['port']}"


@contextlib.contextmanager
def seeding_thread(torrents: Iterable[tuple[Metainfo, Path]]) -> Iterator[Endpoint]:
    """Seed torrents, each with its save path, from a session in a separate thread; yields the session's address."""
    stop, ready = threading.Event(), threading.Event()
    where: list[Endpoint] = []

    def work() -> None:
        with Swarm(LISTENING) as swarm:
            added = [swarm.add_seed(metainfo, save_path) for metainfo, save_path in torrents]
            while not all(torrent.checked for torrent in added):
                swarm.pump(0.05)
            for torrent in added:
                torrent.share(())
            where.append(swarm.listening[0])
            ready.set()
            while not stop.is_set():
                swarm.pump(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(60)
        yield where[0]
    finally:
        stop.set()
        thread.join()
