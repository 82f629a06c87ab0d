"""Compare what the library already holds with what a fetch would bring.

An unvouched torrent (`index.standing`) replaces nothing: another torrent for a held snapshot, or for one that a trusted
index lists, ends the fetch before it requests anything. Of two torrents with the same infohash, the better one is kept.
"""

from __future__ import annotations

from dataclasses import replace

from p2pqwen.errors import VerificationError
from p2pqwen.events import Notice, Report
from p2pqwen.index.standing import Standing
from p2pqwen.library.snapshots import HeldSnapshot
from p2pqwen.operations.fetch.plan import FetchPlan, Sources, TorrentPlan, plan_of
from p2pqwen.operations.indexes.lookup import find_entries
from p2pqwen.operations.indexes.rise import rise
from p2pqwen.operations.verify.verify import verify_again
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId


class HeldGuard:
    """Judges a torrent against the held one; `trust_unverified`: accept an unvouched one."""

    def __init__(self, sources: Sources, report: Report, *, trust_unverified: bool) -> None:
        self._sources, self._report, self._trust_unverified = sources, report, trust_unverified
        self._library = sources.library

    def refuse_contradicted(self, plan: TorrentPlan) -> None:
        """Raise `VerificationError` for an unvouched torrent if a trusted index names another one."""
        if plan.judgement.standing is not Standing.UNVOUCHED or self._trust_unverified:
            return
        held = self._library.get(plan.snapshot)
        if held is not None and (stored := self.stored(held)) is not None and stored.infohash.v2 == plan.v2:
            return  # it is held already and replaces nothing
        self.refuse_unlisted(plan, plan.snapshot, plan.judgement.words)

    def refuse_unlisted(self, plan: FetchPlan, snapshot: SnapshotId, words: str) -> None:
        """Raise `VerificationError` if a trusted index lists the snapshot: it names another torrent for it."""
        for listed in find_entries(self._sources.publishers, snapshot):
            raise VerificationError(
                f"the index of {listed.publisher.name} names another torrent for {snapshot}",
                expected=listed.entry.infohash.v2,
                got=f"{plan.v2 or plan.v1}, {words}",
                hint=f"`p2pqwen fetch {snapshot}` fetches the listed one; --trust-unverified fetches this one",
            )

    def stored(self, held: HeldSnapshot) -> CheckedTorrent | None:
        """Return a held snapshot's torrent, or None after reporting that it is damaged."""
        try:
            if held.torrent_damage() is None:
                return held.torrent(self._sources.keys)
            problem = "its content changed since it was written"
        except VerificationError as error:
            problem = error.message
        self._report(Notice("warning", f"{held.torrent_path} is damaged and is replaced: {problem}"))
        return None

    def is_verified(self, held: HeldSnapshot, stored: CheckedTorrent, have: frozenset[RepoPath] | None) -> bool:
        """Tell whether the files of a held snapshot (`have`, None: all) are intact; reads them if they changed."""
        files = [file.path for file in stored.metainfo.files if have is None or file.path in have]
        if self._library.verified.unchanged(held.id, stored.infohash.v2, held.folder, files):
            return True
        found = verify_again(held, self._library, self._sources.voices, self._report)
        for bad in found.bad:
            self._report(Notice("warning", f"{bad.path} is damaged, fetching it again: {bad.expected}, got {bad.got}"))
        return not found.bad

    def with_the_better(self, plan: TorrentPlan, held: HeldSnapshot, stored: CheckedTorrent) -> TorrentPlan:
        """Return a plan with the better of two torrents; raises `VerificationError` for another infohash."""
        self.refuse_another(plan, held, stored)
        try:
            here = plan_of(
                stored, self._sources, repo=held.id.repo, route=plan.route, origin=plan.origin, found=plan.listed
            )
        except VerificationError as error:  # a signature in it is invalid, as is now known
            self._report(Notice("warning", f"{held.torrent_path}: {error.message}"))
            return plan
        if plan.worth > here.worth:
            return replace(plan, torrent=plan.torrent.joined(stored))
        leads = replace(
            here.leads,
            index_web_seeds=plan.leads.index_web_seeds or here.leads.index_web_seeds,
            extra_web_seeds=(*plan.leads.extra_web_seeds, *plan.metainfo.web_seeds),
            trackers=plan.leads.trackers or here.leads.trackers,
            peers=plan.leads.peers,
        )
        return replace(here, leads=leads)

    def refuse_another(self, plan: TorrentPlan, held: HeldSnapshot, stored: CheckedTorrent) -> None:
        """Raise `VerificationError` for another torrent than the held one."""
        if stored.infohash == plan.torrent.infohash:
            return
        try:
            here = plan_of(stored, self._sources, repo=held.id.repo, route="", origin="")
            words = here.judgement.words
        except VerificationError as error:
            words = error.message
        raise VerificationError(
            f"the library holds {held.id} from another torrent, which is kept",
            expected=f"{stored.infohash.v2}, {words}",
            got=f"{plan.v2}, {plan.judgement.words}",
            hint=f"compare the two; `p2pqwen remove {held.id}` deletes the held one, and then this one can be fetched",
        )

    def refuse_in_place_of_damaged(self, plan: TorrentPlan, held: HeldSnapshot) -> None:
        """Raise `VerificationError` if an unvouched torrent would replace a damaged one with another infohash."""
        known = self._library.verified.infohash(held.id)
        if known not in {None, plan.v2} and plan.judgement.standing is Standing.UNVOUCHED:
            raise VerificationError(
                f"{held.torrent_path} is damaged, and this is another torrent than the library held",
                expected=known,
                got=f"{plan.v2}, {plan.judgement.words}",
                hint=f"fetch {held.id} as before, or drop it with `p2pqwen remove {held.id}`",
            )

    def risen(self, plan: TorrentPlan, held: HeldSnapshot, stored: CheckedTorrent) -> TorrentPlan:
        """Give a verified snapshot its better torrent; if it does not match these bytes, keep the old one."""
        try:
            return replace(plan, torrent=rise(held, stored, plan.torrent, self._library, self._report))
        except VerificationError as error:
            self._report(Notice("warning", f"{held.id} keeps its torrent: {error.message}"))
            route, origin = "the torrent in the library", "the library"
            return plan_of(stored, self._sources, repo=held.id.repo, route=route, origin=origin)
