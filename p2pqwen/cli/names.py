"""Names of snapshots and publishers that a user may mean: for TAB, and where a commit is shortened."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.values.snapshot_id import SnapshotId

_GLOB = frozenset("*?[")


def held(incomplete: str) -> list[str]:
    """Return snapshots of the library."""
    from p2pqwen.operations.indexes.known_names import held_names, matching

    return matching(held_names(_app().library), incomplete)


def listed(incomplete: str) -> list[str]:
    """Return snapshots of the library and of trusted indexes."""
    from p2pqwen.operations.indexes.known_names import held_names, listed_names, matching

    app = _app()
    return matching(held_names(app.library) | listed_names(app.trust), incomplete)


def whole(target: str) -> str:
    """Return the name that a target with a shortened commit stands for, as `search` and `list` show it."""
    from p2pqwen.operations.indexes.known_names import held_names, listed_names
    from p2pqwen.values.snapshot_id import whole_name

    name, colon, part = target.partition(":")  # ORG/MODEL@COMMIT:QUANTISATION
    if "@" not in name:
        return target
    app = _app()
    return whole_name(name, held_names(app.library) | listed_names(app.trust)) + colon + part


def meant(app: App, typed: Sequence[str]) -> list[str]:
    """Return the names that were typed, each glob as the held snapshots that it matches, each name once.

    A glob is of a repository, or of a whole name where it holds an `@`, in any case. Raises `NotFoundError` for one
    that matches nothing.
    """
    held = [*(one.id for one in app.library.all()), *(one.id for one in app.library.away())]
    return list(dict.fromkeys(name for text in typed for name in _meant(text, held)))


def _meant(text: str, held: Sequence[SnapshotId]) -> list[str]:
    from p2pqwen.errors import NotFoundError

    if _GLOB.isdisjoint(text) or _is_path(text):
        return [text]
    whole_names = "@" in text
    found = [
        str(one)
        for one in sorted(held)
        if fnmatchcase((str(one) if whole_names else str(one.repo)).casefold(), text.casefold())
    ]
    if not found:
        raise NotFoundError(f"no snapshot in the library matches {text}", hint="see `p2pqwen list`")
    return found


def _is_path(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a name, a NUL in it
        return False


def publishers(incomplete: str) -> list[str]:
    """Return the ids of trusted publishers."""
    return [text for one in _app().trust.ids() if (text := str(one)).startswith(incomplete)]


def _app() -> App:
    """Return the app of this home, which is only read: not even its permissions are mended for a suggestion."""
    from p2pqwen.app import App
    from p2pqwen.config import load

    return App(load())
