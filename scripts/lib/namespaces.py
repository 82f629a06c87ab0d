"""Hosts on one machine: Linux network namespaces, each with one address, joined by a bridge.

Nothing leaves the machine: the namespaces have no route out, so their addresses may look public. A host is cut off by
taking its port at the bridge down: packets to it are lost without an answer, as when a host dies. Loss and delay come
from netem if the kernel has it, and otherwise from a cable between two TAP devices, over which a thread of this program
carries each frame.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import json
import os
import random
import selectors
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

PREFIX_LENGTH = 16
_BRIDGE = "br0"
_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x1002
_FRAME = 65536
_LINK_SECONDS = 30.0
_SEARCH = "/usr/sbin:/sbin"


class NamespacesError(Exception):
    """The machine does not permit namespaces; the message says what failed."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a host's cable does to every frame each way: a delay of `delay` ± `jitter` seconds; `loss` from 0 to 1."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0

    @property
    def perfect(self) -> bool:
        return self == Line()


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace, its one address, and the name of its port at the bridge."""

    name: str
    address: str
    namespace: str
    port: str

    def command(self, arguments: Sequence[object]) -> list[str]:
        """Return the command line that runs a program on this host."""
        return ["ip", "netns", "exec", self.namespace, *map(str, arguments)]


@dataclass(slots=True)
class Network:
    """The bridge and its hosts; use `network` to make and remove it."""

    tag: str
    line: Line
    hosts: dict[str, Host] = field(default_factory=dict)
    impaired_by: str = "nothing"
    cables: Cables | None = None

    @property
    def switch(self) -> str:
        """The namespace of the bridge."""
        return f"{self.tag}-switch"

    def add(self, name: str, address: str) -> Host:
        """Make a host and plug it in."""
        host = Host(name, address, f"{self.tag}-{name}", f"p{len(self.hosts)}")
        ip("netns", "add", host.namespace)
        self.hosts[name] = host
        if self.cables is None:
            ip("link", "add", "eth0", "netns", host.namespace, "type", "veth", "peer", host.port, "netns", self.switch)
        else:
            self.cables.plug(host, self.switch)
        ip("-n", self.switch, "link", "set", host.port, "master", _BRIDGE, "up")
        ip("-n", host.namespace, "addr", "add", f"{address}/{PREFIX_LENGTH}", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", host.namespace, "link", "set", device, "up")
        if self.impaired_by == "netem":
            for namespace, device in ((host.namespace, "eth0"), (self.switch, host.port)):
                _netem(namespace, device, self.line)
        self._wait_for_link(host)
        return host

    def _wait_for_link(self, host: Host) -> None:
        """Wait until the bridge forwards the host's packets: until then, up to a second, the kernel drops them."""
        deadline = time.monotonic() + _LINK_SECONDS
        while self._state(host) not in {"UP", "UNKNOWN"}:  # TAP devices may never say
            if time.monotonic() > deadline:
                raise NamespacesError(f"the link of {host.name} does not come up")
            time.sleep(0.05)

    def _state(self, host: Host) -> str:
        return str(json.loads(ip("-n", self.switch, "-j", "link", "show", host.port))[0]["operstate"])

    def cut(self, name: str) -> None:
        """Pull a host's cable."""
        ip("-n", self.switch, "link", "set", self.hosts[name].port, "down")

    def bytes_sent(self) -> dict[str, int]:
        """Return how many bytes each host has sent, headers included, as its port at the bridge counted."""
        rows = json.loads(ip("-n", self.switch, "-s", "-j", "link", "show"))
        counted = {row["ifname"]: row["stats64"]["rx"]["bytes"] for row in rows}
        return {name: counted[host.port] for name, host in self.hosts.items()}


class Cables:
    """Pairs of TAP devices and the thread that carries frames between them, with delay and loss."""

    def __init__(self, line: Line, seed: int = 1) -> None:
        self._line = line
        self._random = random.Random(seed)
        self._selector = selectors.DefaultSelector()
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="cables", daemon=True)
        self._thread.start()

    def plug(self, host: Host, switch: str) -> None:
        """Lay a cable from a host to the switch."""
        name = f"t{os.getpid() % 100000}{host.port}"
        ends = []
        for where, final in ((host.namespace, "eth0"), (switch, host.port)):
            end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH", name.encode(), _TAP_WITHOUT_HEADER))
            ip("link", "set", name, "netns", where, "name", final)
            ends.append(end)
        for end, other in (ends, reversed(ends)):
            self._selector.register(end, selectors.EVENT_READ, other)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        self._selector.close()

    def _carry(self) -> None:
        while not self._stop.is_set():
            now = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now:
                _, _, end, frame = heapq.heappop(self._waiting)
                with contextlib.suppress(OSError):  # the device is down, or its queue is full: the frame is lost
                    os.write(end, frame)
            pause = max(0.0, self._waiting[0][0] - now) if self._waiting else 0.05
            if not self._selector.get_map():
                time.sleep(0.01)
                continue
            for key, _ in self._selector.select(min(pause, 0.05)):
                self._take(key.fd, key.data)

    def _take(self, end: int, other: int) -> None:
        for _ in range(64):
            try:
                frame = os.read(end, _FRAME)
            except OSError:
                return
            if self._random.random() < self._line.loss:
                continue
            late = self._line.delay + self._random.uniform(-1, 1) * self._line.jitter
            self._count += 1
            heapq.heappush(self._waiting, (time.monotonic() + late, self._count, other, frame))


@contextlib.contextmanager
def network(line: Line = Line()) -> Iterator[Network]:
    """Make a bridge, and remove it with every host at the end; raises `NamespacesError` if that is not permitted."""
    made = Network(f"p2pq{os.getpid()}", line)
    ip("netns", "add", made.switch)
    try:
        ip("-n", made.switch, "link", "add", _BRIDGE, "type", "bridge")
        ip("-n", made.switch, "link", "set", _BRIDGE, "up")
        if not line.perfect:
            made.impaired_by = "netem" if _has_netem(made.switch) else "cables of TAP devices"
            made.cables = None if made.impaired_by == "netem" else Cables(line)
        yield made
    finally:
        if made.cables is not None:
            made.cables.close()
        for namespace in (*(host.namespace for host in made.hosts.values()), made.switch):
            with contextlib.suppress(NamespacesError):
                ip("netns", "delete", namespace)


def ip(*arguments: str, program: str = "ip") -> str:
    """Run `ip`; raises `NamespacesError` with its message."""
    environment: Mapping[str, str] = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{_SEARCH}"}
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError as error:
        raise NamespacesError(f"{program} is not installed (Debian: iproute2)") from error
    if done.returncode != 0:
        raise NamespacesError(f"{program} {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _has_netem(namespace: str) -> bool:
    try:
        ip("-n", namespace, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms", program="tc")
    except NamespacesError:
        return False
    return True


def _netem(namespace: str, device: str, line: Line) -> None:
    late = (f"{line.delay * 1000:g}ms", f"{line.jitter * 1000:g}ms")
    ip("-n", namespace, "qdisc", "add", "dev", device, "root", "netem", "delay", *late,
       "loss", f"{line.loss * 100:g}%", "limit", "10000", program="tc")  # fmt: skip
