"""A machine without a network: a network namespace in which only loopback is up."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

Within = list[str]
"""The command prefix that runs a program there."""


@contextlib.contextmanager
def alone() -> Iterator[Within]:
    """Make such a namespace and remove it afterwards; skips if the system does not permit it."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and ip")
    name = f"pq{secrets.token_hex(3)}a"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield ["ip", "netns", "exec", name]
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


@dataclass(frozen=True, slots=True)
class WayOut:
    """A namespace with a default route that leads nowhere and counts packets that leave loopback."""

    within: Within

    def packets(self) -> int:
        """Return the number of packets that took the route."""
        shown = subprocess.run([*self.within, "ip", "-j", "-s", "link", "show", "out"], capture_output=True, check=True)
        return int(json.loads(shown.stdout)[0]["stats64"]["tx"]["packets"])


@contextlib.contextmanager
def way_out() -> Iterator[WayOut]:
    """Make a namespace with such a route, for IPv4 and IPv6."""
    with alone() as within:
        for command in (
            "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.router_solicitations=0",
            "sysctl -qw net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.default.addr_gen_mode=1",
            "ip link add out type veth peer name nowhere",
            "ip link set out arp off up",  # otherwise the kernel itself sends packets to neighbours
            "ip link set nowhere up",
            "ip address add 192.0.2.1/24 dev out",
            "ip -6 address add 2001:db8::1/64 dev out nodad",
            "ip route add default via 192.0.2.2",
            "ip -6 route add default via 2001:db8::2",
        ):
            if subprocess.run([*within, *command.split()], capture_output=True, check=False).returncode:
                pytest.skip(f"no {command} here")
        yield WayOut(within)


def run_within(
    within: Within, arguments: Sequence[str | Path], *, cwd: Path, seconds: float, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, without this user's Hub settings."""
    return subprocess.run(
        [*within, *map(str, arguments)],
        cwd=cwd,
        env=surroundings_within(environment),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def surroundings_within(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of this process without this user's Hub settings, and with `extra`."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "P2PQWEN_", "GIT_"))}
    return {**inherited, **extra}
