"""Judge an index by all of acceptance, and make a database of its rows meanwhile, to be kept or dropped."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from p2pqwen.errors import FormatError
from p2pqwen.events import Progress, Report, ignore
from p2pqwen.index.acceptance import Accepted, TrustedState, accept_delta, accept_pieces
from p2pqwen.index.delta import parse_delta
from p2pqwen.index.document import encode_pieces
from p2pqwen.library.index_rows.rows_builder import RowsBuilder
from p2pqwen.library.index_rows.stored_listing import StoredListing
from p2pqwen.library.index_source import IndexSource, pieces_of, size_of
from p2pqwen.values.digest import Sha256
from p2pqwen.values.strict_json import canonical


class Tell(Protocol):
    """Gets the number of bytes of an index file, and of entries, read so far."""

    def __call__(self, taken: int, entries: int | None = None) -> None:
        """Take the figures."""


TOLD_FROM = 8 << 20
"""Bytes: reading a larger file reports progress."""
TOLD_EVERY = 1 << 20


def accept_file(
    pieces: Iterable[bytes], trusted: TrustedState, now: datetime, folder: Path | None, tell: Tell
) -> Accepted:
    """Judge an index file by all of section 8, and make a database of it in `folder`, for `RowsBuilder.place`.

    `tell` gets the bytes and entries read so far, and the full numbers only once the file is accepted. Raises
    `RefusedError`, `DiskError`.
    """
    builder = RowsBuilder(folder)
    hasher = hashlib.sha256()
    taken = 0

    def watched() -> Iterator[bytes]:
        nonlocal taken
        for piece in pieces:
            tell(taken, builder.count)
            hasher.update(piece)
            taken += len(piece)
            yield piece

    try:
        accepted = accept_pieces(watched(), trusted, now, builder)
    except BaseException:
        builder.discard()
        raise
    builder.file_digest = Sha256(hasher.digest())
    tell(taken, builder.count)
    return accepted


def apply_delta(data: bytes, base: Accepted, trusted: TrustedState, now: datetime, folder: Path) -> Accepted:
    """Judge the index that a delta makes of an accepted one, as `accept_file` does; reads the database of the old one.

    Raises `FormatError`, `RefusedError`, `DiskError`.
    """
    delta, listing = parse_delta(data), base.document.entries
    if not isinstance(listing, StoredListing):
        raise FormatError("the rows of the older index are not kept")
    builder = RowsBuilder(folder)
    try:
        return accept_delta(delta, base, listing.rows(), trusted, now, builder)
    except BaseException:
        builder.discard()
        raise


def accept_apart(
    source: IndexSource, trusted: TrustedState, now: datetime, report: Report = ignore, *, folder: Path | None = None
) -> Accepted:
    """Judge an index file that is not kept, at least not yet.

    The database of its rows is deleted by `let_go`, or when the program ends; `folder` is where to put it.

    Raises `RefusedError`, `NotFoundError`, `DiskError`.
    """
    where = Path(tempfile.gettempdir()) if folder is None else folder
    size = size_of(source)
    return accept_file(pieces_of(source), trusted, now, where, progress("verify", lambda: size, report))


def rows_of(accepted: Accepted) -> Iterator[bytes]:
    """Yield the RFC 8785 form of every row of an accepted index, in order; raises what its listing does."""
    listing = accepted.document.entries
    if isinstance(listing, StoredListing):
        return listing.rows()
    return (canonical(row.to_json()) for row in accepted.document.rows())


def whole_file(accepted: Accepted) -> Iterator[bytes]:
    """Yield an accepted index as a whole file, with the chain from root 1, one entry a line."""
    listing = accepted.document.entries
    if not isinstance(listing, StoredListing):
        raise TypeError("the rows of this index are not kept")
    return encode_pieces(accepted.roots, accepted.header, listing.rows(), accepted.signatures)


def file_digest(accepted: Accepted) -> Sha256 | None:
    """Return the SHA-256 of the file that an accepted index was read from, if known."""
    listing = accepted.document.entries
    return listing.file_digest if isinstance(listing, StoredListing) else None


def builder_of(accepted: Accepted) -> RowsBuilder | None:
    """Return the builder of an accepted index's database, None once the database is beside its file."""
    listing = accepted.document.entries
    return listing.builder if isinstance(listing, StoredListing) else None


def let_go(accepted: Accepted | None) -> None:
    """Drop what was made during an acceptance that is not used; `accepted` cannot be used afterwards."""
    if accepted is not None and (builder := builder_of(accepted)) is not None:
        builder.discard()


def progress(stage: str, total: Callable[[], int | None], report: Report) -> Tell:
    """Return a function that reports how much of a file has been read, if the file is large.

    `total` returns its bytes, or None while unknown.
    """
    told = 0

    def tell(taken: int, entries: int | None = None) -> None:
        nonlocal told
        whole = total()
        if (whole or taken) > TOLD_FROM and (taken - told > TOLD_EVERY or taken == whole):
            told = taken
            report(Progress(stage, taken, whole, "" if entries is None else f"{entries} entries"))

    return tell
