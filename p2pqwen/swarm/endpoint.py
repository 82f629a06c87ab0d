"""`HOST:PORT` as users write it, and which addresses are private."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Self

from p2pqwen.errors import FormatError, NetworkError, UsageError
from p2pqwen.values.address_class import Address
from p2pqwen.values.host import Host, is_private_host

_HOST = re.compile(r"(?=.{1,253}\Z)(?!.*\.\.)(?!.*[^.]{64})[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """A host, by name or address, and a port; printed with brackets around an IPv6 address."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, allow_port_zero: bool = False) -> Self:
        """Read `HOST:PORT` or `[IPV6]:PORT`; raises `UsageError`."""
        host, colon, port = text.strip().rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        bracketed = bare != host
        valid_host = _address(bare) is not None if bracketed else _HOST.fullmatch(host) is not None
        lowest = 0 if allow_port_zero else 1
        if not colon or not valid_host or not re.fullmatch(r"[0-9]{1,5}", port) or not lowest <= int(port) <= 65535:
            raise UsageError("not an address", expected="HOST:PORT, such as 127.0.0.1:6881", got=repr(text[:80]))
        return cls(bare, int(port))

    def resolve(self) -> Endpoint:
        """Return the endpoint with an IP address; raises `NetworkError` for a name without one."""
        if _address(self.host) is not None:
            return self
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:  # an unknown or invalid name
            raise NetworkError(f"cannot find the address of {self.host}", got=str(error)) from error
        # IPv4 first: our sessions always have it, IPv6 only if the machine does.
        found.sort(key=lambda one: one[0] != socket.AF_INET)
        return Endpoint(str(found[0][4][0]), self.port)

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine, by address or as `localhost`."""
        return is_loopback(self.host)

    @property
    def is_private(self) -> bool:
        """Whether it only means something on this machine or its network."""
        return is_private(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address, not a name."""
    return _address(host) is not None


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its address or as `localhost`."""
    try:
        return Host.parse(host).is_this_machine
    except FormatError:
        return False


def is_private(host: str) -> bool:
    """Tell whether a host is an address (or a name) that only means something on this machine or its network.

    Such a host in a stranger's link would make us connect to the user's own services (security.md, SSRF). Names that
    resolve to a private address are not detected here. HTTP is judged by the address connected to
    (`values.named_hosts`), the rest by the address filter and libtorrent's ssrf_mitigation.
    """
    return is_private_host(host)


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
