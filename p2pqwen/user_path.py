"""A path as its user writes it: `~` is their home directory, if they have one."""

from __future__ import annotations

from pathlib import Path

from p2pqwen.errors import UsageError


def user_path(text: str | Path, what: str) -> Path:
    """Return the path that `text` means; `what` names it in the `UsageError` for an unknown home directory."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # no HOME, and no such user
        raise no_home(what, text) from error


def no_home(what: str, got: object) -> UsageError:
    """Return the error for a home directory that is needed and unknown."""
    return UsageError(
        f"{what}: the home directory is not known",
        got=got,
        hint="set HOME, or P2PQWEN_HOME and HF_HOME, to an absolute path",
    )
