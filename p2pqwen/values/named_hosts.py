"""Which hosts of the user's own network may be asked: those that the user named, and no other.

What a stranger sends (a magnet, a torrent, an index, a pointer, a redirect) is asked from inside the user's network, so
by itself it leads to public addresses alone. `NamedHosts` is made of the user's own words: config.toml and the
environment (`HF_ENDPOINT`), where any host counts, and URLs typed on the command line, where those count that are
private by their text. Nothing else may be put into it.

1. A URL is http or https, with a host, a port that is one and no credentials; an address in disguise is refused.
2. A host that is private by its text must be named. This holds for each redirect again: a private host that was named
   may redirect to itself, a public one to no private host but those.
3. A host that is public by its text is judged by the address that is connected to, which must be public unless the host
   was named. Naming an address does not name the names that lead to it.

Through a proxy, rules 1 and 2 are all that can be kept here: the proxy resolves names, inside whatever network it
stands in. Its own address is the user's word, and is not a host that anybody may ask (see `Guard`).
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
    """A URL, a host or an address that is not asked, because it leads where only the user may send us."""


@dataclass(frozen=True, slots=True)
class NamedHosts:
    """The private hosts that the user named, in whatever spelling; ports do not matter."""

    keys: frozenset[str] = frozenset()

    @classmethod
    def of(cls, words: Iterable[str]) -> NamedHosts:
        """Return the private hosts of the web addresses among what the user typed; other words name none.

        A host that is public by its text is not among them: it may be a stranger's, pasted, and the stranger
        would say where it leads.
        """
        return cls(frozenset(host.key for host in _web_hosts(words) if host.is_private))

    @classmethod
    def configured(cls, urls: Iterable[str]) -> NamedHosts:
        """Return the hosts of web addresses in the user's configuration, whatever they look like.

        A company's mirror of the Hub often has a public name that leads to a private address.
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
    """Judges where a connection may go; see the rules above. `proxies` may be connected to, but not asked for."""

    hosts: NamedHosts = NONE_NAMED
    proxies: NamedHosts = NONE_NAMED

    def check_url(self, url: str) -> Host:
        """Return the host of a URL that may be asked, by its text; raises `RefusedAddressError`."""
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
        """Return a host that may be connected to, as far as its text says; raises `RefusedAddressError`."""
        try:
            host = Host.parse(text)
        except FormatError as error:
            raise RefusedAddressError(error.what, expected=error.expected, got=error.got) from error
        self._check_text(host, self.hosts | self.proxies)
        return host

    def allows(self, host: Host, address: str) -> bool:
        """Tell whether `host` may be reached at this address, which is its own or what its name was resolved to."""
        if host in self.hosts or host in self.proxies:
            return True
        kind = classify(address)
        return kind is AddressClass.PUBLIC or (kind is AddressClass.STAND_IN and host.address is None)

    def check_addresses(self, host: Host, addresses: Iterable[str]) -> tuple[str, ...]:
        """Return those addresses at which `host` may be reached; raises `RefusedAddressError` where none is left."""
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
    return RefusedAddressError("not a plain web address", expected="http(s)://host[:port]/path", got=repr(url[:200]))
