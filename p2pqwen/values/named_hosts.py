"""Which hosts of the user's own network may be contacted: only those that the user named.

URLs from others (in a magnet, a torrent, an index, a pointer, a redirect) are requested from inside the user's network,
so on their own they may lead only to public addresses. `NamedHosts` comes from the user: from config.toml and the
environment (`HF_ENDPOINT`), where any host counts, and from URLs on the command line, where only hosts that are private
by their text count. Nothing else may be put into it.

1. A URL is http or https, with a host, a valid port and no credentials; a disguised address is refused.
2. A host that is private by its text must be named. This holds for every redirect too, from a public or a private
   host.
3. A host that is public by its text is judged by the address of the connection, which must be public unless the host
   was named. Naming an address does not name the names that resolve to it.

Through a proxy, only rules 1 and 2 can be enforced here: the proxy resolves names, inside its own network. The proxy's
address comes from the user, but URLs may not lead to it (see `Guard`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from p2pqwen.errors import FormatError, NetworkError
from p2pqwen.values.address_class import AddressClass, classify
from p2pqwen.values.host import Host

_SCHEMES = frozenset({"http", "https"})
_HINT = (
    "a host on your own network is contacted only if you name it yourself: in a URL on the command line, in "
    "HF_ENDPOINT, or in config.toml ([network] private_hosts)"
)


class RefusedAddressError(NetworkError):
    """A URL, a host or an address that is not contacted, because only the user may send us there."""


@dataclass(frozen=True, slots=True)
class NamedHosts:
    """The private hosts that the user named, in any spelling; ports do not matter."""

    keys: frozenset[str] = frozenset()

    @classmethod
    def of(cls, words: Iterable[str]) -> NamedHosts:
        """Return the private hosts of the web addresses among the words that the user typed.

        A host that is public by its text is not named: the user may have pasted somebody else's URL, whose owner
        decides where the name leads.
        """
        return cls(frozenset(host.key for host in _web_hosts(words) if host.is_private))

    @classmethod
    def configured(cls, urls: Iterable[str]) -> NamedHosts:
        """Return the hosts of web addresses in the user's configuration, private by their text or not.

        A company's mirror of the Hub often has a public name that resolves to a private address.
        """
        return cls(frozenset(host.key for host in _web_hosts(urls)))

    @classmethod
    def listed(cls, hosts: Iterable[str]) -> NamedHosts:
        """Return hosts that the user listed as such; raises `FormatError`."""
        return cls(frozenset(Host.parse(host).key for host in hosts))

    def __or__(self, other: NamedHosts) -> NamedHosts:
        return NamedHosts(self.keys | other.keys)

    def __contains__(self, host: object) -> bool:
        return isinstance(host, Host) and host.key in self.keys


NONE_NAMED = NamedHosts()
"""The user named no host."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Judges where a connection may go; see the rules above. `proxies` may be connected to, but not named by URLs."""

    hosts: NamedHosts = NONE_NAMED
    proxies: NamedHosts = NONE_NAMED

    def check_url(self, url: str) -> Host:
        """Return the host of a URL that may be requested, by its text; raises `RefusedAddressError`."""
        try:
            parts = urlsplit(url)
            usable = parts.scheme in _SCHEMES and parts.port != 0 and "@" not in parts.netloc
            host = Host.parse(parts.hostname or "")
        except (FormatError, ValueError) as error:
            raise _no_web_address(url) from error
        if not usable:
            raise _no_web_address(url)
        self._check_text(host, self.hosts)
        return host

    def check_host(self, text: str) -> Host:
        """Return a host that may be connected to, by its text; raises `RefusedAddressError`."""
        try:
            host = Host.parse(text)
        except FormatError as error:
            raise RefusedAddressError(error.what, expected=error.expected, got=error.got) from error
        self._check_text(host, self.hosts | self.proxies)
        return host

    def allows(self, host: Host, address: str) -> bool:
        """Tell whether `host` may be contacted at this address, its own or one that its name resolved to."""
        if host in self.hosts or host in self.proxies:
            return True
        kind = classify(address)
        return kind is AddressClass.PUBLIC or (kind is AddressClass.STAND_IN and host.address is None)

    def check_addresses(self, host: Host, addresses: Iterable[str]) -> tuple[str, ...]:
        """Return the addresses at which `host` may be contacted; raises `RefusedAddressError` if there are none."""
        found = tuple(addresses)
        allowed = tuple(one for one in found if self.allows(host, one))
        if not allowed:
            what = f"{host} has no address that may be contacted"
            got = f"the private address {found[0]}" if found else "no address"
            raise RefusedAddressError(what, expected="a public address", got=got, hint=_HINT)
        return allowed

    @staticmethod
    def _check_text(host: Host, named: NamedHosts) -> None:
        if host.disguised:
            raise RefusedAddressError("a host in a non-standard spelling is not contacted", expected=str(host))
        if host.is_private and host not in named:
            what = f"{host} is on this machine or its private network"
            raise RefusedAddressError(what, expected="a public host, or one that you name yourself", hint=_HINT)


def _web_hosts(words: Iterable[str]) -> Iterator[Host]:
    for url in words:
        if url.partition("://")[0].lower() in _SCHEMES:
            with suppress(FormatError):
                yield Host.of_url(url)


def _no_web_address(url: str) -> RefusedAddressError:
    return RefusedAddressError("no plain web address", expected="http(s)://host[:port]/path", got=repr(url[:200]))
