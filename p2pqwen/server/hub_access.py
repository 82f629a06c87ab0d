"""Who may use the Hub endpoint: programs on this machine, and other machines that the user allowed.

A web page can make a browser send requests to loopback, and can point a domain of its own there (DNS rebinding). It
cannot choose the `Host`, which is then that domain, and cannot leave out `Origin`. So hosts that the user did not name,
and every Origin, are refused. Hub clients send neither.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from p2pqwen.errors import UsageError
from p2pqwen.hub_api.problem import HubProblem

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class HubAccess:
    """Who may send requests. `token`: what a request must carry, None for none; `networks`: who needs no token.

    `hosts`: names of the endpoint, in lower case, besides `localhost` and addresses. Loopback needs no token.
    """

    token: str | None = None
    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @property
    def is_open_beyond(self) -> bool:
        """Whether any other machine may send requests."""
        return self.token is not None or bool(self.networks)

    def refusal(self, headers: Mapping[str, str], peer: str) -> HubProblem | None:
        """Return why a request is refused, None if it is accepted; `peer` is the address that sent it."""
        host = headers.get("Host", "")
        if not self._is_ours(host):
            return HubProblem(403, None, f"requests for host {host[:80]!r} are refused")
        if "Origin" in headers or headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            return HubProblem(403, None, "requests from web pages are refused")
        address = _address(peer)
        if address is not None and (address.is_loopback or any(address in one for one in self.networks)):
            return None
        if self.token is None:
            return HubProblem(403, None, "requests from this address are refused")
        given = _token(headers.get("Authorization", ""))
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), self.token.encode()):
            return HubProblem(401, None, "the token of this endpoint is missing or wrong")
        return None

    def _is_ours(self, host: str) -> bool:
        name = (host.rsplit(":", 1)[0] if not host.endswith("]") else host).lower()
        if name == "localhost" or name in self.hosts:
            return True
        return _address(name.removeprefix("[").removesuffix("]")) is not None


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Parse addresses and networks such as 192.168.1.0/24; raises `UsageError`."""
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError as error:
            raise UsageError(
                "not an address or network", expected="one such as 192.168.1.0/24", got=repr(text[:80])
            ) from error
    return tuple(found)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return found if mapped is None else mapped


def carries(authorization: str, token: str) -> bool:
    """Tell whether an Authorization header contains a token anywhere, in a Basic header or not."""
    return token in authorization or token in _basic(authorization)


def _token(authorization: str) -> str:
    """Return the token of a Bearer header, or the password of a Basic one, which is where git sends it."""
    scheme, _, value = authorization.partition(" ")
    return _basic(authorization).partition(":")[2] if scheme.lower() == "basic" else value


def _basic(authorization: str) -> str:
    """Return `user:password` of a Basic header, empty if it is not one."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
