"""Make the snapshot of a torrent in the library, from other snapshots' files and from peers and web seeds.

After a crash at any moment, the next run of the same command continues.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from p2pqwen import __version__
from p2pqwen.errors import P2pqwenError, VerificationError
from p2pqwen.events import Event, Notice, Report
from p2pqwen.library import durable
from p2pqwen.library.folders import AwayError, bytes_to_write
from p2pqwen.library.hashing import FileDigests
from p2pqwen.library.snapshots import HeldSnapshot, State
from p2pqwen.library.verified import Verified
from p2pqwen.operations.fetch.context import FetchContext, FetchOptions
from p2pqwen.operations.fetch.download import Downloaded, DownloadJob, PeerCandidates, download
from p2pqwen.operations.fetch.held import HeldGuard
from p2pqwen.operations.fetch.peers import PeerBook
from p2pqwen.operations.fetch.plan import TorrentPlan
from p2pqwen.operations.fetch.wanted_files import (
    check_files,
    layers_of,
    make_empty_files,
    rebuild_manifest,
    require_room,
)
from p2pqwen.operations.preserve.reuse import OnDisk, Search, held_content, separate, take
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.session import Swarm
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.chosen_files import choose_files
from p2pqwen.torrent.comment import comment_of
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.plural import plural
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId

if TYPE_CHECKING:
    from p2pqwen.webseed.relay import RelayedTorrent  # imports aiohttp


@dataclass(frozen=True, slots=True)
class Route:
    """Where the missing bytes come from: a session, the peers that were named or met, and the relay of web seeds."""

    swarm: Swarm
    peers: Sequence[Endpoint] = ()
    relayed: RelayedTorrent | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A snapshot that is held and verified. `files`: the requested ones, None for all; `reused` in bytes.

    `plan` has what is now known of its torrent.
    """

    plan: TorrentPlan
    held: HeldSnapshot
    files: frozenset[RepoPath] | None
    done: Downloaded
    reused: int = 0


class SnapshotMaker:
    """Makes the snapshot of one fetch; the caller holds the snapshot's lock."""

    def __init__(
        self, options: FetchOptions, context: FetchContext, guard: HeldGuard, peers: PeerBook, report: Report
    ) -> None:
        self._options, self._context, self._guard, self._peers = options, context, guard, peers
        self._report = report
        self._library = context.sources.library
        self._searched: tuple[InfoHash, Search] | None = None

    def make(self, plan: TorrentPlan, route: Route | None) -> Made | None:
        """Make the snapshot from what other snapshots have, and download the rest.

        Returns None if something is missing and there is no `route`.
        """
        held = self._library.get(plan.snapshot)
        stored = None if held is None else self._guard.stored(held)
        if held is not None and stored is not None:
            plan = self._guard.with_the_better(plan, held, stored)
        elif held is not None:
            self._guard.refuse_in_place_of_damaged(plan, held)
        metainfo = plan.metainfo
        globs = self._globs(plan)
        if globs is not None and held is not None and held.selected is None:
            self._tell_of_fewer(plan)
        if globs is not None and not metainfo.has_all_layers:
            raise P2pqwenError(
                "files can only be chosen where the hash of every piece is known, and no peer sent them",
                hint="fetch the whole snapshot, or name its .torrent file or an index that lists it",
            )
        files = choose_files(metainfo, globs)
        wanted = frozenset(file.path for file in metainfo.files if files is None or file.path in files)
        cache = self._context.hub_cache.root if self._options.into_hub_cache else None
        names = [file.path for file in metainfo.files]
        folder = self._library.make_folder(plan.snapshot, names, self._to_write(plan, files), beside=cache)
        done, digests = Downloaded({}, 0, 0), dict[RepoPath, FileDigests]()
        while True:
            here = self._search(plan).find(wanted, folder)
            if route is None and any(file.size for file in metainfo.files if file.path in wanted - here.had.keys()):
                return None
            copies = cache if self._options.insists_on_cache else None  # otherwise a failure is only reported
            require_room(folder, metainfo, wanted, here=here, library=self._library, copy_to=copies)
            if metainfo.has_all_layers:
                self._library.begin(plan.snapshot, plan.torrent, globs)
            self._library.verified.forget(plan.snapshot)
            job = self._job(plan, wanted - here.had.keys(), route)
            if separate(plan.snapshot, metainfo, wanted, here, folder, self._library):
                durable.remove(job.resume_file)  # it describes other files
            more, brought = self._bring(route, plan, job)
            done = more.after(done)
            digests = brought | take(plan.snapshot, metainfo, here, folder, self._library, self._search(plan))
            if digests.keys() == wanted:
                break  # otherwise a file changed after it was read, and is fetched after all
        self._tell_of_reuse(here)
        plan = self._explained(plan, digests, folder, whole=globs is None)
        verified = Verified.now(metainfo.infohash.v2, folder, wanted)
        held = self._library.finish(plan.snapshot, plan.torrent, globs, verified)
        durable.remove(job.resume_file)
        return Made(plan, held, files, done, here.reused)

    def needs_nobody(self, plan: TorrentPlan) -> bool:
        """Tell whether other snapshots have all that is wanted, so no network is needed."""
        metainfo = plan.metainfo
        if not metainfo.has_all_layers:
            return False
        files = choose_files(metainfo, self._globs(plan))
        wanted = {file.path for file in metainfo.files if file.size and (files is None or file.path in files)}
        folder, search = self._library.folder(plan.snapshot), self._search(plan)
        return search.may_have(wanted, folder) and search.find(wanted, folder).had.keys() == wanted

    def _search(self, plan: TorrentPlan) -> Search:
        """Return the search for the plan's torrent; it does not read a file twice."""
        metainfo = plan.metainfo
        if self._searched is None or self._searched[0] != metainfo.infohash:
            cache = self._context.hub_cache if self._options.into_hub_cache else None
            search = Search(plan.snapshot, metainfo, plan.manifest, self._library, self._report, cache=cache)
            self._searched = metainfo.infohash, search
        return self._searched[1]

    def _tell_of_reuse(self, here: OnDisk) -> None:
        for told, sizes in (
            ("of other snapshots linked", here.linked),
            ("of the Hugging Face cache copied", here.cached),
        ):
            if sizes:
                self._report(Notice("info", f"{plural(len(sizes), 'file')} ({format_size(sum(sizes))}) {told}"))

    def _tell_of_fewer(self, plan: TorrentPlan) -> None:
        """Warn that only some files are now wanted of a snapshot that was being fetched whole."""
        text = (
            f"{plan.snapshot} was being fetched whole; from now on only the chosen files are wanted, and what had come "
            f"of the others stays on the disk: `p2pqwen fetch {plan.snapshot}` fetches the rest"
        )
        self._report(Notice("warning", text))

    def _to_write(self, plan: TorrentPlan, files: frozenset[RepoPath] | None) -> Callable[[Path], int]:
        """Return what counts the bytes to write below a folder: those that no other snapshot on its disk has."""
        wanted = [file for file in plan.metainfo.files if files is None or file.path in files]
        rows = {} if plan.manifest is None else {row.path: row.sha256 for row in plan.manifest.files}

        def needed(folder: Path) -> int:  # called only if there is a choice of folders
            held = held_content(self._library, set(rows.values()), near=plan.snapshot)
            found = {path: held[digest].path for path, digest in rows.items() if digest in held}
            return bytes_to_write((file.size, found.get(file.path)) for file in wanted)(folder)

        return needed

    def _globs(self, plan: TorrentPlan) -> tuple[str, ...] | None:
        """Return the globs of the finished snapshot, None for all: those requested now and those it had already.

        A complete snapshot stays complete: a damaged file of it is fetched again.
        """
        chosen = self._options.selection(plan.metainfo)
        held = self._library.get(plan.snapshot)
        if chosen is None or (held is not None and held.state is State.COMPLETE):
            return None
        before = held.selected if held is not None and held.selected is not None else ()
        return tuple(dict.fromkeys((*before, *chosen)))

    def _job(self, plan: TorrentPlan, files: frozenset[RepoPath], route: Route | None) -> DownloadJob:
        named = () if route is None else route.peers
        return DownloadJob(
            torrent=plan.torrent,
            save_path=self._library.folder(plan.snapshot).parent,
            files=files,
            trackers=plan.leads.trackers,
            peers=PeerCandidates(named, self._peers.remembered(plan), self._peers.followers(plan)),
            relayed=None if route is None else route.relayed,
            web_seed_use=self._options.use_web_seeds,
            resume_file=self._context.home.resume_file(plan.snapshot, plan.v2),
            timeout=self._options.timeout,
            met=lambda found: self._peers.remember(plan, found),
        )

    def _bring(
        self, route: Route | None, plan: TorrentPlan, job: DownloadJob
    ) -> tuple[Downloaded, dict[RepoPath, FileDigests]]:
        """Download and check; start again from zero if the disk does not hold what libtorrent believes."""
        folder = job.save_path / job.metainfo.name
        wanted = frozenset(job.wanted)
        if route is None or not any(file.size for file in job.metainfo.files if file.path in wanted):
            make_empty_files(folder, job.metainfo, job.files)
            return Downloaded({}, 0, 0), check_files(job.metainfo, plan.manifest, folder, job.wanted, {})
        report = self._while_here(plan.snapshot, folder)
        done = download(route.swarm, job, report)
        try:
            return done, check_files(job.metainfo, plan.manifest, folder, job.wanted, done.digests)
        except VerificationError as error:
            self._report(Notice("warning", f"{error.message}; reading everything again"))
        durable.remove(job.resume_file)
        done = download(route.swarm, job, report).after(done)
        return done, check_files(job.metainfo, plan.manifest, folder, job.wanted, done.digests)

    def _explained(
        self, plan: TorrentPlan, digests: Mapping[RepoPath, FileDigests], folder: Path, *, whole: bool
    ) -> TorrentPlan:
        """Return the plan with layers and manifest computed from the files, if the torrent lacked them."""
        plan = replace(plan, torrent=plan.torrent.with_layers(layers_of(digests)))
        if plan.manifest is not None:
            return plan
        metainfo = plan.metainfo
        manifest = rebuild_manifest(plan.snapshot, metainfo, digests, folder) if whole else None
        explained = plan.torrent.with_uncovered(
            comment=metainfo.comment or comment_of(plan.snapshot),
            created_by=metainfo.created_by or f"p2pqwen/{__version__}",
        )
        if manifest is not None:
            explained = CheckedTorrent.around(explained.metainfo, manifest)
        return replace(plan, torrent=explained)

    def _while_here(self, snapshot: SnapshotId, folder: Path) -> Report:
        """Return a report that ends the download if its disk disappears: libtorrent would create a new folder."""
        next_look = time.monotonic()

        def report(event: Event) -> None:
            nonlocal next_look
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + 1.0
                if not any(folder.is_relative_to(one.root) for one in self._library.folders):
                    raise AwayError(snapshot, folder)
            self._report(event)

        return report
