"""Where the passphrase of private keys comes from: `P2PQWEN_PASSPHRASE`, else a terminal, else nowhere."""

from __future__ import annotations

import os
import sys

import typer

from p2pqwen.errors import UsageError

VARIABLE = "P2PQWEN_PASSPHRASE"


def known_passphrase() -> str:
    """Return the passphrase of existing keys; raises `UsageError` when nobody can be asked."""
    if given := os.environ.get(VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise UsageError("the private key needs its passphrase and nobody can be asked", hint=f"set {VARIABLE}")
    return str(typer.prompt("Passphrase", hide_input=True, err=True))


def new_passphrase(*, without: bool) -> str | None:
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
    chosen = str(typer.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True))
    if not chosen:
        raise UsageError("the passphrase is empty", hint="say --no-passphrase if that is meant")
    return chosen
