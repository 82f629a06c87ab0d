"""Get an entry's .torrent from wherever it still is: a bundle in this home, a mirror, the bundle in the swarm.

Each source is bounded in time and must give exactly the torrent that the index names, signed by its publisher.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Notice, Report
from p2pqwen.library.bundles import BundleStore
from p2pqwen.mirrors.location import is_web
from p2pqwen.operations.indexes.bundle_torrents import local_torrent
from p2pqwen.operations.indexes.found import Found
from p2pqwen.operations.indexes.lookup import check_torrent, load_torrent
from p2pqwen.torrent.checked import CheckedTorrent

if TYPE_CHECKING:
    from p2pqwen.operations.indexes.bundle_route import BundleRoute  # imports libtorrent


@dataclass(frozen=True, slots=True)
class Bundles:
    """Publishers' bundles: those in this home, and the route to those in swarms, the same object at every call."""

    held: BundleStore
    route: Callable[[], BundleRoute]


@dataclass(frozen=True, slots=True)
class ObtainedTorrent:
    """A torrent that is what its entry names, and its source in words."""

    torrent: CheckedTorrent
    origin: str


def obtain_torrent(found: Found, bundles: Bundles | None, report: Report) -> ObtainedTorrent:
    """Return an entry's torrent; with `bundles` None, only mirrors are asked.

    Raises `VerificationError` when mirrors gave a wrong one and the swarm none, `NetworkError` when no source has it.
    """
    if bundles is not None and (torrent := _here(found, bundles.held, report)) is not None:
        return ObtainedTorrent(torrent, "a bundle in this home")
    try:
        return ObtainedTorrent(load_torrent(found, report=report), "a mirror")
    except P2pqwenError as error:
        if bundles is None:
            raise
        problem = error
    name = found.publisher.name or str(found.publisher.publisher)
    report(Notice("info", f"{problem.message}; asking the swarm of the bundle of {name}"))
    try:
        torrent = check_torrent(found, bundles.route().fetch_torrent(found.publisher, found.entry.torrent))
    except P2pqwenError as error:
        report(Notice("info", f"bundle of {name}: {error.message}"))
        raise problem from error
    return ObtainedTorrent(torrent, f"the bundle of {name}, from peers")


def bring_near(found: Found, bundles: BundleStore, report: Report, *, web: bool) -> CheckedTorrent:
    """Return an entry's torrent from a bundle in this home or a folder that is a mirror, from the web too if `web`.

    No swarm is asked. Raises as `obtain_torrent` does.
    """
    if (torrent := _here(found, bundles, report)) is not None:
        return torrent
    near = tuple(one for one in found.torrent_locations if web or not is_web(one))
    return load_torrent(replace(found, torrent_locations=near), report=report)


def _here(found: Found, bundles: BundleStore, report: Report) -> CheckedTorrent | None:
    data = local_torrent(bundles, found.publisher, found.entry.torrent)
    if data is None:
        return None
    try:
        return check_torrent(found, data)
    except P2pqwenError as error:  # of an older index, or damaged
        report(Notice("info", f"bundle in this home: {error.message}"))
        return None
