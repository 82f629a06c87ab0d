#!/usr/bin/env python3
"""Measure a node with many torrents: its time to be ready, its memory, and its CPU time when idle.

Each torrent is a separate snapshot with the same sparse files, all verified before, as on a node that is restarted. The
reference is a bare libtorrent session with the same settings and torrents, in seed mode.

scripts/bench_node.py [--torrents 1000,5000] [--files 20] [--megabytes 64] [--seconds 30]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

QUIET = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")
PATIENCE = 600.0
SETTLES = 45.0


@dataclass(frozen=True)
class Measured:
    ready: float  # seconds from the start of the process until every torrent is served
    work: float  # CPU seconds until then, on which other programs have little effect
    resident: float  # bytes
    idle: float  # share of one core


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torrents", default="1000,5000", help="how many, one run for each number")
    parser.add_argument("--files", type=int, default=20, help="of each torrent")
    parser.add_argument("--megabytes", type=int, default=64, help="of each torrent (sparse: they take no room)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to watch the idle node")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare is not None:
        bare(given.bare)
        return
    print(f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {len(os.sched_getaffinity(0))} cores, {cpu()}")
    print(f"{given.files} files, {given.megabytes} MB each torrent; idle over {given.seconds:.0f} s")
    before: tuple[int, Measured] | None = None
    for count in map(int, given.torrents.split(",")):
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            home = Path(folder) / "home"
            make_library(home, count, given.files, given.megabytes * 1_000_000)
            reference = watch([sys.executable, __file__, "--bare", str(home)], home, count, given.seconds)
            show("bare libtorrent", count, reference)
            command = [sys.executable, "-m", "p2pqwen", "seed", "--listen", "127.0.0.1:0", *QUIET, "--json"]
            ours = watch(command, home, count, given.seconds)
            show("p2pqwen seed", count, ours)
        print(f"  memory over bare: {ours.resident / reference.resident:.2f}")
        if before is not None:
            less = before[1]
            print(
                f"  {count / before[0]:g} times the torrents: ready {ours.ready / less.ready:.2f} "
                f"times (work {ours.work / less.work:.2f} times), "
                f"memory {ours.resident / less.resident:.2f} times, idle {ours.idle / max(less.idle, 1e-4):.2f} times"
            )
        before = count, ours


def show(name: str, count: int, found: Measured) -> None:
    print(
        f"{name:16} {count:6} torrents: ready in {found.ready:6.2f} s ({found.work:.2f} s of a core), "
        f"{found.resident / 1e6:6.0f} MB resident, {found.idle:6.2%} of a core idle",
        flush=True,
    )


def watch(command: list[str], home: Path, count: int, seconds: float) -> Measured:
    started = time.monotonic()
    environment = {**os.environ, "P2PQWEN_HOME": str(home), "HF_HUB_CACHE": str(home / "hub")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        seeding = 0
        for line in process.stdout:
            seeding += json.loads(line)["event"] == "seeding"
            if seeding == count:
                break
            if time.monotonic() - started > PATIENCE:
                raise SystemExit(f"only {seeding} of {count} are served after {PATIENCE:.0f} s")
        ready, work = time.monotonic() - started, cpu_seconds(process.pid)
        time.sleep(SETTLES)  # for deferred work: lists of what to watch, first lookups
        before, since = cpu_seconds(process.pid), time.monotonic()
        time.sleep(seconds)
        idle = (cpu_seconds(process.pid) - before) / (time.monotonic() - since)
        return Measured(ready, work, resident(process.pid), idle)
    finally:
        process.terminate()
        process.wait(60)


def bare(home: Path) -> None:
    """Seed a library with bare libtorrent and our settings."""
    import signal

    import libtorrent as lt

    from p2pqwen.swarm.endpoint import Endpoint
    from p2pqwen.swarm.settings import SwarmSettings, settings_pack
    from p2pqwen.values.network_choices import SWITCHES, UNRESTRICTED

    quiet = SwarmSettings(listen=Endpoint("127.0.0.1", 0), choices=UNRESTRICTED.without(*SWITCHES))
    session = lt.session(settings_pack(quiet))
    for path in home.rglob("*.torrent"):
        given = lt.load_torrent_buffer(path.read_bytes())
        given.save_path = str(path.parent)
        given.flags |= lt.torrent_flags.seed_mode
        given.flags &= ~lt.torrent_flags.auto_managed & ~lt.torrent_flags.paused
        session.add_torrent(given)
        print('{"event": "seeding"}', flush=True)
    signal.sigwait([signal.SIGTERM])


def make_library(home: Path, count: int, files: int, size: int) -> None:
    from p2pqwen.library.hashing import hash_files
    from p2pqwen.library.home import Home
    from p2pqwen.library.snapshots import Library
    from p2pqwen.library.verified import VerifiedFiles
    from p2pqwen.manifest.lfs_pointer import pointer_oid
    from p2pqwen.manifest.manifest import FileRow, Manifest
    from p2pqwen.torrent.layout import Layout
    from p2pqwen.torrent.snapshot_torrent import build_metainfo
    from p2pqwen.values.digest import CommitId
    from p2pqwen.values.repo_path import RepoPath
    from p2pqwen.values.snapshot_id import RepoId, SnapshotId

    library, verified = Library(Home(home)), VerifiedFiles(Home(home))
    sizes = {RepoPath(f"model-{number:05}-of-{files:05}.safetensors"): size // files for number in range(files)}
    sample = home / "sample"
    sparse(sample, sizes)
    layout = Layout.of(sizes.items())
    digests = hash_files(sample, layout, lfs=set(sizes))
    rows = tuple(
        FileRow(path, one.size, one.sha256, pointer_oid(one.sha256, one.size), lfs=True, mode="100644")
        for path, one in sorted(digests.items(), key=lambda item: item[0].sort_key)
    )
    for number in range(count):
        snapshot = SnapshotId(RepoId(f"org{number % 10}/model-{number}"), CommitId(number.to_bytes(20)))
        manifest = Manifest(snapshot, None, "apache-2.0", rows)
        metainfo = build_metainfo(manifest, layout, {path: one.hashes for path, one in digests.items()})
        folder = library.folder(snapshot)
        sparse(folder, sizes)
        library.torrent_path(snapshot).write_bytes(metainfo.encode())
        verified.record(snapshot, metainfo.infohash.v2, folder, sizes)


def sparse(folder: Path, sizes: dict) -> None:
    folder.mkdir(parents=True)
    for path, size in sizes.items():
        with (folder / path.text).open("wb") as file:
            file.truncate(size)


def resident(pid: int) -> float:
    return float(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else "unknown processor"


if __name__ == "__main__":
    main()
