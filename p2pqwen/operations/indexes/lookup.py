"""Find what trusted publishers say about a snapshot, and get its torrent, checked against all that they say.

If two publishers name different torrents for one snapshot, nothing is chosen silently: a manifest that is proven to be
the git commit settles it; otherwise the user sees both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeAlias

from p2pqwen.containment import first_of
from p2pqwen.errors import NetworkError, NotFoundError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.index.entry_check import check_copy, check_listed
from p2pqwen.index.listing import Sought
from p2pqwen.index.root import INDEX_ROLE
from p2pqwen.index.voice import Voice
from p2pqwen.index.withdrawals import all_withdrawn
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.manifest.proof import pointers_beside
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.indexes.found import Found, describe_conflict, torrent_locations
from p2pqwen.signing.keys import PublicKey
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
from p2pqwen.torrent.metainfo import parse_metainfo
from p2pqwen.values.digest import Sha256
from p2pqwen.values.near_names import did_you_mean
from p2pqwen.values.snapshot_id import RepoId, SnapshotId

Target: TypeAlias = Sought

MIRRORS_SECONDS = 60.0
"""After this time no further mirror is asked for a torrent."""

_WITHOUT_PUBLISHERS = (
    "trust one with `p2pqwen trust add PUBLISHER_ID --index FILE|URL`, or fetch a magnet link or .torrent of it"
)


class ConflictError(VerificationError):
    """Trusted publishers contradict one another about a snapshot."""


def find_entries(publishers: Iterable[TrustedPublisher], target: Target) -> list[Found]:
    """Return every trusted entry for a repository, snapshot or infohash; the newest first, then by publisher."""
    found = [
        Found(entry, publisher, torrent_locations(publisher, entry))
        for publisher in publishers
        if publisher.document is not None
        for entry in publisher.document.listing.find(target)
    ]
    return sorted(found, key=lambda one: (-one.entry.added.timestamp(), one.publisher.publisher))


def listed_otherwise(torrent: CheckedTorrent, publishers: Iterable[TrustedPublisher]) -> list[Found]:
    """Return the entries that list a torrent with another manifest; none if one lists its manifest or it is proven.

    Listing an infohash vouches for the bytes. Only the manifest says which files are LFS and what the license is, and
    no infohash covers the manifest.
    """
    if torrent.manifest is None or torrent.provenance is Provenance.PROVEN:
        return []
    found = [one for one in find_entries(publishers, torrent.infohash) if one.entry.id == torrent.snapshot]
    return [] if torrent.manifest.digest in {one.entry.manifest for one in found} else found


def choose(
    found: list[Found],
    target: Target,
    *,
    report: Report = ignore,
    load: Callable[[Found], CheckedTorrent] | None = None,
) -> Found:
    """Return the one entry to follow: the newest commit; if publishers disagree, the entry that proves itself.

    Of two that do, one may list LFS pointers in place of the other's files; it loses. `load` returns an entry's
    torrent; if None, `load_torrent` gets it from the entry's mirrors.

    Raises `NotFoundError` when nothing was found, `ConflictError` when a contradiction cannot be settled.
    """
    if not found:
        raise not_listed((), target)
    rivals = [one for one in found if one.entry.id == found[0].entry.id]
    if len({one.same_torrent for one in rivals}) == 1:
        return rivals[0]
    report(Notice("warning", describe_conflict(rivals)))
    proofs = [(one, manifest) for one in rivals if (manifest := _proof(one, load, report)) is not None]
    whole = [one for one, manifest in proofs if not any(pointers_beside(manifest, other) for _, other in proofs)]
    if len({one.same_torrent for one in whole}) != 1:
        raise ConflictError(
            f"trusted publishers contradict one another about {rivals[0].entry.id}",
            got=describe_conflict(rivals),
            hint="fetch one of the torrents by its infohash, or stop trusting a publisher",
        )
    chosen = whole[0]
    report(Notice("info", f"taking {chosen.entry.infohash.v2}, whose manifest is proven to be the git commit"))
    return chosen


def not_listed(
    publishers: Iterable[TrustedPublisher],
    target: Target,
    voices: Iterable[Voice] = (),
    held: Iterable[RepoId] = (),
) -> NotFoundError:
    """Return the error for a target that no trusted index lists; it says who withdrew it, and why.

    For a target that nobody withdrew, its hint suggests a repository with a similar name, listed or `held`.
    """
    if (error := _withdrawn(target, voices)) is not None:
        return error
    hint = "see `p2pqwen search`, `p2pqwen trust add`, `p2pqwen index update`"
    repo = target.repo if isinstance(target, SnapshotId) else target
    publishers = list(publishers)
    if not publishers:
        hint = f"no publisher is trusted yet: {_WITHOUT_PUBLISHERS}"
        hint += f", or make the snapshot from the Hub: `p2pqwen preserve {repo}`" if isinstance(repo, RepoId) else ""
    if isinstance(repo, RepoId):
        documents = [one.document for one in publishers if one.document is not None]
        listed = {one for document in documents for one in document.listing.near(repo)}
        if repo in listed:
            hint = f"other commits of it are listed: `p2pqwen search {repo}`"
        else:
            hint = did_you_mean(repo, {*listed, *held}) + hint
    return NotFoundError(f"no trusted index lists {target}", hint=hint)


def _withdrawn(target: Target, voices: Iterable[Voice]) -> NotFoundError | None:
    gone = {
        snapshot: said
        for snapshot, said in sorted(all_withdrawn(voices).items())
        if target in (snapshot, snapshot.repo)
    }
    if not gone:
        return None
    first, said = next(iter(gone.items()))
    more = (
        "" if len(gone) == 1 else f", and so {'is' if len(gone) == 2 else 'are'} {len(gone) - 1} more of {first.repo}"
    )
    words = "; ".join(map(str, said))
    hint = "withdrawing deletes nothing: by its magnet link or .torrent it can still be fetched from peers"
    return NotFoundError(f"{first} is {words}{more}", hint=hint)


def load_torrent(found: Found, *, report: Report = ignore) -> CheckedTorrent:
    """Return an entry's torrent from the first place that has the right one.

    Raises `VerificationError` when every place that answered gave a wrong one, `NetworkError` when none answered.
    """
    from p2pqwen.mirrors.reading import read_now  # noqa: PLC0415 - imports aiohttp, which finding entries does not need

    wrong: VerificationError | None = None
    deadline = time.monotonic() + MIRRORS_SECONDS

    def bring(location: str) -> CheckedTorrent | None:
        if time.monotonic() > deadline:
            return None
        return check_torrent(found, read_now(location, max_bytes=MAX_TORRENT_BYTES, named=found.publisher.named))

    def failed(location: str, error: P2pqwenError) -> None:
        nonlocal wrong
        if isinstance(error, VerificationError):
            wrong = error
            report(Notice("warning", f"{location}: {error.message}"))
        else:
            report(Notice("info", error.message))

    if (torrent := first_of(found.torrent_locations, bring, failed=failed)) is not None:
        return torrent
    if wrong is not None:
        raise wrong
    raise NetworkError(
        f"no mirror returned the torrent of {found.entry.id}",
        hint="fetch it by magnet link: peers then send its metadata",
    )


def check_torrent(found: Found, data: bytes) -> CheckedTorrent:
    """Read a .torrent file and check it against the entry and its publisher's keys; raises `VerificationError`."""
    metainfo = parse_metainfo(data)
    check_copy(found.entry, metainfo)  # first, so that no other torrent's manifest is read
    torrent = CheckedTorrent.of(metainfo).tried_with(publisher_keys(found.publisher))
    require_listed(found, torrent)
    return torrent


def require_listed(found: Found, torrent: CheckedTorrent) -> None:
    """Raise `VerificationError` unless a torrent, tried with its publisher's keys, is what the entry names."""
    check_listed(found.entry, torrent, publisher_keys(found.publisher))


def publisher_keys(publisher: TrustedPublisher) -> dict[Sha256, PublicKey]:
    """Return every key that was ever an index key: torrents signed before a rotation stay valid.

    This lets a stolen old key sign nothing new: the index fixes infohash and manifest.
    """
    return {
        keyid: key for signed in publisher.state.roots for keyid, key in signed.root.public_keys(INDEX_ROLE).items()
    }


def _proof(found: Found, load: Callable[[Found], CheckedTorrent] | None, report: Report) -> Manifest | None:
    """Return an entry's manifest if it is proven to be the commit."""
    if not found.entry.proven:
        return None
    try:
        torrent = load_torrent(found, report=report) if load is None else load(found)
    except P2pqwenError as error:
        report(Notice("warning", f"cannot prove {found.entry.infohash.v2}: {error.message}"))
        return None
    return torrent.manifest if torrent.provenance is Provenance.PROVEN else None
