"""A process of hf_xet (`xet_child`): asked for one file after another, followed, and ended at once."""

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
"""Seconds between looks at whether the work is to go on, where no bytes come."""
_END_SECONDS = 5.0
_MOST_WAITING = 2  # they hold what memory their files took


class XetProcess:
    """Fetches files, each whole or window by window. Raises `XetFailedError`, and `OSError` of our disk.

    The `tick` of a file is called at least twice a second while it waits, and may raise. After an error, and after
    windows, the process is of no more use.
    """

    def __init__(self, folder: Path) -> None:
        """Start it; it keeps what it keeps in `folder`."""
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
        """Whether it runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # it waits for a disk that does not answer
            self._process.wait(_END_SECONDS)
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def begin(self, access: XetAccess, file: XetFile, tick: Callable[[], None], *, windows: bool) -> None:
        """Ask for a file; `follow` it then, or ask for its windows."""
        self._tick = tick
        self._send(
            asdict(access) | {"hash": file.hash, "size": file.size, "target": str(file.target), "windows": windows}
        )

    def follow(self, on_progress: Callable[[int, int], None]) -> None:
        """Wait for the whole file; `on_progress` gets the bytes so far on the wire and in the file."""
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
                raise XetFailedError("hf_xet ended without an answer")
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
        with suppress(OSError):  # it has ended: what it said tells why
            self._process.stdin.write(json.dumps(words).encode() + b"\n")
            self._process.stdin.flush()


class KeptProcesses:
    """Processes that have fetched a file and wait for the next of the same snapshot, while anybody fetches any.

    To start one takes a third of a second, in which a line stands still. They are entered by each who fetches.
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
        """Within the block a process is the caller's; it is kept if the block ends without an error."""
        with self._lock:
            # What was given one token learns no other: a process knows one repository.
            mine = next((pair for pair in self._waiting if pair[0] == access and pair[1].is_alive), None)
            if mine is not None:
                self._waiting.remove(mine)
            ended = [] if mine is not None else self._take_all()
        for other in ended:  # they have ended by themselves, or are of another snapshot and hold memory
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
    """Start `xet_child`, which keeps what it keeps in `folder`, with pipes to it; raises `XetFailedError`."""
    try:
        for one in (folder.parent, folder, folder / "logs"):  # what was fetched is nobody else's affair
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
        return subprocess.Popen(
            python("-m", "p2pqwen.hub.xet_child"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment_of(os.environ, folder),
            start_new_session=True,  # Ctrl-C is for us, and we end it
        )
    except OSError as error:  # not of the file's disk: the file comes another way
        raise XetFailedError(f"hf_xet does not start: {error}") from error


def _check_moving(moved: float) -> None:
    if time.monotonic() - moved > STALL_SECONDS:
        raise XetFailedError(f"no bytes for {STALL_SECONDS:.0f} seconds")
