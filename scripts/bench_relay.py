#!/usr/bin/env python3
"""Time fetches from one web seed on loopback: through the relay from a Hub that redirects, against simpler ways.

The Hub is nginx: it answers 302 to a signed URL on another host name and port, where nginx serves the file. In turn,
several times:

  plain       libtorrent with its default settings, directly from the nginx that serves the files, no redirects
  straight    the same with our settings
  relay       libtorrent with our settings through the relay, from the nginx that redirects
  curl        `curl -L` of each file from the nginx that redirects, then `sha256sum` of all
  fetch       the whole command, `p2pqwen fetch --only-web-seeds`: hashed, compared, flushed, installed

Then the growth of resident memory of the relay alone in a process, with 4 concurrent readers.
"""

from __future__ import annotations

import argparse
import os
import platform
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

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.bench_fetch import COMMIT, QUIET, REPO, cpu, environment, make_model, run
from tests.support.other_clients import answers, free_port
from tests.support.waiting import wait_until

NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; user root;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{hub};
    location ~ ^/{repo}/resolve/{commit}/(?<path>.+)$ {{
      return 302 http://localhost:{cdn}/cdn/$path?X-Amz-Date=20300101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=0;
    }}
  }}
  server {{
    listen 127.0.0.1:{cdn};
    location /cdn/ {{ alias {model}/; }}
    location /plain/{commit}/ {{ alias {model}/; }}
  }}
}}
"""
WAYS = ("plain", "straight", "relay", "curl", "fetch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1500, help="size of the model (default 1500)")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5, help="of each kind (default 5)")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--session", nargs=3, metavar=("TORRENT", "FOLDER", "URL"), help=argparse.SUPPRESS)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--relay", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--memory", nargs=2, metavar=("TORRENT", "URL"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.session and given.plain:
        print(plain_seconds(Path(given.session[0]), Path(given.session[1]), given.session[2]))
    elif given.session:
        print(session_seconds(Path(given.session[0]), Path(given.session[1]), given.session[2], relay=given.relay))
    elif given.memory:
        print(relay_memory(Path(given.memory[0]), given.memory[1]))
    else:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            bench(Path(folder), given.megabytes * 1_000_000, given.shards, given.runs, given.ways)


def bench(folder: Path, size: int, shards: int, runs: int, ways: list[str]) -> None:
    model, home, out = folder / "model", folder / "home", folder / "out"
    make_model(model, size, shards)
    held = run(folder / "keeper", "preserve", "--from", model, "--repo", REPO, "--commit", COMMIT, "--json")
    torrent = Path(str(held["torrent"]))
    with nginx(folder, model) as (hub, straight):
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(runs):
            for way, seconds in times.items():
                for place in (home, out):
                    shutil.rmtree(place, ignore_errors=True)
                os.sync()
                seconds.append(one(way, torrent, home, out, hub, straight, model))
                print(f"  {way:8} {seconds[-1]:6.2f} s  {size / seconds[-1] / 1e6:6.0f} MB/s", flush=True)
        report(times, size, shards)
        grown = own("--memory", torrent, f"{hub}/{REPO}/resolve/")
        print(f"the relay alone, 4 readers of the largest file at once: its memory grew by {float(grown) / 1e6:.0f} MB")


def one(way: str, torrent: Path, home: Path, out: Path, hub: str, straight: str, model: Path) -> float:
    if way == "plain":
        return float(own("--session", torrent, out, straight, "--plain"))
    if way == "straight":
        return float(own("--session", torrent, out, straight))
    if way == "relay":
        return float(own("--session", torrent, out, f"{hub}/{REPO}/resolve/", "--relay"))
    if way == "curl":
        return curl_seconds(f"{hub}/{REPO}/resolve/{COMMIT}", out, model)
    options = ("--only-web-seeds", "--web-seed", f"{hub}/{REPO}/resolve/", *QUIET, "--no-hf-cache", "--json")
    return float(str(run(home, "fetch", torrent, *options)["seconds"]))


def own(*arguments: str | Path) -> str:
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(
        command, env=environment(Path("/nonexistent")), stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def session_seconds(torrent: Path, folder: Path, url: str, *, relay: bool) -> float:
    from contextlib import ExitStack

    from p2pqwen.swarm.progress import Phase
    from p2pqwen.swarm.session import Swarm
    from p2pqwen.swarm.settings import SwarmSettings
    from p2pqwen.swarm.writable import prove_writable
    from p2pqwen.torrent.metainfo import parse_metainfo
    from p2pqwen.values.network_choices import SWITCHES, UNRESTRICTED
    from p2pqwen.values.snapshot_id import RepoId
    from p2pqwen.webseed.bases import combine_bases
    from p2pqwen.webseed.relay import Relay

    folder.mkdir(parents=True)
    metainfo = parse_metainfo(torrent.read_bytes())
    alone = SwarmSettings(loopback=True, choices=UNRESTRICTED.without(*SWITCHES))
    with ExitStack() as stack:
        started = time.monotonic()
        swarm, urls = stack.enter_context(Swarm(alone)), (url,)
        if relay:
            bases = combine_bases(metainfo.name, RepoId(REPO), command_line=[url]).usable
            urls = stack.enter_context(Relay()).offer(metainfo, bases).urls
        torrent_there = swarm.add_download(metainfo, prove_writable(metainfo, folder), web_seeds=urls)
        torrent_there.in_order(wanted=True)
        while torrent_there.progress().phase is not Phase.FINISHED:
            swarm.pump(0.05)
            if time.monotonic() - started > 600:
                raise SystemExit(f"stands still: {torrent_there.progress()}")
        return time.monotonic() - started


def plain_seconds(torrent: Path, folder: Path, url: str) -> float:
    import libtorrent as lt

    from scripts.bench_fetch import LONELY

    folder.mkdir(parents=True)
    started = time.monotonic()
    session = lt.session({**LONELY, "listen_interfaces": "127.0.0.1:0"})
    given = lt.load_torrent_buffer(torrent.read_bytes())
    given.save_path, given.url_seeds = str(folder), [url]
    handle = session.add_torrent(given)
    while not handle.status(0).is_seeding:
        session.wait_for_alert(50)
        session.pop_alerts()
        if time.monotonic() - started > 600:
            raise SystemExit("the plain session stands still")
    return time.monotonic() - started


def curl_seconds(base: str, folder: Path, model: Path) -> float:
    folder.mkdir(parents=True)
    names = sorted(path.name for path in model.iterdir())
    started = time.monotonic()
    for name in names:
        subprocess.run(["curl", "-sfL", "-o", folder / name, f"{base}/{name}"], check=True)
    subprocess.run(["sha256sum", *(folder / name for name in names)], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - started


def relay_memory(torrent: Path, url: str) -> int:
    from p2pqwen.torrent.metainfo import parse_metainfo
    from p2pqwen.values.snapshot_id import RepoId
    from p2pqwen.webseed.bases import combine_bases
    from p2pqwen.webseed.relay import Relay

    metainfo = parse_metainfo(torrent.read_bytes())
    largest = max(metainfo.files, key=lambda file: file.size)
    with Relay() as relay:
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        urls = relay.offer(metainfo, combine_bases(metainfo.name, RepoId(REPO), command_line=[url]).usable).urls
        share, path = largest.size // len(urls), f"{metainfo.name}/{largest.path.text}"

        def part(lane: int) -> str:
            return f"{lane * share}-{(lane + 1) * share - 1}"

        readers = [
            subprocess.Popen(["curl", "-sfo", "/dev/null", "-r", part(lane), f"{one_url}{path}"])
            for lane, one_url in enumerate(urls)
        ]
        assert [reader.wait() for reader in readers] == [0] * len(readers)
        return memory("VmHWM") - before


def memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


@contextmanager
def nginx(folder: Path, model: Path) -> Iterator[tuple[str, str]]:
    """Serve the model behind redirects and directly; yield the former's address and the latter's BEP 19 base."""
    hub, cdn = free_port(), free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, model=model, hub=hub, cdn=cdn, repo=REPO, commit=COMMIT))
    process = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", config, "-p", folder])
    try:
        wait_until(lambda: answers(hub) and answers(cdn), 20, "nginx answers")
        yield f"http://127.0.0.1:{hub}", f"http://127.0.0.1:{cdn}/plain/"
    finally:
        process.terminate()
        process.wait(20)


def report(times: dict[str, list[float]], size: int, shards: int) -> None:
    print(f"machine: {platform.machine()}, {len(os.sched_getaffinity(0))} cores, {cpu()}, {datetime.now(UTC):%Y-%m-%d}")
    print(f"data: {size / 1e6:.0f} MB in {shards} shards")
    for way, seconds in times.items():
        median = statistics.median(seconds)
        print(f"median {way}: {median:.2f} s, {size / median / 1e6:.0f} MB/s")
    for ours in {"relay", "fetch"} & times.keys():
        for other in {"plain", "straight", "curl"} & times.keys():
            ratios = [theirs / mine for theirs, mine in zip(times[other], times[ours], strict=True)]
            print(f"speed of {ours} over {other}: {statistics.median(ratios):.2f} (median of {len(ratios)} pairs)")


if __name__ == "__main__":
    main()
