"""A magnet link as people paste it: from HTML, from a URL, from a mail that broke the line."""

from __future__ import annotations

import re
from urllib.parse import unquote

PREFIX = "magnet:?"
_WHOLLY_ENCODED = re.compile(r"magnet(?::|%(?:25)*3a)(?:\?|%(?:25)*3f)", re.IGNORECASE)
_AMPERSAND = re.compile(r"&(?:amp|#38|#x26);", re.IGNORECASE)
_LINE_END = re.compile(r"[ \t]*[\r\n]+[ \t]*")
_BLANKS = re.compile(r"[ \t]*([&?])[ \t]*")
_AROUND = "\"'<>`"
_MAX_TURNS = 3  # how many times a page or a program may have encoded the link


def is_pasted_magnet(text: str) -> bool:
    """Tell whether a text is meant as a magnet link, however it is encoded."""
    text = text.strip().strip(_AROUND).lower()
    return text.startswith("magnet:") or _WHOLLY_ENCODED.match(text) is not None


def straightened(text: str) -> str:
    """Return the link in a pasted text, without extra encoding, blanks and line ends.

    That cannot damage a valid link: within a value, `&` is `%26`, a blank is `%20` or `+`, a line end is `%0A`, and the
    `?` after `magnet:` is part of no value.
    """
    text = _BLANKS.sub(r"\1", _LINE_END.sub("", text.strip().strip(_AROUND)))
    for _ in range(_MAX_TURNS):
        if text[: len(PREFIX)].lower() == PREFIX and "=" in text:
            break
        text = unquote(text)
    for _ in range(_MAX_TURNS):
        text = _BLANKS.sub(r"\1", _AMPERSAND.sub("&", text))
    return text
