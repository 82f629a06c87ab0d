"""Houses behind NATs and the world outside, as network namespaces that no packet leaves."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

OUTSIDE = "45.9.0.1"
"""A public address, since seeds on private ones are not used; it is bound only in the namespace."""
_PUBLIC, _PRIVATE = "45.9.0", "192.168"
_RULES = """
table ip translate {{
  chain out {{
    type nat hook postrouting priority 100;
    oifname "{link}" masquerade
  }}
}}
table ip keep {{
  chain in_ {{
    type filter hook forward priority 0; policy accept;
    iifname "{link}" ct state new drop
  }}
  chain self {{
    type filter hook input priority 0; policy accept;
    iifname "{link}" ct state new drop
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Lab:
    """Namespaces: `world` with the address OUTSIDE, and `houses`, whose traffic has their routers' addresses."""

    world: str
    houses: tuple[str, ...]

    def within(self, namespace: str, arguments: list[str | Path]) -> list[str | Path]:
        """Return the arguments that run a program there."""
        return ["ip", "netns", "exec", namespace, *arguments]


@contextlib.contextmanager
def natted_houses(count: int) -> Iterator[Lab]:
    """Build the namespaces and remove them afterwards; skips if the system does not permit it."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("nft") is None:
        pytest.skip("needs root, ip and nft")
    mark = secrets.token_hex(3)
    world = f"pq{mark}w"
    made: list[str] = []

    def make(name: str) -> str:
        if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
            pytest.skip("no network namespaces here")
        made.append(name)
        _ip(name, "link set lo up")
        return name

    try:
        make(world)
        # The street: a bridge that connects the routers.
        _ip(world, "link add street type bridge")
        _ip(world, f"addr add {OUTSIDE}/24 dev street")
        _ip(world, "link set street up")
        houses = [
            _house(number, make(f"pq{mark}h{number}"), make(f"pq{mark}r{number}"), world) for number in range(count)
        ]
        yield Lab(world, tuple(houses))
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False)


def _house(number: int, house: str, router: str, world: str) -> str:
    inside = f"{_PRIVATE}.{77 + number}"
    _join(world, None, f"{router}w", router, f"{_PUBLIC}.{2 + number}/24", f"{router}o")
    _ip(world, f"link set {router}w master street")
    _join(house, f"{inside}.2/24", f"{router}h", router, f"{inside}.1/24", f"{router}i")
    _ip(house, f"route add default via {inside}.1")
    _run(["ip", "netns", "exec", router, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])
    rules = _RULES.format(link=f"{router}o")
    done = subprocess.run(
        ["ip", "netns", "exec", router, "nft", "-f", "-"], input=rules, text=True, capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this kernel translates no addresses: {done.stderr}")
    return house


def _join(one: str, one_address: str | None, one_end: str, other: str, other_address: str, other_end: str) -> None:
    _run(["ip", "link", "add", one_end, "netns", one, "type", "veth", "peer", "name", other_end, "netns", other])
    for name, address, end in ((one, one_address, one_end), (other, other_address, other_end)):
        if address is not None:
            _ip(name, f"addr add {address} dev {end}")
        _ip(name, f"link set {end} up")


def _ip(namespace: str, command: str) -> None:
    _run(["ip", "-n", namespace, *command.split()])


def _run(arguments: list[str]) -> None:
    subprocess.run(arguments, check=True, capture_output=True)
