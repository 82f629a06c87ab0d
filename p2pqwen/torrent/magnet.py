"""Magnet links (BEP 9, `btmh` of BEP 52, `ws` of BEP 19) that name a snapshot and where to begin looking for it."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar
from urllib.parse import quote, unquote_to_bytes

from p2pqwen.errors import FormatError
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.web_address import check_tracker_url, check_web_url
from p2pqwen.values.digest import Sha1, Sha256

MAX_MAGNET = 64 * 1024
MAX_PARAMETERS = 500
MAX_NAME = 1024
_MAX_SIZE = 2**63 - 1
_PREFIX = "magnet:?"
_BTIH = "urn:btih:"
_BTMH = "urn:btmh:"
_SHA256_MULTIHASH = "1220"
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?", re.ASCII)
_MALFORMED_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Magnet:
    """A magnet link. At least one infohash; `name` is `<repo>@<commit>` in ours; `size` is in bytes.

    `exact_sources` are places that hold the .torrent file, `peers` are `host:port`.
    """

    infohash_v1: Sha1 | None = None
    infohash_v2: Sha256 | None = None
    name: str | None = None
    size: int | None = None
    web_seeds: tuple[str, ...] = ()
    exact_sources: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.infohash_v1 is None and self.infohash_v2 is None:
            raise FormatError("magnet link names no torrent", expected="xt=urn:btih:… or xt=urn:btmh:1220…")
        for infohash in (self.infohash_v1, self.infohash_v2):
            if infohash is not None and not any(infohash.raw):
                raise FormatError("magnet link's infohash is all zeros, which clients read as none")
        if self.name is not None and not (0 < len(self.name) <= MAX_NAME and self.name.isprintable()):
            raise FormatError("magnet link's name", expected="printable text", got=repr(self.name[:120]))
        if self.size is not None and not 0 <= self.size <= _MAX_SIZE:
            raise FormatError("magnet link's size is out of range", got=self.size)
        for url in (*self.web_seeds, *self.exact_sources):
            check_web_url(url)
        for url in self.trackers:
            check_tracker_url(url)
        for peer in self.peers:
            _check_peer(peer)

    @classmethod
    def of(cls, infohash: InfoHash, name: str, size: int, *, web_seeds: tuple[str, ...] = ()) -> Self:
        """Return the magnet of a hybrid torrent."""
        return cls(infohash.v1, infohash.v2, name, size, web_seeds)

    def __str__(self) -> str:
        """Print in one order: xt (v1, v2), dn, xl, ws, xs, tr, x.pe."""
        parameters: list[tuple[str, str]] = []
        if self.infohash_v1 is not None:
            parameters.append(("xt", f"{_BTIH}{self.infohash_v1}"))
        if self.infohash_v2 is not None:
            parameters.append(("xt", f"{_BTMH}{_SHA256_MULTIHASH}{self.infohash_v2}"))
        if self.name is not None:
            parameters.append(("dn", self.name))
        if self.size is not None:
            parameters.append(("xl", str(self.size)))
        for key, values in (("ws", self.web_seeds), ("xs", self.exact_sources), ("tr", self.trackers)):
            parameters += [(key, value) for value in values]
        parameters += [("x.pe", peer) for peer in self.peers]
        # The hash names are printed as they are: readers look for `xt=urn:btih:` in the text.
        return _PREFIX + "&".join(f"{key}={quote(value, safe=':' if key == 'xt' else '')}" for key, value in parameters)


def parse_magnet(text: str) -> Magnet:
    """Read a magnet link; raises `FormatError`.

    A parameter that we do not know is passed over; one that we know and cannot read is refused.
    """
    if len(text) > MAX_MAGNET:
        raise FormatError("magnet link is too long", expected=f"at most {MAX_MAGNET} characters", got=len(text))
    if text[: len(_PREFIX)].lower() != _PREFIX:
        raise FormatError("not a magnet link", expected="magnet:?xt=…", got=repr(text[:40]))
    found: dict[str, list[str]] = {}
    pairs = text[len(_PREFIX) :].split("&")
    if len(pairs) > MAX_PARAMETERS:
        raise FormatError("magnet link has too many parameters", expected=f"at most {MAX_PARAMETERS}", got=len(pairs))
    for pair in pairs:
        key, _, value = pair.partition("=")
        # `xt.1`, `tr.2`: the magnet draft numbers repeated parameters
        key = re.sub(r"\.[0-9]+\Z", "", key.lower())
        if key == "dn":
            value = value.replace("+", " ")  # as libtorrent reads it; in a URL a plus sign stays one
        found.setdefault(key, []).append(_unquote(value))
    topics = found.get("xt", [])
    return Magnet(
        _one([_btih(topic) for topic in topics if topic.lower().startswith(_BTIH)], "v1 infohashes"),
        _one([_btmh(topic) for topic in topics if topic.lower().startswith(_BTMH)], "v2 infohashes"),
        _one(found.get("dn", []), "names") or None,
        _one([_size(value) for value in found.get("xl", [])], "sizes"),
        _each(found, "ws", check_web_url),
        _each(found, "xs", check_web_url),
        _each(found, "tr", check_tracker_url),
        _each(found, "x.pe", _check_peer),
    )


def _unquote(value: str) -> str:
    if _MALFORMED_ESCAPE.search(value):
        raise FormatError("magnet link holds a broken % escape", got=repr(value[:80]))
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise FormatError("magnet link is not UTF-8", got=repr(value[:80])) from error


def _btih(topic: str) -> Sha1:
    digits = topic[len(_BTIH) :]
    if len(digits) == 32:  # BEP 9: clients should also read base32
        try:
            return Sha1(base64.b32decode(digits.upper()))
        except ValueError as error:
            raise FormatError("magnet link's v1 infohash", expected="40 hex or 32 base32", got=repr(digits)) from error
    return Sha1.parse(digits.lower() if digits.isascii() else digits)


def _btmh(topic: str) -> Sha256:
    digits = topic[len(_BTMH) :]
    if not digits.startswith(_SHA256_MULTIHASH):
        raise FormatError(
            "magnet link's v2 infohash", expected=f"{_SHA256_MULTIHASH} and 64 hex", got=repr(digits[:80])
        )
    digits = digits.removeprefix(_SHA256_MULTIHASH)
    return Sha256.parse(digits.lower() if digits.isascii() else digits)


def _size(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", value, re.ASCII):
        raise FormatError("magnet link's size", expected="a number of bytes", got=repr(value[:40]))
    return int(value)


def _check_peer(peer: str) -> str:
    host, _, port = peer.rpartition(":")
    if not re.fullmatch(r"[1-9][0-9]{0,4}", port, re.ASCII) or int(port) > 65535 or not _is_host(host):
        raise FormatError("peer", expected="HOST:PORT", got=repr(peer[:80]))
    return peer


def _is_host(host: str) -> bool:
    if not (host.startswith("[") and host.endswith("]")):
        return _HOST.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        return False
    return True


def _one(values: list[_Value], what: str) -> _Value | None:
    if any(value != values[0] for value in values):
        raise FormatError(f"magnet link holds two different {what}")
    return values[0] if values else None


def _each(found: dict[str, list[str]], key: str, check: Callable[[str], str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(check(value) for value in found.get(key, []) if value))
