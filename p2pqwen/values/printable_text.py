"""Make untrusted text safe for a terminal: no control characters, no bidi overrides."""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str, *, limit: int = 500) -> str:
    r"""Return the text with every control, format and unassigned character shown as `\xNN` or `\uNNNN`.

    Longer text than `limit` characters is cut and marked with an ellipsis.
    """
    shown = text[:limit]
    if shown.isascii() and shown.isprintable():  # fast path: most texts are, and an index has 100,000 of them
        return shown + "…" if len(text) > limit else shown
    shown = "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _HIDDEN else character
        for character in text[:limit]
    )
    return shown + "…" if len(text) > limit else shown
