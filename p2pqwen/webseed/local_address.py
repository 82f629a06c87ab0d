"""Which addresses a web seed may lead to: none of the user's own network, unless the base itself is there.

Otherwise a base or a redirect named by a stranger could make this machine ask its router, its metadata service or a
program on loopback. Names are resolved here and every address is looked at; the connection then goes to the address
that was looked at, so a name that answers differently the second time gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class PrivateAddressError(OSError):
    """A name or address leads into a private network where that is not allowed."""


def is_private(address: str) -> bool:
    """Tell whether an IP address is anything but a public unicast one (loopback, RFC 1918, link-local, CGNAT, …)."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ipaddress.IPv4Address(ip.packed[12:]) if ip in _NAT64 else None)
        if inner is not None:
            ip = inner
    return not ip.is_global or ip.is_multicast


def is_private_host(host: str) -> bool:
    """Tell whether a URL's host is private by its own text: a literal address or `localhost`; no name is resolved."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return is_private(name)
    except ValueError:
        return False


class PublicResolver(AbstractResolver):
    """Resolves names and refuses with `PrivateAddressError` those of which any address is private."""

    def __init__(self, inner: AbstractResolver | None = None) -> None:
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a public name."""
        results = await self._inner.resolve(host, port, family)
        for result in results:
            if is_private(result["host"]):
                raise PrivateAddressError(f"{host} is the private address {result['host']}")
        return results

    async def close(self) -> None:
        """Release the inner resolver."""
        await self._inner.close()
