"""Wrap lines for a terminal between words; links and commands, which people copy, stay whole."""

from __future__ import annotations

import re
import textwrap

_LITTLE = 4  # columns before a word that would not fit after more
_LEAST_WIDTH = 20
_NO_BREAK = "\N{NO-BREAK SPACE}"
_MEASURED = re.compile(r"(?<=\d) (?=(?:[kMGTP]?B(?:/s)?|s|h|days?|bytes)\b)")
_QUOTED = re.compile(r"`([^`]*)`")
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_|]+")


def wrapped(line: str, width: int | None, *, hanging: int = 2) -> list[str]:
    """Break a line into lines of at most `width` columns, with continuation lines indented by `hanging` more.

    A figure stays with its unit. A link stays whole, and so does a command between backticks, since a shell would run
    its first half: the terminal breaks them if it must. A command with a placeholder, such as FILE, is broken like
    other text. `width` None: break nothing.
    """
    if width is None or len(line) <= width:
        return [line]
    text = line.lstrip()
    indent = line[: len(line) - len(text)]
    kept = _MEASURED.sub(_NO_BREAK, text)
    kept = _QUOTED.sub(_in_one, kept)
    room = width - max(map(len, kept.split(" ")))
    if len(indent) > room:
        indent = indent[:_LITTLE]  # otherwise the terminal breaks the long word, and the indent is alone on its line
    if len(indent) + hanging > room:
        hanging = min(hanging, _LITTLE)
    broken = textwrap.wrap(
        kept,
        max(width, _LEAST_WIDTH),
        initial_indent=indent,
        subsequent_indent=indent + " " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [one.replace(_NO_BREAK, " ") for one in broken]


def _in_one(quoted: re.Match[str]) -> str:
    """Return a quoted command with no place to break it, unless it has a placeholder."""
    has_placeholder = any(map(_PLACEHOLDER.fullmatch, quoted[1].split()))
    return quoted[0] if has_placeholder else quoted[0].replace(" ", _NO_BREAK)
