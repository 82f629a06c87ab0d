#!/usr/bin/env python3
"""Time whole commands of this checkout against those of an earlier one, in turn, and against plain libtorrent.

    git worktree add /tmp/before bf8b906
    scripts/bench_before.py --before /tmp/before [--runs 5] [--only help list small big] [--folder DIR] [--json]

    help, list   `p2pqwen --help`, and `p2pqwen list` of a home with one snapshot
    small        `preserve --from --hard-links` (earlier checkouts without that option link anyway), `fetch` from a seed
                 on loopback, and `verify`, of 10,000 files of 1 kB
    big          `preserve --from --hard-links` of 2 GB in 2 files, beside a script that makes the same hybrid torrent
                 with libtorrent's `create_torrent`, which computes no SHA-256 of files

Both checkouts run under this Python, from compiled files (the first run of each does not count). A figure is the
minimum of a series, in wall-clock and CPU seconds, with the ratio of the two checkouts. On a busy machine, compare CPU
seconds.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bench_fetch

HERE = Path(__file__).parents[1]
REPO, COMMIT = "bench/files", "d" * 40
CREATE = """
import sys
from pathlib import Path
import libtorrent as lt
folder = Path(sys.argv[1])
entries = [lt.create_file_entry(f"{folder.name}/{one.name}", one.stat().st_size) for one in sorted(folder.iterdir())]
maker = lt.create_torrent(entries, 2 << 20, int(lt.create_torrent.canonical_files_no_tail_padding))
lt.set_piece_hashes(maker, str(folder.parent))
Path(sys.argv[2]).write_bytes(lt.bencode(maker.generate()))
"""


@dataclass(frozen=True)
class Took:
    """What one run of a program took: wall-clock seconds, CPU seconds, and peak resident bytes."""

    seconds: float
    processor: float
    memory: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="the earlier checkout")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=("help", "list", "small", "big"), help="these alone")
    parser.add_argument("--files", type=int, default=10_000, help="how many small files (10,000)")
    parser.add_argument("--megabytes", type=int, default=2000, help="of the two big files together (2000)")
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        bench = Bench(Path(folder), {"now": HERE, "before": given.before.absolute()}, given.runs)
        for one in given.only or ("help", "list", "small", "big"):
            match one:
                case "help":
                    bench.start("--help", "help")
                case "list":
                    bench.start("list", "list")
                case "small":
                    bench.small(given.files)
                case "big":
                    bench.big(given.megabytes * 1_000_000)
    print(json.dumps(bench.rows(), indent=2) if given.json else "\n".join(bench.lines()))


class Bench:
    """Runs the same commands for several checkouts in turn, and keeps what they took."""

    def __init__(self, folder: Path, checkouts: dict[str, Path], runs: int) -> None:
        self._folder, self._checkouts, self._runs = folder, checkouts, runs
        self._took: dict[str, dict[str, list[Took]]] = {}

    def start(self, command: str, name: str) -> None:
        for which in self._checkouts:
            self._preserve(self._small_folder(20), self._home(which), which)
        self._in_turn(name, {which: self._command(which, self._home(which), command) for which in self._checkouts})

    def small(self, count: int) -> None:
        source = self._small_folder(count)
        for which in self._checkouts:
            self._empty(self._home(which))
        make = {which: functools.partial(self._preserve, source, self._home(which), which) for which in self._checkouts}
        fresh = {which: functools.partial(self._empty, self._home(which)) for which in self._checkouts}
        self._in_turn(f"preserve of {count} files", make, before=fresh)
        verify = ("verify", f"{REPO}@{COMMIT}", "--json")
        self._in_turn(
            f"verify of {count} files",
            {which: self._command(which, self._home(which), *verify) for which in self._checkouts},
        )
        (torrent,) = (self._home("now") / "library").rglob("*.torrent")
        with bench_fetch.node(self._home("now"), until="seeding") as port:
            options = ("--peer", f"127.0.0.1:{port}", *bench_fetch.QUIET, "--no-hf-cache", "--no-web-seeds", "--json")
            homes = {which: self._folder / f"fetched-{which}" for which in self._checkouts}
            self._in_turn(
                f"fetch of {count} files",
                {which: self._command(which, home, "fetch", torrent, *options) for which, home in homes.items()},
                before={which: functools.partial(self._empty, home) for which, home in homes.items()},
            )

    def big(self, size: int) -> None:
        source = self._folder / "big"
        bench_fetch.make_model(source, size, 2)
        fresh = {which: functools.partial(self._empty, self._home(which)) for which in self._checkouts}
        make: dict[str, Callable[[], Took]] = {
            which: functools.partial(self._preserve, source, self._home(which), which) for which in self._checkouts
        }
        script = [sys.executable, "-c", CREATE, str(source), str(self._folder / "by.torrent")]
        make["libtorrent"] = functools.partial(run, script, environment(HERE, self._folder))
        self._in_turn(f"preserve of {size // 1_000_000} MB in 2 files", make, before=fresh)

    def _small_folder(self, count: int) -> Path:
        folder = self._folder / f"{count}-files"
        if not folder.exists():
            folder.mkdir()
            (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
            (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
            for number in range(count):
                path = folder / f"{number // 500:03}" / f"{number:06}.json"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(number.to_bytes(8) + os.urandom(1016))
        return folder

    def _home(self, which: str) -> Path:
        return self._folder / f"home-{which}"

    def _empty(self, home: Path) -> None:
        shutil.rmtree(home, ignore_errors=True)
        os.sync()

    def _preserve(self, source: Path, home: Path, which: str) -> Took:
        arguments = ("preserve", "--from", source, "--repo", REPO, "--commit", COMMIT, "--json")
        links = ("--hard-links",) if _takes_hard_links(self._checkouts[which]) else ()
        return self._command(which, home, *arguments, *links)()

    def _command(self, which: str, home: Path, *arguments: str | Path) -> Callable[[], Took]:
        command = [sys.executable, "-m", "p2pqwen", *map(str, arguments)]
        return functools.partial(run, command, environment(self._checkouts[which], home))

    def _in_turn(
        self, name: str, what: dict[str, Callable[[], Took]], *, before: dict[str, Callable[[], None]] | None = None
    ) -> None:
        took = self._took[name] = {which: [] for which in what}
        for number in range(self._runs + 1):
            for which, one in what.items():
                if before is not None and which in before:
                    before[which]()
                found = one()
                if number:
                    took[which].append(found)

    def rows(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return the minimum of each series."""
        return {
            name: {
                which: {
                    "seconds": min(one.seconds for one in series),
                    "processor": min(one.processor for one in series),
                    "memory": min(one.memory for one in series),
                }
                for which, series in took.items()
            }
            for name, took in self._took.items()
        }

    def lines(self) -> list[str]:
        """Return the figures as a table, with our ratio to each other checkout."""
        found = [f"least of {self._runs} runs each, in turn; ratio: this checkout's over the other's"]
        for name, row in self.rows().items():
            now = row["now"]
            found.append(f"{name}")
            for which, one in row.items():
                figures = f"{one['seconds']:8.3f} s  {one['processor']:8.3f} s of a core  {one['memory'] / 1e6:5.0f} MB"
                clock, cores = now["seconds"] / one["seconds"], now["processor"] / one["processor"]
                found.append(f"  {which:10} {figures}" + (f"  {clock:5.2f}  {cores:5.2f}" if which != "now" else ""))
        return found


@functools.cache
def _takes_hard_links(checkout: Path) -> bool:
    return "--hard-links" in (checkout / "p2pqwen/cli/preserve.py").read_text(encoding="utf-8")


def environment(checkout: Path, home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled = str(home.parent / "compiled")
    return {**kept, **bench_fetch.environment(home), "PYTHONPATH": str(checkout), "PYTHONPYCACHEPREFIX": compiled}


def run(command: list[str], environment: dict[str, str]) -> Took:
    """Run a program to its end, and return what it took by wait4(2)."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, env=environment, cwd="/", stdout=subprocess.DEVNULL, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(errors.read().decode(errors="replace"))
    return Took(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


if __name__ == "__main__":
    main()
