"""Repair a held snapshot: fetch its bad pieces again from the swarm, without writing through hard links.

Steps: 1. mark the snapshot unfinished, so that no reader takes it for whole; 2. fetch its own torrent, which copies
every bad file that is hard-linked, reads everything, and requests the wrong pieces from peers and web seeds; 3. compare
every file with the manifest, as after any fetch. If no source has the pieces, the good ones stay, the snapshot stays
unfinished, and the next fetch or repair continues.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from p2pqwen.errors import NotFoundError
from p2pqwen.events import Report, ignore
from p2pqwen.library import durable
from p2pqwen.library.snapshots import HeldSnapshot, State
from p2pqwen.library.verified import VerifiedFiles
from p2pqwen.operations.fetch.context import FetchContext, FetchOptions
from p2pqwen.operations.fetch.run import Fetched, fetch
from p2pqwen.operations.fetch.target import TorrentTarget
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.values.snapshot_id import SnapshotId


def repair(
    held: HeldSnapshot,
    options: FetchOptions,
    context: FetchContext,
    report: Report = ignore,
    *,
    on_plan: Callable[[SnapshotId], None] = lambda _: None,
) -> Fetched:
    """Fetch what is wrong in a held snapshot; raises `NetworkError` if no source has it, and what `fetch` raises.

    The Hugging Face cache only changes if it already has this snapshot: its damaged copy is replaced, by rename.
    """
    library = context.sources.library
    with durable.lock(library.lock_path(held.id)):
        now = library.get(held.id)
        if now is None:
            library.require_here(held)
            raise NotFoundError(f"{held.id} is no longer in the library")
        torrent = _trustworthy(now)
        VerifiedFiles(context.home).forget(held.id)
        selected = now.selected if now.state is not State.COMPLETE else None
        library.begin(held.id, torrent, selected)
        # Resume data would claim that the pieces are there.
        durable.remove(context.home.resume_file(held.id, torrent.infohash.v2))
    in_cache = context.hub_cache.holds(held.id)
    chosen = replace(
        options, stored=selected, repo=held.id.repo, into_hub_cache=in_cache, insist_on_cache=False, move_ref=False
    )
    return fetch(TorrentTarget(str(held.torrent_path)), chosen, context, report, on_plan=on_plan)


def _trustworthy(held: HeldSnapshot) -> CheckedTorrent:
    """Return its torrent; of a damaged one, only the parts that hashes and signatures cover."""
    torrent = held.torrent()
    return torrent if held.torrent_damage() is None else torrent.with_covered_only()
