"""Fetch a model: find its torrent, bring its bytes from peers and web seeds, verify them, lay them where users look.

Steps: 1. what the target names, and who signed it; 2. whether it is here already; 3. room, a marker, the download;
4. every file against the manifest, and what other snapshots had is put in place; 5. "complete" is written; 6. the
Hugging Face cache. A crash after any of them
leaves what the next run of the same command goes on from. Where nobody has the torrent, steps 3 to 5 are a rebuild from
the source that the magnet names, if that is still there.

What is unvouched (`index.standing`) stays in the library, under its own path, and never gets to step 6. It takes
nothing's place: another torrent for a held snapshot, or for one that a trusted index lists, ends the fetch before a
byte is asked for. Of two torrents of one infohash the better one is gone on with and kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from p2pqwen import __version__
from p2pqwen.containment import each
from p2pqwen.errors import (
    DiskError,
    FormatError,
    NetworkError,
    NotFoundError,
    P2pqwenError,
    UsageError,
    VerificationError,
)
from p2pqwen.events import Event, Notice, Report, ignore
from p2pqwen.hub.cache import HubCache, Place
from p2pqwen.index.standing import Judgement, NotAdmittedError, Standing
from p2pqwen.library import durable
from p2pqwen.library.folders import AwayError, bytes_to_write
from p2pqwen.library.hashing import FileDigests
from p2pqwen.library.home import Home
from p2pqwen.library.known_peers import MAX_DHT_NODES, UNKNOWN_ID, KnownPeers
from p2pqwen.library.linking import place, place_linked
from p2pqwen.library.snapshots import HeldSnapshot, State
from p2pqwen.library.verified import Verified
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.manifest.warnings import warnings_of
from p2pqwen.operations.fetch.download import Downloaded, DownloadJob, download
from p2pqwen.operations.fetch.files import check_files, make_empty_files, rebuild_manifest, require_room, with_layers_of
from p2pqwen.operations.fetch.metadata import KeptMetadata, NoMetadataError, ask_for_layers, ask_peers
from p2pqwen.operations.fetch.plan import FetchPlan, Sources, make_plan, plan_of
from p2pqwen.operations.fetch.target import FetchTarget
from p2pqwen.operations.indexes.lookup import check_metadata, find_entries
from p2pqwen.operations.indexes.rise import join, rise
from p2pqwen.operations.preserve.rebuild import Rebuild
from p2pqwen.operations.preserve.recipe_source import RecipeSource, recipe_sources
from p2pqwen.operations.preserve.reuse import OnDisk, Search, held_content, separate, take
from p2pqwen.operations.preserve.wanted_torrent import WantedTorrent
from p2pqwen.operations.verify.verify import verify_again
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.swarm.untrusted_links import inside, is_named
from p2pqwen.torrent.chosen_files import choose_files
from p2pqwen.torrent.comment import comment_of
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.signature import SignerResult
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.host import is_private_url
from p2pqwen.values.network_choices import SWITCHES
from p2pqwen.values.origin_site import OriginAccess
from p2pqwen.values.plural import plural
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.webseed.bases import Bases, combine_bases
from p2pqwen.webseed.policy import WebSeedUse
from p2pqwen.webseed.relay import Relay, RelayedTorrent

DEFAULT_TIMEOUT = 180.0
"""Seconds without any progress (or without metadata) before a fetch gives up."""
MAX_NAMED_PEERS = 32
"""Peers of a magnet link (`x.pe`) that are tried."""
MAX_FOLLOWERS = 30
"""Peers of its publishers' bundles that are tried."""
METADATA_SECONDS = 45.0
"""How long peers may take to give a torrent that could be rebuilt from its source instead."""


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """A user's choices. `include`: globs of the files to have, None for all. `repo`: for magnets that name none.

    `insist_on_cache`: what cannot be laid into the Hugging Face cache is an error; `move_ref` insists as well.
    `trust_unverified`: an unvouched snapshot is taken at its word, for this one fetch.
    """

    peers: tuple[Endpoint, ...] = ()
    web_seeds: tuple[str, ...] = ()
    use_web_seeds: WebSeedUse = WebSeedUse.AUTO
    use_peers: bool = True
    include: tuple[str, ...] | None = None
    timeout: float = DEFAULT_TIMEOUT
    repo: RepoId | None = None
    into_hub_cache: bool = True
    insist_on_cache: bool = False
    move_ref: bool = False
    trust_unverified: bool = False

    def __post_init__(self) -> None:
        if self.use_web_seeds is WebSeedUse.NEVER and not self.use_peers:
            raise UsageError("--only-web-seeds and --no-web-seeds leave nobody to fetch from")
        if not self.use_peers and self.peers:
            raise UsageError("--only-web-seeds and --peer contradict each other")
        if not self.timeout > 0:
            raise UsageError("--timeout", expected="a number of seconds above 0", got=self.timeout)


@dataclass(frozen=True, slots=True)
class FetchContext:
    """Where a fetch reads and writes: its home, whom it believes, the Hugging Face cache, the network.

    `known` are peers of earlier fetches; `rebuild` makes a torrent from its source, None: that is not to be done.
    `note_unverified` remembers that a snapshot was trusted unverified, before anything comes of it.
    """

    home: Home
    sources: Sources
    hub_cache: HubCache
    site: OriginAccess
    network: SwarmSettings
    known: KnownPeers
    rebuild: Rebuild | None = None
    web_seed_bases: tuple[str, ...] = ()
    note_unverified: Callable[[SnapshotId, InfoHash], None] = lambda *_: None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A snapshot that is here and verified. Sizes in bytes of the files asked for; `hub_cache` None: not laid there.

    `route` says who named the torrent, `origin` what gave it.
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
    web_seeds: tuple[dict[str, object], ...] = field(default=())
    unchanged: bool = False
    bytes_reused: int = 0  # files of other snapshots that were linked
    trusted_unverified: bool = False


def fetch(
    target: FetchTarget,
    options: FetchOptions,
    places: FetchContext,
    report: Report = ignore,
    *,
    on_plan: Callable[[SnapshotId], None] = lambda _: None,
) -> Fetched:
    """Bring what `target` names into the library, whole (or the files of `include`) and verified.

    `on_plan` is told which snapshot it is, once that is known. Whatever `report` raises stops the fetch at a point
    from which the next one goes on.

    Raises `NotFoundError` for a name that no trusted index lists, `NetworkError` when nobody serves it,
    `VerificationError` when the bytes are not what was signed, `DiskError`, `UsageError`.
    """
    started = time.monotonic()
    plan = make_plan(target, places.sources, repo=options.repo, report=report)
    run = _Fetch(options, places, report, on_plan)
    return replace(run.run(plan), seconds=time.monotonic() - started)


class _Fetch:
    def __init__(
        self, options: FetchOptions, places: FetchContext, report: Report, on_plan: Callable[[SnapshotId], None]
    ) -> None:
        self._options, self._places, self._report, self._on_plan = options, places, report, on_plan
        self._library = places.sources.library
        self._kept = KeptMetadata(places.home)
        self._verified = self._library.verified
        self._searched: tuple[InfoHash, Search] | None = None

    def run(self, plan: FetchPlan) -> Fetched:
        plan = self._without_inside_trackers(plan)
        if plan.metainfo is None and (kept := self._kept.find(plan.v1, plan.v2)) is not None:
            plan = self._completed(plan, kept)
        if plan.metainfo is not None:
            self._on_plan(plan.snapshot)
            self._refuse_contradicted(plan)
            with durable.lock(self._library.lock_path(plan.snapshot)):
                if (here := self._already_here(plan)) is not None:
                    return here
                if self._needs_nobody(plan) and (made := self._make(None, plan, (), None)) is not None:
                    return made
        try:
            return self._from_swarm(plan)
        except NoMetadataError as error:
            return self._rebuilt(plan, error)

    def _from_swarm(self, plan: FetchPlan) -> Fetched:
        peers = [*self._options.peers, *self._named_peers(plan)]
        with Swarm(self._network(plan, peers), report=self._report) as swarm:
            unknown = plan.metainfo is None
            if unknown:
                plan, peers = self._with_metadata(swarm, plan, peers)
                self._on_plan(plan.snapshot)
                self._refuse_contradicted(plan)
            plan = self._with_layers(swarm, plan, peers)
            with durable.lock(self._library.lock_path(plan.snapshot)), self._relaying(plan) as relayed:
                here = self._already_here(plan) if unknown else None
                fetched = here or self._download(swarm, plan, peers, relayed)
            self._remember_dht(swarm)
            return fetched

    def _with_metadata(self, swarm: Swarm, plan: FetchPlan, peers: list[Endpoint]) -> tuple[FetchPlan, list[Endpoint]]:
        if not self._options.use_peers:
            raise NoMetadataError("only peers have the torrent, and --only-web-seeds forbids asking them")
        asked = list(dict.fromkeys([*peers, *self._remembered(plan), *self._followers(plan)]))
        timeout = self._options.timeout
        if self._recipe_sources(plan):
            choices = self._places.network.choices
            if not (asked or choices.dht or choices.lsd or (choices.trackers and plan.trackers)):
                raise NoMetadataError("no peer is named, and no way of finding one is switched on")
            timeout = min(timeout, METADATA_SECONDS)
        metainfo, connected = ask_peers(swarm, plan, asked, timeout=timeout, report=self._report)
        plan = self._completed(plan, metainfo)
        self._kept.keep(metainfo)
        self._remember(plan, connected)
        return plan, list(dict.fromkeys([*connected, *peers]))  # who has answered before who may

    def _with_layers(self, swarm: Swarm, plan: FetchPlan, peers: Sequence[Endpoint]) -> FetchPlan:
        metainfo = plan.metainfo
        if metainfo is None or metainfo.has_all_layers:
            return plan
        if (held := self._library.get(plan.snapshot)) is not None:
            with suppress(FormatError, DiskError):  # a damaged one is told of and replaced later
                if (before := held.metainfo()).infohash == metainfo.infohash:
                    return replace(plan, metainfo=metainfo.with_layers(before.piece_layers))
        asked = list(dict.fromkeys([*peers, *self._remembered(plan)]))
        if not self._options.use_peers or not (asked or swarm.looks_for_peers):
            return plan
        found = ask_for_layers(
            swarm,
            metainfo,
            asked,
            trackers=[url for tier in plan.trackers for url in tier],
            timeout=self._options.timeout,
            report=self._report,
        )
        return replace(plan, metainfo=found)

    def _completed(self, plan: FetchPlan, metainfo: Metainfo) -> FetchPlan:
        if plan.entry is not None:
            check_metadata(plan.entry, metainfo)
        checked = plan_of(metainfo, self._places.sources, repo=plan.repo, route=plan.route, origin=plan.origin)
        return replace(
            checked,
            index_web_seeds=plan.index_web_seeds or checked.index_web_seeds,
            extra_web_seeds=plan.extra_web_seeds,
            trackers=plan.trackers,
            peers=plan.peers,
        )

    def _recipe_sources(self, plan: FetchPlan) -> tuple[RecipeSource, ...]:
        """Return who may still serve what a magnet names; none where the user wants it from peers alone."""
        never = self._options.use_web_seeds is WebSeedUse.NEVER
        if plan.magnet is None or self._places.rebuild is None or never:
            return ()
        endpoint = self._places.site.endpoint.rstrip("/")
        found = recipe_sources(plan.magnet, self._options.repo, endpoint)
        # A stranger's link must not send us into the user's own network.
        return tuple(one for one in found if one.endpoint == endpoint or not is_private_url(one.endpoint))

    def _rebuilt(self, plan: FetchPlan, problem: NoMetadataError) -> Fetched:
        """Bring the snapshot from the source its magnet names, if that makes the torrent asked for."""
        sources = self._recipe_sources(plan)
        if not sources or plan.magnet is None or self._places.rebuild is None:
            raise problem
        if self._options.include is not None:
            raise NoMetadataError(
                f"{problem.message}; rebuilding it from {sources[0].endpoint} needs every file",
                hint="fetch the whole snapshot, without --include",
            ) from problem
        if plan.entry is None and not self._options.trust_unverified:
            self._refuse_unlisted(plan, sources[0].snapshot, "which no index names")  # by the recipe it has one torrent
        self._report(Notice("warning", problem.message))
        self._on_plan(sources[0].snapshot)
        try:
            done = self._places.rebuild(WantedTorrent.of(plan.magnet), sources, self._report)
        except (NetworkError, NotFoundError) as error:
            raise NetworkError(f"{problem.what}, and no source serves it either", got=error.message) from error
        held, size = done.preserved.held, done.preserved.bytes_downloaded
        checked = plan_of(
            done.preserved.metainfo,
            self._places.sources,
            repo=held.id.repo,
            route="the infohash" if plan.route == "peers" else plan.route,
            origin=f"rebuilt by the recipe from {done.source.endpoint}",
        )
        with durable.lock(self._library.lock_path(held.id)):
            return self._finished(checked, held, None, Downloaded({}, 0, size), None, unchanged=False)

    def _remembered(self, plan: FetchPlan) -> list[Endpoint]:
        """Return peers of earlier fetches of this torrent; the address filter judges them like anybody's word."""
        if plan.v1 is None or not self._options.use_peers:
            return []
        return [Endpoint(*address) for address in self._places.known.peers(plan.v1.raw)]

    def _followers(self, plan: FetchPlan) -> list[Endpoint]:
        """Return who may seed it though nobody has told us so; it takes no tracker and no DHT to ask them."""
        sources, infohash = self._places.sources, plan.v2 or plan.v1
        if sources.bundles is None or infohash is None or not self._options.use_peers:
            return []
        listing = {one.publisher.publisher for one in find_entries(sources.publishers, infohash)}
        return list(dict.fromkeys(sources.bundles.followers(listing)))[:MAX_FOLLOWERS]

    def _remember(self, plan: FetchPlan, peers: Sequence[Endpoint]) -> None:
        if plan.v1 is not None:
            with suppress(DiskError):  # it only costs time the next time
                self._places.known.remember_peers(plan.v1.raw, [(one.host, one.port) for one in peers])

    def _remember_dht(self, swarm: Swarm) -> None:
        nodes = swarm.dht_nodes() if self._places.network.choices.dht else []
        known = {address for _, address in self._places.known.dht_nodes()}
        fresh = [(one.host, one.port) for one in nodes if (one.host, one.port) not in known]
        with suppress(DiskError):
            self._places.known.remember_dht_nodes((UNKNOWN_ID, address) for address in fresh[: MAX_DHT_NODES // 2])

    def _network(self, plan: FetchPlan, peers: Sequence[Endpoint]) -> SwarmSettings:
        given = self._places.network
        if not self._options.use_peers:
            given = replace(given, choices=given.choices.without(*SWITCHES))
        trackers = [url for tier in plan.trackers for url in tier]
        # The relay is on loopback, so nearly every fetch needs it; a fetch from peers alone does not.
        return replace(
            given, loopback=given.loopback or self._options.use_web_seeds is not WebSeedUse.NEVER
        ).with_room_for(peers, urls=trackers)

    def _without_inside_trackers(self, plan: FetchPlan) -> FetchPlan:
        """Leave out trackers whose names lead into the user's own network, unless he named them himself."""
        if not (plan.trackers and self._options.use_peers and self._places.network.choices.trackers):
            return plan
        own = self._places.sources.named
        urls = [url for tier in plan.trackers for url in tier if not is_named(url, own)]
        hosts = {url: urlsplit(url).hostname or "" for url in urls}
        refused = inside(hosts.values())
        for url in sorted(url for url, host in hosts.items() if host in refused):
            self._report(Notice("info", f"tracker {url} is left out: its name leads nowhere public"))
        tiers = (tuple(url for url in tier if hosts.get(url) not in refused) for tier in plan.trackers)
        return replace(plan, trackers=tuple(tier for tier in tiers if tier))

    def _named_peers(self, plan: FetchPlan) -> Iterator[Endpoint]:
        """Yield the peers a link names, but none that is on this machine or its network."""
        named = plan.peers[:MAX_NAMED_PEERS] if self._options.use_peers else ()
        # Once: what is looked at is what is connected to. One that leads nowhere is none.
        for peer in each(named, lambda text: Endpoint.parse(text).resolve(), failed=lambda *_: None):
            if not peer.is_private:
                yield peer

    @contextmanager
    def _relaying(self, plan: FetchPlan) -> Iterator[RelayedTorrent | None]:
        bases = self._bases(plan)
        for url, reason in bases.refused:
            self._report(Notice("warning", f"web seed {url} is left out: {reason}"))
        if not bases.usable or plan.metainfo is None:
            yield None
            return
        with Relay(site=self._places.site, named=self._places.sources.named) as relay:
            yield relay.offer(plan.metainfo, bases.usable)

    def _bases(self, plan: FetchPlan) -> Bases:
        if self._options.use_web_seeds is WebSeedUse.NEVER or plan.metainfo is None:
            return Bases(())
        return combine_bases(
            plan.metainfo.name,
            plan.repo,
            command_line=self._options.web_seeds,
            config=self._places.web_seed_bases,
            indexes=plan.index_web_seeds,
            torrent=(*plan.metainfo.web_seeds, *plan.extra_web_seeds),
        )

    def _already_here(self, plan: FetchPlan) -> Fetched | None:
        held, metainfo = self._library.get(plan.snapshot), plan.metainfo
        if held is None or metainfo is None:
            return None
        stored = self._stored(held)
        if stored is not None and stored.infohash != metainfo.infohash:
            raise self._displaces(plan, held, stored)
        if stored is None or held.state is State.INCOMPLETE:
            return None
        wanted = choose_files(metainfo, self._options.include)
        have = choose_files(metainfo, held.selected if held.state is State.PARTIAL else None)
        if have is not None and (wanted is None or not wanted <= have):
            return None
        plan = self._with_the_better(plan, held, stored)
        if not self._is_verified(held, stored, have):
            return None
        if plan.metainfo is not None and plan.metainfo != stored:
            plan = self._risen(plan, held, stored)
        return self._finished(plan, held, wanted, Downloaded({}, 0, 0), None, unchanged=True)

    def _refuse_contradicted(self, plan: FetchPlan) -> None:
        """Raise `VerificationError` where a trusted index names another torrent for what nobody vouches for."""
        judgement, held = _judged(plan), self._library.get(plan.snapshot)
        if judgement.standing is not Standing.UNVOUCHED or self._options.trust_unverified:
            return
        if held is not None and (stored := self._stored(held)) is not None and stored.infohash.v2 == plan.v2:
            return  # it is here already, and displaces nothing
        self._refuse_unlisted(plan, plan.snapshot, judgement.words)

    def _refuse_unlisted(self, plan: FetchPlan, snapshot: SnapshotId, words: str) -> None:
        for listed in find_entries(self._places.sources.publishers, snapshot):
            raise VerificationError(
                f"the index of {listed.publisher.name} names another torrent for {snapshot}",
                expected=listed.entry.infohash.v2,
                got=f"{plan.v2 or plan.v1}, {words}",
                hint=f"`p2pqwen fetch {snapshot}` fetches the listed one; --trust-unverified fetches this one",
            )

    def _with_the_better(self, plan: FetchPlan, held: HeldSnapshot, stored: Metainfo) -> FetchPlan:
        """Go on with the better of two torrents of one infohash; raises `VerificationError` for another infohash."""
        metainfo, sources = _whole(plan), self._places.sources
        if stored.infohash != metainfo.infohash:
            raise self._displaces(plan, held, stored)
        try:
            here = plan_of(stored, sources, repo=held.id.repo, route=plan.route, origin=plan.origin, found=plan.listed)
        except VerificationError as error:  # a signature in it is wrong, as is known by now
            self._report(Notice("warning", f"{held.torrent_path}: {error.message}"))
            return plan
        if _worth(plan) > _worth(here):
            return replace(plan, metainfo=join(metainfo, stored))
        return replace(
            here,
            metainfo=stored,
            index_web_seeds=plan.index_web_seeds or here.index_web_seeds,
            extra_web_seeds=(*plan.extra_web_seeds, *metainfo.web_seeds),
            trackers=plan.trackers or here.trackers,
            peers=plan.peers,
        )

    def _displaces(self, plan: FetchPlan, held: HeldSnapshot, stored: Metainfo) -> VerificationError:
        """Return the error for a torrent that would take the place of a held one."""
        try:
            here = plan_of(stored, self._places.sources, repo=held.id.repo, route="", origin="")
            words = _judged(here).words
        except VerificationError as error:
            words = error.message
        return VerificationError(
            f"the library holds {held.id} from another torrent, which stays",
            expected=f"{stored.infohash.v2}, {words}",
            got=f"{plan.v2}, {_judged(plan).words}",
            hint=f"compare the two; `p2pqwen remove {held.id}` drops the one here, and then this one can be fetched",
        )

    def _risen(self, plan: FetchPlan, held: HeldSnapshot, stored: Metainfo) -> FetchPlan:
        """Give a verified snapshot its better torrent; where that is not of these bytes, the old one stays."""
        sources = self._places.sources
        try:
            metainfo = rise(held, stored, _whole(plan), self._library, self._report)
        except VerificationError as error:
            self._report(Notice("warning", f"{held.id} keeps its torrent: {error.message}"))
            return plan_of(stored, sources, repo=held.id.repo, route="the torrent in the library", origin="the library")
        return replace(plan, metainfo=metainfo)

    def _refuse_in_place_of_damaged(self, plan: FetchPlan, held: HeldSnapshot) -> None:
        """Raise `VerificationError` where a damaged torrent would make room for what nobody vouches for."""
        known = self._verified.infohash(held.id)
        if known not in {None, plan.v2} and _judged(plan).standing is Standing.UNVOUCHED:
            raise VerificationError(
                f"{held.torrent_path} is damaged, and this is another torrent than the library held",
                expected=known,
                got=f"{plan.v2}, {_judged(plan).words}",
                hint=f"fetch {held.id} as before, or drop it with `p2pqwen remove {held.id}`",
            )

    def _stored(self, held: HeldSnapshot) -> Metainfo | None:
        """Return a held snapshot's torrent; None where it is damaged, and to be replaced."""
        try:
            if held.torrent_damage() is None:
                return held.metainfo()
            problem = "it is not what was written"
        except FormatError as error:
            problem = error.message
        self._report(Notice("warning", f"{held.torrent_path} is damaged and is replaced: {problem}"))
        return None

    def _is_verified(self, held: HeldSnapshot, metainfo: Metainfo, have: frozenset[RepoPath] | None) -> bool:
        files = [file.path for file in metainfo.files if have is None or file.path in have]
        if self._verified.unchanged(held.id, metainfo.infohash.v2, held.folder, files):
            return True
        found = verify_again(held, self._library, self._places.sources.voices, self._report)
        for bad in found.bad:
            self._report(Notice("warning", f"{bad.path} is damaged, fetching it again: {bad.expected}, got {bad.got}"))
        return not found.bad

    def _download(
        self, swarm: Swarm, plan: FetchPlan, peers: Sequence[Endpoint], relayed: RelayedTorrent | None
    ) -> Fetched:
        fetched = self._make(swarm, plan, peers, relayed)
        if fetched is None:
            raise P2pqwenError(f"{plan.snapshot} did not come whole")
        return fetched

    def _make(
        self, swarm: Swarm | None, plan: FetchPlan, peers: Sequence[Endpoint], relayed: RelayedTorrent | None
    ) -> Fetched | None:
        """Bring what is missing, and make the snapshot of it and of what other snapshots have.

        None where something is missing after all and there is no `swarm` to bring it from.
        """
        held = self._library.get(plan.snapshot)
        stored = None if held is None else self._stored(held)
        if held is not None and stored is not None:
            plan = self._with_the_better(plan, held, stored)
        elif held is not None:
            self._refuse_in_place_of_damaged(plan, held)
        metainfo = _whole(plan)
        globs = self._globs(plan.snapshot)
        if globs is not None and not metainfo.has_all_layers:
            raise P2pqwenError(
                "files can only be chosen where the hash of every piece is known, and nobody gave those",
                hint="fetch the whole snapshot, or name its .torrent file or an index that lists it",
            )
        files = choose_files(metainfo, globs)
        wanted = frozenset(file.path for file in metainfo.files if files is None or file.path in files)
        cache = self._places.hub_cache.root if self._options.into_hub_cache else None
        names = [file.path for file in metainfo.files]
        folder = self._library.make_folder(plan.snapshot, names, self._to_write(plan, metainfo, files), beside=cache)
        done, digests = Downloaded({}, 0, 0), dict[RepoPath, FileDigests]()
        while True:
            here = self._search(plan).find(wanted, folder)
            if swarm is None and any(file.size for file in metainfo.files if file.path in wanted - here.had.keys()):
                return None
            require_room(folder, metainfo, wanted, here=here, library=self._library, copy_to=cache)
            if metainfo.has_all_layers:
                self._library.begin(plan.snapshot, metainfo.encode(), globs)
            self._verified.forget(plan.snapshot)
            job = self._job(plan, metainfo, wanted - here.had.keys(), peers, relayed)
            if separate(plan.snapshot, metainfo, wanted, here, folder, self._library):
                durable.remove(job.resume_file)  # it speaks of other files
            more, brought = self._bring(swarm, plan, job)
            done = more.after(done)
            digests = brought | take(plan.snapshot, metainfo, here, folder, self._library, self._search(plan))
            if digests.keys() == wanted:
                break  # else something was not what it had been when it was read, and is fetched after all
        self._tell_of_reuse(here)
        plan = self._explained(plan, digests, folder, whole=globs is None)
        verified = Verified.now(metainfo.infohash.v2, folder, wanted)
        held = self._library.finish(plan.snapshot, _whole(plan).encode(), globs, verified)
        durable.remove(job.resume_file)
        self._kept.forget(metainfo)
        return replace(self._finished(plan, held, files, done, relayed, unchanged=False), bytes_reused=here.reused)

    def _needs_nobody(self, plan: FetchPlan) -> bool:
        """Tell whether other snapshots have all that is wanted: then nobody is asked."""
        metainfo = plan.metainfo
        if metainfo is None or not metainfo.has_all_layers:
            return False
        files = choose_files(metainfo, self._globs(plan.snapshot))
        wanted = {file.path for file in metainfo.files if file.size and (files is None or file.path in files)}
        folder, search = self._library.folder(plan.snapshot), self._search(plan)
        return search.may_have(wanted, folder) and search.find(wanted, folder).had.keys() == wanted

    def _search(self, plan: FetchPlan) -> Search:
        """Return the search for the plan's torrent; what it has read is not read again."""
        metainfo = _whole(plan)
        if self._searched is None or self._searched[0] != metainfo.infohash:
            search = Search(plan.snapshot, metainfo, plan.manifest, self._library, self._report)
            self._searched = metainfo.infohash, search
        return self._searched[1]

    def _tell_of_reuse(self, here: OnDisk) -> None:
        if here.reused:
            count = sum(one.source is not None for one in here.had.values())
            size = format_size(here.reused)
            self._report(Notice("info", f"{plural(count, 'file')} ({size}) of other snapshots linked"))

    def _to_write(
        self, plan: FetchPlan, metainfo: Metainfo, files: frozenset[RepoPath] | None
    ) -> Callable[[Path], int]:
        """Say what a fetch writes below a folder: everything that no other snapshot on its disk has."""
        wanted = [file for file in metainfo.files if files is None or file.path in files]
        rows = {} if plan.manifest is None else {row.path: row.sha256 for row in plan.manifest.files}

        def needed(folder: Path) -> int:  # asked only where there is a choice of folders
            held = held_content(self._library, set(rows.values()), near=plan.snapshot)
            found = {path: held[digest].path for path, digest in rows.items() if digest in held}
            return bytes_to_write((file.size, found.get(file.path)) for file in wanted)(folder)

        return needed

    def _globs(self, snapshot: SnapshotId) -> tuple[str, ...] | None:
        """Return what to have in the end: what was asked for now, and what a partial snapshot has already."""
        if self._options.include is None:
            return None
        held = self._library.get(snapshot)
        before = held.selected if held is not None and held.selected is not None else ()
        return tuple(dict.fromkeys((*before, *self._options.include)))

    def _job(
        self,
        plan: FetchPlan,
        metainfo: Metainfo,
        files: frozenset[RepoPath],
        peers: Sequence[Endpoint],
        relayed: RelayedTorrent | None,
    ) -> DownloadJob:
        rows = plan.manifest.files if plan.manifest is not None else ()
        return DownloadJob(
            metainfo=metainfo,
            save_path=self._library.folder(plan.snapshot).parent,
            files=files,
            lfs=frozenset(row.path for row in rows if row.lfs),
            needs_hashes=plan.manifest is None or not metainfo.has_all_layers,
            trackers=plan.trackers,
            peers=peers,
            remembered=self._remembered(plan),
            followers=self._followers(plan),
            relayed=relayed,
            web_seed_use=self._options.use_web_seeds,
            resume_file=self._places.home.resume / f"{metainfo.infohash.v2}.resume",
            timeout=self._options.timeout,
            met=lambda found: self._remember(plan, found),
        )

    def _bring(
        self, swarm: Swarm | None, plan: FetchPlan, job: DownloadJob
    ) -> tuple[Downloaded, dict[RepoPath, FileDigests]]:
        """Download and check; where the disk holds something else than libtorrent believes, once more from zero."""
        folder = job.save_path / job.metainfo.name
        if swarm is None or not any(file.size for file in job.metainfo.files if file.path in job.wanted):
            make_empty_files(folder, job.metainfo, job.files)
            return Downloaded({}, 0, 0), check_files(job.metainfo, plan.manifest, folder, job.wanted, {})
        report = self._while_here(plan.snapshot, folder)
        done = download(swarm, job, report)
        try:
            return done, check_files(job.metainfo, plan.manifest, folder, job.wanted, done.digests)
        except VerificationError as error:
            self._report(Notice("warning", f"{error.message}; reading everything again"))
        durable.remove(job.resume_file)
        done = download(swarm, job, report).after(done)
        return done, check_files(job.metainfo, plan.manifest, folder, job.wanted, done.digests)

    def _explained(
        self, plan: FetchPlan, digests: Mapping[RepoPath, FileDigests], folder: Path, *, whole: bool
    ) -> FetchPlan:
        """Return the plan with what the files themselves tell, where the torrent came without layers or manifest."""
        metainfo = with_layers_of(digests, _whole(plan))
        if plan.manifest is not None:
            return replace(plan, metainfo=metainfo)
        manifest = rebuild_manifest(plan.snapshot, metainfo, digests, folder) if whole else None
        explained = replace(
            metainfo,
            manifest=None if manifest is None else manifest.encode(),
            comment=metainfo.comment or comment_of(plan.snapshot),
            created_by=metainfo.created_by or f"p2pqwen/{__version__}",
        )
        return replace(plan, manifest=manifest, metainfo=explained)

    def _while_here(self, snapshot: SnapshotId, folder: Path) -> Report:
        """Return the report, which ends the download once its disk has gone: libtorrent would begin a new folder."""
        next_look = time.monotonic()

        def report(event: Event) -> None:
            nonlocal next_look
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + 1.0
                if not any(folder.is_relative_to(one.root) for one in self._library.folders):
                    raise AwayError(snapshot, folder)
            self._report(event)

        return report

    def _finished(
        self,
        plan: FetchPlan,
        held: HeldSnapshot,
        files: frozenset[RepoPath] | None,
        done: Downloaded,
        relayed: RelayedTorrent | None,
        *,
        unchanged: bool,
    ) -> Fetched:
        metainfo = _whole(plan)
        with self._verified.naming(held.id, held.folder, [file.path for file in metainfo.files]):
            try:
                placing = place_linked if done.released else place
                cache, problem = self._lay_into_cache(plan, held, files, placing), None
            except NotAdmittedError as error:
                cache, problem = None, error
        if problem is not None and (self._options.insist_on_cache or self._options.move_ref):
            hint = f"it is kept in {held.folder}" + (f"; {problem.hint}" if problem.hint else "")
            what = f"not laid into the Hugging Face cache: {problem.what}"
            raise VerificationError(what, expected=problem.expected, got=problem.got, hint=hint) from problem
        judgement = _judged(plan)
        return Fetched(
            held=held,
            size=sum(file.size for file in metainfo.files if files is None or file.path in files),
            bytes_from_peers=done.bytes_from_peers,
            bytes_from_web_seeds=done.bytes_from_web_seeds,
            seconds=0.0,
            provenance=plan.provenance,
            signers=plan.signers,
            judgement=judgement,
            route=plan.route,
            origin=plan.origin,
            hub_cache=cache,
            warnings=tuple(self._warnings(plan, problem)),
            web_seeds=tuple(account.to_json() for account in relayed.accounts) if relayed is not None else (),
            unchanged=unchanged,
            trusted_unverified=judgement.standing is Standing.UNVOUCHED and cache is not None,
        )

    def _lay_into_cache(
        self, plan: FetchPlan, held: HeldSnapshot, files: frozenset[RepoPath] | None, placing: Place
    ) -> Path | None:
        """Lay what is admitted where other programs look; raises `NotAdmittedError` for what is not."""
        if not self._options.into_hub_cache:
            return None
        if plan.manifest is None:
            raise NotAdmittedError("the torrent carries no manifest")
        judgement, cache = _judged(plan), self._places.hub_cache
        admission = judgement.admit(plan.manifest, trust_unverified=self._options.trust_unverified)
        if judgement.standing is Standing.UNVOUCHED:
            self._places.note_unverified(held.id, _whole(plan).infohash)
        unset = cache.ref(held.id.repo, "main") is None
        if unset and not (admission.names_main or self._options.move_ref):
            told = f"nobody you trust says that {held.id.commit} is a commit of {held.id.repo}"
            self._report(Notice("info", f"refs/main of the Hugging Face cache stays unset: {told}; --set-main sets it"))
        ref = "main" if self._options.move_ref or (unset and admission.names_main) else None
        return cache.materialise(admission, held.folder, place=placing, only=files, ref=ref, report=self._report)

    def _warnings(self, plan: FetchPlan, problem: VerificationError | None) -> Iterator[str]:
        if plan.manifest is not None:
            yield from warnings_of(plan.manifest)
        if not any(signer.state == "valid" for signer in plan.signers):
            yield "signature: nobody you trust signed this torrent; what it says of itself is all there is"
        if problem is not None:
            hint = f"; {problem.hint}" if problem.hint else ""
            yield f"standing: not laid into the Hugging Face cache: {problem.message}{hint}"


def _worth(plan: FetchPlan) -> tuple[int, bool, int]:
    """Order torrents of one infohash by what they show: standing, a manifest at all, signatures."""
    valid = sum(one.state == "valid" for one in plan.signers)
    return _judged(plan).standing.rank, plan.manifest is not None, valid


def _judged(plan: FetchPlan) -> Judgement:
    if plan.judgement is None:
        raise ValueError("the torrent is not known yet")
    return plan.judgement


def _whole(plan: FetchPlan) -> Metainfo:
    if plan.metainfo is None:
        raise ValueError("the torrent is not known yet")
    return plan.metainfo
