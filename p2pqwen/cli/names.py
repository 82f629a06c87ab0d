"""Names of snapshots and publishers that a user may mean, for completion and for shortened commits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.values.known_snapshots import KnownSnapshots


def held(incomplete: str) -> list[str]:
    """Return snapshots of the library."""
    from p2pqwen.operations.indexes.known_names import held_names, matching

    return matching(held_names(_app().library), incomplete)


def listed(incomplete: str) -> list[str]:
    """Return snapshots of the library and of trusted indexes."""
    from p2pqwen.operations.indexes.known_names import held_names, listed_names, matching

    app = _app()
    return matching(held_names(app.library) | listed_names(app.trust, incomplete), incomplete)


def known(app: App, beginning: str = "") -> KnownSnapshots:
    """Return the snapshots of the library, and those of trusted indexes whose names start with `beginning`."""
    from p2pqwen.operations.indexes.known_names import held_names, listed_names
    from p2pqwen.values.known_snapshots import KnownSnapshots

    away = {one.id for one in app.library.away()}
    return KnownSnapshots.of(
        held_names(app.library) | away | listed_names(app.trust, beginning),
        "that is held or listed",
        "name its whole commit of 40 digits, or see `p2pqwen search`",
    )


def whole(app: App, target: str) -> str:
    """Return a target with its whole commit, if that is shortened as in `search` and `list`.

    Raises `UsageError` if it matches several, `NotFoundError` if it matches none.
    """
    from p2pqwen.operations.fetch.target import split_files

    name, colon, part = split_files(target)
    if "@" not in name:
        return target
    return known(app, name.partition("@")[0]).whole(name) + colon + part


def meant(app: App, typed: Sequence[str]) -> list[str]:
    """Return the typed names without duplicates, each glob replaced by the held snapshots that it matches.

    Raises `NotFoundError` for a glob that matches nothing.
    """
    from p2pqwen.values.known_snapshots import KnownSnapshots, is_glob

    here = [*(one.id for one in app.library.all()), *(one.id for one in app.library.away())]
    held = KnownSnapshots.of(here, "in the library")
    names = ([text] if not is_glob(text) or is_path(text) else [str(one) for one in held.meant(text)] for text in typed)
    return list(dict.fromkeys(name for found in names for name in found))


def is_path(text: str) -> bool:
    """Tell whether a file or folder of that name exists."""
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a path, or contains NUL
        return False


def publishers(incomplete: str) -> list[str]:
    """Return the ids of trusted publishers."""
    return [text for one in _app().trust.ids() if (text := str(one)).startswith(incomplete)]


def _app() -> App:
    """Return the app of this home, opened read-only: completion does not even fix its permissions."""
    from p2pqwen.app import App
    from p2pqwen.config.load import load

    return App(load())
