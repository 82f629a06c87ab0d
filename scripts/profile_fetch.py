#!/usr/bin/env python3
"""Show where the time of a whole `p2pqwen fetch` goes, stage by stage, beside a bare libtorrent session.

    scripts/profile_fetch.py [--megabytes 1000] [--shards 1] [--runs 3] [--folder DIR] [--json]

A seed on loopback serves a model of random bytes. Each run fetches it in a separate process, whose functions are timed
from outside, without any support in p2pqwen. There are two kinds of row:

* consecutive stages from the start of the process to its end, in wall-clock seconds;
* concurrent work on other threads: libtorrent's disk and hash jobs by its counters, our SHA-256 with its waits for
  bytes and its reading, and every wait for the disk (fsync and similar calls), by the waiting thread.

The fastest of several runs is shown. `bare`: a libtorrent session with the tuned settings of `bench_fetch.py`, which
only syncs what it got to the disk (fdatasync); the two take turns. CPU seconds are those of the fetching process, with
all its threads; on two cores, the seed's come on top of both.
"""

# ruff: noqa: ANN401, FBT001, SLF001 - it wraps arbitrary functions
from __future__ import annotations

import argparse
import builtins
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import bench_fetch

QUIET = (*bench_fetch.QUIET, "--no-web-seeds", "--json")
FOLLOWING = (
    "start of Python",
    "imports",
    "other work before the session",
    "session",
    "connection",
    "transfer",
    "news that it is there",
    "flush",
    "last of our hashes",
    "resume data",
    "leaving the swarm",
    "the snapshot is written down",
    "Hugging Face cache",
    "other work after the transfer",
    "end of the process",
)
MEANWHILE = (
    "libtorrent: hash jobs",
    "libtorrent: write jobs",
    "libtorrent: other disk jobs",
    "ours: SHA-256, processor",
    "ours: reading back, processor",
    "ours: waiting for bytes",
    "fsync on the main thread",
    "fsync on other threads",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the model (1000)")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="of each (3)")
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        started, report, *arguments = given.child
        Probe(float(started), Path(report)).run(arguments)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = profile(Path(folder), given.megabytes * 1_000_000, given.shards, given.runs)
    print(json.dumps(found, indent=2) if given.json else "\n".join(table(found)))


def profile(folder: Path, size: int, shards: int, runs: int) -> dict[str, Any]:
    """Return the stages of the fastest of several fetches, and the seconds of bare sessions."""
    bench_fetch.make_model(folder / "model", size, shards)
    seeder, fetcher = folder / "seeder", folder / "fetcher"
    identity = ("--repo", bench_fetch.REPO, "--commit", bench_fetch.COMMIT)
    torrent = str(bench_fetch.run(seeder, "preserve", "--from", folder / "model", *identity, "--json")["torrent"])
    ours, bare = [], []
    with bench_fetch.node(seeder, until="seeding") as port:
        for number in range(2 * runs):
            shutil.rmtree(fetcher, ignore_errors=True)
            os.sync()
            bench_fetch.use_memory(folder, 3 * size)
            if number % 2:
                ours.append(probed(torrent, port, fetcher, folder / "report"))
            else:
                bare.append(bare_run(torrent, port, fetcher))
    quickest = {"ours": min(ours, key=itemgetter("seconds")), "bare": min(bare, key=itemgetter("seconds"))}
    return {"bytes": size, "shards": shards, "runs": runs, **quickest}


def bare_run(torrent: str, port: int, folder: Path) -> dict[str, float]:
    """Fetch with bare libtorrent and sync to disk; return the figures of the whole process."""
    before, started = os.times(), time.monotonic()
    seeding, written = bench_fetch.run_bare(torrent, port, folder, utp=False)
    seconds, after = time.monotonic() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "seeding": seeding, "written": written, "processor": cpu}


def probed(torrent: str, port: int, home: Path, report: Path) -> dict[str, Any]:
    """Fetch with p2pqwen in a process that times itself; return its report."""
    before, started = os.times(), time.monotonic()
    arguments = ("fetch", torrent, "--peer", f"127.0.0.1:{port}", *QUIET)
    command = [sys.executable, __file__, "--child", str(started), str(report), *arguments]
    done = subprocess.run(command, env=bench_fetch.environment(home), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, after = time.monotonic() - started, os.times()
    found: dict[str, Any] = json.loads(report.read_text())
    found["following"]["end of the process"] = seconds - found.pop("ended")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "processor": cpu, **found}


class Probe:
    """Times the functions of one fetch, in the fetching process. `started`: when the process started."""

    def __init__(self, started: float, report: Path) -> None:
        self._started, self._report = started, report
        self._begun = time.monotonic()
        self._marks: dict[str, float] = {}
        self._spent = dict.fromkeys((*FOLLOWING, *MEANWHILE), 0.0)
        self._counters: dict[str, int] = {}
        self._lock = threading.Lock()
        self._main = threading.current_thread()
        self._depth = 0
        self.calls: dict[str, int] = {}

    def run(self, arguments: list[str]) -> None:
        self._time_imports()
        from p2pqwen.cli.main import main as command

        self._time_fsync()
        self._watch_modules()
        code = command(arguments)
        sys.stdout.flush()
        self._write()
        sys.exit(code)

    def _time_imports(self) -> None:
        """Count the time of the main thread's imports that load something."""
        ordinary, by_name = builtins.__import__, importlib.import_module

        def timed(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
            if threading.current_thread() is not self._main:
                return call(*given, **named)
            self._depth += 1
            before, known = time.monotonic(), len(sys.modules)
            try:
                return call(*given, **named)
            finally:
                self._depth -= 1
                if not self._depth and len(sys.modules) != known:
                    self._add("imports", time.monotonic() - before)

        builtins.__import__ = lambda *given, **named: timed(ordinary, *given, **named)
        importlib.import_module = lambda *given, **named: timed(by_name, *given, **named)

    def _time_fsync(self) -> None:
        for name in ("fsync", "fdatasync", "sync"):
            ordinary = getattr(os, name)
            setattr(os, name, self._timed_by_thread(ordinary, name))
        from p2pqwen.portable import files

        files.sync_file_system = self._timed_by_thread(files.sync_file_system, "syncfs")

    def _timed_by_thread(self, ordinary: Callable[..., Any], name: str) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            before = time.monotonic()
            try:
                return ordinary(*given)
            finally:
                main = threading.current_thread() is self._main
                self._add(f"fsync on {'the main thread' if main else 'other threads'}", time.monotonic() - before)
                with self._lock:
                    self.calls[name] = self.calls.get(name, 0) + 1

        return timed

    def _watch_modules(self) -> None:
        """Wrap the functions that a fetch calls with timers."""
        from p2pqwen.hub.cache import HubCache
        from p2pqwen.library.hashing import Digester
        from p2pqwen.library.snapshots import Library
        from p2pqwen.library.trailing import TrailingHasher
        from p2pqwen.operations.fetch.download import _Download
        from p2pqwen.swarm.session import Swarm
        from p2pqwen.swarm.torrent import SwarmTorrent

        self._stage(Swarm, "__enter__", "session", begins="session begins", ends="session ends")
        self._stage(_Download, "_flush", "flush", begins="flush begins")
        self._stage(_Download, "_finish_hashing", "last of our hashes")
        self._stage(_Download, "_save_resume", "resume data")
        self._stage(SwarmTorrent, "leave", "leaving the swarm")
        self._stage(SwarmTorrent, "release", "leaving the swarm")
        self._stage(Swarm, "close", "leaving the swarm", first=self._read_counters)
        self._stage(Library, "finish", "the snapshot is written down")
        self._stage(HubCache, "materialise", "Hugging Face cache")
        self._mark_first(SwarmTorrent, "mark", "first piece")
        self._mark_setting(SwarmTorrent, "finished", "last piece")
        self._thread_time(Digester, "update", "ours: SHA-256, processor")
        self._thread_time(TrailingHasher, "_hash", "ours: reading back, processor")
        self._waits(TrailingHasher)

    def _stage(
        self,
        owner: type,
        name: str,
        stage: str,
        *,
        begins: str | None = None,
        ends: str | None = None,
        first: Callable[[Any], None] = lambda _: None,
    ) -> None:
        ordinary = getattr(owner, name)

        def timed(this: Any, *given: Any, **named: Any) -> Any:
            first(this)
            before = time.monotonic()
            if begins is not None:
                self._marks.setdefault(begins, before)
            imports = self._spent["imports"]
            try:
                return ordinary(this, *given, **named)
            finally:
                now = time.monotonic()
                if ends is not None:
                    self._marks.setdefault(ends, now)
                self._add(stage, now - before - (self._spent["imports"] - imports))

        setattr(owner, name, timed)

    def _mark_first(self, owner: type, name: str, mark: str) -> None:
        ordinary = getattr(owner, name)

        def marked(this: Any, *given: Any, **named: Any) -> Any:
            self._marks.setdefault(mark, time.monotonic())
            return ordinary(this, *given, **named)

        setattr(owner, name, marked)

    def _mark_setting(self, owner: type, name: str, mark: str) -> None:
        def setting(this: Any, value: bool) -> None:
            if value:
                self._marks[mark] = time.monotonic()
            this.__dict__[name] = value

        setattr(owner, name, property(lambda this: this.__dict__[name], setting))

    def _thread_time(self, owner: type, name: str, stage: str) -> None:
        ordinary = getattr(owner, name)

        def timed(this: Any, *given: Any) -> Any:
            before = time.thread_time()
            try:
                return ordinary(this, *given)
            finally:
                self._add(stage, time.thread_time() - before)

        setattr(owner, name, timed)

    def _waits(self, owner: type) -> None:
        ordinary = owner._readable

        def timed(this: Any, *given: Any) -> Any:
            before = time.monotonic()
            try:
                return ordinary(this, *given)
            finally:
                self._add("ours: waiting for bytes", time.monotonic() - before)

        owner._readable = timed

    def _read_counters(self, swarm: Any) -> None:
        """Read libtorrent's counters before the session is closed."""
        import libtorrent as lt

        session = swarm._session
        if session is None or self._counters:
            return
        session.post_session_stats()
        deadline = time.monotonic() + 2.0
        while not self._counters and time.monotonic() < deadline:
            session.wait_for_alert(50)
            for alert in session.pop_alerts():
                if isinstance(alert, lt.session_stats_alert):
                    self._counters = dict(alert.values)

    def _add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._spent[stage] += seconds

    def _write(self) -> None:
        ended, spent, marks = time.monotonic(), self._spent, self._marks
        spent["start of Python"] = self._begun - self._started
        spent["connection"] = marks["first piece"] - marks["session ends"]
        spent["transfer"] = marks["last piece"] - marks["first piece"]
        spent["news that it is there"] = marks["flush begins"] - marks["last piece"]
        # Nearly all imports come before the session; the rest has no row.
        spent["other work before the session"] = max(0.0, marks["session begins"] - self._begun - spent["imports"])
        rows = ("flush", "last of our hashes", "resume data", "leaving the swarm", "the snapshot is written down")
        told = sum(spent[one] for one in (*rows, "Hugging Face cache"))
        spent["other work after the transfer"] = max(0.0, ended - marks["flush begins"] - told)  # stages may overlap
        spent["ours: reading back, processor"] -= spent["ours: SHA-256, processor"]
        micro = {name: self._counters.get(f"disk.{name}", 0) / 1e6 for name in _COUNTED}
        spent["libtorrent: hash jobs"] = micro["disk_hash_time"]
        spent["libtorrent: write jobs"] = micro["disk_write_time"]
        others = micro["disk_job_time"] - micro["disk_hash_time"] - micro["disk_write_time"]
        spent["libtorrent: other disk jobs"] = max(0.0, others)
        found = {
            "following": {one: spent[one] for one in FOLLOWING},
            "meanwhile": {one: spent[one] for one in MEANWHILE},
            "calls": self.calls,
            "peak_memory": _peak_memory(),
            "ended": ended - self._started,
        }
        self._report.write_text(json.dumps(found))


def _peak_memory() -> int:
    """Return this process's peak resident bytes; getrusage would include those of its parent at the fork."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


_COUNTED = ("disk_hash_time", "disk_write_time", "disk_job_time")


def table(found: dict[str, Any]) -> list[str]:
    """Return a profile as lines of text."""
    ours, bare, size = found["ours"], found["bare"], found["bytes"]
    lines = [f"{size / 1e6:.0f} MB in {found['shards']} shards, the quickest of {found['runs']} runs each", ""]
    lines += [f"{'one after the other':34} {'seconds':>8} {'share':>6}"]
    lines += [
        f"{name:34} {seconds:8.3f} {seconds / ours['seconds']:6.1%}" for name, seconds in ours["following"].items()
    ]
    lines += [f"{'the whole process':34} {ours['seconds']:8.3f}", "", f"{'meanwhile':34} {'seconds':>8}"]
    lines += [f"{name:34} {seconds:8.3f}" for name, seconds in ours["meanwhile"].items()]
    calls = ", ".join(f"{count} {name}" for name, count in ours["calls"].items())
    lines += [f"waits for the disk: {calls or 'none'}; peak memory {ours['peak_memory'] / 1e6:.0f} MB", ""]
    lines += [f"{'':34} {'p2pqwen':>8} {'bare':>8} {'ratio':>6}"]
    for what in ("seconds", "processor"):
        named = {"seconds": "whole process", "processor": "processor"}[what]
        lines.append(f"{named:34} {ours[what]:8.3f} {bare[what]:8.3f} {ours[what] / bare[what]:6.2f}")
    return lines


if __name__ == "__main__":
    main()
