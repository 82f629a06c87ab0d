"""Fetch a model: find its torrent, download it from peers and web seeds, verify it, lay it where users look.

Steps: 1. resolve the target, and find out who signed it; 2. check whether it is already here; 3. check the room, write
a marker, download; 4. compare every file with the manifest, and place what other snapshots had; 5. mark it complete; 6.
lay it into the Hugging Face cache. After a crash between any two steps, the next run of the same command continues. If
no source has the torrent, steps 3 to 5 are a rebuild from the source that the magnet names, if that still exists.

An unvouched snapshot (`index.standing`) stays in the library, under its own path, and never reaches step 6. It replaces
nothing: another torrent for a held snapshot, or for one that a trusted index lists, ends the fetch before it requests
anything. Of two torrents with the same infohash, the better one is used and kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from p2pqwen.errors import DiskError, FormatError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.hub.cache import CacheBusyError, CacheNotWrittenError, Place
from p2pqwen.index.standing import Judgement, NotAdmittedError, Standing
from p2pqwen.index.withdrawals import withdrawn_by
from p2pqwen.library import durable
from p2pqwen.library.linking import place, place_linked
from p2pqwen.library.snapshots import HeldSnapshot, State
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.manifest.warnings import warnings_of
from p2pqwen.operations.fetch.context import FetchContext, FetchOptions
from p2pqwen.operations.fetch.download import Downloaded
from p2pqwen.operations.fetch.held import HeldGuard
from p2pqwen.operations.fetch.magnet_route import MagnetRoute
from p2pqwen.operations.fetch.make import Made, Route, SnapshotMaker
from p2pqwen.operations.fetch.metadata import NoMetadataError, ask_for_layers
from p2pqwen.operations.fetch.peers import PeerBook
from p2pqwen.operations.fetch.plan import FetchPlan, MagnetPlan, TorrentPlan, make_plan
from p2pqwen.operations.fetch.reach import relay_of, session_settings, without_inside_trackers
from p2pqwen.operations.fetch.target import FetchTarget, NamedTarget
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.session import Swarm
from p2pqwen.torrent.chosen_files import choose_files
from p2pqwen.torrent.signer import SignerResult
from p2pqwen.values.model_file import quantisation_words, quantisations
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.webseed.source_stats import WebSeedUsed

if TYPE_CHECKING:
    from p2pqwen.webseed.relay import RelayedTorrent  # imports aiohttp


@dataclass(frozen=True, slots=True)
class Fetched:
    """A held, verified snapshot. Sizes in bytes of the requested files; `hub_cache` None: not laid there.

    `route` says what named the torrent, `origin` what delivered it.
    """

    held: HeldSnapshot
    size: int
    bytes_from_peers: int
    bytes_from_web_seeds: int
    seconds: float
    provenance: Provenance
    signers: tuple[SignerResult, ...]
    judgement: Judgement
    route: str
    origin: str
    hub_cache: Path | None
    warnings: tuple[str, ...]
    web_seeds: tuple[WebSeedUsed, ...] = ()
    unchanged: bool = False
    bytes_reused: int = 0  # of other snapshots and the Hugging Face cache
    trusted_unverified: bool = False


def fetch(
    target: FetchTarget,
    options: FetchOptions,
    context: FetchContext,
    report: Report = ignore,
    *,
    on_plan: Callable[[SnapshotId], None] = lambda _: None,
) -> Fetched:
    """Fetch what `target` names into the library, whole (or the files of `include`) and verified.

    `on_plan` receives the snapshot once it is known. Anything that `report` raises stops the fetch; the next one
    continues.

    Raises `NotFoundError` for a name that no trusted index lists, `NetworkError` if no source serves it,
    `VerificationError` if the bytes are not what was signed, `DiskError`, `UsageError`.
    """
    started = time.monotonic()
    options = with_part(target, options)
    plan = make_plan(target, context.sources, repo=options.repo, report=report)
    run = _Fetch(options, context, report, on_plan)
    return replace(run.run(plan), seconds=time.monotonic() - started)


def with_part(target: FetchTarget, options: FetchOptions) -> FetchOptions:
    """Return the options with the files that the target itself names."""
    if not isinstance(target, NamedTarget) or not target.part:
        return options
    return replace(options, include=(*(options.include or ()), target.part))


class _Fetch:
    def __init__(
        self, options: FetchOptions, context: FetchContext, report: Report, on_plan: Callable[[SnapshotId], None]
    ) -> None:
        self._options, self._context, self._report, self._on_plan = options, context, report, on_plan
        self._library = context.sources.library
        self._guard = HeldGuard(context.sources, report, trust_unverified=options.trust_unverified)
        self._peers = PeerBook(options, context)
        self._magnets = MagnetRoute(options, context, self._guard, self._peers, report)
        self._maker = SnapshotMaker(options, context, self._guard, self._peers, report)

    def run(self, plan: FetchPlan) -> Fetched:
        plan = replace(plan, leads=without_inside_trackers(plan.leads, self._options, self._context, self._report))
        if isinstance(plan, TorrentPlan):
            return self._with_torrent(plan)
        if (kept := self._magnets.kept(plan)) is not None:
            return self._with_torrent(kept)
        try:
            return self._by_infohash(plan)
        except NoMetadataError as error:
            found, rebuilt = self._magnets.rebuilt(plan, error, self._known)
        done = Downloaded({}, 0, rebuilt.preserved.bytes_downloaded)
        with durable.lock(self._library.lock_path(found.snapshot)):
            return self._finished(Made(found, rebuilt.preserved.held, None, done), None, unchanged=False)

    def _with_torrent(self, plan: TorrentPlan) -> Fetched:
        self._accept(plan)
        with durable.lock(self._library.lock_path(plan.snapshot)):
            if (here := self._already_here(plan)) is not None:
                return here
            if self._maker.needs_nobody(plan) and (made := self._maker.make(plan, None)) is not None:
                return self._made(made, None)
        peers = self._peers.named(plan)
        with Swarm(session_settings(plan.leads, peers, self._options, self._context), report=self._report) as swarm:
            return self._from_swarm(swarm, plan, peers, may_be_here=False)

    def _by_infohash(self, plan: MagnetPlan) -> Fetched:
        peers = self._peers.named(plan)
        with Swarm(session_settings(plan.leads, peers, self._options, self._context), report=self._report) as swarm:
            found, peers = self._magnets.from_peers(swarm, plan, peers)
            self._accept(found)
            return self._from_swarm(swarm, found, peers, may_be_here=True)

    def _accept(self, plan: TorrentPlan) -> None:
        """Report which snapshot it is; raises `VerificationError` if a trusted index contradicts an unvouched one."""
        self._known(plan.snapshot)
        self._guard.refuse_contradicted(plan)

    def _known(self, snapshot: SnapshotId) -> None:
        """Report which snapshot it is, and which trusted publishers have withdrawn it."""
        self._on_plan(snapshot)
        for said in withdrawn_by(self._context.sources.voices, snapshot):
            self._report(Notice("warning", f"{snapshot} is {said}"))

    def _from_swarm(self, swarm: Swarm, plan: TorrentPlan, peers: Sequence[Endpoint], *, may_be_here: bool) -> Fetched:
        plan = self._with_layers(swarm, plan, peers)
        self._tell_of_quantisations(plan)
        relaying = relay_of(plan, self._options, self._context, self._report)
        with durable.lock(self._library.lock_path(plan.snapshot)), relaying as relayed:
            fetched = self._already_here(plan) if may_be_here else None
            if fetched is None:
                made = self._maker.make(plan, Route(swarm, peers, relayed))
                if made is None:
                    raise P2pqwenError(f"{plan.snapshot} did not arrive complete")
                fetched = self._made(made, relayed)
        self._peers.remember_dht(swarm)
        return fetched

    def _tell_of_quantisations(self, plan: TorrentPlan) -> None:
        """Report that all quantisations are fetched, since most people want only one."""
        found = quantisations((file.path, file.size) for file in plan.metainfo.files)
        if len(found) > 1 and self._options.selection(plan.metainfo) is None:
            said = f"{plan.snapshot.repo} holds {len(found)} quantisations: {quantisation_words(found)}"
            self._report(Notice("info", f"{said}; all are fetched; --include chooses one"))

    def _made(self, made: Made, relayed: RelayedTorrent | None) -> Fetched:
        self._magnets.forget(made.plan.metainfo)
        return self._finished(made, relayed, unchanged=False)

    def _with_layers(self, swarm: Swarm, plan: TorrentPlan, peers: Sequence[Endpoint]) -> TorrentPlan:
        metainfo = plan.metainfo
        if metainfo.has_all_layers:
            return plan
        if (held := self._library.get(plan.snapshot)) is not None:
            with suppress(FormatError, DiskError):  # a damaged one is reported and replaced later
                if (before := held.metainfo()).infohash == metainfo.infohash:
                    return replace(plan, torrent=plan.torrent.with_layers(before.piece_layers))
        asked = list(dict.fromkeys([*peers, *self._peers.remembered(plan)]))
        if not self._options.use_peers or not (asked or swarm.looks_for_peers):
            return plan
        found = ask_for_layers(
            swarm,
            metainfo,
            asked,
            trackers=plan.leads.tracker_urls,
            timeout=self._options.timeout,
            report=self._report,
        )
        return replace(plan, torrent=plan.torrent.with_layers(found.piece_layers))

    def _already_here(self, plan: TorrentPlan) -> Fetched | None:
        held = self._library.get(plan.snapshot)
        stored = None if held is None else self._guard.stored(held)
        if held is None or stored is None:
            return None
        self._guard.refuse_another(plan, held, stored)
        if held.state is State.INCOMPLETE:
            return None
        metainfo = plan.metainfo
        wanted = choose_files(metainfo, self._options.selection(metainfo))
        have = choose_files(metainfo, held.selected if held.state is State.PARTIAL else None)
        if have is not None and (wanted is None or not wanted <= have):
            return None
        plan = self._guard.with_the_better(plan, held, stored)
        if not self._guard.is_verified(held, stored, have):
            return None
        if plan.metainfo != stored.metainfo:
            plan = self._guard.risen(plan, held, stored)
        return self._finished(Made(plan, held, wanted, Downloaded({}, 0, 0)), None, unchanged=True)

    def _finished(self, made: Made, relayed: RelayedTorrent | None, *, unchanged: bool) -> Fetched:
        """Lay a held snapshot where other programs look, and sum up the fetch."""
        plan, held, files, done = made.plan, made.held, made.files, made.done
        metainfo = plan.metainfo
        with self._library.verified.naming(held.id, held.folder, [file.path for file in metainfo.files]):
            try:
                placing = place_linked if done.released else place
                cache, problem = self._lay_into_cache(plan, held, files, placing), None
            except (NotAdmittedError, CacheNotWrittenError, CacheBusyError) as error:
                cache, problem = None, error
        if problem is not None and self._options.insists_on_cache:
            hint = f"it is kept in {held.folder}" + (f"; {problem.hint}" if problem.hint else "")
            what = f"not put into the Hugging Face cache: {problem.what}"
            raise _kind(problem)(what, expected=problem.expected, got=problem.got, hint=hint) from problem
        judgement = plan.judgement
        return Fetched(
            held=held,
            size=sum(file.size for file in metainfo.files if files is None or file.path in files),
            bytes_from_peers=done.bytes_from_peers,
            bytes_from_web_seeds=done.bytes_from_web_seeds,
            seconds=0.0,
            provenance=plan.torrent.provenance,
            signers=plan.signers,
            judgement=judgement,
            route=plan.route,
            origin=plan.origin,
            hub_cache=cache,
            warnings=tuple(self._warnings(plan, problem)),
            web_seeds=tuple(account.used for account in relayed.accounts) if relayed is not None else (),
            unchanged=unchanged,
            bytes_reused=made.reused,
            trusted_unverified=judgement.standing is Standing.UNVOUCHED and cache is not None,
        )

    def _lay_into_cache(
        self, plan: TorrentPlan, held: HeldSnapshot, files: frozenset[RepoPath] | None, placing: Place
    ) -> Path | None:
        """Lay an admitted snapshot where other programs look; raises `NotAdmittedError` for any other."""
        if not self._options.into_hub_cache:
            return None
        if plan.manifest is None:
            raise NotAdmittedError("the torrent carries no manifest")
        judgement, cache = plan.judgement, self._context.hub_cache
        admission = judgement.admit(plan.manifest, trust_unverified=self._options.trust_unverified)
        if judgement.standing is Standing.UNVOUCHED:
            self._context.note_unverified(held.id, plan.torrent.infohash)
        main = cache.ref(held.id.repo, "main")
        unset = main is None or not (main.held or main.commit == str(held.id.commit))
        if unset and not (admission.names_main or self._options.move_ref):
            told = f"no publisher you trust says that {held.id.commit} is a commit of {held.id.repo}"
            how = "unset" if main is None else "as it is, and names nothing that is there"
            self._report(Notice("info", f"refs/main of the Hugging Face cache stays {how}: {told}; --set-main sets it"))
        ref = "main" if self._options.move_ref or (unset and admission.names_main) else None
        return cache.materialise(admission, held.folder, place=placing, only=files, ref=ref, report=self._report)

    def _warnings(self, plan: TorrentPlan, problem: P2pqwenError | None) -> Iterator[str]:
        if plan.manifest is not None:
            yield from warnings_of(plan.manifest, plan.torrent.provenance)
        if not any(signer.state == "valid" for signer in plan.signers):
            yield "unsigned: not signed by any publisher you trust; its metadata is unverified"
        if problem is not None:
            hint = f"; {problem.hint}" if problem.hint else ""
            if isinstance(problem, NotAdmittedError):
                yield f"standing: not put into the Hugging Face cache: {problem.message}{hint}"
            else:
                yield f"hf cache: {problem.message}; the next fetch tries again{hint}"


def _kind(problem: P2pqwenError) -> type[P2pqwenError]:
    """Return the public error class of a problem with the cache."""
    kinds: tuple[type[P2pqwenError], ...] = (VerificationError, DiskError)
    return next((kind for kind in kinds if isinstance(problem, kind)), P2pqwenError)
