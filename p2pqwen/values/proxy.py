"""Choose the proxy for a URL by the usual environment variables: http_proxy, no_proxy, ….

A lower-case name takes precedence over the upper-case one, as in curl(1). HTTP_PROXY counts too: CGI programs must not
read it, but this is none. This machine is never contacted through a proxy, whose loopback is another (as in Go's
net/http).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from p2pqwen.errors import FormatError, UsageError
from p2pqwen.values.host import Host

SOCKS = frozenset({"socks5", "socks5h"})
_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
VARIABLES = tuple(
    name for base in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (base, base.upper())
)
"""All variables that are read."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy. It resolves names; we do not."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str, source: str) -> Proxy:
        """Parse a proxy's URL, or `HOST:PORT`; raises `UsageError` that names `source` and shows no password."""
        given = text.strip()
        expected = "http://HOST:PORT, https://…, socks5://… or socks5h://…"
        try:
            parts = urlsplit(given if "://" in given else f"http://{given}")
            scheme, port = parts.scheme.lower(), parts.port
            host = Host.parse(parts.hostname or "")
        except (ValueError, FormatError) as error:
            raise UsageError(f"{source} names no proxy", expected=expected, got=_shown(given)) from error
        if scheme not in _PORTS or port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
            raise UsageError(f"{source} names no usable proxy", expected=expected, got=_shown(given))
        return cls(
            scheme, str(host), port or _PORTS[scheme], unquote(parts.username or ""), unquote(parts.password or "")
        )

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS5 (RFC 1928)."""
        return self.scheme in SOCKS

    @property
    def address(self) -> str:
        """Return its URL without credentials, for display."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def url(self) -> str:
        """Return its URL with credentials."""
        if not self.user:
            return self.address
        scheme, _, rest = self.address.partition("://")
        return f"{scheme}://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{rest}"

    @property
    def named(self) -> str:
        """Return an http address with its host, for the guard's lists of hosts."""
        return f"http://{self.address.partition('://')[2]}"


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies of an environment, for http and for https, and their exceptions."""

    given: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Proxies:
        """Copy the variables from an environment; they are parsed when needed."""
        return cls({name: environment[name] for name in VARIABLES if environment.get(name, "").strip()})

    def choose(self, url: str) -> Proxy | None:
        """Return the proxy for a URL, None for a direct connection; raises `UsageError` for an invalid proxy."""
        parts = urlsplit(url)
        found = self.proxy_for(parts.scheme)
        if found is None or not parts.hostname or self._is_excepted(parts.hostname, _port(url)):
            return None
        return found

    def proxy_for(self, scheme: str) -> Proxy | None:
        """Return the proxy for `http` or `https`, ignoring no_proxy; raises `UsageError`."""
        for base in (f"{scheme}_proxy", "all_proxy"):
            for name in (base, base.upper()):
                if name in self.given:
                    return Proxy.parse(self.given[name], name)
        return None

    @property
    def exceptions(self) -> tuple[str, ...]:
        """The entries of no_proxy."""
        text = self.given.get("no_proxy") or self.given.get("NO_PROXY") or ""
        return tuple(one for one in re.split(r"[\s,]+", text.lower()) if one)

    @property
    def passwords(self) -> tuple[str, ...]:
        """The passwords in the variables that can be parsed."""
        found = []
        for text in self.given.values():
            with suppress(UsageError):
                found += [secret for secret in (Proxy.parse(text, "").password,) if secret]
        return tuple(found)

    def _is_excepted(self, text: str, port: int) -> bool:
        try:
            host = Host.parse(text)
        except FormatError:
            return False  # the guard refuses it
        return host.is_this_machine or any(_covers(entry, host, port) for entry in self.exceptions)


def _port(url: str) -> int:
    parts = urlsplit(url)
    try:
        return parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return 0


def _covers(entry: str, host: Host, port: int) -> bool:
    """Tell whether an entry of no_proxy covers a host: `*`, a domain with its subdomains, an address, a network."""
    if entry == "*":
        return True
    if host.address is not None:
        try:
            return host.address in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            pass
    name, colon, only = entry.rpartition(":")
    if colon and only.isdigit():
        return int(only) == port and _covers(name, host, port)
    domain = entry.removeprefix("*").strip(".")
    return bool(domain) and (host.name == domain or (host.address is None and host.name.endswith(f".{domain}")))


def _shown(text: str) -> str:
    return repr(re.sub(r"//.*@", "//…@", text)[:120]) if "//" in text else repr(re.sub(r".*@", "…@", text)[:120])
