"""Base64 with one spelling per value: standard alphabet, padded, no blanks, no stray bits (RFC 4648 section 4)."""

from __future__ import annotations

import base64
import binascii

from p2pqwen.errors import FormatError


def decode(text: str) -> bytes:
    """Decode base64 that `encode` could have written; raises `FormatError`."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError("not standard padded base64", got=repr(text[:80])) from error
    if encode(data) != text:
        raise FormatError("base64 is not in its one canonical form", got=repr(text[:80]))
    return data


def encode(data: bytes) -> str:
    """Return bytes as base64."""
    return base64.b64encode(data).decode("ascii")
