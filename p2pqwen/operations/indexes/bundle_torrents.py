"""Read .torrent files from the bundles that this home holds, without a swarm."""

from __future__ import annotations

from p2pqwen.containment import first_of
from p2pqwen.library import durable
from p2pqwen.library.bundles import BundleStore, HeldBundle
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
from p2pqwen.values.repo_path import RepoPath


def read_torrent(held: HeldBundle, path: RepoPath) -> bytes | None:
    """Return a .torrent of a bundle from disk, None if it is not complete there; the caller verifies it."""
    if path not in held.files_here(held.metainfo()):
        return None
    return durable.read(held.path(path), max_bytes=MAX_TORRENT_BYTES)


def local_torrent(bundles: BundleStore, publisher: TrustedPublisher, location: str) -> bytes | None:
    """Return a .torrent from a bundle that is held; the caller verifies it."""
    held = bundles.all(publisher.publisher)
    # A damaged bundle is passed over: the next place has the torrent too.
    return first_of(held, lambda one: read_torrent(one, RepoPath(location)), failed=lambda *_: None)
