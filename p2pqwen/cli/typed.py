"""What was typed, before typer reads it: a shell's completion request, and aliases of our commands."""

from __future__ import annotations

import os

ASKED = "_P2PQWEN_COMPLETE"
_OPTIONS = {"--show-completion": [], "--install-completion": ["--install"]}  # every program made with typer has them


def asked() -> str | None:
    """Return the line that a shell wants completed, None if this is not such a call."""
    return os.environ.get(ASKED)


def as_command(arguments: list[str]) -> list[str]:
    """Turn typer's own two options into our command, and the word `version` into `--version`."""
    match arguments:
        case [option, *rest] if option in _OPTIONS:
            return ["completion", *_OPTIONS[option], *rest]
        case ["version", *rest]:
            return ["--version", *rest]
    return arguments
