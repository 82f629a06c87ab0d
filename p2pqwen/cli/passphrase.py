"""Where the passphrase of private keys comes from: `P2PQWEN_PASSPHRASE`, else a terminal, else nowhere."""

from __future__ import annotations

import locale
import os
import sys
from typing import TYPE_CHECKING

from p2pqwen.errors import UsageError

if TYPE_CHECKING:
    from p2pqwen.cli.output import Output

VARIABLE = "P2PQWEN_PASSPHRASE"


def known_passphrase(out: Output) -> str:
    """Return the passphrase of existing keys; raises `UsageError` when nobody can be asked."""
    if given := _given():
        return given
    if not sys.stdin.isatty():
        raise UsageError("the private key is encrypted and there is no terminal to prompt on", hint=f"set {VARIABLE}")
    return out.ask_secret("Passphrase")


def chosen_passphrase(out: Output, *, without: bool) -> str | None:
    """Return the passphrase for a new key, None where the user wants none; raises `UsageError`."""
    if without:
        return None
    if given := _given():
        return _checked(out, given)
    if not sys.stdin.isatty():
        raise UsageError(
            "a new private key needs a passphrase and there is no terminal to prompt on",
            hint=f"set {VARIABLE}, or use --no-passphrase",
        )
    return _checked(out, out.ask_secret("New passphrase", twice=True))


def _given() -> str | None:
    """Return what the environment holds, as the locale reads it where it is no UTF-8."""
    given = os.environ.get(VARIABLE)
    try:
        return given and os.fsencode(given).decode(locale.getencoding())
    except UnicodeDecodeError:
        return given


def _checked(out: Output, chosen: str) -> str:
    """Refuse what encrypts nothing, and say what its owner may come to regret."""
    from p2pqwen.signing.passphrase import SHORT, is_short, is_text, new_passphrase

    new_passphrase(chosen)
    if is_short(chosen):
        out.note(f"warning: the passphrase has fewer than {SHORT} characters and could be guessed from a stolen file")
    if not is_text(chosen):
        out.note(
            "warning: the passphrase is not text in this locale's encoding; it may be impossible to type elsewhere"
        )
    return chosen
