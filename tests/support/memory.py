"""The peak memory of a process and all that it started, from /proc."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
EVERY = 0.05
"""Seconds between samples."""


@dataclass(slots=True)
class Peak:
    """The most resident bytes at one moment: of a process with all that it started, and of the latter alone.

    Processes that it had started before do not count. Nor does a fork that has not run its own program yet: it still
    shares the parent's pages.
    """

    whole: int = 0
    started: int = 0
    processes: int = 0


@contextmanager
def peak_of(pid: int) -> Iterator[Peak]:
    """Watch a process while the block runs."""
    peak, done = Peak(), threading.Event()
    before, own = _tree(pid) - {pid}, _command(pid)

    def watch() -> None:
        while not done.wait(EVERY):
            tree = _tree(pid) - before
            taken = {one: _resident(one) for one in tree if one == pid or _command(one) != own}
            peak.whole = max(peak.whole, sum(taken.values()))
            peak.started = max(peak.started, sum(taken.values()) - taken.get(pid, 0))
            peak.processes = max(peak.processes, len(taken))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _tree(pid: int) -> set[int]:
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    found, new = {pid}, {pid}
    while new:
        new = {one for one, parent in parents.items() if parent in new} - found
        found |= new
    return found


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _resident(pid: int) -> int:
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return 0
