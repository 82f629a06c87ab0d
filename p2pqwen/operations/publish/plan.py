"""What to publish, and the resulting rows of the next index: from held torrents, or carried over from the last.

A snapshot that the Hub no longer shows keeps its row, without the Hub's web seed, which is dead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Self

from p2pqwen.errors import FormatError, UsageError, VerificationError
from p2pqwen.index.document import IndexDocument
from p2pqwen.index.entry import PATH_FIELD, Entry, entry_magnet
from p2pqwen.index.upstream import Upstream
from p2pqwen.library.durable import disk_errors
from p2pqwen.library.snapshots import HeldSnapshot
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.publish.elsewhere import Elsewhere
from p2pqwen.operations.publish.named_places import NOTHING_NAMED, NamedPlaces
from p2pqwen.operations.publish.selection import EVERYTHING, Selection
from p2pqwen.operations.verify.file_check import pointer_files
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.magnet import parse_magnet
from p2pqwen.torrent.snapshot_torrent import check_recipe
from p2pqwen.torrent.web_address import check_tracker_url
from p2pqwen.values.origin_site import OriginSite
from p2pqwen.values.repo_pattern import expand, pattern_of
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.snapshot_name import SnapshotName
from p2pqwen.values.web_url import check_web_url


@dataclass(frozen=True, slots=True)
class Plan:
    """What to publish, and where. URLs of web seeds may hold `{repo}`; those that end in `{path}` are path seeds.

    `mirrors`, `web_seeds` and `trackers` are added to `named`, the places that the continued index names; the
    `remove_…` ones leave it. `base` is an index to continue that this home did not publish itself; `draft` is where to
    write an index that others have yet to sign. `withdraw`: what leaves the list, with the reasons; `reinstate`:
    withdrawn snapshots to list again. `site` is the origin's, whose web seeds are listed too. With `dht`, the index
    names the key of its DHT pointer. `upstream` is what is known of snapshots on the Hub. `checked_seeds` are the bases
    that passed the check, None if nothing was checked. The next index must not contradict those in `elsewhere`. With
    `details`, every change is reported, else a summary. With `if_changed`, an index that would say the same as the last
    is not signed.
    """

    out: Path
    site: OriginSite
    mirrors: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()
    remove_mirrors: tuple[str, ...] = ()
    remove_web_seeds: tuple[str, ...] = ()
    remove_trackers: tuple[str, ...] = ()
    selection: Selection = EVERYTHING
    withdraw: Mapping[SnapshotName, str] = field(default_factory=dict)
    reinstate: tuple[SnapshotName, ...] = ()
    if_changed: bool = False
    base: Path | None = None
    draft: Path | None = None
    dht: bool = False
    upstream: Mapping[SnapshotId, Upstream] = field(default_factory=dict)
    checked_seeds: Mapping[SnapshotId, tuple[str, ...]] | None = None
    elsewhere: tuple[Elsewhere, ...] = ()
    details: bool = False
    named: NamedPlaces = NOTHING_NAMED

    def checked(self) -> Self:
        """Return the plan with its URLs in the form that indexes hold; raises `UsageError`."""
        try:
            return replace(
                self,
                mirrors=tuple(check_web_url(url) for url in self.mirrors),
                web_seeds=tuple(_base_pattern(url) for url in self.web_seeds),
                trackers=tuple(check_tracker_url(url) for url in self.trackers),
                remove_web_seeds=tuple(_base_pattern(url) for url in self.remove_web_seeds),
            )
        except FormatError as error:
            raise UsageError.of(error) from error

    def going_on_from(self, document: IndexDocument | None) -> Self:
        """Return the plan with the places of an index that it keeps; its `mirrors` are then complete.

        Raises `NotFoundError` for a place to remove that is not named, `UsageError` for too many mirrors.
        """
        named = NamedPlaces.of(document).without(self.remove_mirrors, self.remove_web_seeds, self.remove_trackers)
        return replace(self, named=named, mirrors=named.mirrors_with(self.mirrors))

    def seed_patterns(self, snapshot: SnapshotId) -> tuple[str, ...]:
        """Return the bases to try for a snapshot, as patterns.

        The origin's come first, then those of this plan, then those that were named before.
        """
        own = self.site.web_seeds(snapshot.repo).all
        gone = self.upstream.get(snapshot) is Upstream.GONE
        asked: dict[str, str] = {url: pattern_of(url, snapshot.repo) for url in (() if gone else own)}
        for url in (*self.web_seeds, *self._named_web_seeds(snapshot)):
            asked.setdefault(expand(url, snapshot.repo), url)
        return tuple(asked.values())

    def is_partial(self, pattern: str, repo: RepoId) -> bool:
        """Tell whether a pattern is the origin's base that serves only some of the files."""
        return expand(pattern, repo) == self.site.web_seeds(repo).partial

    def trackers_of(self, snapshot: SnapshotId) -> tuple[str, ...]:
        """Return the trackers of a snapshot."""
        return tuple(dict.fromkeys((*self.named.trackers_of(snapshot), *self.trackers)))

    def _named_web_seeds(self, snapshot: SnapshotId) -> list[str]:
        """Return the web seeds named before, without the origin's, which come and go with it."""
        own = self.site.web_seeds(snapshot.repo).all
        return [url for url in self.named.web_seeds_of(snapshot) if expand(url, snapshot.repo) not in own]

    def web_seeds_of(self, snapshot: SnapshotId) -> tuple[str, ...]:
        """Return the BEP 19 bases of a snapshot, to which a client appends `<commit>/<path>`."""
        return tuple(url for url in self._all_seeds_of(snapshot) if not url.endswith(PATH_FIELD))

    def path_seeds_of(self, snapshot: SnapshotId) -> tuple[str, ...]:
        """Return the addresses of a snapshot to which a reader of the index appends the path alone."""
        return _path_seeds(self._all_seeds_of(snapshot))

    def _all_seeds_of(self, snapshot: SnapshotId) -> tuple[str, ...]:
        if self.checked_seeds is not None and snapshot in self.checked_seeds:
            return self.checked_seeds[snapshot]
        named = [expand(url, snapshot.repo) for url in (*self.web_seeds, *self._named_web_seeds(snapshot))]
        if self.upstream.get(snapshot) is not Upstream.GONE:
            named.insert(0, self.site.web_seeds(snapshot.repo).whole)
        return tuple(dict.fromkeys(_checked(url) for url in named))


def entries_of(
    held: Sequence[HeldSnapshot],
    plan: Plan,
    before: IndexDocument | None,
    now: datetime,
    returning: Mapping[SnapshotId, CheckedTorrent],
) -> list[Entry]:
    """Return the rows of held snapshots, then those of others that change.

    The others are `returning`, which are listed again, with their torrents, and the rows of `before` that `_renewed`
    changes.
    """
    listed = {entry.id: entry for entry in before.entries} if before else {}
    rows = []
    for one in held:
        torrent = prepared(one, plan)
        _refuse_pointers(one, () if torrent.manifest is None else torrent.manifest.files)
        rows.append(_entry(one.id, torrent, listed.get(one.id), now, plan))
    for snapshot, torrent in returning.items():
        rows.append(_entry(snapshot, announced(snapshot, torrent, plan), None, now, plan))
    moved = before is not None and before.mirrors != plan.mirrors
    here = {one.id for one in held}
    renewed = [(entry, _renewed(entry, plan, moved=moved)) for entry in listed.values() if entry.id not in here]
    return [*rows, *(new for old, new in renewed if new is not old and new != old)]


def _renewed(entry: Entry, plan: Plan, *, moved: bool) -> Entry:
    """Return the row of a snapshot that is not held, as the Hub shows it now and with the plan's changes of places.

    No web seed is added to it, because it could not be checked. `moved`: the mirrors changed.
    """
    state = plan.upstream.get(entry.id, entry.upstream)
    if state is entry.upstream and not (moved or plan.trackers or plan.remove_trackers or plan.remove_web_seeds):
        return entry
    magnet = parse_magnet(entry.magnet)
    seeds = plan.named.web_seeds_of(entry.id)
    if state is not entry.upstream:
        own = plan.site.web_seeds(entry.id.repo).all
        others = tuple(url for url in seeds if url not in own)
        seeds = (*(url for url in plan.web_seeds_of(entry.id) if url in own), *others)
    sources = tuple(_folder_url(url) + entry.torrent for url in plan.mirrors) if moved else magnet.exact_sources
    plain, path_seeds = tuple(url for url in seeds if not url.endswith(PATH_FIELD)), _path_seeds(seeds)
    changed = replace(magnet, web_seeds=plain, trackers=plan.trackers_of(entry.id), exact_sources=sources)
    link = entry.magnet if changed == magnet else str(changed)
    return replace(entry, upstream=state, web_seeds=plain, path_seeds=path_seeds, magnet=link)


def publishable(held: HeldSnapshot) -> CheckedTorrent:
    """Return a snapshot's torrent; raises `VerificationError`, `DiskError` for one that no index may list."""
    torrent = held.torrent()
    check_recipe(torrent.metainfo)
    if torrent.snapshot != held.id:
        raise VerificationError(
            f"the torrent of {held.id} carries no manifest of it", hint="preserve the snapshot again to make one"
        )
    return torrent


def license_of(torrent: CheckedTorrent) -> str | None:
    """Return the license that a torrent's manifest names."""
    return None if torrent.manifest is None else torrent.manifest.license


def prepared(held: HeldSnapshot, plan: Plan) -> CheckedTorrent:
    """Return a snapshot's torrent with the web seeds and trackers of this plan."""
    return announced(held.id, publishable(held), plan)


def announced(snapshot: SnapshotId, torrent: CheckedTorrent, plan: Plan) -> CheckedTorrent:
    """Return a torrent with the web seeds and trackers of this plan."""
    trackers = tuple((tracker,) for tracker in plan.trackers_of(snapshot))
    return torrent.with_uncovered(web_seeds=plan.web_seeds_of(snapshot), trackers=trackers)


def _refuse_pointers(held: HeldSnapshot, rows: Sequence[FileRow]) -> None:
    """Sign no snapshot with LFS pointers in place of files: it may be older than the check for them."""
    with disk_errors(f"look at {held.folder}"):
        wrong = pointer_files(held.folder, rows)
    if wrong:
        first = min(wrong)
        raise VerificationError(
            f"not signed: {first} of {held.id} is an LFS pointer, not the file itself",
            expected=wrong[first].expected,
            got=wrong[first].got,
            hint=f"drop it with `p2pqwen remove {held.id}`, then preserve it again",
        )


def _entry(
    snapshot: SnapshotId,
    torrent: CheckedTorrent,
    old: Entry | None,
    now: datetime,
    plan: Plan,
) -> Entry:
    metainfo, manifest = torrent.metainfo, torrent.manifest
    if manifest is None:
        raise ValueError("a signed torrent carries its manifest")
    size = metainfo.layout.total_size
    return Entry(
        id=snapshot,
        size=size,
        files=len(metainfo.files),
        infohash=metainfo.infohash,
        magnet=entry_magnet(
            snapshot,
            metainfo.infohash,
            size,
            web_seeds=metainfo.web_seeds,
            trackers=tuple(tracker for tier in metainfo.trackers for tracker in tier),
            mirrors=tuple(_folder_url(url) for url in plan.mirrors),
        ),
        manifest=manifest.digest,
        proven=torrent.provenance is Provenance.PROVEN,
        web_seeds=metainfo.web_seeds,
        license=manifest.license,
        added=old.added if old else now,
        upstream=plan.upstream.get(snapshot, old.upstream if old else Upstream.UNKNOWN),
        extra=old.extra if old else {},
        path_seeds=plan.path_seeds_of(snapshot),
    )


def _folder_url(url: str) -> str:
    """Return the folder of an address: that of an index file, or the address itself."""
    return (url.rpartition("/")[0] if url.endswith(".json") else url.rstrip("/")) + "/"


def _path_seeds(urls: Sequence[str]) -> tuple[str, ...]:
    return tuple(url.removesuffix(PATH_FIELD) for url in urls if url.endswith(PATH_FIELD))


def _checked(url: str) -> str:
    """Return a web seed unchanged; raises `FormatError` if it is no address without its `{path}`."""
    check_web_url(url.removesuffix(PATH_FIELD))
    return url


def _base_pattern(url: str) -> str:
    if url.endswith(f"/{PATH_FIELD}"):
        _checked(url.replace("{repo}", "org/model"))
        return url
    pattern = _folder_url(url).removesuffix("{commit}/")  # BEP 19 clients add the commit themselves
    check_web_url(pattern.replace("{repo}", "org/model"))
    return pattern
