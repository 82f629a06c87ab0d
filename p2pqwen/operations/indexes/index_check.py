"""Check an index file by itself, offline: who signed it, and whether it is what a pinned publisher would sign."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from p2pqwen.errors import about
from p2pqwen.events import Report, ignore
from p2pqwen.index.acceptance import Accepted, RefusedError, TrustedState, accept, accept_draft
from p2pqwen.index.diff import IndexDiff, diff
from p2pqwen.index.root import SignedRoot
from p2pqwen.library.index_rows.judging import accept_apart
from p2pqwen.library.index_source import IndexSource, bytes_of
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.operations.indexes.index_files import index_file
from p2pqwen.values.digest import Sha256


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found. `pinned`: the file was held to a publisher id; `trusted`: its publisher is trusted."""

    accepted: Accepted | None
    refusal: RefusedError | None
    pinned: bool
    trusted: bool
    relation: str | None  # to the index accepted before


def check_index(
    source: IndexSource, publisher: Sha256 | None, store: TrustStore, *, now: datetime, report: Report = ignore
) -> Checked:
    """Check an index file; a refusal is a result, not an exception.

    The trust store only supplies roots, for files whose chain starts after root 1. An old index is not refused for its
    age; `relation` says that it is old.
    """
    roots: tuple[SignedRoot, ...] = ()
    if publisher is not None and store.is_trusted(publisher):
        roots = store.get(publisher, now=now).state.roots
    try:
        try:
            accepted = accept_apart(source, TrustedState(publisher), now, report)
        except RefusedError as error:
            if error.step != 2 or not roots:
                raise
            accepted = accept_apart(source, TrustedState(publisher, roots), now, report)
    except RefusedError as error:
        return Checked(None, error, publisher is not None, trusted=bool(roots), relation=None)
    trusted = store.is_trusted(accepted.publisher)
    relation = _relation(accepted, store, now) if trusted else None
    return Checked(accepted, None, publisher is not None, trusted, relation)


@dataclass(frozen=True, slots=True)
class Compared:
    """What a newer index changes, and who has signed it so far."""

    difference: IndexDiff
    newer: Accepted


def compare(old: Path, new: Path, *, now: datetime) -> Compared:
    """Tell what a newer index changes; `new` may be a draft that at least one index key has signed.

    Both are files, or the folders they are in. Raises `RefusedError` unless both are valid and of one publisher.
    """
    with about(old):
        before = accept_apart(index_file(old), TrustedState(None), now)
    trusted = TrustedState(before.publisher)
    data = bytes_of(index_file(new))
    with about(new):
        after = accept_draft(data, trusted, now)
        if not after.signers.signed_by:
            after = accept(data, trusted, now)  # refuses it: anyone could have written it
    return Compared(diff(before.document, after.document), after)


def _relation(accepted: Accepted, store: TrustStore, now: datetime) -> str | None:
    seen = store.get(accepted.publisher, now=now).state.seen
    if seen is None:
        return None
    if accepted.digest == seen.digest:
        return "it is the index accepted before"
    if accepted.position == seen.position:
        return f"it contradicts the index {seen.position} accepted before"
    age = "older" if accepted.position < seen.position else "newer"
    return f"it is {age} than the index {seen.position} accepted before"
