"""Parse a host, as a URL or a person writes it, in the way of name resolvers, so that no spelling can hide an address.

`127.1`, `0177.0.0.1`, `0x7f.1` and `2130706433` are addresses to `getaddrinfo` (inet_aton) and to browsers (WHATWG URL,
"ends in a number"), but names to a reader that expects 4 numbers with dots. IDNA (UTS 46) maps characters outside
ASCII: a full-width digit becomes a plain one. Such a spelling of an address has no honest use, so it is marked.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import urlsplit

from p2pqwen.errors import FormatError
from p2pqwen.values.address_class import Address, AddressClass, classify

MAX_NAME = 253
MAX_LABEL = 63  # RFC 1035; Python's resolver raises another kind of error for a longer one
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_DOTS = re.compile(r"[\u3002\uff0e\uff61]")  # IDNA (RFC 3490, 3.1) reads them as dots
# RFC 6761, 6762, 8375, names that home routers assign, names that ICANN reserved; none is in the public DNS.
_LOCAL = (
    ".localhost", ".localdomain", ".local", ".home.arpa", ".internal", ".intranet", ".private", ".lan", ".home",
    ".corp",
)  # fmt: skip
_THIS_MACHINE = "localhost"


@dataclass(frozen=True, slots=True)
class Host:
    """A host: `name` in lower case, in IDNA's ASCII form and without a trailing dot, or an `address`.

    `disguised`: its spelling could mislead another reader. `zone` is the interface of a link-local address (RFC 4007).
    """

    name: str
    address: Address | None = None
    disguised: bool = False
    zone: str = ""

    @classmethod
    def parse(cls, text: str) -> Host:
        """Parse a host, with or without the brackets of an IPv6 address; raises `FormatError`."""
        bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
        if ":" in bare:
            return _six(bare)
        name = _ascii(bare)
        plain = name.removesuffix(".")
        longest = max(map(len, plain.split(".")))
        if len(plain) > MAX_NAME or longest > MAX_LABEL or not _NAME.fullmatch(plain) or ".." in plain:
            raise _unreadable(text)
        if not _NUMBER.fullmatch(plain.rpartition(".")[2]):
            return cls(plain, disguised=not bare.isascii() and _is_local(plain))
        address = _four(plain, text)
        return cls(str(address), address, disguised=str(address) != bare)

    @classmethod
    def of_url(cls, url: str) -> Host:
        """Return the host of a URL; raises `FormatError`."""
        try:
            host = urlsplit(url).hostname
        except ValueError as error:
            raise FormatError("not a URL", got=repr(url[:120])) from error
        if not host:
            raise FormatError("a URL without a host", got=repr(url[:120]))
        return cls.parse(host)

    @property
    def is_this_machine(self) -> bool:
        """Whether its text names this machine."""
        if self.address is not None:
            return classify(self.address) is AddressClass.LOOPBACK
        return self.name == _THIS_MACHINE or self.name.endswith(f".{_THIS_MACHINE}")

    @property
    def is_private(self) -> bool:
        """Whether its text is not public: an address of another class, or a name for local use.

        Other names are judged by their addresses, once they are resolved.
        """
        return _is_local(self.name) if self.address is None else classify(self.address) is not AddressClass.PUBLIC

    @property
    def key(self) -> str:
        """The same text for all spellings of a host; `localhost`, 127.0.0.1 and ::1 are one host (RFC 6761)."""
        return _THIS_MACHINE if self.name in {_THIS_MACHINE, "127.0.0.1", "::1"} else self.name

    def __str__(self) -> str:
        return self.name


def is_private_host(text: str) -> bool:
    """Tell whether a host is private by its text; unreadable and disguised ones count as private."""
    try:
        return (host := Host.parse(text)).is_private or host.disguised
    except FormatError:
        return True


def is_private_url(url: str) -> bool:
    """Tell whether a URL's host is private by its text; unreadable and disguised ones count as private."""
    try:
        return (host := Host.of_url(url)).is_private or host.disguised
    except FormatError:
        return True


def _is_local(name: str) -> bool:
    return "." not in name or name.endswith(_LOCAL)


def _six(text: str) -> Host:
    plain, _, zone = text.partition("%")
    try:
        address = ipaddress.IPv6Address(plain)
    except ValueError as error:
        raise _unreadable(text) from error
    return Host(str(address), address, zone=zone)


def _ascii(text: str) -> str:
    if text.isascii():
        return text.lower()
    try:
        return _DOTS.sub(".", unicodedata.normalize("NFKC", text)).encode("idna").decode().lower()
    except UnicodeError as error:
        raise _unreadable(text) from error


def _four(name: str, text: str) -> ipaddress.IPv4Address:
    """Parse an IPv4 address as inet_aton(3) does: 1 to 4 numbers, octal or hexadecimal by their prefix."""
    parts = name.split(".")
    try:
        numbers = [_number(part) for part in parts]
    except ValueError as error:
        raise _unreadable(text) from error
    *heads, last = numbers
    if len(parts) > 4 or any(one > 255 for one in heads) or last >= 256 ** (5 - len(parts)):
        raise _unreadable(text)
    return ipaddress.IPv4Address(last + sum(one << 8 * (3 - place) for place, one in enumerate(heads)))


def _number(part: str) -> int:
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8) if len(part) > 1 and part.startswith("0") else int(part)


def _unreadable(text: str) -> FormatError:
    return FormatError("not a host", expected="a name or an address", got=repr(text[:120]))
