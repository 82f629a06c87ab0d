"""Publish the library: signed torrents and a signed index in a folder of static files.

Order of writes: torrents, then index.json, then the memory of what was published. A crash before index.json leaves the
old index, whose torrents all still stand; a crash after it is healed by reading index.json at the next publishing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from p2pqwen.errors import FormatError, NotFoundError, P2pqwenError, UsageError, VerificationError
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.index.acceptance import Accepted, TrustedState, accept
from p2pqwen.index.diff import IndexDiff, describe, diff
from p2pqwen.index.document import (
    INDEX_FILE,
    INDEX_TYPE,
    MAX_INDEX_SIZE,
    IndexDocument,
    Withdrawal,
    encode_file,
)
from p2pqwen.index.entry import Entry, Upstream, entry_magnet
from p2pqwen.index.root import INDEX_ROLE, Root, SignedRoot
from p2pqwen.library import durable
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.manifest.manifest import parse_manifest
from p2pqwen.manifest.provenance import Provenance, prove
from p2pqwen.operations.keys import Passphrase, open_keys
from p2pqwen.operations.snapshot_build import hub_web_seed
from p2pqwen.signing.envelope import sign
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.recipe import check_recipe
from p2pqwen.torrent.signature import sign_torrent
from p2pqwen.torrent.web_address import check_tracker_url
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.strict_json import JsonValue, canonical
from p2pqwen.values.web_url import check_web_url


@dataclass(frozen=True, slots=True)
class Plan:
    """What to publish, and where. URLs of web seeds may hold `{repo}`."""

    out: Path
    endpoint: str
    mirrors: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    trackers: tuple[str, ...] = ()
    withdraw: Mapping[SnapshotId, str] | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """What was published."""

    accepted: Accepted
    difference: IndexDiff
    index: Path


Approve = Callable[[IndexDiff], bool]


def publish(
    library: Library,
    keys: KeyStore,
    plan: Plan,
    *,
    passphrase: Passphrase,
    now: datetime,
    approve: Approve = lambda _: True,
    report: Report = ignore,
) -> Published:
    """Write every complete snapshot of the library, and what was published before, as a site under `plan.out`.

    Raises `UsageError`, `NotFoundError` (no publisher, nothing to publish), `VerificationError`, `DiskError`.
    """
    plan = _checked(plan)
    with durable.lock(keys.lock_path):
        roots = keys.roots()
        root = roots[-1].root
        before = last_published(keys, plan.out, now, report)
        private = open_keys(keys, root.roles[INDEX_ROLE].keyids, passphrase)
        if len(private) < root.roles[INDEX_ROLE].threshold:
            raise NotFoundError(
                "too few index keys are in this home to publish",
                expected=root.roles[INDEX_ROLE].threshold,
                got=len(private),
                hint="write a draft with --draft FILE and let others sign it with `p2pqwen index sign`",
            )
        torrents = sign_snapshots(library, plan, root, private, report)
        document = next_document(before, roots, torrents, plan, now)
        if not document.entries:
            report(Notice("warning", "the index lists nothing: the library holds no complete snapshot"))
        difference = diff(before.document if before else None, document)
        for line in describe(difference):
            report(Notice("info", line))
        if not approve(difference):
            raise P2pqwenError("not published: the change was not approved")
        data = encode_file(roots, document.to_json(), _sign_index(document, private))
        return _write(library, keys, plan, roots, torrents, data, difference, now)


def last_published(keys: KeyStore, out: Path, now: datetime, report: Report) -> Accepted | None:
    """Return the newest index this publisher gave out, from our memory or the site's folder.

    Raises `UsageError` when the folder holds somebody else's index, `RefusedError` when it holds a broken one of ours.
    """
    trusted = TrustedState(keys.publisher(), keys.roots())
    best: Accepted | None = None
    if (remembered := keys.published()) is not None:
        best = accept(remembered, TrustedState(trusted.publisher), now)
    site = out / INDEX_FILE
    if not site.exists():
        return best
    data = durable.read(site, max_bytes=MAX_INDEX_SIZE)
    try:
        there = accept(data, TrustedState(None), now)
    except VerificationError as error:
        raise UsageError(
            f"{site} is no valid index: {error.message}", hint="choose another folder, or remove that file"
        ) from error
    if there.publisher != trusted.publisher:
        raise UsageError(
            f"{site} belongs to another publisher",
            expected=trusted.publisher,
            got=there.publisher,
            hint="choose another folder for --out",
        )
    if best is not None and there.position == best.position and there.digest != best.digest:
        raise UsageError(
            f"{site} holds another index {there.position} than this home published",
            hint="two homes published with one set of keys; keep one of both files and say which",
        )
    if best is None or there.position > best.position:
        report(Notice("info", f"going on from {site}, index {there.position}"))
        return there
    return best


def sign_snapshots(
    library: Library, plan: Plan, root: Root, private: list[PrivateKey], report: Report
) -> dict[SnapshotId, Metainfo]:
    """Return the signed torrent of every complete snapshot that is not withdrawn."""
    held = [one for one in library.all() if one.state is State.COMPLETE and one.id not in (plan.withdraw or {})]
    signed = {}
    for done, one in enumerate(held):
        report(Progress("sign", done, len(held), str(one.id)))
        signed[one.id] = _sign_snapshot(one, plan, root, private)
    if held:
        report(Progress("sign", len(held), len(held)))
    return signed


def next_document(
    before: Accepted | None,
    roots: tuple[SignedRoot, ...],
    torrents: Mapping[SnapshotId, Metainfo],
    plan: Plan,
    now: datetime,
) -> IndexDocument:
    """Return the index that follows `before`: its entries stay unless withdrawn, the library's are added or renewed.

    Raises `NotFoundError` when it would withdraw what was never listed.
    """
    old = before.document if before else None
    listed = {entry.id: entry for entry in old.entries} if old else {}
    withdrawn = {gone.id: gone for gone in old.withdrawn} if old else {}
    withdraw = plan.withdraw or {}
    if unknown := next((one for one in withdraw if one not in listed), None):
        raise NotFoundError(f"cannot withdraw {unknown}: the index does not list it")
    mirrors = plan.mirrors or (old.mirrors if old else ())
    for snapshot, metainfo in torrents.items():
        withdrawn.pop(snapshot, None)
        listed[snapshot] = _entry(snapshot, metainfo, listed.get(snapshot), mirrors, now)
    for snapshot, reason in withdraw.items():
        del listed[snapshot]
        withdrawn[snapshot] = Withdrawal(snapshot, reason)
    root = roots[-1].root
    same_epoch = before is not None and before.document.epoch == root.index_epoch
    return IndexDocument(
        publisher=roots[0].root.digest,
        root_version=root.version,
        epoch=root.index_epoch,
        version=before.document.version + 1 if before is not None and same_epoch else 1,
        previous=before.digest if before else None,
        issued=now,
        mirrors=mirrors,
        dht=old.dht if old else None,
        entries=tuple(sorted(listed.values(), key=lambda entry: entry.id)),
        withdrawn=tuple(sorted(withdrawn.values(), key=lambda gone: gone.id)),
        extra=old.extra if old else {},
    )


def _checked(plan: Plan) -> Plan:
    try:
        return replace(
            plan,
            mirrors=tuple(check_web_url(url) for url in plan.mirrors),
            web_seeds=tuple(_folder_url(url) for url in plan.web_seeds),
            trackers=tuple(check_tracker_url(url) for url in plan.trackers),
        )
    except FormatError as error:
        raise UsageError(error.what, expected=error.expected, got=error.got) from error


def _folder_url(url: str) -> str:
    """Return the folder an address stands for: an index file's, or itself."""
    return (url.rpartition("/")[0] if url.endswith(".json") else url.rstrip("/")) + "/"


def _web_seeds(plan: Plan, repo: RepoId) -> tuple[str, ...]:
    """Return the BEP 19 bases of a repository: a client appends `<commit>/<path>`."""
    named = (url.replace("{repo}", repo.text).removesuffix("{commit}/") for url in plan.web_seeds)
    return tuple(dict.fromkeys(check_web_url(url) for url in (hub_web_seed(plan.endpoint, repo), *named)))


def _sign_snapshot(held: HeldSnapshot, plan: Plan, root: Root, private: list[PrivateKey]) -> Metainfo:
    metainfo = held.metainfo()
    check_recipe(metainfo)
    if metainfo.manifest is None or parse_manifest(metainfo.manifest).snapshot != held.id:
        raise VerificationError(
            f"the torrent of {held.id} carries no manifest of it", hint="preserve the snapshot again to make one"
        )
    metainfo = replace(
        metainfo,
        web_seeds=_web_seeds(plan, held.id.repo),
        trackers=tuple((tracker,) for tracker in plan.trackers),
    )
    for key in private:
        metainfo = sign_torrent(metainfo, key, root.keys[key.public.keyid].label)
    return metainfo


def _entry(
    snapshot: SnapshotId, metainfo: Metainfo, old: Entry | None, mirrors: tuple[str, ...], now: datetime
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
        upstream=old.upstream if old else Upstream.UNKNOWN,
        extra=old.extra if old else {},
    )


def _sign_index(document: IndexDocument, private: list[PrivateKey]) -> list[JsonValue]:
    payload = canonical(document.to_json())
    return [sign(INDEX_TYPE, payload, key) for key in private]


def _write(
    library: Library,
    keys: KeyStore,
    plan: Plan,
    roots: tuple[SignedRoot, ...],
    torrents: Mapping[SnapshotId, Metainfo],
    data: bytes,
    difference: IndexDiff,
    now: datetime,
) -> Published:
    # What a reader would refuse is never written.
    accepted = accept(data, TrustedState(roots[0].root.digest, roots), now)
    for entry in accepted.document.entries:
        if (metainfo := torrents.get(entry.id)) is not None:
            encoded = metainfo.encode()
            library.replace_torrent(entry.id, encoded)
            keys.write_torrent(entry.torrent, encoded)
            durable.write(plan.out / entry.torrent, encoded)
        elif not (plan.out / entry.torrent).exists() and (kept := keys.torrent(entry.torrent)) is not None:
            durable.write(plan.out / entry.torrent, kept)  # no longer in the library, still listed
    index = plan.out / INDEX_FILE
    durable.write(index, data)
    keys.write_published(data)
    return Published(accepted, difference, index)
