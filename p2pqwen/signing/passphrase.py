"""A passphrase as bytes: one for what a person means, however it was typed, stored or sent here.

A key is encrypted under the text in normal form C without the line end that a file adds. Keys made before that was so
are opened by trying the spellings that may have been theirs.
"""

from __future__ import annotations

import unicodedata

from p2pqwen.errors import UsageError

SHORT = 12
"""Characters below which a passphrase is called short."""
_LINE_ENDS = ("\n", "\r\n", "\r")


def new_passphrase(text: str) -> bytes:
    """Return the bytes to encrypt a new key under; raises `UsageError` for none.

    Bytes that are no text in the locale's encoding, which come as lone surrogates (PEP 383), are taken as they are.
    """
    encoded = _encoded(_meant(text))
    if not encoded:
        raise UsageError("the passphrase is empty", hint="use --no-passphrase if you want none")
    return encoded


def spellings(text: str) -> tuple[bytes, ...]:
    """Return what an existing key may be encrypted under, the likeliest first, each once."""
    bare = _without_line_end(text)
    forms = (_meant(text), bare, *(unicodedata.normalize(form, bare) for form in ("NFC", "NFD")))
    ended = (form + end for form in forms for end in _LINE_ENDS)
    return tuple(dict.fromkeys(_encoded(one) for one in (*forms[:1], text, *forms[1:], *ended)))


def is_short(text: str) -> bool:
    """Tell whether somebody who has the file can hope to guess the passphrase."""
    return len(_meant(text)) < SHORT


def is_text(text: str) -> bool:
    """Tell whether its bytes were text in the locale's encoding."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _meant(text: str) -> str:
    return unicodedata.normalize("NFC", _without_line_end(text))


def _without_line_end(text: str) -> str:
    for end in ("\r\n", "\n", "\r"):
        if text.endswith(end):
            return text.removesuffix(end)
    return text


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
