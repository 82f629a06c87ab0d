"""What a fetch is of, and who says so: from a target to a snapshot, its torrent, and where its bytes may be.

Routes to the .torrent, in this order: the library (a fetch that was interrupted, or is done, with all that a trusted
index says of it), the trusted indexes (a bundle in this home, mirrors, the bundle's swarm), the file or URL the user
named, the magnet's `xs=`. What none of them has must come from peers, by infohash, or be rebuilt from the source that
the magnet names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from p2pqwen.index.standing import Judgement, Voice, judge, keys_of
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.mirrors.reading import read_now
from p2pqwen.operations.fetch.target import FetchTarget, MagnetTarget, NamedTarget, TorrentTarget
from p2pqwen.operations.indexes.bundle_route import BundleRoute
from p2pqwen.operations.indexes.lookup import Found, choose, find_entries, listed_otherwise, not_listed
from p2pqwen.operations.indexes.rise import needs_more
from p2pqwen.operations.indexes.torrent_source import obtain_torrent
from p2pqwen.operations.preserve.recipe_source import repo_of
from p2pqwen.operations.verify.verify import evidence_of
from p2pqwen.swarm.untrusted_links import tracker_problem
from p2pqwen.torrent.comment import claimed_snapshot
from p2pqwen.torrent.magnet import Magnet, parse_magnet
from p2pqwen.torrent.metainfo import MAX_TORRENT_BYTES, Metainfo, parse_metainfo, read_metainfo
from p2pqwen.torrent.signature import SignerResult, verify_torrent
from p2pqwen.torrent.snapshot_torrent import signed_manifest
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.host import is_private_url
from p2pqwen.values.named_hosts import NONE_NAMED, NamedHosts
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

_LIBRARY = "the library"
_SOURCE = "the magnet's xs="
_PEERS = "peers, by its infohash"


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """A torrent to fetch. `metainfo` is None until its metadata came from peers; then so is `snapshot`.

    `index_web_seeds` holds one list for each trusted index that knows it, the newest first. `route` says who named the
    torrent, `origin` what gave its bytes, both in words. `magnet` is what is known of it while there is no torrent, and
    `entry` what an index says that the torrent must agree with.
    `listed` are the trusted entries of its infohash. `signers` are the torrent's signatures as far as we know their
    keys; `judgement` is what all of it comes to, None while there is no torrent.
    """

    repo: RepoId
    v1: Sha1 | None
    v2: Sha256 | None
    route: str
    origin: str
    metainfo: Metainfo | None = None
    manifest: Manifest | None = None
    provenance: Provenance = Provenance.UNPROVEN
    signers: tuple[SignerResult, ...] = ()
    index_web_seeds: tuple[tuple[str, ...], ...] = ()
    extra_web_seeds: tuple[str, ...] = ()
    trackers: tuple[tuple[str, ...], ...] = ()
    peers: tuple[str, ...] = field(default=())
    entry: Entry | None = None
    magnet: Magnet | None = None
    judgement: Judgement | None = None
    listed: tuple[Found, ...] = ()

    @property
    def snapshot(self) -> SnapshotId:
        """The snapshot; only once there is a torrent."""
        if self.metainfo is None:
            raise ValueError("the torrent is not known yet")
        return SnapshotId(self.repo, self.metainfo.commit)


@dataclass(frozen=True, slots=True)
class Sources:
    """Whom a plan may ask: the library, trusted publishers and their bundles, and who vouches for snapshots.

    `named` are the private hosts that the user named.
    """

    library: Library
    publishers: Sequence[TrustedPublisher]
    voices: Sequence[Voice]
    bundles: BundleRoute | None = None
    named: NamedHosts = NONE_NAMED


def make_plan(target: FetchTarget, sources: Sources, *, repo: RepoId | None, report: Report) -> FetchPlan:
    """Find out what `target` names.

    Raises `NotFoundError` for a name no trusted index lists, `VerificationError` for a torrent that is not what its
    publisher signed, `UsageError` where only `repo` could say whose snapshot it is, `NetworkError`.
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
                metainfo = read_metainfo(read_now(location, max_bytes=MAX_TORRENT_BYTES, named=typed))
            metainfo, repo = _without_strangers_word(metainfo, sources, repo)
            return plan_of(metainfo, sources, repo=repo, route=f"torrent {location}", origin="the file")


def plan_of(
    metainfo: Metainfo,
    sources: Sources,
    *,
    repo: RepoId | None,
    route: str,
    origin: str,
    found: Sequence[Found] | None = None,
    magnet: Magnet | None = None,
) -> FetchPlan:
    """Check a torrent and make a plan of it; raises `VerificationError`, `UsageError`."""
    try:
        commit = metainfo.commit
    except FormatError as error:
        raise FormatError(
            "the torrent is not of a snapshot", expected="a commit of 40 hex digits for its name", got=metainfo.name
        ) from error
    manifest, provenance = signed_manifest(metainfo)
    named = manifest.snapshot.repo if manifest is not None else None
    if named is not None and repo not in {None, named}:
        raise UsageError("--repo contradicts the torrent's manifest", expected=named, got=repo)
    entries = find_entries(sources.publishers, metainfo.infohash) if found is None else found
    owner = named or repo or _named_otherwise(metainfo, entries, magnet)
    if owner is None:
        raise UsageError(
            f"nothing says whose snapshot {commit} is", expected="--repo ORG/MODEL", hint="the torrent has no manifest"
        )
    signers = tuple(verify_torrent(metainfo, keys_of(sources.voices)))
    if bad := [signer.label for signer in signers if signer.state == "invalid"]:
        raise VerificationError(f"the torrent carries an invalid signature by {bad[0]!r}")
    return FetchPlan(
        repo=owner,
        v1=metainfo.infohash.v1,
        v2=metainfo.infohash.v2,
        route=route,
        origin=origin,
        metainfo=metainfo,
        manifest=manifest,
        provenance=provenance,
        signers=signers,
        index_web_seeds=tuple(one.entry.web_seeds for one in entries),
        extra_web_seeds=() if magnet is None else _public(magnet.web_seeds),
        trackers=_join_trackers(metainfo, entries, magnet),
        peers=() if magnet is None else magnet.peers,
        listed=tuple(entries),
        judgement=judge(
            evidence_of(SnapshotId(owner, commit), metainfo, manifest, provenance, signers), sources.voices
        ),
    )


def _named_otherwise(metainfo: Metainfo, listed: Sequence[Found], magnet: Magnet | None) -> RepoId | None:
    """Return whose snapshot a torrent without a manifest is: by a trusted index, else by what anybody can claim."""
    if listed:
        return listed[0].entry.id.repo
    claimed = claimed_snapshot(metainfo)
    return (None if magnet is None else repo_of(magnet)) or (None if claimed is None else claimed.repo)


def _without_strangers_word(
    metainfo: Metainfo, sources: Sources, repo: RepoId | None
) -> tuple[Metainfo, RepoId | None]:
    """Return a torrent without a manifest that trusted indexes list otherwise: it is made of the bytes then.

    Also returns whose snapshot it is.
    """
    manifest, _ = signed_manifest(metainfo)
    if manifest is None or repo not in {None, manifest.snapshot.repo}:
        return metainfo, repo
    if not listed_otherwise(manifest, metainfo.infohash, sources.publishers):
        return metainfo, repo
    return replace(metainfo, manifest=None, signatures={}), manifest.snapshot.repo


def _by_name(target: NamedTarget, sources: Sources, report: Report) -> FetchPlan:
    wanted = target.repo if target.commit is None else SnapshotId(target.repo, target.commit)
    found = find_entries(sources.publishers, wanted)
    if not found and (held := _held(target, sources.library)) is not None:
        return plan_of(held.metainfo(), sources, repo=target.repo, route="the torrent in the library", origin=_LIBRARY)
    if not found:
        raise not_listed(sources.publishers, wanted)
    chosen = _choose(found, wanted, sources, report)
    return _by_entry(chosen, [one for one in found if one.same_torrent == chosen.same_torrent], sources, report)


def _choose(found: list[Found], wanted: RepoId | SnapshotId, sources: Sources, report: Report) -> Found:
    return choose(found, wanted, report=report, load=lambda one: obtain_torrent(one, sources.bundles, report).data)


def _by_entry(chosen: Found, found: Sequence[Found], sources: Sources, report: Report) -> FetchPlan:
    entry = chosen.entry
    route = f"the index of {chosen.publisher.name}"
    held = sources.library.get(entry.id)
    metainfo = None if held is None else _intact(held)
    if metainfo is not None and metainfo.infohash != entry.infohash:
        metainfo = None
    if metainfo is not None and not needs_more(metainfo, chosen):
        return plan_of(metainfo, sources, repo=entry.id.repo, route=route, origin=_LIBRARY, found=found)
    try:
        brought = obtain_torrent(chosen, sources.bundles, report)
    except (NetworkError, VerificationError) as error:
        if metainfo is None and isinstance(error, VerificationError):
            raise
        report(Notice("warning", error.message))
        if metainfo is not None and metainfo.manifest is not None:
            return plan_of(metainfo, sources, repo=entry.id.repo, route=route, origin=_LIBRARY, found=found)
        magnet = parse_magnet(entry.magnet)
        return FetchPlan(
            repo=entry.id.repo,
            v1=entry.infohash.v1,
            v2=entry.infohash.v2,
            route=route,
            origin=_PEERS,
            index_web_seeds=tuple(one.entry.web_seeds for one in found),
            trackers=tuple((url,) for url in magnet.trackers),
            entry=entry,
            magnet=magnet,
        )
    metainfo = parse_metainfo(brought.data)
    return plan_of(metainfo, sources, repo=entry.id.repo, route=route, origin=brought.origin, found=found)


def _by_magnet(magnet: Magnet, sources: Sources, repo: RepoId | None, report: Report) -> FetchPlan:
    found = [one for one in find_entries(sources.publishers, _hash_of(magnet)) if _agrees(one, magnet)]
    if found:
        return _by_listed_magnet(magnet, found, sources, report)
    if (held := _held_by_hash(magnet, sources.library)) is not None:
        return plan_of(
            held.metainfo(),
            sources,
            repo=held.id.repo,
            route="the torrent in the library",
            origin=_LIBRARY,
            magnet=magnet,
        )
    if (metainfo := _by_exact_source(magnet, sources.named, report)) is not None:
        return plan_of(metainfo, sources, repo=repo, route="the magnet's source", origin=_SOURCE, magnet=magnet)
    owner = repo or repo_of(magnet)
    if owner is None:
        raise UsageError(
            "nothing says whose snapshot it is: no index that you trust lists it, and it names none itself",
            expected="--repo ORG/MODEL",
            hint="or trust an index that lists it: `p2pqwen trust add`",
        )
    if repo is not None and (named := repo_of(magnet)) not in {None, repo}:
        report(Notice("warning", f"the magnet link names {named}, fetching it as {repo}"))
    return FetchPlan(
        repo=owner,
        v1=magnet.infohash_v1,
        v2=magnet.infohash_v2,
        route="peers",
        origin=_PEERS,
        extra_web_seeds=_public(magnet.web_seeds),
        trackers=tuple((url,) for url in _plain(magnet.trackers)),
        peers=magnet.peers,
        magnet=magnet,
    )


def _by_listed_magnet(magnet: Magnet, found: list[Found], sources: Sources, report: Report) -> FetchPlan:
    """Follow the index; where nobody has the torrent it lists, the link's own source may."""
    chosen = _choose(found, found[0].entry.id, sources, report)
    plan = _by_entry(chosen, found, sources, report)
    if plan.metainfo is None and (metainfo := _by_exact_source(magnet, sources.named, report)) is not None:
        check_infohash(metainfo, plan.v1, plan.v2)
        metainfo, _ = _without_strangers_word(metainfo, sources, plan.repo)
        return plan_of(metainfo, sources, repo=plan.repo, route=plan.route, origin=_SOURCE, found=found)
    return plan


def _by_exact_source(magnet: Magnet, named: NamedHosts, report: Report) -> Metainfo | None:
    def bring(url: str) -> Metainfo | None:
        if is_private_url(url) and (urlsplit(url).query or not urlsplit(url).path.endswith(".torrent")):
            return None  # a link from a stranger must not press a button on the user's router
        metainfo = read_metainfo(read_now(url, max_bytes=MAX_TORRENT_BYTES, named=named))
        check_infohash(metainfo, magnet.infohash_v1, magnet.infohash_v2)
        # Whoever made the link made this torrent: its trackers are a stranger's like the link's own.
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


def _intact(held: HeldSnapshot) -> Metainfo | None:
    """Return a held snapshot's torrent unless it is damaged."""
    try:
        return held.metainfo() if held.torrent_damage() is None else None
    except FormatError:
        return None


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

    return first_of(candidates, same, failed=lambda *_: None)  # another torrent, as most are


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
    """Return the torrent's tiers, then what indexes and the magnet add; of the magnet only what `strangers` lets by."""
    known = {url for tier in metainfo.trackers for url in tier}
    added = [url for one in found for url in parse_magnet(one.entry.magnet).trackers]
    added += _plain(magnet.trackers) if magnet is not None else ()
    return (*metainfo.trackers, *((url,) for url in dict.fromkeys(added) if url not in known))
