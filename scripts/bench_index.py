#!/usr/bin/env python3
"""Measure commands on large indexes, from a cold start: time, memory and bytes, against an older commit.

    scripts/bench_index.py [--entries N] [--against COMMIT] [--runs N] [--million]      default: 100000 bf8b906 3

The whole table, with searching and with 1,000,000 entries, is `scripts/bench_index.py --million`.

Each command runs in turn from this tree and from COMMIT, which is unpacked into a temporary folder, over the same files
on the same machine: `trust add`, and its part after the last byte, `index verify`, `index update` without news, `index
update` with 100 changed entries, `adopt --dry-run`, `publish` that withdraws one. A server on loopback is the mirror;
it supports ETags and ranges. Each command may take at most a fraction of its figures at COMMIT, or a number of seconds
(`AIMS`, for 100,000 entries), by wall clock, or with `--cpu` by CPU time, for busy machines; exit 1 if one takes more.
scripts/bench_search.py measures only searching.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2pqwen.index.acceptance import TrustedState, accept  # noqa: E402 - the project's root must be found first
from p2pqwen.index.delta import delta_location, make_delta  # noqa: E402
from p2pqwen.index.entry import Entry, entry_magnet  # noqa: E402
from p2pqwen.library.home import Home  # noqa: E402
from p2pqwen.library.index_rows.judging import rows_of  # noqa: E402
from p2pqwen.library.key_store import KeyStore  # noqa: E402
from p2pqwen.operations.publish.keys import init_keys  # noqa: E402
from p2pqwen.operations.publish.signed_file import signed_file  # noqa: E402
from p2pqwen.values.snapshot_id import SnapshotId  # noqa: E402
from tests.support.publishing import NOW, Rules, chain, make_document, make_entry, make_index  # noqa: E402

BASELINE = "bf8b906"
Result = TypeVar("Result")
MIRRORS = ("https://one.example/keep/", "https://two.example/keep/")
CHANGED = 100
QUIET = ("--no-dht",)
PUBLISH = ("--reason", "a round of the benchmark", "--yes", "--no-dht")
NO_PAGES = "--no-site-pages"
ADOPT = ("adopt", "--budget", "1GB", "--dry-run", "--look-seconds", "0", "--no-dht", "--no-trackers")


@dataclass(frozen=True, slots=True)
class Run:
    """One process from start to end; `memory` is its peak resident set, in bytes like `traffic`."""

    seconds: float
    cpu: float
    memory: int
    traffic: int = 0


@dataclass(frozen=True, slots=True)
class Aim:
    """Limits as fractions of the older commit's figures, and in seconds; None: no limit."""

    seconds: float | None = None
    memory: float | None = None
    traffic: float | None = None
    at_most: float | None = None


AFTER = "add, after last byte"
AIMS = {
    AFTER: Aim(at_most=2.0),
    "index verify": Aim(1 / 2, 1 / 3),
    "update, unchanged": Aim(1 / 40),
    f"update, {CHANGED} entries": Aim(1 / 8, 1 / 4, 1 / 100),
    "adopt --dry-run": Aim(1 / 10),
}


def entry(number: int) -> Entry:
    """Return an entry as `publish` makes it with 2 mirrors; entries are of 50 organisations."""
    made = make_entry(number, f"Org{number % 50}/Model-{number // 4}")
    magnet = entry_magnet(made.id, made.infohash, made.size, web_seeds=made.web_seeds, trackers=(), mirrors=MIRRORS)
    return replace(made, magnet=magnet)


@dataclass(frozen=True, slots=True)
class Moment:
    """A time, and a process's CPU time until then; 0 if the system does not provide it."""

    seconds: float = 0.0
    cpu: float = 0.0

    @classmethod
    def now(cls, pid: int) -> Moment:
        cpu = 0.0
        with contextlib.suppress(OSError):
            user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            cpu = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        return cls(time.perf_counter(), cpu)


class Mirror(ThreadingHTTPServer):
    """Serves files by path, with ETags and ranges from the start of a file, and counts the bytes that it sends."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), MirrorHandler)
        self.files: dict[str, Path] = {}
        self.sent = 0
        self.reader = 0
        """The id of the process that reads from it."""
        self.ended = Moment()
        """When the last body was sent."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class MirrorHandler(BaseHTTPRequestHandler):
    """One request."""

    server: Mirror
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.server.files.get(self.path)
        if path is None:
            self.send_error(404)
            return
        size = path.stat().st_size
        etag = f'"{path.stat().st_mtime_ns}-{size}"'
        if self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
            return
        wanted = self.headers.get("Range", "")
        left = min(size, int(wanted.removeprefix("bytes=0-")) + 1) if wanted.startswith("bytes=0-") else size
        self.send_response(206 if left < size else 200)
        self.send_header("ETag", etag)
        if left < size:
            self.send_header("Content-Range", f"bytes 0-{left - 1}/{size}")
        self.send_header("Content-Length", str(left))
        self.end_headers()
        with path.open("rb") as file, contextlib.suppress(ConnectionError):
            while piece := file.read(min(left, 1 << 18)):
                self.wfile.write(piece)
                self.server.sent += len(piece)
                left -= len(piece)
        self.server.ended = Moment.now(self.server.reader)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def mirror() -> Iterator[Mirror]:
    """Run a mirror for the length of the block."""
    server = Mirror()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def older(commit: str) -> Iterator[Path]:
    """Unpack an older commit of this repository for the length of the block."""
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


def timed(tree: Path, home: Path, *arguments: str, server: Mirror | None = None) -> tuple[Run, bytes]:
    """Run a command of a tree with a home."""
    environment = {**os.environ, "P2PQWEN_HOME": str(home), "PYTHONPATH": str(tree)}
    before = 0 if server is None else server.sent
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pqwen", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        cwd=tree,
    )  # fmt: skip
    if server is not None:
        server.reader = process.pid
    assert process.stdout is not None
    stdout = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (arguments, process.stderr and process.stderr.read())
    process.stdout.close()
    traffic = 0 if server is None else server.sent - before
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, traffic), stdout


def best(runs: list[Run]) -> Run:
    """Return the minimum of each figure, which excludes the machine's other work."""
    return Run(*(min(getattr(run, name) for run in runs) for name in ("seconds", "cpu", "memory", "traffic")))


@dataclass(frozen=True, slots=True)
class Files:
    """An index, the next version with changed entries, and the delta between them."""

    publisher: str
    first: Path
    second: Path
    delta: Path
    location: str
    site: Site

    @classmethod
    def make(cls, entries: int, folder: Path) -> Files:
        """Make them with `entries` entries."""
        roots = chain(Rules())
        listed = [entry(number) for number in range(entries)]
        one = make_document(roots, 1, listed)
        first = make_index(roots, one)
        before = accept(first, TrustedState(None), NOW)
        added = [*listed[CHANGED:], *(entry(entries + number) for number in range(CHANGED))]
        second = make_index(roots, make_document(roots, 2, added, previous=before.digest))
        after = accept(second, before.state, NOW)
        delta = make_delta(
            before.digest, rows_of(before), after.digest, rows_of(after), signed=after.header,
            roots=[root.to_json() for root in after.roots], signatures=after.signatures,
        )  # fmt: skip
        assert delta is not None
        paths = [folder / name for name in ("first.json", "second.json", "delta.json")]
        for path, data in zip(paths, (first, second, delta.encode()), strict=True):
            path.write_bytes(data)
        site = Site.make(listed, folder / "site")
        return cls(str(roots[0].root.digest), *paths, delta_location(before.digest), site)


@dataclass(frozen=True, slots=True)
class Site:
    """The home of a publisher that has published many snapshots and no longer holds any, and its site's folder.

    The torrents are never read, so they are empty.
    """

    home: Path
    out: Path
    gone: SnapshotId

    @classmethod
    def make(cls, listed: list[Entry], folder: Path) -> Site:
        """Make them."""
        home, out = folder / "home", folder / "out"
        keys = KeyStore(Home(home))
        init_keys(keys, "Bench", None)
        roots = keys.roots()
        private = [keys.key(keyid, None) for keyid in keys.private_keys()]
        index = [one for one in private if one.public.keyid in roots[-1].root.roles["index"].keyids]
        document = make_document(roots, 1, listed, issued=datetime.now(UTC).replace(microsecond=0))
        with signed_file(roots, document, index, folder) as source:
            keys.write_published(source)
        for one in listed:
            torrent = out / one.torrent
            torrent.parent.mkdir(parents=True, exist_ok=True)
            torrent.touch()
        return cls(home, out, listed[len(listed) // 2].id)

    def publish(self, tree: Path, home: Path) -> Run:
        """Publish the next version from a copy of the home."""
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self.home, home)
        (self.out / "index.json").unlink(missing_ok=True)
        timed(tree, home, "search", "nothing")  # a home that has published has a database of its index
        command = ["publish", "--out", str(self.out), "--withdraw", str(self.gone), *PUBLISH]
        if NO_PAGES in (tree / "p2pqwen" / "cli" / "publish.py").read_text():  # an older one writes none anyway
            command.append(NO_PAGES)
        return timed(tree, home, *command)[0]


def measure(tree: Path, files: Files, folder: Path, server: Mirror) -> dict[str, Run]:
    """Run every command of a tree once, beginning with `trust add`."""
    home = folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    server.files = {"/index.json": files.first}
    found = {"index verify": timed(tree, folder / "empty", "index", "verify", str(files.first))[0]}
    add = ("trust", "add", files.publisher, "--index", server.url)
    whole = timed(tree, home, *add, server=server)[0]
    end = time.perf_counter()
    found["trust add"] = whole
    found[AFTER] = replace(whole, seconds=end - server.ended.seconds, cpu=whole.cpu - server.ended.cpu, traffic=0)
    timed(tree, home, "index", "update", *QUIET, server=server)  # the first update learns the validators
    found["update, unchanged"] = timed(tree, home, "index", "update", *QUIET, server=server)[0]
    found["adopt --dry-run"] = timed(tree, home, *ADOPT)[0]
    server.files = {"/index.json": files.second, f"/{files.location}": files.delta}
    run, stdout = timed(tree, home, "index", "update", *QUIET, "--json", server=server)
    assert json.loads(stdout)["version"] == 2, stdout
    found[f"update, {CHANGED} entries"] = run
    found["publish"] = files.site.publish(tree, folder / "publisher")
    return found


def elsewhere(call: Callable[..., Result], *arguments: object) -> Result:
    """Call in a separate process, since a child's peak memory includes its parent's at the fork."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--against", default=BASELINE)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--million", action="store_true", help="search, and verify, 1,000,000 entries too")
    parser.add_argument("--cpu", action="store_true", help="hold the aims by processor time")
    given = parser.parse_args(arguments)
    print(f"{heading(given.against, given.runs)}, {given.entries} entries", flush=True)
    missed = False
    with older(given.against) as tree, tempfile.TemporaryDirectory() as name, mirror() as server:
        folder = Path(name)
        files = elsewhere(Files.make, given.entries, folder)
        pairs = [
            (measure(ROOT, files, folder, server), measure(tree, files, folder, server)) for _ in range(given.runs)
        ]
        for what in pairs[0][0]:
            here, there = (best([pair[side][what] for pair in pairs]) for side in (0, 1))
            aim = AIMS.get(what, Aim()) if given.entries == 100_000 else Aim()
            missed |= tell(what, here, there, aim, cpu=given.cpu)
        if given.million:
            from scripts.bench_search import search_all  # it imports this module

            missed |= search_all([100_000, 1_000_000], tree, given.runs, cpu=given.cpu)
    return 1 if missed else 0


def heading(against: str, runs: int) -> str:
    """Return a table's heading."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit_of(ROOT)} against {against}, {machine()}, "
        f"the best of {runs} runs"
    )


def machine() -> str:
    """Return a description of the machine."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def commit_of(tree: Path) -> str:
    """Return the commit of a work tree, marked if files differ from it."""
    call = ["git", "describe", "--always", "--dirty=+"]
    found = subprocess.run(call, cwd=tree, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def wanted(aim: Aim) -> str:
    """Return the aims of a row, in words."""
    said = [] if aim.at_most is None else [f"{aim.at_most:g} s"]
    said += [
        f"1/{1 / most:.0f} {name}"
        for name, most in (("time", aim.seconds), ("memory", aim.memory), ("bytes", aim.traffic))
        if most is not None
    ]
    return f"   (aim: {', '.join(said)})" if said else ""


def tell(what: str, here: Run, there: Run, aim: Aim, *, cpu: bool = False) -> bool:
    """Print a row; tell whether an aim was missed, with `cpu` by CPU time."""
    seconds = here.cpu / there.cpu if cpu else here.seconds / there.seconds
    ratios = [
        ("seconds", seconds, aim.seconds),
        ("memory", here.memory / there.memory, aim.memory),
        ("traffic", here.traffic / there.traffic if there.traffic else 0.0, aim.traffic),
    ]
    over = [] if aim.at_most is None or (here.cpu if cpu else here.seconds) <= aim.at_most else ["seconds"]
    over += [name for name, ratio, most in ratios if most is not None and ratio > most]
    print(
        f"{what:<22} {here.seconds:>7.2f} s ({here.cpu:.2f} of a core) {here.memory / 1e6:>5.0f} MB "
        f"{here.traffic / 1e6:>8.3f} MB sent   before: {there.seconds:>6.2f} s ({there.cpu:.2f}) "
        f"{there.memory / 1e6:>5.0f} MB {there.traffic / 1e6:>7.1f} MB   "
        f"1/{1 / ratios[0][1]:.1f} of the {'processor time' if cpu else 'time'}, 1/{1 / ratios[1][1]:.1f} of the memory"
        + (f", 1/{1 / ratios[2][1]:.0f} of the bytes" if ratios[2][1] else "")
        + f"{wanted(aim)}"
        + (f"  MISSED: {', '.join(over)}" if over else ""),
        flush=True,
    )
    return bool(over)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
