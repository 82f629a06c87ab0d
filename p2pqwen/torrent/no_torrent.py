"""Recognise, by its first bytes, a file that a user took for a .torrent."""

from __future__ import annotations

from p2pqwen.errors import FormatError

_LOOKED_AT = 512
_BEGINNINGS: tuple[tuple[bytes, str, str | None], ...] = (
    (b"\x1f\x8b", "a file packed with gzip", "unpack it first: `gunzip FILE`"),
    (b"pk\x03\x04", "a zip archive", "unpack it first"),
    (b"<!doctype", "a web page", "download the .torrent that the page leads to"),
    (b"<html", "a web page", "download the .torrent that the page leads to"),
    (b"magnet:", "a text with a magnet link", "give the link itself, in quotes"),
    (b"version https://git-lfs", "a git LFS pointer, not the file", "download the file that it stands for"),
    (b"{", "a JSON document", "`p2pqwen index show FILE` reads an index"),
)


def require_bencoded(data: bytes) -> None:
    """Raise `FormatError` if the first bytes show that `data` is no torrent; the error says what it is instead."""
    start = data[:_LOOKED_AT].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        raise FormatError("an empty file, not a .torrent")
    for beginning, what, hint in _BEGINNINGS:
        if start.startswith(beginning):
            raise FormatError(f"{what}, not a .torrent", hint=hint)
    if not data.startswith(b"d"):
        raise FormatError("not a .torrent", expected="a dictionary, bencoded")
