"""Where the passphrase of private keys comes from: `P2PQWEN_PASSPHRASE`, or else a terminal."""

from __future__ import annotations

import locale
import os
import sys
from typing import TYPE_CHECKING

from p2pqwen.errors import UsageError

if TYPE_CHECKING:
    from p2pqwen.cli.output import Output
    from p2pqwen.operations.publish.keys import KeyUse
    from p2pqwen.values.digest import Sha256

VARIABLE = "P2PQWEN_PASSPHRASE"


class KnownPassphrases:
    """The passphrases of existing keys: each is asked for once in a command, naming the key."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._said: dict[Sha256, str] = {}

    def __call__(self, use: KeyUse) -> str:
        """Return a key's passphrase; raises `UsageError` without a terminal to ask on."""
        if given := _given():
            return given
        if not sys.stdin.isatty():
            raise UsageError(
                f"{use.key} is encrypted, and there is no terminal to ask for the passphrase", hint=f"set {VARIABLE}"
            )
        if use.keyid not in self._said:
            self._said[use.keyid] = self._out.ask_secret(f"Passphrase of {use}")
        return self._said[use.keyid]


def chosen_passphrase(out: Output, what: str, *, without: bool) -> str | None:
    """Return the passphrase for new keys, None if the user wants none; `what` names the keys. Raises `UsageError`."""
    if without:
        return None
    if given := _given():
        return _checked(out, given)
    if not sys.stdin.isatty():
        raise UsageError(
            f"no passphrase for {what}, and no terminal to ask for one",
            hint=f"set {VARIABLE}, or use --no-passphrase",
        )
    return _checked(out, out.ask_secret(f"New passphrase for {what}", twice=True))


def _given() -> str | None:
    """Return the environment's passphrase, decoded by the locale if it is not UTF-8."""
    given = os.environ.get(VARIABLE)
    try:
        return given and os.fsencode(given).decode(locale.getencoding())
    except UnicodeDecodeError:
        return given


def _checked(out: Output, chosen: str) -> str:
    """Refuse a passphrase that encrypts nothing, and warn about a weak one or one that may be hard to type."""
    from p2pqwen.signing.passphrase import SHORT, is_short, is_text, new_passphrase

    new_passphrase(chosen)
    if is_short(chosen):
        out.note(f"warning: the passphrase has fewer than {SHORT} characters and could be guessed from a stolen file")
    if not is_text(chosen):
        out.note(
            "warning: the passphrase is not text in this locale's encoding; it may be impossible to type elsewhere"
        )
    return chosen
