#!/usr/bin/env python3
"""Measure the Hub endpoint against its alternatives, in one run on this machine.

  library     a file of the library, with one reader and with several: `p2pqwen hub` against nginx with sendfile, both
              over loopback, in turn; the ratio of the medians
  peer        `hf download` of a model that only a peer has, through the endpoint, against `p2pqwen fetch` of the same;
              `client` is `hf download` of the same from the library: its own share. `_cpu`: CPU seconds of the called
              program and of the endpoint that answered it, without the peer's. Then the stages of the endpoint's own
              part, with a reader that only counts bytes: until the list of files is answered, the first byte of the
              first file, the last byte of all, and until an endpoint that is then asked to stop has hashed and
              recorded them. `--small 0 --large 4`: 4 large files that make up the size, and no small ones
  range       the first byte of a range in the middle of a large file that only a peer has, over a line with 20 MB/s
              and a round-trip time of 40 ms
  head        HEAD requests with this many models listed: the median and the 99th percentile for one client, to one
              file and to files of another repository each time; and the endpoint's memory then, compared with that
              for one listed model
  load        a node that seeds and serves: 64 clients read one large file, each a part of it from another offset, and
              1,000 small files are read, while 16 clients read nothing, others disconnect in the middle and HEAD
              requests flood in; its memory before and at its peak, the share of the client that had the least when
              the first was done, files left open, and whether a peer could fetch from the node meanwhile

Nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.bench_index import entry  # noqa: E402 - the project's root must be found first
from tests.simulators.hub import HubSimulator  # noqa: E402
from tests.support import world as worlds  # noqa: E402
from tests.support.command import CommandLine  # noqa: E402
from tests.support.hub_endpoint import ask, hub_process  # noqa: E402
from tests.support.hub_load import begin, cpu_seconds, descriptors, memory, read_at_once  # noqa: E402
from tests.support.other_clients import free_port  # noqa: E402
from tests.support.processes import Process, p2pqwen, running  # noqa: E402
from tests.support.publishing import Rules, chain, make_document, make_index  # noqa: E402
from tests.support.slow_line import slow_line  # noqa: E402
from tests.support.swarm import QUIET, seeding  # noqa: E402
from tests.support.waiting import wait_until  # noqa: E402

REPO = worlds.REPO
FILE = "model.safetensors"
_HEADS = 3000
_SMALL = 1000
_LINE_RATE, _LINE_SECONDS = 20e6, 0.04
_NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; user root;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def main() -> None:
    """Run the requested measurements, and print one line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--readers", type=int, default=16)
    parser.add_argument("--models", type=int, default=10_000, help="listed while HEAD is measured")
    parser.add_argument("--clients", type=int, default=64, help="that read at once under load")
    parser.add_argument("--share", type=int, default=1, help="of the file: each client reads one part of this many")
    parser.add_argument("--only", choices=("library", "peer", "range", "head", "load"))
    parser.add_argument("--small", type=int, default=_SMALL, help="small files beside the large ones")
    parser.add_argument("--large", type=int, default=1, help="large files, which have the size together")
    wanted = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-hub-"))
    try:
        with HubSimulator() as hub:
            world = _world(folder / "world", hub, wanted.size << 20, wanted.small, wanted.large)
            if wanted.only in {None, "library"}:
                _tell("library", library(world, wanted.rounds, wanted.readers))
            if wanted.only in {None, "peer"}:
                _tell("peer", peer(world, wanted.rounds))
                _tell("peer, by stages", stages(world, wanted.rounds))
            if wanted.only in {None, "range"}:
                _tell("range", first_byte(world, wanted.size << 19, wanted.rounds))
            if wanted.only in {None, "head"}:
                _tell("head", head(world, wanted.models))
            if wanted.only in {None, "load"}:
                _tell("load", load(world, wanted.size << 20, wanted.small, wanted.clients, wanted.share))
    finally:
        shutil.rmtree(folder)


def _tell(name: str, found: dict[str, float]) -> None:
    print(json.dumps({"measured": name} | {key: round(value, 4) for key, value in found.items()}), flush=True)


def _world(folder: Path, hub: HubSimulator, size: int, small: int, large: int = 1) -> worlds.World:
    worlds.small_model = lambda _=0: {  # type: ignore[assignment]
        ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        "config.json": b"{}",
        FILE: os.urandom(size // large),
        **{f"model-{number}.safetensors": os.urandom(size // large) for number in range(1, large)},
        **{f"small/{number:04}.json": b"%d" % number for number in range(small)},
    }
    return worlds.World(folder, hub)


def library(world: worlds.World, rounds: int, readers: int) -> dict[str, float]:
    """Return rates in MB/s and their ratios."""
    root = world.publisher.home / "library"
    path = f"/{REPO}/{world.commit}/{FILE}"
    with hub_process(world.publisher, "--no-upstream") as ours, _nginx(root) as theirs:
        places = {"nginx": theirs + path, "hub": f"{ours}/{REPO}/resolve/main/{FILE}"}
        found: dict[str, float] = {}
        for count in (1, readers):
            rates: dict[str, list[float]] = {name: [] for name in places}
            for _ in range(rounds + 1):  # the first round warms up
                for name, url in places.items():
                    rates[name].append(_rate(url, count))
            medians = {name: statistics.median(some[1:]) for name, some in rates.items()}
            found |= {f"{name}_{count}": rate / 1e6 for name, rate in medians.items()}
            found[f"ratio_{count}"] = medians["hub"] / medians["nginx"]
        return found


def peer(world: worlds.World, rounds: int) -> dict[str, float]:
    """Return the seconds of both ways, their ratio, and the seconds of the client alone.

    `most` is the ratio that the CPUs allow: client, endpoint and seed keep all cores busy from beginning to end.
    """
    seed_cpu: list[float] = []
    with seeding(world.publisher) as (seed, where), _hub(world.publisher) as (process, library):
        times: dict[str, list[tuple[float, float]]] = {"fetch": [], "hub": [], "client": []}
        for number in range(rounds):
            times["fetch"].append(_fetch(world, f"fetch-{number}", where))
            before = cpu_seconds(seed)
            times["hub"].append(_through_hub(world, f"hub-{number}", where))
            seed_cpu.append(cpu_seconds(seed) - before)
            times["client"].append(_download(world.user(f"client-{number}"), library, process))
    found: dict[str, float] = {}
    for name, some in times.items():
        found[name] = statistics.median(wall for wall, _ in some)
        found |= {f"{name}_best": min(some)[0], f"{name}_cpu": min(processor for _, processor in some)}
    best = found["fetch_best"] / found["hub_best"]
    least = (found["hub_cpu"] + min(seed_cpu)) / len(os.sched_getaffinity(0))
    most = found["fetch_best"] / least
    return found | {"ratio": found["fetch"] / found["hub"], "ratio_of_best": best, "most": most}


def stages(world: worlds.World, rounds: int) -> dict[str, float]:
    """Return the median seconds of each successive stage, for an endpoint that has just started."""
    times: dict[str, list[float]] = {"listing": [], "first_byte": [], "all_bytes": [], "completion": [], "cpu": []}
    with seeding(world.publisher) as (_, where):
        for number in range(rounds):
            user = world.trusting(f"stages-{number}")
            with _hub(user, "--peer", where) as (process, url):
                moments = [time.monotonic()]
                listed = ask(url, f"/api/models/{REPO}").json["siblings"]
                moments.append(time.monotonic())
                places = [f"{url}/{REPO}/resolve/main/{one['rfilename']}" for one in listed]
                _read(places[0], lambda _: True)
                moments.append(time.monotonic())
                with ThreadPoolExecutor(8) as pool:  # like `hf download`
                    list(pool.map(lambda place: _read(place, lambda _: False), places))
                moments.append(time.monotonic())
                processor = cpu_seconds(process)
                process.stop()
                moments.append(time.monotonic())
            for name, (before, after) in zip(times, pairwise(moments), strict=False):
                times[name].append(after - before)
            times["cpu"].append(processor)
            shutil.rmtree(user.home.parent)
    return {name: statistics.median(some) for name, some in times.items()}


def first_byte(world: worlds.World, at: int, rounds: int) -> dict[str, float]:
    """Return the seconds to the first byte at an offset: for an endpoint that has just started, and a second range."""
    times: dict[str, list[float]] = {"first": [], "second": []}
    with seeding(world.publisher) as (_, where):
        for number in range(rounds):
            user = world.trusting(f"range-{number}")
            with (
                slow_line(where, _LINE_RATE, _LINE_SECONDS) as line,
                hub_process(user, "--no-upstream", "--peer", line) as url,
            ):
                times["first"].append(_seconds_to(url, at))
                times["second"].append(_seconds_to(url, at // 2))
            shutil.rmtree(user.home.parent)
    found = {name: statistics.median(some) for name, some in times.items()}
    return found | {"first_at_most": max(times["first"]), "second_at_most": max(times["second"])}


def head(world: worlds.World, models: int) -> dict[str, float]:
    """Return milliseconds of HEAD requests over one connection, for a reader who trusts an index of `models` models."""
    few = world.publishers_copy(world.folder / "few")
    roots = chain(Rules())
    index = world.folder / "many.json"
    index.write_bytes(make_index(roots, make_document(roots, 1, map(entry, range(models)))))
    world.publisher.ok("trust", "add", str(roots[0].root.digest), "--index", index)
    one = f"/{REPO}/resolve/main/config.json"
    paths = {"one": [one] * _HEADS, "absent": [f"/Absent/Model-{number}/resolve/main/x" for number in range(_HEADS)]}
    found: dict[str, float] = {}
    with _hub(few) as (process, url):
        _heads(url, [one] * _HEADS)
        found["mb_with_one"] = memory(process) / 1e6
    with _hub(world.publisher) as (process, url):
        for name, asked in paths.items():
            times = _heads(url, asked)
            found |= {f"{name}_median_ms": times[len(times) // 2], f"{name}_p99_ms": times[len(times) * 99 // 100]}
        for path in ("/api/models?search=Model-77", "/api/models?author=Many&limit=100", "/api/models?search=nothing"):
            _read(f"{url}{path}", lambda _: False)
        found["mb"] = memory(process) / 1e6
    return found


def _heads(url: str, paths: list[str]) -> list[float]:
    """Return the sorted milliseconds of HEAD requests over one connection; the first 100 requests warm up."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    times: list[float] = []
    for path in (*paths[:100], *paths):
        started = time.monotonic()
        connection.request("HEAD", path)
        response = connection.getresponse()
        response.read()
        times.append(1000 * (time.monotonic() - started))
        assert response.status in {200, 404}
    connection.close()
    return sorted(times[100:])


@contextmanager
def _hub(user: CommandLine, *options: str) -> Iterator[tuple[Process, str]]:
    command = p2pqwen("hub", "--listen", "127.0.0.1:0", "--json", *QUIET, "--no-upstream", *options)
    with running(command, user.environment) as process:
        yield process, process.json_line(600, containing='"hub"')["url"]


def load(world: worlds.World, size: int, small: int, clients: int, share: int) -> dict[str, float]:
    """Return a node's memory and results under load; bytes in MB, `least_share` relative to the fastest client."""
    path, part = f"/{REPO}/resolve/main/{FILE}", size // share
    with (world.publisher.home / "config.toml").open("a") as config:
        config.write('[hub_endpoint]\nlisten = "127.0.0.1:0"\nupstream = "never"\n')
    command = p2pqwen("seed", "--listen", "127.0.0.1:0", "--json", *QUIET)
    with running(command, world.publisher.environment) as process, ThreadPoolExecutor(8) as pool:
        url = process.json_line(600, containing='"hub"')["url"]
        port = process.json_line(600, containing='"listening"')["port"]
        process.line(600, containing='"seeding"')
        _read(f"{url}{path}", lambda _: True)
        _fetch_small(world, "before", f"127.0.0.1:{port}")  # libtorrent keeps files open
        before, opened = memory(process), descriptors(process)
        lazy = [begin(url, path, range(size)) for _ in range(16)]
        starts = [(size - part) * number // max(1, clients - 1) for number in range(clients)]
        started = time.monotonic()
        busy = [
            pool.submit(_small_files, url, small),
            pool.submit(_go_away, url, path, size),
            *(pool.submit(_heads, url, [path] * _HEADS) for _ in range(4)),
            pool.submit(_fetch_small, world, "under-load", f"127.0.0.1:{port}"),
        ]
        shares = read_at_once(url, path, [range(at, at + part) for at in starts], 7200)
        took = time.monotonic() - started
        heads = [one.result(7200) for one in busy][2]
        for one in lazy:
            one.sock.close()
        wait_until(lambda: descriptors(process) <= opened + 2, 60, "every file and connection is closed")
        return {
            "clients": clients,
            "read_mb": clients * part / 1e6,
            "rate": clients * part / took / 1e6,
            "least_share": min(shares) / max(shares),
            "head_p99_ms": heads[len(heads) * 99 // 100],
            "mb_before": before / 1e6,
            "mb_at_most": memory(process, "VmHWM") / 1e6,
        }


def _small_files(url: str, count: int) -> None:
    for number in range(count):
        assert ask(url, f"/{REPO}/resolve/main/small/{number:04}.json").body == b"%d" % number


def _go_away(url: str, path: str, size: int) -> None:
    for number in range(200):
        reader = begin(url, path, range(number * size // 200, size))
        assert reader.sock.recv(1000)
        reader.sock.close()


def _fetch_small(world: worlds.World, name: str, where: str) -> None:
    user = world.trusting(name)
    assert user.ok("fetch", REPO, "--include", "small/000*", "--peer", where)["provenance"] == "proven"


def _fetch(world: worlds.World, name: str, where: str) -> tuple[float, float]:
    user = world.trusting(name, cold=True)
    started, before = time.monotonic(), _of_children()
    user.ok("fetch", REPO, "--peer", where)
    took = time.monotonic() - started, _of_children() - before
    shutil.rmtree(user.home.parent)
    return took


def _through_hub(world: worlds.World, name: str, where: str) -> tuple[float, float]:
    user = world.trusting(name)
    with _hub(user, "--peer", where) as (process, url):
        return _download(user, url, process)


def _download(user: CommandLine, url: str, endpoint: Process) -> tuple[float, float]:
    """Return the seconds of `hf download`, and its CPU seconds with the endpoint's; the files are removed."""
    command = [str(Path(sys.executable).with_name("hf")), "download", REPO, "--quiet"]
    environment = {**os.environ, **user.environment, "HF_ENDPOINT": url}
    started, before = time.monotonic(), _of_children() + cpu_seconds(endpoint)
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    took = time.monotonic() - started, _of_children() + cpu_seconds(endpoint) - before
    shutil.rmtree(user.home.parent)
    return took


def _of_children() -> float:
    """Return the CPU seconds of child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _seconds_to(url: str, at: int) -> float:
    started = time.monotonic()
    _read(f"{url}/{REPO}/resolve/main/{FILE}", lambda _: True, Range=f"bytes={at}-{at + 99}")
    return time.monotonic() - started


def _rate(url: str, count: int) -> float:
    started = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        sizes = list(pool.map(lambda _: _curl(url), range(count)))
    return sum(sizes) / (time.monotonic() - started)


def _curl(url: str) -> int:
    done = subprocess.run(
        ["curl", "-sSf", "-o", "/dev/null", "-w", "%{size_download}", url], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def _read(url: str, stop: Callable[[bytes], bool], **headers: str) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    connection.request("GET", parts.path, headers=headers)
    response = connection.getresponse()
    while (block := response.read(1 << 16)) and not stop(block):
        pass
    connection.close()


@contextmanager
def _nginx(root: Path) -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, root=root, port=port))
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        process = subprocess.Popen([program, "-c", str(config), "-p", folder], stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: _answers(port), 20, "nginx answers")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _answers(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        connection.request("HEAD", "/")
        connection.getresponse()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
