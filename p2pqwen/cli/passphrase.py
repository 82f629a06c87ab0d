"""Where the passphrase of private keys comes from: `P2PQWEN_PASSPHRASE`, else a terminal, else nowhere."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from p2pqwen.errors import UsageError

if TYPE_CHECKING:
    from p2pqwen.cli.output import Output

VARIABLE = "P2PQWEN_PASSPHRASE"


def known_passphrase(out: Output) -> str:
    """Return the passphrase of existing keys; raises `UsageError` when nobody can be asked."""
    if given := os.environ.get(VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise UsageError("the private key needs its passphrase and nobody can be asked", hint=f"set {VARIABLE}")
    return out.ask_secret("Passphrase")


def new_passphrase(out: Output, *, without: bool) -> str | None:
    """Return the passphrase for a new key, None where the user wants none; raises `UsageError`."""
    if without:
        return None
    if given := os.environ.get(VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            "a new private key needs a passphrase and nobody can be asked",
            hint=f"set {VARIABLE}, or say --no-passphrase",
        )
    chosen = out.ask_secret("New passphrase", twice=True)
    if not chosen:
        raise UsageError("the passphrase is empty", hint="say --no-passphrase if that is meant")
    return chosen
