"""BEP 46 links to a publisher: `magnet:?xs=urn:btpk:<public key>&s=<salt>`, with the publisher id if it is known.

`x.publisher` is ours: with it, a reader pins the id; without it, the reader must first trust the key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from p2pqwen.errors import FormatError
from p2pqwen.index.mutable_item import ItemAddress
from p2pqwen.signing.keys import PublicKey
from p2pqwen.torrent.pasted_link import PREFIX, is_pasted_magnet, straightened
from p2pqwen.values.digest import Sha256

MAX_LINK = 4096
_BTPK = "urn:btpk:"
_HEX = re.compile(r"(?:[0-9a-f]{2})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class PublisherLink:
    """The address of a publisher's pointer, and the publisher's id."""

    address: ItemAddress
    publisher: Sha256 | None = None

    def __str__(self) -> str:
        """Return the link; parsing it gives an equal link."""
        salt = f"&s={self.address.salt.hex()}" if self.address.salt else ""
        pinned = f"&x.publisher={self.publisher}" if self.publisher else ""
        return f"{PREFIX}xs={_BTPK}{self.address.public.raw.hex()}{salt}{pinned}"


def is_publisher_link(text: str) -> bool:
    """Tell whether a text is meant as a publisher link."""
    return is_pasted_magnet(text) and _BTPK in unquote(straightened(text)).lower()


def parse_publisher_link(text: str) -> PublisherLink:
    """Parse a link; raises `FormatError`."""
    if len(text) <= MAX_LINK:
        text = straightened(text)
    if len(text) > MAX_LINK or not text.lower().startswith(PREFIX):
        raise FormatError("not a publisher link", expected=f"{PREFIX}xs={_BTPK}…", got=repr(text[:40]))
    found: dict[str, set[str]] = {}
    for pair in text[len(PREFIX) :].split("&"):
        name, _, value = pair.partition("=")
        found.setdefault(name.lower(), set()).add(unquote(value))
    sources = {source.lower() for source in found.get("xs", ()) if source.lower().startswith(_BTPK)}
    source = _one(sources, "keys")
    if source is None:
        named = "".join(found.get("xs", ()))
        raise FormatError("publisher link names no key", expected=f"xs={_BTPK}<64 hex digits>", got=repr(named[:80]))
    publisher = _one(found.get("x.publisher", set()), "publisher ids")
    salt = _one(found.get("s", set()), "salts") or ""
    return PublisherLink(
        ItemAddress(PublicKey(_hex(source.removeprefix(_BTPK), "public key")), _hex(salt, "salt")),
        None if publisher is None else Sha256.parse(publisher.lower()),
    )


def _one(values: set[str], what: str) -> str | None:
    if len(values) > 1:
        raise FormatError(f"publisher link holds two different {what}")
    return next(iter(values), None)


def _hex(text: str, what: str) -> bytes:
    if not _HEX.fullmatch(text.lower()):
        raise FormatError(f"publisher link's {what}", expected="hex digits", got=repr(text[:80]))
    return bytes.fromhex(text)
