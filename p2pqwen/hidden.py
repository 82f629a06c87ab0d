"""Secrets that this process knows, and their cover in whatever it says."""

from __future__ import annotations

import re

SHOWN = "[hidden]"
_MIN_LENGTH = 6  # anything shorter stands in many a harmless word
_HUB_TOKEN = re.compile(r"hf_[A-Za-z0-9]{30,}", re.ASCII)  # theirs have 34
_secrets: set[str] = set()


def hide(secret: str) -> None:
    """Never say this text again."""
    if len(secret) >= _MIN_LENGTH:
        _secrets.add(secret)


def covered(text: str) -> str:
    """Return the text with every secret in it covered, and what looks like a token of the Hub."""
    for secret in sorted(_secrets, key=len, reverse=True) if _secrets else ():
        text = text.replace(secret, SHOWN)
    return _HUB_TOKEN.sub(SHOWN, text) if "hf_" in text else text
