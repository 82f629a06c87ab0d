"""Magnet links (BEP 9, `btmh` of BEP 52, `ws` of BEP 19) that name a snapshot and where to look for it."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self, TypeVar
from urllib.parse import quote, unquote_to_bytes

from p2pqwen.errors import FormatError
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.pasted_link import PREFIX
from p2pqwen.torrent.web_address import check_tracker_url, check_web_url
from p2pqwen.values.digest import Sha1, Sha256

MAX_MAGNET = 64 * 1024
MAX_PARAMETERS = 500
MAX_NAME = 1024
_MAX_SIZE = 2**63 - 1
_BTIH = "urn:btih:"
_BTMH = "urn:btmh:"
_SHA256_MULTIHASH = "1220"
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?", re.ASCII)
_MALFORMED_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Magnet:
    """A magnet link with at least one infohash. In ours, `name` is `<repo>@<commit>`; `size` is in bytes.

    `exact_sources` are URLs of the .torrent file, `peers` are `host:port`.
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
                raise FormatError("magnet link's infohash is all zeros, which clients treat as missing")
        if self.name is not None:
            _check_name(self.name)
        if self.size is not None:
            _check_size(self.size)
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

    @property
    def v1_alone(self) -> Self | None:
        """The link without the v2 infohash, for clients that accept no other; None without a v1 infohash."""
        return None if self.infohash_v1 is None else replace(self, infohash_v2=None)

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
        # The colons of `xt` are not escaped: readers look for `xt=urn:btih:` in the text.
        return PREFIX + "&".join(f"{key}={quote(value, safe=':' if key == 'xt' else '')}" for key, value in parameters)


@dataclass(frozen=True, slots=True)
class ReadMagnet:
    """A magnet link that was read leniently, and the errors of the parameters that were ignored."""

    magnet: Magnet
    passed_over: tuple[FormatError, ...] = ()


def parse_magnet(text: str) -> Magnet:
    """Parse a magnet link; raises `FormatError`.

    Unknown parameters are ignored; malformed known ones are refused.
    """
    read = read_magnet(text)
    for problem in read.passed_over:
        raise problem
    return read.magnet


def read_magnet(text: str) -> ReadMagnet:
    """Parse a user's magnet link leniently; raises `FormatError` unless it names a single torrent.

    The infohashes must be valid. Other malformed parameters are ignored and reported in the result.
    """
    if len(text) > MAX_MAGNET:
        raise FormatError("magnet link is too long", expected=f"at most {MAX_MAGNET} characters", got=len(text))
    if text[: len(PREFIX)].lower() != PREFIX:
        raise FormatError("not a magnet link", expected="magnet:?xt=…", got=repr(text[:40]))
    pairs = text[len(PREFIX) :].split("&")
    if len(pairs) > MAX_PARAMETERS:
        raise FormatError("magnet link has too many parameters", expected=f"at most {MAX_PARAMETERS}", got=len(pairs))
    fields = _Fields(pairs)
    topics = fields.found.get("xt", [])
    magnet = Magnet(
        _one([_btih(topic) for topic in topics if topic.lower().startswith(_BTIH)], "v1 infohashes"),
        _one([_btmh(topic) for topic in topics if topic.lower().startswith(_BTMH)], "v2 infohashes"),
        fields.one("dn", _check_name, "names"),
        fields.one("xl", _size, "sizes"),
        fields.each("ws", check_web_url),
        fields.each("xs", check_web_url),
        fields.each("tr", check_tracker_url),
        fields.each("x.pe", _check_peer),
    )
    return ReadMagnet(magnet, tuple(fields.odd))


class _Fields:
    """The parameters of a link by name; `odd` are the errors of malformed ones."""

    def __init__(self, pairs: list[str]) -> None:
        self.found: dict[str, list[str]] = {}
        self.odd: list[FormatError] = []
        for pair in pairs:
            key, _, value = pair.partition("=")
            # `xt.1`, `tr.2`: the magnet draft numbers repeated parameters
            key = re.sub(r"\.[0-9]+\Z", "", key.lower())
            if key == "dn":
                value = value.replace("+", " ")  # as libtorrent reads it; in a URL a plus sign stays one
            try:
                self.found.setdefault(key, []).append(_unquote(value))
            except FormatError as error:
                if key == "xt":
                    raise
                self.odd.append(error)

    def each(self, key: str, read: Callable[[str], _Value]) -> tuple[_Value, ...]:
        """Return the distinct values of a parameter that may be repeated."""
        values: dict[_Value, None] = {}
        for text in self.found.get(key, []):
            try:
                if text:
                    values[read(text)] = None
            except FormatError as error:
                self.odd.append(error)
        return tuple(values)

    def one(self, key: str, read: Callable[[str], _Value], what: str) -> _Value | None:
        """Return the value of a parameter that must be unique; different values are an error."""
        try:
            return _one(list(self.each(key, read)), what)
        except FormatError as error:
            self.odd.append(error)
            return None


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
    return _check_size(int(value))


def _check_size(size: int) -> int:
    if not 0 <= size <= _MAX_SIZE:
        raise FormatError("magnet link's size is out of range", got=size)
    return size


def _check_name(name: str) -> str:
    if not (0 < len(name) <= MAX_NAME and name.isprintable()):
        raise FormatError("magnet link's name", expected="printable text", got=repr(name[:120]))
    return name


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
