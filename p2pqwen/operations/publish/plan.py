"""What to publish, and the rows of the next index that come of it: from held torrents, or carried on from the last.

A snapshot that the Hub no longer shows keeps its row, without the web seed that is dead with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Self

from p2pqwen.errors import FormatError, UsageError, VerificationError
from p2pqwen.index.acceptance import Accepted
from p2pqwen.index.entry import Entry, Upstream, entry_magnet
from p2pqwen.library.durable import disk_errors
from p2pqwen.library.snapshots import HeldSnapshot
from p2pqwen.manifest.manifest import parse_manifest
from p2pqwen.manifest.provenance import Provenance, prove
from p2pqwen.operations.publish.elsewhere import Elsewhere
from p2pqwen.operations.verify.file_check import pointer_files
from p2pqwen.torrent.magnet import parse_magnet
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.snapshot_torrent import check_recipe
from p2pqwen.torrent.web_address import check_tracker_url
from p2pqwen.values.origin_site import OriginSite
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.web_url import check_web_url


@dataclass(frozen=True, slots=True)
class Plan:
    """What to publish, and where. URLs of web seeds may hold `{repo}`.

    `base` is an index to go on from that this home did not publish itself; `draft` is where an index goes that
    others have yet to sign. `site` is the origin's, whose web seeds are listed too. With `dht` the index names the key
    of its DHT pointer. `upstream` is what is known of snapshots on the Hub. `checked_seeds` are the bases that passed
    the check; None: nothing was checked. The next index must not contradict what is `elsewhere`.
    """

    out: Path
    site: OriginSite
    mirrors: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()
    withdraw: Mapping[SnapshotId, str] = field(default_factory=dict)
    base: Path | None = None
    draft: Path | None = None
    dht: bool = False
    upstream: Mapping[SnapshotId, Upstream] = field(default_factory=dict)
    checked_seeds: Mapping[SnapshotId, tuple[str, ...]] | None = None
    elsewhere: tuple[Elsewhere, ...] = ()

    def checked(self) -> Self:
        """Return the plan with its URLs in the form that indexes hold; raises `UsageError`."""
        try:
            return replace(
                self,
                mirrors=tuple(check_web_url(url) for url in self.mirrors),
                web_seeds=tuple(_base_pattern(url) for url in self.web_seeds),
                trackers=tuple(check_tracker_url(url) for url in self.trackers),
            )
        except FormatError as error:
            raise UsageError(error.what, expected=error.expected, got=error.got) from error

    def seed_patterns(self, snapshot: SnapshotId) -> tuple[str, ...]:
        """Return the bases to try for a snapshot, with `{repo}` still in them: the origin's, then the named."""
        own = () if self.upstream.get(snapshot) is Upstream.GONE else self.site.web_seeds().all
        return tuple(dict.fromkeys((*own, *self.web_seeds)))

    def web_seeds_of(self, snapshot: SnapshotId) -> tuple[str, ...]:
        """Return the BEP 19 bases of a snapshot, to which a client appends `<commit>/<path>`."""
        if self.checked_seeds is not None and snapshot in self.checked_seeds:
            return self.checked_seeds[snapshot]
        named = [url.replace("{repo}", snapshot.repo.text) for url in self.web_seeds]
        if self.upstream.get(snapshot) is not Upstream.GONE:
            named.insert(0, self.site.web_seeds(snapshot.repo).whole)
        return tuple(dict.fromkeys(check_web_url(url) for url in named))


def entries_of(held: Sequence[HeldSnapshot], plan: Plan, base: Accepted | None, now: datetime) -> list[Entry]:
    """Return the rows of what is held, and of what is not but is otherwise on the Hub than `base` says."""
    mirrors = plan.mirrors or (base.document.mirrors if base else ())
    listed = {entry.id: entry for entry in base.document.entries} if base else {}
    rows = []
    for one in held:
        metainfo = prepared(one, plan)
        _refuse_pointers(one, metainfo)
        rows.append(_entry(one.id, metainfo, listed.get(one.id), mirrors, now, plan))
    return [*rows, *_carried(listed, {one.id for one in held}, plan)]


def _carried(listed: Mapping[SnapshotId, Entry], held: set[SnapshotId], plan: Plan) -> Iterator[Entry]:
    for snapshot, entry in listed.items():
        state = plan.upstream.get(snapshot, entry.upstream)
        if snapshot in held or snapshot in plan.withdraw or state is entry.upstream:
            continue
        own = plan.site.web_seeds(snapshot.repo).all
        others = tuple(url for url in entry.web_seeds if url not in own)
        seeds = (*(url for url in plan.web_seeds_of(snapshot) if url in own), *others)
        magnet = replace(parse_magnet(entry.magnet), web_seeds=seeds)
        yield replace(entry, upstream=state, web_seeds=seeds, magnet=str(magnet))


def publishable(held: HeldSnapshot) -> Metainfo:
    """Return a snapshot's torrent; raises `VerificationError`, `DiskError` for one that no index may list."""
    metainfo = held.metainfo()
    check_recipe(metainfo)
    if metainfo.manifest is None or parse_manifest(metainfo.manifest).snapshot != held.id:
        raise VerificationError(
            f"the torrent of {held.id} carries no manifest of it", hint="preserve the snapshot again to make one"
        )
    return metainfo


def prepared(held: HeldSnapshot, plan: Plan) -> Metainfo:
    """Return a snapshot's torrent with the seeds and trackers of this publishing."""
    metainfo = publishable(held)
    return replace(
        metainfo,
        web_seeds=plan.web_seeds_of(held.id),
        trackers=tuple((tracker,) for tracker in plan.trackers),
    )


def _refuse_pointers(held: HeldSnapshot, metainfo: Metainfo) -> None:
    """Sign no snapshot that holds LFS pointers for files: it may have come before every reading looked for them."""
    rows = () if metainfo.manifest is None else parse_manifest(metainfo.manifest).files
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
    metainfo: Metainfo,
    old: Entry | None,
    mirrors: tuple[str, ...],
    now: datetime,
    plan: Plan,
) -> Entry:
    if metainfo.manifest is None:
        raise ValueError("a signed torrent carries its manifest")
    manifest = parse_manifest(metainfo.manifest)
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
            mirrors=tuple(_folder_url(url) for url in mirrors),
        ),
        manifest=manifest.digest,
        proven=prove(manifest) is Provenance.PROVEN,
        web_seeds=metainfo.web_seeds,
        license=manifest.license,
        added=old.added if old else now,
        upstream=plan.upstream.get(snapshot, old.upstream if old else Upstream.UNKNOWN),
        extra=old.extra if old else {},
    )


def _folder_url(url: str) -> str:
    """Return the folder an address stands for: an index file's, or itself."""
    return (url.rpartition("/")[0] if url.endswith(".json") else url.rstrip("/")) + "/"


def _base_pattern(url: str) -> str:
    pattern = _folder_url(url).removesuffix("{commit}/")  # BEP 19 clients add the commit themselves
    check_web_url(pattern.replace("{repo}", "org/model"))
    return pattern
