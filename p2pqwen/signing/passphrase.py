"""Turn a passphrase into the same bytes however it was typed, stored or sent.

A key is encrypted under the text in Unicode normal form C, without the line end that a file adds. Keys from before that
rule are opened by trying the spellings that may have been used.
"""

from __future__ import annotations

import unicodedata

from p2pqwen.errors import UsageError

SHORT = 12
"""A passphrase with fewer characters is called short."""
_LINE_ENDS = ("\n", "\r\n", "\r")


def new_passphrase(text: str) -> bytes:
    """Return the bytes under which to encrypt a new key; raises `UsageError` for an empty passphrase.

    Bytes that are not text in the locale's encoding arrive as lone surrogates (PEP 383) and are kept.
    """
    encoded = _encoded(_meant(text))
    if not encoded:
        raise UsageError("the passphrase is empty", hint="say --no-passphrase if that is meant")
    return encoded


def spellings(text: str) -> tuple[bytes, ...]:
    """Return the distinct bytes under which an existing key may be encrypted, the likeliest first."""
    bare = _without_line_end(text)
    forms = (_meant(text), bare, *(unicodedata.normalize(form, bare) for form in ("NFC", "NFD")))
    ended = (form + end for form in forms for end in _LINE_ENDS)
    return tuple(dict.fromkeys(_encoded(one) for one in (*forms[:1], text, *forms[1:], *ended)))


def is_short(text: str) -> bool:
    """Tell whether the passphrase is short enough to be guessed by somebody who has the file."""
    return len(_meant(text)) < SHORT


def is_text(text: str) -> bool:
    """Tell whether the passphrase's bytes were text in the locale's encoding."""
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
