"""The open sockets of a process, by the kernel (proc(5), /proc/net)."""

from __future__ import annotations

import contextlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path

_ESTABLISHED, _LISTEN = "01", "0A"


@dataclass(frozen=True, slots=True)
class Address:
    """One end of a socket."""

    host: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    @property
    def is_loopback(self) -> bool:
        mapped = getattr(self.host, "ipv4_mapped", None)
        return (mapped or self.host).is_loopback


def listening(pid: int) -> set[Address]:
    """Return the addresses at which the process accepts TCP connections."""
    return {_address(row[1]) for row in _rows(pid) if row[3] == _LISTEN}


def connected(pid: int) -> set[Address]:
    """Return the remote addresses of the process's TCP connections."""
    return {_address(row[2]) for row in _rows(pid) if row[3] == _ESTABLISHED}


def datagram_sockets(pid: int) -> set[Address]:
    """Return the addresses of the process's UDP sockets."""
    return {_address(row[1]) for row in _rows(pid, "udp")}


def _rows(pid: int, protocol: str = "tcp") -> list[list[str]]:
    mine = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            mine.add(str(entry.readlink()))
    lines = [
        line for name in (protocol, f"{protocol}6") for line in Path("/proc/net", name).read_text().splitlines()[1:]
    ]
    return [row for row in map(str.split, lines) if f"socket:[{row[9]}]" in mine]


def _address(text: str) -> Address:
    """Parse the kernel's form: 32-bit words in the machine's byte order, then the port."""
    digits, _, port = text.partition(":")
    words = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
    return Address(ipaddress.ip_address(b"".join(words)), int(port, 16))
