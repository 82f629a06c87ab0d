"""Many readers at once in one thread, so that only the server divides the rate; and a process's resource use."""

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
    """A reader of a range of a file. `got` counts bytes of the body, `status` is the answer's."""

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
    """Request a range, and read nothing yet."""
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)
    asked = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nRange: bytes={offsets.start}-{offsets.stop - 1}\r\n\r\n"
    sock.sendall(asked.encode())
    return Reader(sock, len(offsets))


def read_at_once(url: str, path: str, ranges: Sequence[range], seconds: float) -> list[int]:
    """Read all of these ranges in turns; return the bytes that each had when the first was done."""
    readers = [begin(url, path, one) for one in ranges]
    at_first: list[int] = []
    buffer = memoryview(bytearray(_BUFFER))
    deadline = time.monotonic() + seconds
    for one in readers:  # counted once all have begun: the order of requests is random
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
    """Return the CPU time of a process and of the children that it has waited for."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def memory(process: Process, field_name: str = "VmRSS") -> int:
    """Return the resident bytes of a process now, or with `VmHWM` at its peak."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field_name}:"))


def descriptors(process: Process) -> int:
    """Return the number of its open files and connections."""
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
