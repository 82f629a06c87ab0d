"""Print every packet that leaves a network namespace; this program runs in the namespace and asks the kernel."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.processes import ROOT, Process, running

_EVERYTHING = 0x0003  # ETH_P_ALL (packet(7))
_OUTGOING = 4
_LINK = 14
_IPV4, _IPV6 = 0x0800, 0x86DD
_ICMP6 = 58
_WITH_PORTS = {6: "tcp", 17: "udp"}


def main() -> None:
    """Print each packet's destination, once."""
    seen: set[str] = set()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERYTHING)) as sniffer:
        print("ready", flush=True)
        while True:
            data, (interface, _, kind, *_) = sniffer.recvfrom(65536)
            if kind == _OUTGOING and interface != "lo" and (line := _goes_to(data)) and line not in seen:
                seen.add(line)
                print(line, flush=True)


def _goes_to(frame: bytes) -> str | None:
    """Return protocol, address and port; None for neighbour discovery (ARP, NDP), which IP itself needs."""
    kind, packet = int.from_bytes(frame[12:14], "big"), frame[_LINK:]
    if kind == _IPV4:
        protocol, address, rest = packet[9], ipaddress.ip_address(packet[16:20]), packet[4 * (packet[0] & 15) :]
    elif kind == _IPV6:
        protocol, address, rest = packet[6], ipaddress.ip_address(packet[24:40]), packet[40:]
        if protocol in {0, _ICMP6}:
            return None
    else:
        return None
    name = _WITH_PORTS.get(protocol, f"protocol {protocol}")
    return f"{name} {address}:{int.from_bytes(rest[2:4], 'big') if protocol in _WITH_PORTS else 0}"


@contextlib.contextmanager
def leaving(within: Sequence[str | Path]) -> Iterator[Process]:
    """Watch a namespace; the process's lines, except the first, are the destinations of packets, each once."""
    with running([*within, sys.executable, ROOT / "tests" / "support" / "packets.py"], {"PYTHONPATH": str(ROOT)}) as it:
        it.line(30, containing="ready")
        yield it


def seen(watcher: Process) -> set[str]:
    """Return the destinations of packets so far."""
    return {line.strip() for line in list(watcher.lines)} - {"ready"}


if __name__ == "__main__":
    main()
