"""Many readers at once in one thread, so that it is the server that shares out, and what a process takes meanwhile."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.processes import Process

_BUFFER = 256 << 10


@dataclass(slots=True)
class Reader:
    """One that reads a range of a file. `got` counts bytes of the body, `status` is the answer's."""

    sock: socket.socket
    wanted: int
    got: int = 0
    status: int = 0
    head: bytearray = field(default_factory=bytearray)

    def take(self, data: memoryview) -> None:
        if self.status:
            self.got += len(data)
            return
        self.head += data
        end = self.head.find(b"\r\n\r\n")
        if end >= 0:
            self.status = int(self.head.split(b" ", 2)[1])
            self.got = len(self.head) - end - 4


def begin(url: str, path: str, offsets: range) -> Reader:
    """Ask for a range, and read nothing yet."""
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)
    asked = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nRange: bytes={offsets.start}-{offsets.stop - 1}\r\n\r\n"
    sock.sendall(asked.encode())
    return Reader(sock, len(offsets))


def read_at_once(url: str, path: str, ranges: Sequence[range], seconds: float) -> list[int]:
    """Read all of these ranges to their ends, by turns; the bytes that each had when the first was done."""
    readers = [begin(url, path, one) for one in ranges]
    at_first: list[int] = []
    buffer = memoryview(bytearray(_BUFFER))
    deadline = time.monotonic() + seconds
    for one in readers:  # counted from when all have begun: whose request is taken last is chance
        one.sock.settimeout(seconds)
        one.take(buffer[: one.sock.recv_into(buffer)])
    with selectors.DefaultSelector() as selector:
        for one in readers:
            one.sock.setblocking(False)
            selector.register(one.sock, selectors.EVENT_READ, one)
        while selector.get_map():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {[one.got for one in readers]}"
            for key, _ in selector.select(1.0):
                reader = key.data
                count = reader.sock.recv_into(buffer)
                reader.take(buffer[:count])
                if not count or reader.got >= reader.wanted:
                    at_first = at_first or [one.got for one in readers]
                    selector.unregister(reader.sock)
                    reader.sock.close()
    assert [(one.status, one.got) for one in readers] == [(206, one.wanted) for one in readers]
    return at_first


def cpu_seconds(process: Process) -> float:
    """The processor time of a process and of the children that it has waited for."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def memory(process: Process, field_name: str = "VmRSS") -> int:
    """Bytes that a process takes now; `VmHWM`: has taken at the most."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field_name}:"))


def descriptors(process: Process) -> int:
    """How many files and connections it has open."""
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
