"""Secrets that this process knows, and their removal from its output."""

from __future__ import annotations

import re

SHOWN = "[hidden]"
_MIN_LENGTH = 6  # anything shorter occurs in many harmless words
_HUB_TOKEN = re.compile(r"hf_[A-Za-z0-9]{30,}", re.ASCII)  # the Hub's have 34
_secrets: set[str] = set()


def hide(secret: str) -> None:
    """Remember a secret, which `covered` then replaces."""
    if len(secret) >= _MIN_LENGTH:
        _secrets.add(secret)


def covered(text: str) -> str:
    """Return the text with `SHOWN` in place of every secret and of anything that looks like a Hub token."""
    for secret in sorted(_secrets, key=len, reverse=True) if _secrets else ():
        text = text.replace(secret, SHOWN)
    return _HUB_TOKEN.sub(SHOWN, text) if "hf_" in text else text
