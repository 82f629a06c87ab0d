"""Names of snapshots and publishers that a user may mean: for TAB, and where a commit is shortened."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2pqwen.app import App


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

    if "@" not in target:
        return target
    app = _app()
    return whole_name(target, held_names(app.library) | listed_names(app.trust))


def publishers(incomplete: str) -> list[str]:
    """Return the ids of trusted publishers."""
    return [text for one in _app().trust.ids() if (text := str(one)).startswith(incomplete)]


def _app() -> App:
    """Return the app of this home, which is only read: not even its permissions are mended for a suggestion."""
    from p2pqwen.app import App
    from p2pqwen.config import load

    return App(load())
