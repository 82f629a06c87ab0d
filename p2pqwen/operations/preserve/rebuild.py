"""Rebuild a torrent from its source by the recipe, and keep it only if its infohash is the one asked for.

This is the last route for a magnet without peers: list the commit, download it, hash it, make the torrent. The result
is a verified snapshot in the library and a new seed. A source that serves other bytes is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from p2pqwen.containment import first_of
from p2pqwen.errors import DiskError, NotFoundError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.hub.cache import HubCache
from p2pqwen.library.snapshots import Library
from p2pqwen.operations.preserve.build import Preserved
from p2pqwen.operations.preserve.from_origin import PreserveOptions, preserve
from p2pqwen.operations.preserve.origin import Origin
from p2pqwen.operations.preserve.recipe_source import RecipeSource
from p2pqwen.operations.preserve.wanted_torrent import WantedTorrent

OpenOrigin = Callable[[str], Origin]
"""Returns the origin, such as the Hub or a mirror of it, at an endpoint."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A snapshot whose torrent was rebuilt, and the source that served it."""

    preserved: Preserved
    source: RecipeSource


Rebuild = Callable[[WantedTorrent, Sequence[RecipeSource], Report], Rebuilt]
"""`rebuild`, bound to a home."""


def rebuild(
    wanted: WantedTorrent,
    sources: Sequence[RecipeSource],
    *,
    open_origin: OpenOrigin,
    cache: HubCache,
    library: Library,
    report: Report = ignore,
) -> Rebuilt:
    """Preserve the snapshot from the first source whose bytes make the wanted torrent.

    Raises `VerificationError` when a source serves other bytes and none the right ones, `NetworkError` and
    `NotFoundError` when none serves it at all, `DiskError`, `P2pqwenError` for a gated repository.
    """
    problem: P2pqwenError | None = None

    def build(source: RecipeSource) -> Rebuilt:
        report(Notice("info", f"no peer has {source.snapshot}; rebuilding its torrent from {source.endpoint}"))
        preserved = preserve(
            source.snapshot.repo,
            str(source.snapshot.commit),
            origin=open_origin(source.endpoint),
            cache=cache,
            library=library,
            options=PreserveOptions(wanted=wanted),
            report=report,
        )
        return Rebuilt(preserved, source)

    def failed(source: RecipeSource, error: P2pqwenError) -> None:
        nonlocal problem
        if isinstance(error, DiskError):
            raise error  # our own disk: no other source can help
        report(Notice("warning", f"{source.endpoint}: {error.message}"))
        if not isinstance(problem, VerificationError):
            problem = error

    if (rebuilt := first_of(sources, build, failed=failed)) is not None:
        return rebuilt
    raise problem or NotFoundError("no source is known to rebuild the torrent from")
