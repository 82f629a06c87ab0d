"""Publish the library: signed torrents and a signed index in a folder of static files.

With enough index keys in this home, the site is complete at once. If several people sign, a draft is written, each adds
a signature with `sign_draft`, and `publish_signed` publishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from p2pqwen.containment import each
from p2pqwen.errors import FormatError, NotFoundError, P2pqwenError, UsageError, VerificationError, about
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.index.acceptance import Accepted, Position, TrustedState, accept_draft
from p2pqwen.index.bundle import bundle_layout, bundle_paths
from p2pqwen.index.diff import IndexDiff, describe, diff
from p2pqwen.index.diff_summary import summarise
from p2pqwen.index.document import INDEX_TYPE, MAX_INDEX_SIZE, DhtPointer, IndexDocument, encode_file, parse_file
from p2pqwen.index.entry import Entry, torrent_location
from p2pqwen.index.next_index import next_document, next_position
from p2pqwen.index.pointer import DEFAULT_SALT
from p2pqwen.index.root import INDEX_ROLE, Root
from p2pqwen.index.upstream import Upstream
from p2pqwen.library import durable
from p2pqwen.library.index_rows.judging import accept_apart
from p2pqwen.library.index_source import FileSource, bytes_of
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.operations.indexes.own_index import last_published
from p2pqwen.operations.publish.keys import Passphrase, open_keys
from p2pqwen.operations.publish.list_changes import ListChanges, changes_of
from p2pqwen.operations.publish.mirror_tree import MirrorTreeAnswer
from p2pqwen.operations.publish.name_warnings import warn_of_cut_names
from p2pqwen.operations.publish.plan import Plan, entries_of, license_of, prepared, publishable
from p2pqwen.operations.publish.signed_file import signed_file
from p2pqwen.operations.publish.site import (
    check_known,
    check_site,
    complete_site,
    read_base,
    remove_withdrawn,
    write_index,
    write_torrent,
)
from p2pqwen.operations.publish.web_seed_check import Contradiction, LeftOut, SeedChoice, Torrents, choose_web_seeds
from p2pqwen.signing.envelope import sign
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.strict_json import JsonValue, canonical
from p2pqwen.values.utc_time import EARLIEST, format_time

SIGN_AGAIN_AFTER = timedelta(days=30)
"""Readers are told of an index that was last signed three months ago: an unchanged one is signed again before that."""


@dataclass(frozen=True, slots=True)
class Published:
    """What was published, or drafted: then `accepted.signers` tells who has yet to sign.

    `skipped`: held snapshots that were left out, with the reasons; an earlier entry stays as it was. `unchanged`: the
    last index still says everything, and no other was signed. `mirror_tree`: what it holds, None without one.
    """

    accepted: Accepted
    difference: IndexDiff
    index: Path
    left_out: tuple[LeftOut, ...] = ()
    skipped: tuple[tuple[SnapshotId, str], ...] = ()
    unchanged: bool = False
    mirror_tree: MirrorTreeAnswer | None = None


@dataclass(frozen=True, slots=True)
class Signing:
    """What the user is asked to sign: which index of which publisher, with which keys, and what it changes.

    `unchanged`: the last index, if it already says all of it.
    """

    position: Position
    publisher: str
    signers: tuple[str, ...]
    difference: IndexDiff
    unchanged: Accepted | None = None

    def __str__(self) -> str:
        return f"index {self.position} of {self.publisher} with {', '.join(self.signers)}"


Approve = Callable[[Signing], bool]


class Checker(Protocol):
    """Checks web seeds before they are listed, as `choose_web_seeds` does."""

    def __call__(
        self, torrents: Torrents, plan: Plan, before: Mapping[SnapshotId, tuple[str, ...]], *, report: Report
    ) -> SeedChoice:
        """Return the bases to list."""


class Pages(Protocol):
    """Writes the pages of a site whose index was written, as `SitePages` does."""

    def check(self, out: Path) -> None:
        """Raise `UsageError` if they cannot be written, before anything is signed."""

    def write(
        self, out: Path, accepted: Accepted, private: Sequence[PrivateKey], report: Report = ignore
    ) -> MirrorTreeAnswer | None:
        """Update them to the index, and sign their sums with the opened index keys."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """The next index as a plan makes it, not yet signed; `root` says who may sign it.

    `entries` are the rows that the plan makes, those of `held` first.
    """

    plan: Plan
    root: Root
    last: Accepted | None
    base: Accepted | None
    document: IndexDocument
    difference: IndexDiff
    held: tuple[HeldSnapshot, ...]
    entries: tuple[Entry, ...]
    left_out: tuple[LeftOut, ...]
    skipped: tuple[tuple[SnapshotId, str], ...]

    @property
    def still_says_it(self) -> Accepted | None:
        """The last index, if the next one would say the same and it is too early to sign that again."""
        last, new = self.last, self.document
        if last is None or self.plan.draft is not None:
            return None
        old = last.document
        same = replace(new, version=old.version, previous=old.previous, issued=old.issued) == old
        return last if same and new.issued - old.issued < SIGN_AGAIN_AFTER else None


def propose(
    library: Library,
    keys: KeyStore,
    plan: Plan,
    *,
    now: datetime,
    check: Checker | None = choose_web_seeds,
    report: Report = ignore,
) -> Proposal:
    """Return what `publish` would sign, without opening a key or writing anything; raises what `publish` does."""
    with durable.lock(keys.lock_path):
        proposal = _propose(library, keys, plan.checked(), now, check, report, lambda *_: None)
        _tell(proposal.difference, report, details=plan.details)
        return proposal


def publish(  # noqa: PLR0913 - what it works with, each by itself
    library: Library,
    keys: KeyStore,
    plan: Plan,
    *,
    passphrase: Passphrase,
    now: datetime,
    approve: Approve = lambda _: True,
    check: Checker | None = choose_web_seeds,
    pages: Pages | None = None,
    report: Report = ignore,
) -> Published:
    """Write every complete snapshot of the library, and what was published before, as a site under `plan.out`.

    A withdrawn snapshot is not listed again unless the plan says so, and its torrent leaves the site. If the last index
    already says everything, and `approve` declines another or the plan has `if_changed`, the site gets the last one.
    After `SIGN_AGAIN_AFTER` it is signed again like any other.
    `check` decides which web seeds may be listed; without it, the Hub's first base and all named ones are. A new
    unproven entry raises an alarm; one that the check contradicts is not signed, even if approved. Changes are reported
    before they are approved.

    Raises `UsageError`, `NotFoundError` (no publisher, no index key), `VerificationError`, `DiskError`.
    """
    private: list[PrivateKey] = []

    def open_index_keys(root: Root, position: Position) -> None:  # before web seeds are checked
        purpose = f"sign {'a draft of ' if plan.draft is not None else ''}index {position}"
        private.extend(_index_keys(keys, root, passphrase, purpose, drafting=plan.draft is not None))

    if pages is not None:
        pages.check(plan.out)
    with durable.lock(keys.lock_path):
        proposal = _propose(library, keys, plan.checked(), now, check, report, open_index_keys)
        document, difference, plan = proposal.document, proposal.difference, proposal.plan
        signing = _signing(document, proposal.root, private, difference, proposal.still_says_it)
        if signing.unchanged is None:
            _show(signing, approve, report, details=plan.details)
        elif plan.if_changed or not _asked(signing, approve, report):
            again = _publish_again(library, keys, proposal, signing.unchanged, private, report)
            if pages is None:
                return again
            # What is known of copies may have changed, and this may be another folder.
            return replace(again, mirror_tree=pages.write(plan.out, again.accepted, private, report))
        if not document.entries:
            report(
                Notice(
                    "warning", "the index lists nothing: the library holds no complete snapshot that is not withdrawn"
                )
            )
        if plan.draft is not None:
            _remember_signing(keys, document, report)
        roots, last = keys.roots(), proposal.last
        # What a reader would refuse is never written.
        trusted = TrustedState(roots[0].root.digest, roots, last.seen if last else None)
        folder = keys.published_path.parent
        left_out, skipped = proposal.left_out, proposal.skipped
        with signed_file(roots, document, private, folder) as source:
            if plan.draft is not None:
                accepted = accept_draft(data := bytes_of(source), trusted, now)
                _write_site(library, keys, proposal, document, private, report)
                durable.write(plan.draft, data, mode=durable.SHARED)
                return Published(accepted, difference, plan.draft, left_out, skipped)
            accepted = accept_apart(source, trusted, now, report, folder=folder)
            _write_site(library, keys, proposal, document, private, report)
            index = write_index(keys, plan.out, source, accepted, (last, proposal.base), report)
        remove_withdrawn(plan.out, document, report)
        # `document` says the same as what was accepted, and its entries need not be read again.
        said = replace(accepted, document=document)
        tree = None if pages is None else pages.write(plan.out, said, private, report)
        return Published(accepted, difference, index, left_out, skipped, mirror_tree=tree)


def _require_clock(now: datetime) -> None:
    """Raise `P2pqwenError` for a clock that is not set: readers would see an index last signed decades ago."""
    if now < EARLIEST:
        raise P2pqwenError(
            "the clock of this machine is not set, and an index says when it was signed",
            expected=f"a time after {EARLIEST:%Y}",
            got=format_time(now),
            hint="set the clock, for instance with `timedatectl set-ntp true`",
        )


def _publish_again(
    library: Library, keys: KeyStore, proposal: Proposal, last: Accepted, private: list[PrivateKey], report: Report
) -> Published:
    """Write the last index, which still says everything, and what it names to the site."""
    _write_site(library, keys, proposal, last.document, private, report)
    if not keys.published_path.exists():
        raise NotFoundError("the index that was published last is gone from this home", hint="publish again")
    index = write_index(keys, proposal.plan.out, FileSource(keys.published_path), last, None)
    return Published(last, proposal.difference, index, proposal.left_out, proposal.skipped, unchanged=True)


def _write_site(
    library: Library,
    keys: KeyStore,
    proposal: Proposal,
    document: IndexDocument,
    private: list[PrivateKey],
    report: Report,
) -> None:
    """Write every torrent that an index names to the site; one that is already right stays as it is."""
    shown = {entry.id: entry for entry in proposal.entries}
    _write_torrents(library, keys, proposal.held, shown, proposal.plan, _Signers(proposal.root, private), report)
    _rewrite_torrents(library, keys, proposal.plan.out, proposal.entries[len(proposal.held) :])
    complete_site(keys, proposal.plan.out, document, report)


def _propose(
    library: Library,
    keys: KeyStore,
    plan: Plan,
    now: datetime,
    check: Checker | None,
    report: Report,
    ready: Callable[[Root, Position], None],
) -> Proposal:
    """Make the next index; `ready` gets its root and its position before any web seed is checked."""
    _require_clock(now)
    roots = keys.roots()
    root = roots[-1].root
    last = last_published(keys, now)
    if last is not None and now < last.document.issued - timedelta(days=1):
        signed = f"the last index was signed on {last.document.issued:%Y-%m-%d}"
        report(Notice("warning", f"this machine's clock shows {now:%Y-%m-%d}, and {signed}"))
    base = last if plan.base is None else read_base(keys, plan.base, now)
    check_site(keys, plan.out, last, base, now)
    for one in plan.elsewhere:
        hint = "is this home an old backup? continue from that index with --base FILE"
        check_known(keys, one.accepted, one.place, last, base, hint)
    carried = base and _read_through(base)
    before = carried.document if carried else None
    changes, plan = changes_of(plan, before), plan.going_on_from(before)
    here = _index_keys_here(keys, root, drafting=plan.draft is not None)
    ready(root, next_position(root, last, base))
    held, skipped = _publishable(library, plan, changes, report)
    listed = _listed(before)
    warn_of_cut_names(held, listed, report)
    returning = _returning(library, keys, changes, {one.id for one in held})
    left_out: tuple[LeftOut, ...] = ()
    if check is not None:
        back = [(one, _given(torrent)) for one, torrent in returning.items()]
        asked = [*_torrents(library, keys, held, plan, before), *back]
        chosen = check(asked, plan, listed, report=report)
        _refuse_contradicted(chosen.contradictions)
        plan, left_out = replace(plan, checked_seeds=chosen.listed), chosen.left_out
    entries = entries_of(held, plan, before, now, returning)
    document = next_document(
        roots,
        last,
        carried,
        entries,
        withdraw=changes.withdraw,
        reinstate=changes.reinstate,
        mirrors=plan.mirrors,
        now=now,
    )
    document = replace(document, dht=_dht_pointer(document.dht, here, plan))
    _require_bundle(document)
    return Proposal(
        plan, root, last, base, document, diff(before, document), tuple(held), tuple(entries), left_out, skipped
    )


def sign_draft(
    keys: KeyStore,
    draft: Path,
    *,
    passphrase: Passphrase,
    now: datetime,
    known: Accepted | None = None,
    approve: Approve = lambda _: True,
    details: bool = False,
    report: Report = ignore,
) -> Published:
    """Add the signatures of this home's index keys to a draft, after showing what it changes.

    Changes are shown against the index published here last, or against `known`, accepted as a reader, if that is newer.
    Raises `RefusedError` for a draft that readers would refuse for anything but missing signatures.
    """
    with durable.lock(keys.lock_path):
        last = _newest(last_published(keys, now), known)
        trusted = TrustedState(keys.publisher(), keys.roots(), last.seen if last else None)
        data = durable.read(draft, max_bytes=MAX_INDEX_SIZE)
        with about(draft):
            file, seen = parse_file(data), accept_draft(data, trusted, now)
        purpose = f"sign index {seen.position} in {draft}"
        private = _index_keys(keys, seen.root, passphrase, purpose, drafting=True)
        difference = diff(last.document if last else None, seen.document)
        difference = replace(difference, concerns=_signed_before(keys, seen.document))
        if last is None:
            hint = "`p2pqwen trust add` fetches what is published"
            report(Notice("info", f"everything is shown as new: this home knows no index of this publisher; {hint}"))
        _show(_signing(seen.document, seen.root, private, difference), approve, report, details=details)
        keys.write_signed(*_place(seen.document))
        ours = _sign(file.signed, private)
        signers = {str(key.public.keyid) for key in private}
        rows = file.signatures if isinstance(file.signatures, list) else []
        kept = [row for row in rows if not (isinstance(row, dict) and row.get("keyid") in signers)]
        data = encode_file(seen.roots, file.signed, [*kept, *ours])
        durable.write(draft, data, mode=durable.SHARED)
        return Published(accept_draft(data, trusted, now), difference, draft)


def publish_signed(
    keys: KeyStore,
    draft: Path,
    out: Path,
    *,
    now: datetime,
    known: Accepted | None = None,
    pages: Pages | None = None,
    report: Report = ignore,
) -> Published:
    """Publish a draft that enough people signed; its torrents are in the site already, or were published before.

    Changes are reported, as in `sign_draft`, without asking: everyone whose signature counts has approved them.

    Raises `RefusedError` while signatures are missing, `NotFoundError` for a missing torrent.
    """
    if pages is not None:
        pages.check(out)
    with durable.lock(keys.lock_path):
        last = last_published(keys, now)
        data = durable.read(draft, max_bytes=MAX_INDEX_SIZE)
        with about(draft):
            trusted = TrustedState(keys.publisher(), keys.roots(), last.seen if last else None)
            accepted = accept_apart(data, trusted, now, report, folder=keys.published_path.parent)
        check_site(keys, out, last, accepted, now)
        complete_site(keys, out, accepted.document, report)
        before = _newest(last, known)
        difference = diff(before.document if before else None, accepted.document)
        _tell(difference, report)
        index = write_index(keys, out, data, accepted, (last, known), report)
        remove_withdrawn(out, accepted.document, report)
        tree = None if pages is None else pages.write(out, accepted, (), report)  # no key is open here to sign the sums
        return Published(accepted, difference, index, mirror_tree=tree)


@dataclass(frozen=True, slots=True)
class _Signers:
    root: Root
    private: list[PrivateKey]


def _index_keys(
    keys: KeyStore, root: Root, passphrase: Passphrase, purpose: str, *, drafting: bool
) -> list[PrivateKey]:
    return open_keys(keys, _index_keys_here(keys, root, drafting=drafting), passphrase, [root], purpose)


def _signing(
    document: IndexDocument,
    root: Root,
    private: Sequence[PrivateKey],
    difference: IndexDiff,
    unchanged: Accepted | None = None,
) -> Signing:
    labels = tuple(root.keys[key.public.keyid].label for key in private)
    return Signing(Position(document.epoch, document.version), root.name, labels, difference, unchanged)


def _index_keys_here(keys: KeyStore, root: Root, *, drafting: bool) -> tuple[Sha256, ...]:
    """Return which index keys are in this home, unopened; raises `NotFoundError` for too few."""
    rule = root.roles[INDEX_ROLE]
    here = tuple(keyid for keyid in rule.keyids if keys.has_key(keyid))
    needed = 1 if drafting else rule.threshold
    if len(here) < needed:
        raise NotFoundError(
            "too few index keys are in this home",
            expected=needed,
            got=len(here),
            hint="write a draft with --draft FILE and let others sign it with `p2pqwen index sign FILE`",
        )
    return here


def _require_bundle(document: IndexDocument) -> None:
    """Raise `UsageError` for a list whose site no folder or bundle could hold: names clash, or there are too many."""
    try:
        bundle_layout((path, 1) for path in bundle_paths(document))
    except FormatError as error:
        raise UsageError(
            f"the site cannot hold these snapshots together: {error.what}",
            expected=error.expected,
            got=error.got,
            hint="leave one out with --exclude, or `p2pqwen remove` it; --withdraw removes a listed one",
        ) from error


def _refuse_contradicted(contradictions: Sequence[Contradiction]) -> None:
    if not contradictions:
        return
    first = contradictions[0]
    others = sorted({str(one.snapshot) for one in contradictions} - {str(first.snapshot)})
    raise VerificationError(
        f"not signed: {first}",
        expected="the files of an unproven snapshot where it says that they come from",
        got=f"others at {first.url}" + (f"; the same of {', '.join(others[:5])}" if others else ""),
        hint=f"`p2pqwen remove {first.snapshot}` drops it, and `p2pqwen preserve` downloads it from the Hub; "
        "an entry that is published already also needs --withdraw",
    )


def _dht_pointer(before: DhtPointer | None, keyids: Sequence[Sha256], plan: Plan) -> DhtPointer | None:
    """Return the DHT pointer that the index names: the same as before while this home can sign it."""
    if not plan.dht or (before is not None and before.key in keyids):
        return before
    return DhtPointer(keyids[0], DEFAULT_SALT)


def _tell(difference: IndexDiff, report: Report, *, details: bool = False) -> None:
    for line in describe(difference) if details else summarise(difference):
        report(Notice("info", line))  # every ALARM is among them


def _show(signing: Signing, approve: Approve, report: Report, *, details: bool = False) -> None:
    _tell(signing.difference, report, details=details)
    if not approve(signing):
        raise P2pqwenError("not signed: the change was not approved")


def _asked(signing: Signing, approve: Approve, report: Report) -> bool:
    _tell(signing.difference, report)
    return approve(signing)


def _newest(*indexes: Accepted | None) -> Accepted | None:
    return max((one for one in indexes if one), key=lambda one: (one.root.version, one.position), default=None)


def _place(document: IndexDocument) -> tuple[Position, Sha256]:
    return Position(document.epoch, document.version), Sha256.of(canonical(document.to_json()))


def _remember_signing(keys: KeyStore, document: IndexDocument, report: Report) -> None:
    for concern in _signed_before(keys, document):
        report(Notice("warning", concern))
    keys.write_signed(*_place(document))


def _signed_before(keys: KeyStore, document: IndexDocument) -> tuple[str, ...]:
    """Warn if the keys here signed another draft of this position: publishing both would make two histories."""
    position, digest = _place(document)
    if (before := keys.signed()) is None or before[0] != position or before[1] == digest:
        return ()
    return (f"this home signed another draft of index {position} before: make sure that it is never published",)


def _sign(signed: JsonValue, private: list[PrivateKey]) -> list[JsonValue]:
    payload = canonical(signed)
    return [sign(INDEX_TYPE, payload, key) for key in private]


def _publishable(
    library: Library, plan: Plan, changes: ListChanges, report: Report
) -> tuple[list[HeldSnapshot], tuple[tuple[SnapshotId, str], ...]]:
    """Return what may be published, and what may not, so that one bad torrent does not stop the rest.

    Withdrawn snapshots stay withdrawn. A listed one that the selection leaves out stays listed as it is.
    """
    skipped: list[tuple[SnapshotId, str]] = []

    def check(held: HeldSnapshot) -> HeldSnapshot | None:
        license_ = license_of(publishable(held))
        why = None if held.id in changes.reinstate else plan.selection.why_not(held.id.repo, license_)
        if why is not None:
            skipped.append((held.id, why))
        return held if why is None else None

    def failed(held: HeldSnapshot, error: P2pqwenError) -> None:
        skipped.append((held.id, error.message))
        report(Notice("warning", f"{held.id} is not published: {error.message}"))

    complete = [one for one in library.all() if one.state is State.COMPLETE]
    stay_out = [one.id for one in complete if one.id in changes.kept_out]
    for snapshot in stay_out:
        reason = changes.kept_out[snapshot]
        report(Notice("info", f"{snapshot} stays withdrawn ({reason}); `--reinstate {snapshot}` would list it again"))
    found = each([one for one in complete if changes.may_list(one.id)], check, failed=failed)
    return [one for one in found if one is not None], (
        *skipped,
        *((one, f"withdrawn: {changes.kept_out[one]}") for one in stay_out),
    )


def _returning(
    library: Library, keys: KeyStore, changes: ListChanges, held: Collection[SnapshotId]
) -> dict[SnapshotId, CheckedTorrent]:
    """Return the torrents of reinstated snapshots that are not held, as they were published; raises `NotFoundError`."""
    found: dict[SnapshotId, CheckedTorrent] = {}
    for snapshot in sorted(changes.reinstate - set(held)):
        if (data := keys.torrent(torrent_location(snapshot))) is None:
            raise NotFoundError(
                f"cannot reinstate {snapshot}: its torrent is neither in the library nor kept from when it was listed",
                hint=f"`p2pqwen preserve {snapshot}`, then publish again",
            )
        found[snapshot] = library.torrents.torrent(data)
    return found


def _given(torrent: CheckedTorrent) -> Callable[[], CheckedTorrent]:
    return lambda: torrent


def _read_through(base: Accepted) -> Accepted:
    """Return an index with its entries in memory: the steps of a proposal go through all of them several times."""
    return replace(base, document=replace(base.document, entries=tuple(base.document.entries)))


def _listed(before: IndexDocument | None) -> dict[SnapshotId, tuple[str, ...]]:
    return {entry.id: entry.bases for entry in before.entries} if before else {}


def _torrents(
    library: Library, keys: KeyStore, held: Sequence[HeldSnapshot], plan: Plan, before: IndexDocument | None
) -> Torrents:
    """Return how to read the torrents whose web seeds must be chosen: held snapshots, and those back on the Hub."""
    found: dict[SnapshotId, Callable[[], CheckedTorrent]] = {one.id: one.torrent for one in held}
    for entry in before.entries if before else ():
        is_back = entry.upstream is Upstream.GONE and plan.upstream.get(entry.id) is Upstream.PRESENT
        data = keys.torrent(entry.torrent) if is_back and entry.id not in found else None
        if data is not None:
            found[entry.id] = partial(library.torrents.torrent, data)
    return list(found.items())


def _write_torrents(
    library: Library,
    keys: KeyStore,
    held: Sequence[HeldSnapshot],
    shown: Mapping[SnapshotId, Entry],
    plan: Plan,
    signers: _Signers,
    report: Report,
) -> None:
    """Sign and write one torrent after another: together they may be larger than memory.

    Only what was `shown` is signed: the user may have taken an hour to approve, while the library changed.
    """
    for done, one in enumerate(held):
        report(Progress("sign", done, len(held), str(one.id), "torrents"))
        torrent = prepared(one, plan)
        _require_shown(shown[one.id], torrent.metainfo)
        for key in signers.private:
            torrent = torrent.signed(key, signers.root.keys[key.public.keyid].label)
        data = torrent.metainfo.encode()
        try:
            with durable.lock(library.lock_path(one.id)):
                if data != one.torrent_path.read_bytes():
                    library.replace_torrent(one.id, torrent)
        except durable.LockHeldError as error:  # the site gets it all the same
            report(Notice("warning", f"{one.id} is signed at the next publication: {error.message}"))
        write_torrent(keys, plan.out, torrent_location(one.id), data)
    if held:
        report(Progress("sign", len(held), len(held), unit="torrents"))


def _require_shown(entry: Entry, metainfo: Metainfo) -> None:
    """Raise `VerificationError` for a torrent that is not the one its entry was made from."""
    manifest = None if metainfo.manifest is None else Sha256.of(metainfo.manifest)
    if (metainfo.infohash, manifest) != (entry.infohash, entry.manifest):
        raise VerificationError(
            f"the torrent of {entry.id} changed while its index was made",
            expected=f"{entry.infohash.v2} with manifest {entry.manifest}",
            got=f"{metainfo.infohash.v2} with manifest {manifest}",
            hint="publish again, and check what is new",
        )


def _rewrite_torrents(library: Library, keys: KeyStore, out: Path, carried: Sequence[Entry]) -> None:
    """Update the torrents of snapshots that left the library to the web seeds and trackers that the index names now."""
    for entry in carried:
        if (data := keys.torrent(entry.torrent)) is not None:
            trackers = tuple((url,) for url in entry.trackers)
            metainfo = replace(library.torrents.metainfo(data), web_seeds=entry.web_seeds, trackers=trackers)
            write_torrent(keys, out, entry.torrent, metainfo.encode())
