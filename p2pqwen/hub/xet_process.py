"""Run hf_xet in a child process (`xet_child`): send it files, follow its progress, kill it at once."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from p2pqwen.hub.xet_job import STALL_SECONDS, XetAccess, XetFailedError, XetFile, environment_of, failure
from p2pqwen.portable.process import python

TICK = 0.5
"""Seconds between calls of `tick` while no bytes arrive."""
_END_SECONDS = 5.0
_MOST_WAITING = 2  # each keeps the memory that its files took


class XetProcess:
    """Fetches files, each whole or window by window. Raises `XetFailedError`, and `OSError` of our disk.

    A file's `tick` is called at least twice a second while it waits, and may raise. The process cannot be used again
    after an error, or after windows.
    """

    def __init__(self, folder: Path) -> None:
        """Start it, with its logs and its cache in `folder`."""
        self._tick: Callable[[], None] = lambda: None
        self._process = start_child(folder)
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # it waits for a disk that does not answer
            self._process.wait(_END_SECONDS)
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def begin(self, access: XetAccess, file: XetFile, tick: Callable[[], None], *, windows: bool) -> None:
        """Request a file; then `follow` it, or fetch it `window` by window."""
        self._tick = tick
        self._send(
            asdict(access) | {"hash": file.hash, "size": file.size, "target": str(file.target), "windows": windows}
        )

    def follow(self, on_progress: Callable[[int, int], None]) -> None:
        """Wait for the whole file; `on_progress` gets the bytes received and the bytes written so far."""
        known, moved = (0, 0), time.monotonic()
        while (line := self._next(moved)) is not None:
            now = (line["wire"], line["written"])
            if now == known:
                _check_moving(moved)
                continue
            known, moved = now, time.monotonic()
            on_progress(*now)

    def window(self, start: int, stop: int) -> None:
        """Fetch these bytes of the file."""
        self._send([start, stop])
        moved, at = time.monotonic(), start
        while at < stop:
            line = self._next(moved)
            if line is None:
                raise XetFailedError("hf_xet ended too soon")
            at, moved = line["written"], time.monotonic()

    def _next(self, moved: float) -> dict[str, int] | None:
        """Return the next line of progress, None at the end."""
        while True:
            line = self._get()
            self._tick()
            if line is None:
                _check_moving(moved)
                continue
            if not line:
                raise XetFailedError("hf_xet ended without a word")
            said = json.loads(line)
            if "error" in said:
                raise failure(f"{said['error']}: {said['text']}", said.get("errno"))
            return None if "done" in said else said

    def _get(self) -> bytes | None:
        with suppress(queue.Empty):
            return self._lines.get(timeout=TICK)
        return None

    def _read(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._lines.put(line)
        self._lines.put(b"")

    def _send(self, words: object) -> None:
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        with suppress(OSError):  # it has ended, and its output says why
            self._process.stdin.write(json.dumps(words).encode() + b"\n")
            self._process.stdin.flush()


class KeptProcesses:
    """A pool of processes that wait for the next file of the same snapshot, as long as any thread is inside.

    Starting a process takes a third of a second, in which the line is idle. Every thread that fetches enters the pool.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._waiting: list[tuple[XetAccess, XetProcess]] = []

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            ended = [] if self._inside else self._take_all()
        for process in ended:
            process.close()

    @contextmanager
    def one(self, access: XetAccess, folder: Path) -> Iterator[XetProcess]:
        """Within the block, the caller owns the process; it is kept if the block ends without an error."""
        with self._lock:
            # A process never gets a second token, so it knows only one repository.
            mine = next((pair for pair in self._waiting if pair[0] == access and pair[1].is_alive), None)
            if mine is not None:
                self._waiting.remove(mine)
            ended = [] if mine is not None else self._take_all()
        for other in ended:  # they have exited, or hold another snapshot's memory
            other.close()
        process = XetProcess(folder) if mine is None else mine[1]
        try:
            yield process
        except BaseException:
            process.close()
            raise
        with self._lock:
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.append((access, process))
                return
        process.close()

    def _take_all(self) -> list[XetProcess]:
        taken, self._waiting = [process for _, process in self._waiting], []
        return taken


def start_child(folder: Path) -> subprocess.Popen[bytes]:
    """Start `xet_child` with pipes, its logs and cache in `folder`; raises `XetFailedError`."""
    try:
        for one in (folder.parent, folder, folder / "logs"):  # other users must not see what was fetched
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
        return subprocess.Popen(
            python("-m", "p2pqwen.hub.xet_child"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment_of(os.environ, folder),
            start_new_session=True,  # Ctrl-C must reach only us; we end it
        )
    except OSError as error:  # not the file's disk, so the file comes over HTTP
        raise XetFailedError(f"hf_xet does not start: {error}") from error


def _check_moving(moved: float) -> None:
    if time.monotonic() - moved > STALL_SECONDS:
        raise XetFailedError(f"no bytes for {STALL_SECONDS:.0f} seconds")
