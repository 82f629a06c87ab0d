"""What a fetch brings, and on whose word: from a target to a snapshot, its torrent, and where its bytes may be.

Routes to the .torrent, in this order: the library (an interrupted or finished fetch whose torrent has all that a
trusted index says), the trusted indexes (a bundle in this home, mirrors, the bundle's swarm), the file or URL that the
user named, the magnet's `xs=`. Otherwise it must come from peers, by infohash, or be rebuilt from the source that the
magnet names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias
from urllib.parse import urlsplit

from p2pqwen.containment import first_of
from p2pqwen.errors import (
    FormatError,
    NetworkError,
    NotFoundError,
    P2pqwenError,
    UsageError,
    VerificationError,
    about,
)
from p2pqwen.events import Notice, Report
from p2pqwen.index.entry import Entry
from p2pqwen.index.entry_check import check_metadata
from p2pqwen.index.standing import Evidence, Judgement, judge, keys_of
from p2pqwen.index.voice import Voice
from p2pqwen.index.withdrawals import unlisted_withdrawals
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.mirrors.reading import read_now
from p2pqwen.operations.fetch.target import FetchTarget, MagnetTarget, NamedTarget, TorrentTarget
from p2pqwen.operations.indexes.found import Found
from p2pqwen.operations.indexes.lookup import (
    choose,
    find_entries,
    listed_otherwise,
    not_listed,
    publisher_keys,
)
from p2pqwen.operations.indexes.rise import needs_more
from p2pqwen.operations.indexes.torrent_source import Bundles, ObtainedTorrent, obtain_torrent
from p2pqwen.operations.preserve.recipe_source import repo_of
from p2pqwen.operations.verify.made_of_bytes import is_made_of_held
from p2pqwen.signing.keys import PublicKey
from p2pqwen.swarm.untrusted_links import tracker_problem
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.comment import claimed_snapshot
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
from p2pqwen.torrent.magnet import Magnet, parse_magnet
from p2pqwen.torrent.metainfo import Metainfo, read_metainfo
from p2pqwen.torrent.signer import SignerResult
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.host import is_private_url
from p2pqwen.values.named_hosts import NONE_NAMED, NamedHosts
from p2pqwen.values.plural import plural
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

_LIBRARY = "the library"
_SOURCE = "the magnet's xs="
_PEERS = "peers, by its infohash"
_TOLD = 3  # withdrawn commits that are reported one by one


@dataclass(frozen=True, slots=True)
class Leads:
    """Where bytes may be, besides what the torrent itself names.

    `index_web_seeds` holds one list for each trusted index that knows it, the newest first; `extra_web_seeds` and
    `peers` are a link's. `trackers` are tiers (BEP 12), those of the torrent among them.
    """

    index_web_seeds: tuple[tuple[str, ...], ...] = ()
    extra_web_seeds: tuple[str, ...] = ()
    trackers: tuple[tuple[str, ...], ...] = ()
    peers: tuple[str, ...] = ()

    @property
    def tracker_urls(self) -> list[str]:
        """The trackers of all tiers, in order."""
        return [url for tier in self.trackers for url in tier]


@dataclass(frozen=True, slots=True)
class MagnetPlan:
    """A torrent known only by its infohash: its metadata must come from peers, or it is rebuilt.

    `route` says in words what named it; `entry` is the index's entry that it must match, None if unlisted.
    """

    repo: RepoId
    magnet: Magnet
    route: str
    leads: Leads
    entry: Entry | None = None

    @property
    def v1(self) -> Sha1 | None:
        """The v1 infohash, if known."""
        return self.magnet.infohash_v1 if self.entry is None else self.entry.infohash.v1

    @property
    def v2(self) -> Sha256 | None:
        """The v2 infohash, if known."""
        return self.magnet.infohash_v2 if self.entry is None else self.entry.infohash.v2


@dataclass(frozen=True, slots=True)
class TorrentPlan:
    """A torrent that was found. `route` says what named it, `origin` what delivered it, both in words.

    `signers` are its signatures, checked with the keys that we know, `listed` the trusted entries with its infohash,
    and `judgement` sums all of it up.
    """

    snapshot: SnapshotId
    torrent: CheckedTorrent
    signers: tuple[SignerResult, ...]
    judgement: Judgement
    route: str
    origin: str
    leads: Leads
    listed: tuple[Found, ...] = ()

    @property
    def metainfo(self) -> Metainfo:
        """The torrent's metainfo."""
        return self.torrent.metainfo

    @property
    def manifest(self) -> Manifest | None:
        """The torrent's manifest, None without one."""
        return self.torrent.manifest

    @property
    def v1(self) -> Sha1:
        """The v1 infohash."""
        return self.torrent.infohash.v1

    @property
    def v2(self) -> Sha256:
        """The v2 infohash."""
        return self.torrent.infohash.v2

    @property
    def worth(self) -> tuple[int, bool, int]:
        """The rank among torrents of one infohash: standing, whether there is a manifest, valid signatures."""
        valid = sum(one.state == "valid" for one in self.signers)
        return self.judgement.standing.rank, self.manifest is not None, valid


FetchPlan: TypeAlias = MagnetPlan | TorrentPlan


@dataclass(frozen=True, slots=True)
class Sources:
    """Whom a plan may ask: the library, trusted publishers and their bundles, and who vouches for snapshots.

    `named` are the private hosts that the user named.
    """

    library: Library
    publishers: Sequence[TrustedPublisher]
    voices: Sequence[Voice]
    bundles: Bundles | None = None
    named: NamedHosts = NONE_NAMED

    @property
    def keys(self) -> Mapping[Sha256, PublicKey]:
        """Every key that may sign for a publisher that this home trusts."""
        return keys_of(self.voices)


def make_plan(target: FetchTarget, sources: Sources, *, repo: RepoId | None, report: Report) -> FetchPlan:
    """Resolve `target`.

    Raises `NotFoundError` for a name that no trusted index lists, `VerificationError` for a torrent that is not what
    its publisher signed, `UsageError` if the repository is unknown and `repo` does not name it, `NetworkError`.
    """
    match target:
        case NamedTarget():
            if repo not in {None, target.repo}:
                raise UsageError("--repo names another repository than the target", expected=target.repo, got=repo)
            return _by_name(target, sources, report)
        case MagnetTarget(magnet=magnet, passed_over=passed_over):
            for problem in passed_over:
                report(Notice("warning", f"passed over in the link: {problem}"))
            return _by_magnet(magnet, sources, repo, report)
        case TorrentTarget(location=location):
            with about(location):
                typed = sources.named | NamedHosts.of([location])
                data = read_now(location, max_bytes=MAX_TORRENT_BYTES, named=typed)
                sources.library.torrents.bare_metainfo(data)
            torrent, repo = _without_strangers_word(sources.library.torrents.bare_torrent(data), sources, repo)
            return plan_of(torrent, sources, repo=repo, route=f"torrent {location}", origin="the file")


def plan_of(
    torrent: CheckedTorrent,
    sources: Sources,
    *,
    repo: RepoId | None,
    route: str,
    origin: str,
    found: Sequence[Found] | None = None,
    magnet: Magnet | None = None,
) -> TorrentPlan:
    """Make a plan of a torrent; raises `VerificationError` for a wrong signature, `UsageError`."""
    metainfo = torrent.metainfo
    try:
        commit = metainfo.commit
    except FormatError as error:
        raise FormatError(
            "the torrent is not of a snapshot", expected="a commit of 40 hex digits for its name", got=metainfo.name
        ) from error
    named = None if torrent.snapshot is None else torrent.snapshot.repo
    if named is not None and repo not in {None, named}:
        raise UsageError("--repo contradicts the torrent's manifest", expected=named, got=repo)
    entries = find_entries(sources.publishers, torrent.infohash) if found is None else found
    owner = named or repo or _named_otherwise(metainfo, entries, magnet)
    if owner is None:
        raise UsageError(
            f"the repository of {commit} is unknown", expected="--repo ORG/MODEL", hint="the torrent has no manifest"
        )
    keys, snapshot = sources.keys, SnapshotId(owner, commit)
    torrent = torrent.tried_with(keys)
    of_bytes = is_made_of_held(torrent, sources.library.get(snapshot), sources.library)
    signers = torrent.signers(keys)
    if bad := [signer.label for signer in signers if signer.state == "invalid"]:
        raise VerificationError(f"the torrent carries an invalid signature by {bad[0]!r}")
    return TorrentPlan(
        snapshot=snapshot,
        torrent=torrent,
        signers=signers,
        judgement=judge(Evidence.of(torrent, snapshot, keys, of_bytes=of_bytes), sources.voices),
        route=route,
        origin=origin,
        leads=Leads(
            index_web_seeds=tuple(one.entry.bases for one in entries),
            extra_web_seeds=() if magnet is None else _public(magnet.web_seeds),
            trackers=_join_trackers(metainfo, entries, magnet),
            peers=() if magnet is None else magnet.peers,
        ),
        listed=tuple(entries),
    )


def complete(plan: MagnetPlan, metainfo: Metainfo, sources: Sources) -> TorrentPlan:
    """Return the plan with its metadata; raises `VerificationError` if that is not what an index lists."""
    if plan.entry is not None:
        check_metadata(plan.entry, metainfo)
    found = plan_of(CheckedTorrent.of(metainfo), sources, repo=plan.repo, route=plan.route, origin=_PEERS)
    web_seeds = plan.leads.index_web_seeds or found.leads.index_web_seeds
    return replace(found, leads=replace(plan.leads, index_web_seeds=web_seeds))


def _named_otherwise(metainfo: Metainfo, listed: Sequence[Found], magnet: Magnet | None) -> RepoId | None:
    """Return the repository of a torrent without a manifest: a trusted index's word, else an unverified claim."""
    if listed:
        return listed[0].entry.id.repo
    claimed = claimed_snapshot(metainfo)
    return (None if magnet is None else repo_of(magnet)) or (None if claimed is None else claimed.repo)


def _without_strangers_word(
    torrent: CheckedTorrent, sources: Sources, repo: RepoId | None
) -> tuple[CheckedTorrent, RepoId | None]:
    """Drop a torrent's manifest if trusted indexes list another one; it is then rebuilt from the bytes.

    Also returns the repository.
    """
    snapshot = torrent.snapshot
    if snapshot is None or repo not in {None, snapshot.repo} or not listed_otherwise(torrent, sources.publishers):
        return torrent, repo
    return torrent.without_manifest(), snapshot.repo


class _Obtaining:
    """Obtains the torrents of entries, each once: a contradiction is settled by reading them before one is chosen."""

    def __init__(self, sources: Sources, report: Report) -> None:
        self._sources, self._report = sources, report
        self._known: dict[tuple[object, ...], ObtainedTorrent] = {}

    def __call__(self, found: Found) -> ObtainedTorrent:
        """Return an entry's torrent; raises as `obtain_torrent` does."""
        key = (found.publisher.publisher, *found.same_torrent)
        if key not in self._known:
            self._known[key] = obtain_torrent(found, self._sources.bundles, self._report)
        return self._known[key]

    def choose(self, found: list[Found], wanted: RepoId | SnapshotId) -> Found:
        """Return the entry to follow; raises as `lookup.choose` does."""
        return choose(found, wanted, report=self._report, load=lambda one: self(one).torrent)


def _by_name(target: NamedTarget, sources: Sources, report: Report) -> FetchPlan:
    wanted = target.repo if target.commit is None else SnapshotId(target.repo, target.commit)
    found = find_entries(sources.publishers, wanted)
    if target.commit is None and found:
        _tell_of_passed_over(target.repo, found, sources.voices, report)
    if not found and (held := _held(target, sources.library)) is not None:
        torrent = held.torrent(sources.keys)
        return plan_of(torrent, sources, repo=target.repo, route="the torrent in the library", origin=_LIBRARY)
    if not found:
        here = [one.id.repo for one in sources.library.all()]
        raise not_listed(sources.publishers, wanted, sources.voices, here)
    obtaining = _Obtaining(sources, report)
    chosen = obtaining.choose(found, wanted)
    same = [one for one in found if one.same_torrent == chosen.same_torrent]
    return _by_entry(chosen, same, obtaining, sources, report)


def _tell_of_passed_over(repo: RepoId, found: Sequence[Found], voices: Sequence[Voice], report: Report) -> None:
    """Report withdrawn commits that no publisher lists any more: one may be newer than the chosen commit.

    A commit that one publisher withdrew and another lists counts as listed: a withdrawal concerns one list only.
    """
    gone = unlisted_withdrawals(voices, repo, {one.entry.id for one in found})
    for snapshot, said in gone[:_TOLD]:
        report(Notice("warning", f"{snapshot} is passed over: {'; '.join(map(str, said))}"))
    if len(gone) > _TOLD:
        more = plural(len(gone) - _TOLD, "more commit")
        report(Notice("warning", f"{more} of {repo} passed over: withdrawn as well"))


def _by_entry(
    chosen: Found, found: Sequence[Found], obtaining: _Obtaining, sources: Sources, report: Report
) -> FetchPlan:
    entry = chosen.entry
    repo, route = entry.id.repo, f"the index of {chosen.publisher.name}"
    held = _intact(entry, {**publisher_keys(chosen.publisher), **sources.keys}, sources.library)
    if held is not None and not needs_more(held, chosen):
        return plan_of(held, sources, repo=repo, route=route, origin=_LIBRARY, found=found)
    try:
        obtained = obtaining(chosen)
    except (NetworkError, VerificationError) as error:
        if held is None and isinstance(error, VerificationError):
            raise
        report(Notice("warning", error.message))
        if held is not None and held.manifest is not None:
            return plan_of(held, sources, repo=repo, route=route, origin=_LIBRARY, found=found)
        magnet = parse_magnet(entry.magnet)
        leads = Leads(
            index_web_seeds=tuple(one.entry.bases for one in found),
            trackers=tuple((url,) for url in magnet.trackers),
        )
        return MagnetPlan(repo, magnet, route, leads, entry)
    return plan_of(obtained.torrent, sources, repo=repo, route=route, origin=obtained.origin, found=found)


def _no_repository(magnet: Magnet, sources: Sources) -> UsageError:
    """Return the error for a link or infohash without a repository, or for a hash that is not an infohash."""
    digits = magnet.infohash_v2
    for one in sources.publishers:
        if digits is not None and one.publisher == digits:
            return UsageError(
                f"{digits} is the id of the publisher {one.name or 'that you trust'}, not an infohash",
                hint="`p2pqwen search` shows what publishers list",
            )
    hints = ["or trust an index that lists it: `p2pqwen trust add`"]
    if digits is not None and magnet.infohash_v1 is None:
        hints.append(f"if it is the id of a publisher: `p2pqwen trust add {digits}`")
    hints.append("put the link in quotes: without them the shell ends it at the first &")
    return UsageError(
        "its repository is unknown: no index that you trust lists it, and the link names none",
        expected="--repo ORG/MODEL",
        hint="; ".join(hints),
    )


def _by_magnet(magnet: Magnet, sources: Sources, repo: RepoId | None, report: Report) -> FetchPlan:
    found = [one for one in find_entries(sources.publishers, _hash_of(magnet)) if _agrees(one, magnet)]
    if found:
        return _by_listed_magnet(magnet, found, sources, report)
    if (held := _held_by_hash(magnet, sources.library)) is not None:
        route, owner = "the torrent in the library", held.id.repo
        torrent = held.torrent(sources.keys)
        return plan_of(torrent, sources, repo=owner, route=route, origin=_LIBRARY, magnet=magnet)
    if (metainfo := _by_exact_source(magnet, sources.named, report)) is not None:
        torrent = CheckedTorrent.of(metainfo)
        return plan_of(torrent, sources, repo=repo, route="the magnet's source", origin=_SOURCE, magnet=magnet)
    owner_named = repo or repo_of(magnet)
    if owner_named is None:
        raise _no_repository(magnet, sources)
    if repo is not None and (named := repo_of(magnet)) not in {None, repo}:
        report(Notice("warning", f"the magnet link names {named}, fetching it as {repo}"))
    leads = Leads(
        extra_web_seeds=_public(magnet.web_seeds),
        trackers=tuple((url,) for url in _plain(magnet.trackers)),
        peers=magnet.peers,
    )
    return MagnetPlan(owner_named, magnet, "peers", leads)


def _by_listed_magnet(magnet: Magnet, found: list[Found], sources: Sources, report: Report) -> FetchPlan:
    """Follow the index; if its torrent cannot be obtained, try the link's own source."""
    obtaining = _Obtaining(sources, report)
    chosen = obtaining.choose(found, found[0].entry.id)
    plan = _by_entry(chosen, found, obtaining, sources, report)
    if isinstance(plan, TorrentPlan) or (metainfo := _by_exact_source(magnet, sources.named, report)) is None:
        return plan
    check_infohash(metainfo, plan.v1, plan.v2)
    torrent, _ = _without_strangers_word(CheckedTorrent.of(metainfo), sources, plan.repo)
    return plan_of(torrent, sources, repo=plan.repo, route=plan.route, origin=_SOURCE, found=found)


def _by_exact_source(magnet: Magnet, named: NamedHosts, report: Report) -> Metainfo | None:
    def bring(url: str) -> Metainfo | None:
        if is_private_url(url) and (urlsplit(url).query or not urlsplit(url).path.endswith(".torrent")):
            return None  # a stranger's link must not trigger an action on the user's router
        metainfo = read_metainfo(read_now(url, max_bytes=MAX_TORRENT_BYTES, named=named))
        check_infohash(metainfo, magnet.infohash_v1, magnet.infohash_v2)
        # The torrent is as untrusted as the link, so its trackers are filtered the same way.
        tiers = (_plain(tier, named) for tier in metainfo.trackers)
        return replace(metainfo, trackers=tuple(filter(None, tiers)))

    def failed(url: str, error: P2pqwenError) -> None:
        report(Notice("info", f"{url}: {error.message}"))

    return first_of(magnet.exact_sources, bring, failed=failed)


def check_infohash(metainfo: Metainfo, v1: Sha1 | None, v2: Sha256 | None) -> None:
    """Raise `VerificationError` unless a torrent has every infohash asked for."""
    for expected, got in ((v1, metainfo.infohash.v1), (v2, metainfo.infohash.v2)):
        if expected is not None and expected.raw != got.raw:
            raise VerificationError("the torrent has another infohash", expected=expected, got=got)


def _intact(entry: Entry, keys: Mapping[Sha256, PublicKey], library: Library) -> CheckedTorrent | None:
    """Return the held torrent of an entry, with its signatures tried; None if it is damaged or another one."""
    held = library.get(entry.id)
    if held is None or held.torrent_damage() is not None:
        return None
    try:
        torrent = held.torrent(keys)
    except VerificationError:
        return None
    return torrent if torrent.infohash == entry.infohash else None


def _held(target: NamedTarget, library: Library) -> HeldSnapshot | None:
    try:
        return library.find(target.repo, target.commit)
    except NotFoundError:
        return None


def _held_by_hash(magnet: Magnet, library: Library) -> HeldSnapshot | None:
    named = _snapshot_of(magnet)
    candidates = library.all() if named is None else [held] if (held := library.get(named)) is not None else []

    def same(held: HeldSnapshot) -> HeldSnapshot:
        check_infohash(held.metainfo(), magnet.infohash_v1, magnet.infohash_v2)
        return held

    return first_of(candidates, same, failed=lambda *_: None)  # most are other torrents


def _snapshot_of(magnet: Magnet) -> SnapshotId | None:
    try:
        return SnapshotId.parse(magnet.name or "")
    except FormatError:
        return None


def _hash_of(magnet: Magnet) -> Sha1 | Sha256:
    chosen = magnet.infohash_v2 or magnet.infohash_v1
    assert chosen is not None  # noqa: S101 - a magnet has one
    return chosen


def _agrees(found: Found, magnet: Magnet) -> bool:
    return magnet.infohash_v1 in {None, found.entry.infohash.v1}


def _public(urls: Sequence[str]) -> tuple[str, ...]:
    return tuple(url for url in urls if not is_private_url(url))


def _plain(trackers: Sequence[str], named: NamedHosts = NONE_NAMED) -> tuple[str, ...]:
    return tuple(url for url in trackers if tracker_problem(url, named) is None)


def _join_trackers(metainfo: Metainfo, found: Sequence[Found], magnet: Magnet | None) -> tuple[tuple[str, ...], ...]:
    """Return the torrent's tiers, then the trackers of indexes and, if `tracker_problem` allows, of the magnet."""
    known = {url for tier in metainfo.trackers for url in tier}
    added = [url for one in found for url in one.entry.trackers]
    added += _plain(magnet.trackers) if magnet is not None else ()
    return (*metainfo.trackers, *((url,) for url in dict.fromkeys(added) if url not in known))
