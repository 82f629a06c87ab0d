"""A magnet link as people paste it: out of HTML, out of a URL, out of a mail that broke its line."""

from __future__ import annotations

import re
from urllib.parse import unquote

PREFIX = "magnet:?"
_WHOLLY_ENCODED = re.compile(r"magnet(?::|%(?:25)*3a)(?:\?|%(?:25)*3f)", re.IGNORECASE)
_AMPERSAND = re.compile(r"&(?:amp|#38|#x26);", re.IGNORECASE)
_LINE_END = re.compile(r"[ \t]*[\r\n]+[ \t]*")
_BLANKS = re.compile(r"[ \t]*([&?])[ \t]*")
_AROUND = "\"'<>`"
_MAX_TURNS = 3  # how often a page or a program may have encoded what was encoded already


def is_pasted_magnet(text: str) -> bool:
    """Tell whether a text wants to be a magnet link, however it was encoded on its way."""
    text = text.strip().strip(_AROUND).lower()
    return text.startswith("magnet:") or _WHOLLY_ENCODED.match(text) is not None


def straightened(text: str) -> str:
    """Return the link that a pasted text stands for; a text that needs nothing is returned as it is.

    None of what is undone can stand in a link as it was made: `&` within a value is `%26`, a blank `%20` or `+`, a line
    end `%0A`, and the `?` after `magnet:` is no part of any value.
    """
    text = _BLANKS.sub(r"\1", _LINE_END.sub("", text.strip().strip(_AROUND)))
    for _ in range(_MAX_TURNS):
        if text[: len(PREFIX)].lower() == PREFIX and "=" in text:
            break
        text = unquote(text)
    for _ in range(_MAX_TURNS):
        text = _BLANKS.sub(r"\1", _AMPERSAND.sub("&", text))
    return text
