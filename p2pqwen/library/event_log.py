"""A node's structured log: one JSON object a line, with its time, in files that are rotated by size.

    log/node.jsonl, log/node.1.jsonl (older) … log/node.4.jsonl

Facts come from outside too, so a line is ASCII JSON: no name can break a line or send escapes to a terminal. Failing to
write the log is no reason to stop seeding: that is reported once, and lines are dropped until writing works.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from p2pqwen.library.durable import open_private
from p2pqwen.values.utc_time import format_time

MAX_BYTES = 10 << 20
OLD_FILES = 4


class EventLog:
    """The log of one home; a context manager. `write` may be called from any thread."""

    def __init__(
        self,
        folder: Path,
        *,
        complain: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder, self._complain = folder, complain
        self._file: TextIOWrapper | None = None
        self._size = 0
        self._broken = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._close()

    @property
    def path(self) -> Path:
        """The newest file."""
        return self._folder / "node.jsonl"

    def write(self, event: str, facts: Mapping[str, Any]) -> None:
        """Add a line."""
        line = json.dumps({"time": format_time(datetime.now(UTC)), "event": event, **facts}) + "\n"
        with self._lock:
            try:
                if self._size + len(line) > MAX_BYTES:
                    self._turn_over()
                if self._file is None:
                    descriptor = open_private(self.path, os.O_WRONLY | os.O_APPEND)
                    self._file = os.fdopen(descriptor, "a", encoding="ascii", buffering=1)
                    self._size = os.fstat(descriptor).st_size
                self._file.write(line)
                self._size += len(line)
                self._broken = False
            except OSError as error:
                self._close()
                if not self._broken:
                    self._broken = True
                    self._complain(f"the event log cannot be written: {error.strerror or error}")

    def _turn_over(self) -> None:
        self._close()
        for number in range(OLD_FILES, 0, -1):
            newer = self._folder / (f"node.{number - 1}.jsonl" if number > 1 else "node.jsonl")
            if newer.exists():
                newer.replace(self._folder / f"node.{number}.jsonl")

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk: the buffer is lost, and that was reported
                self._file.close()
            self._file = None
            self._size = 0
