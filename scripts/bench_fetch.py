#!/usr/bin/env python3
"""Time fetches from one peer on loopback: ours, alone and through a node, against a bare libtorrent session.

All fetch the same torrent from the same `p2pqwen seed` process, several times, each time in another order. The bare
session has the tuned settings of the project's libtorrent notes. Its clock is read twice: when libtorrent reports
"seeding", while the last data is still in memory, and when all is synced to disk. Ours stops when the SHA-256 of every
file is compared with the manifest too, all is synced and the snapshot is complete. The node was just started; its clock
runs from the request over the control API to the result.

Without `--line`, loopback alone keeps two cores busy, and our additional work, the SHA-256 of each file, has to wait
for them. At the rate of a real line, it does not.

All start with the same memory. A virtual machine returns unused memory to its host, and taking it back is 10 times as
slow: 2 GB were written to new files in 0.33 s, and half a minute later in 3.8 to 4.9 s. So before each run, 3 times the
model's size is written to a file and removed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

REPO, COMMIT = "bench/model", "b" * 40
BARE = "bare libtorrent"
QUIET = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")
TUNED = {
    "hashing_threads": 2,
    "aio_threads": 8,
    "max_out_request_queue": 3000,
    "request_queue_time": 20,
    "send_buffer_watermark": 10 << 20,
}
LONELY = {"enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000, help="size of the model (default 2000)")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5, help="of each kind (default 5)")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--line", metavar="RATE", help="hold the peer to such a rate, as a line would: 400MB/s")
    parser.add_argument("--utp", action="store_true", help="let a bare session fetch over uTP alone as well")
    parser.add_argument("--bare", nargs=3, metavar=("TORRENT", "PORT", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.bare:
        print(*bare_seconds(Path(given.bare[0]), int(given.bare[1]), Path(given.bare[2]), utp=given.utp))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        bench(Path(folder), given.megabytes * 1_000_000, given.shards, given.runs, line=given.line, utp=given.utp)


def bench(folder: Path, size: int, shards: int, runs: int, *, line: str | None, utp: bool) -> None:
    make_model(folder / "model", size, shards)
    seeder, fetcher = folder / "seeder", folder / "fetcher"
    preserved = run(seeder, "preserve", "--from", folder / "model", "--repo", REPO, "--commit", COMMIT, "--json")
    torrent = preserved["torrent"]
    times: dict[str, list[float]] = {BARE: [], "p2pqwen fetch": [], "through a node": []}
    if utp:
        times["bare over uTP"] = []
    written_out: list[float] = []
    with node(seeder, *(("--upload-limit", line) if line else ()), until="seeding") as port:
        for _ in range(runs):
            for name, seconds in random.sample(list(times.items()), len(times)):
                shutil.rmtree(fetcher, ignore_errors=True)
                os.sync()
                use_memory(folder, 3 * size)
                if name == "through a node":
                    seconds.append(through_a_node(fetcher, torrent, port))
                elif name == "p2pqwen fetch":
                    arguments = ("--peer", f"127.0.0.1:{port}", *QUIET, "--no-hf-cache", "--no-web-seeds", "--json")
                    seconds.append(run(fetcher, "fetch", torrent, *arguments)["seconds"])
                else:
                    seeding, written = run_bare(torrent, port, fetcher, utp=name == "bare over uTP")
                    seconds.append(seeding)
                    if name == BARE:
                        written_out.append(written)
                print(f"  {name:16} {seconds[-1]:6.2f} s  {size / seconds[-1] / 1e6:6.0f} MB/s", flush=True)
    report(times, written_out, size, shards)


def use_memory(folder: Path, size: int) -> None:
    block = bytes(1 << 22)
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(size >> 22):
            file.write(block)


def report(times: dict[str, list[float]], written_out: list[float], size: int, shards: int) -> None:
    print(f"machine: {platform.machine()}, {len(os.sched_getaffinity(0))} cores, {cpu()}, {datetime.now(UTC):%Y-%m-%d}")
    print(f"data: {size / 1e6:.0f} MB in {shards} shards")
    until = {f"{BARE}, until it seeds": times.pop(BARE), f"{BARE}, until written out": written_out}
    for name, seconds in (until | times).items():
        median = statistics.median(seconds)
        print(f"median {name}: {median:.2f} s, {size / median / 1e6:.0f} MB/s")
    for name, seconds in times.items():
        for reference, theirs in until.items():
            ratios = [one / ours for one, ours in zip(theirs, seconds, strict=True)]
            middle, best = statistics.median(ratios), min(theirs) / min(seconds)
            print(f"speed of {name} over {reference}: {middle:.2f}, median of {len(ratios)} pairs; {best:.2f}, bests")


def make_model(folder: Path, size: int, shards: int) -> None:
    folder.mkdir()
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (folder / "config.json").write_text("{}\n")
    block = os.urandom(1 << 20)
    for shard in range(shards):
        with (folder / f"model-{shard + 1:05}-of-{shards:05}.safetensors").open("wb") as file:
            for number in range(size // shards >> 20):
                file.write(shard.to_bytes(8) + number.to_bytes(8) + block[16:])


def run(home: Path, *arguments: str | Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "p2pqwen", *map(str, arguments)],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def through_a_node(home: Path, torrent: str, port: int) -> float:
    from p2pqwen.operations.fetch.request import FetchRequest
    from p2pqwen.operations.node.job_answer import Ended, JobAnswer, JobLine
    from p2pqwen.server.control_client import ControlClient
    from p2pqwen.server.problem import Refusal
    from p2pqwen.values.network_choices import SWITCHES, UNRESTRICTED

    request = FetchRequest(
        torrent, peers=(f"127.0.0.1:{port}",), use_web_seeds="never", choices=UNRESTRICTED.without(*SWITCHES)
    )
    with node(home, until="listening"):
        client = ControlClient(home)
        while not client.answers:
            time.sleep(0.05)
        started = time.monotonic()
        number = client.call(JobAnswer, "POST", "/v1/fetches", request.to_json()).id
        for said in client.stream(JobLine, "GET", f"/v1/fetches/{number}/events"):
            if isinstance(said.line, Ended):
                return time.monotonic() - started
            if isinstance(said.line, Refusal):
                raise SystemExit(said.line.error.what)
    raise SystemExit("the node ended")


def run_bare(torrent: str, port: int, folder: Path, *, utp: bool) -> tuple[float, float]:
    folder.mkdir(parents=True)
    command = [sys.executable, __file__, "--bare", torrent, str(port), str(folder), *(["--utp"] if utp else [])]
    seeding, written = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return float(seeding), float(written)


def bare_seconds(torrent: Path, port: int, folder: Path, *, utp: bool) -> tuple[float, float]:
    """Return the seconds until everything was there, and until it was synced."""
    import libtorrent as lt

    started = time.monotonic()
    transport = {"enable_outgoing_utp": utp, "enable_outgoing_tcp": not utp}
    session = lt.session({**TUNED, **transport, **LONELY, "listen_interfaces": "127.0.0.1:0"})
    given = lt.load_torrent_buffer(torrent.read_bytes())
    given.save_path = str(folder)
    given.url_seeds = []
    handle = session.add_torrent(given)
    handle.connect_peer(("127.0.0.1", port))
    while not handle.status(0).is_seeding:
        session.wait_for_alert(50)
        session.pop_alerts()
        if time.monotonic() - started > 600:
            raise SystemExit("the bare session stands still")
    seeding = time.monotonic() - started
    session.pop_alerts()
    handle.flush_cache()
    while not any(isinstance(alert, lt.cache_flushed_alert) for alert in session.pop_alerts()):
        session.wait_for_alert(50)
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fdatasync(file.fileno())
    return seeding, time.monotonic() - started


@contextmanager
def node(home: Path, *options: str, until: str) -> Iterator[int]:
    """Run a node, wait for an event of this name, and yield its port."""
    command = [sys.executable, "-m", "p2pqwen", "seed", "--listen", "127.0.0.1:0", *QUIET, "--json", *options]
    process = subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = 0
        for line in process.stdout:
            event = json.loads(line)
            port = event.get("port", port)
            if event["event"] == until:
                break
        yield port
    finally:
        process.terminate()
        process.wait(20)


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "P2PQWEN_HOME": str(home), "HF_HUB_CACHE": str(home / "hub")}


def cpu() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else "unknown processor"


if __name__ == "__main__":
    main()
