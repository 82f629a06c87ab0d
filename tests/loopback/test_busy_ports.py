"""Any port will do, and most are taken: a session without one of its sockets would be mute by way of that address."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

PORTS = 64
TAKEN_OVER_UDP = 6
SESSIONS = 30
# libtorrent lets the system choose a TCP port; one in ten is then refused over UDP.
SCRIPT = f"""
import socket
from pathlib import Path
from p2pqwen.values.network_choices import NetworkChoices
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.settings import SwarmSettings

Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 {40000 + PORTS - 1}")
taken = []
for port in range(40000, 40000 + {TAKEN_OVER_UDP}):
    for family in (socket.AF_INET, socket.AF_INET6):
        one = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(("", port))
        taken.append(one)
fetching = SwarmSettings(choices=NetworkChoices(lsd=False, upnp=False))
for _ in range({SESSIONS}):
    with Swarm(fetching) as swarm:
        print(*sorted(one.host for one in swarm.listening))
"""


def test_every_address_has_its_socket_though_ports_are_scarce():
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs root, unshare and ip for a network of its own")
    lonely = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" -c "$1"', sys.executable, SCRIPT]
    done = subprocess.run(lonely, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)
    if "unshare" in done.stderr:
        pytest.skip(f"no network namespace: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert len(rows) == SESSIONS
    assert set(rows) == {"127.0.0.1 ::1"}, rows
