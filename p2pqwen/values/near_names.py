"""Suggest known repositories for a mistyped name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from p2pqwen.values.snapshot_id import RepoId

_CLOSE = 0.8


def near_names(wanted: RepoId, known: Iterable[RepoId]) -> list[RepoId]:
    """Return the repositories with names close to this one; if some differ only in case, only those.

    The name itself is among them if it is known.
    """
    names: dict[str, list[RepoId]] = {}
    for one in sorted(set(known)):
        names.setdefault(str(one).casefold(), []).append(one)
    typed = str(wanted).casefold()
    close = [typed] if typed in names else get_close_matches(typed, names, cutoff=_CLOSE)
    return [one for name in close for one in names[name]]


def did_you_mean(wanted: RepoId, known: Iterable[RepoId]) -> str:
    """Return a question to begin a hint about an unknown name; empty if no name is close."""
    near = [str(one) for one in near_names(wanted, known) if one != wanted]
    return f"did you mean {' or '.join(near)}? " if near else ""
