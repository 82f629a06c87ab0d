"""The database beside an accepted index file: read if it was sealed for that file, else made again from the file."""

from __future__ import annotations

import contextlib
import json
import re
from datetime import datetime
from pathlib import Path

from p2pqwen.errors import DiskError, FormatError, NotFoundError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.index.acceptance import Accepted, TrustedState
from p2pqwen.index.document import document_of
from p2pqwen.index.root import parse_signed_root
from p2pqwen.library import durable
from p2pqwen.library.index_rows.judging import accept_file, builder_of, progress
from p2pqwen.library.index_rows.parts import DamagedRowsError, FileMark, Kind, OtherFormatError, Parts
from p2pqwen.library.index_rows.stored_listing import SkippedRows, StoredListing, no_way_back
from p2pqwen.signing.envelope import ThresholdResult
from p2pqwen.values import json_fields
from p2pqwen.values.digest import Sha256
from p2pqwen.values.strict_json import JsonObject

_OURS = r"\.[0-9a-f]{16}\.sqlite"


def read_accepted(path: Path, publisher: Sha256, now: datetime, report: Report = ignore) -> Accepted:
    """Return what an accepted index file says, from its database, or by all of acceptance if there is none.

    In that case the database is made again, if the folder is writable. Raises `RefusedError`, `NotFoundError`,
    `DiskError`.
    """
    try:
        if (parts := _fitting(path)) is not None:
            return _from_parts(parts, path, publisher, now, report)
    except OtherFormatError:
        report(Notice("info", f"the database of {path} is made again, in the form of this version of p2pqwen"))
    except DamagedRowsError as error:
        report(Notice("warning", f"{_damaged(path)} ({error})"))
    return rebuild(path, publisher, now, report)


def listing_beside(path: Path) -> StoredListing | None:
    """Return the entries of an accepted file if they can be read at once, for uses such as suggestions."""
    try:
        parts = _fitting(path)
    except DamagedRowsError:
        return None
    return None if parts is None else StoredListing(parts, no_way_back)


def rebuild(path: Path, publisher: Sha256 | None, now: datetime, report: Report = ignore) -> Accepted:
    """Judge an accepted file by all of acceptance, and make its database again; raises as `read_accepted` does."""
    with durable.disk_errors(f"read {path}"):
        try:
            before = path.stat()
        except FileNotFoundError as error:
            raise NotFoundError(f"no file {path}") from error
    tell = progress("verify", lambda: before.st_size, report)
    trusted = TrustedState(publisher)
    try:
        accepted = accept_file(durable.read_pieces(path), trusted, now, path.parent, tell)
    except DiskError:  # a full or read-only disk
        accepted = accept_file(durable.read_pieces(path), trusted, now, None, tell)
    with contextlib.suppress(OSError):
        if FileMark.of(path.stat()) == FileMark.of(before):
            builder = builder_of(accepted)
            digest = None if builder is None else builder.file_digest
            put_beside(path, FileMark.of(before), accepted, now, report)
            remove_others(path, digest)
    return accepted


def verified_at(path: Path) -> float | None:
    """Return when an accepted file last went through all of acceptance, in POSIX seconds; None if unknown."""
    with contextlib.suppress(DamagedRowsError, OSError):
        if (parts := _fitting(path)) is not None:
            return parts.verified
    return None


def put_beside(path: Path, mark: FileMark, accepted: Accepted, now: datetime, report: Report = ignore) -> None:
    """Put the database that was made during acceptance beside its file, which exists or is about to.

    If that fails, the index is as good, but slower to read next time.
    """
    listing = accepted.document.entries
    if not isinstance(listing, StoredListing) or listing.builder is None:
        return
    publisher, digest = accepted.publisher, accepted.digest
    try:
        listing.builder.place(path, mark, accepted)
    except P2pqwenError as error:
        report(Notice("info", f"the database of {path} could not be written: {error.message}"))
    else:
        listing.heal_with(lambda reason: _made_again(path, publisher, digest, now, report, reason))


def remove_others(path: Path, digest: Sha256 | None) -> None:
    """Delete the databases of earlier files at this path; one that is open stays readable until it is closed."""
    for name in _databases(path):
        if digest is None or name.name != f"{path.stem}.{str(digest)[:16]}.sqlite":
            with contextlib.suppress(OSError):
                name.unlink()


def _fitting(path: Path) -> Parts | None:
    """Return the database that was sealed for the file now at a path; raises `DamagedRowsError`."""
    try:
        mark = FileMark.of(path.stat())
    except OSError:
        return None
    damage: DamagedRowsError | None = None
    for one in _databases(path):
        try:
            parts = Parts.open(one)
            if _mark_of(parts.sealed) == mark:
                return parts
        except DamagedRowsError as error:
            damage = error
    if damage is not None:
        raise damage
    return None


def _databases(path: Path) -> list[Path]:
    ours = re.compile(re.escape(path.stem) + _OURS, re.ASCII)
    with contextlib.suppress(OSError):
        return sorted(one for one in path.parent.iterdir() if ours.fullmatch(one.name))
    return []


def _mark_of(sealed: JsonObject) -> FileMark:
    try:
        mark = json_fields.obj(sealed, "file")
        return FileMark(
            json_fields.integer(mark, "size"),
            int(json_fields.text(mark, "mtime_ns")),
            int(json_fields.text(mark, "inode")),
        )
    except (FormatError, ValueError) as error:
        raise DamagedRowsError(str(error)) from error


def _from_parts(parts: Parts, path: Path, publisher: Sha256, now: datetime, report: Report) -> Accepted:
    try:
        known = json.loads(parts.get(Kind.HEADER, 0))
        roots = tuple(parse_signed_root(row) for row in known["roots"])
        listing = StoredListing(parts, no_way_back)
        document = document_of(
            known["header"], listing, SkippedRows(listing, json_fields.integer(parts.sealed, "skipped"))
        )
        signers = ThresholdResult(
            known["threshold"],
            tuple(map(Sha256.parse, known["signed_by"])),
            tuple(map(Sha256.parse, known["missing"])),
            tuple(known["ignored"]),
        )
        digest = Sha256.parse(known["digest"])
    except (FormatError, LookupError, TypeError, ValueError) as error:
        raise DamagedRowsError(f"its header: {error}") from error
    if roots[0].root.digest != publisher or document.publisher != publisher:
        raise DamagedRowsError("it is of another publisher")
    listing.heal_with(lambda reason: _made_again(path, publisher, digest, now, report, reason))
    return Accepted(
        publisher=publisher,
        roots=roots,
        document=document,
        digest=digest,
        signers=signers,
        unchanged=False,
        age_days=(now - document.issued).days,
        signatures=known["signatures"],
        header=known["header"],
    )


def _made_again(path: Path, publisher: Sha256, digest: Sha256, now: datetime, report: Report, reason: str) -> Parts:
    """Make a database again while it is being read, and return its parts."""
    report(Notice("warning", f"{_damaged(path)} ({reason})"))
    accepted = rebuild(path, publisher, now, report)
    listing = accepted.document.entries
    if accepted.digest != digest or not isinstance(listing, StoredListing):
        raise VerificationError(f"{path} changed while it was read", hint="run the command again")
    return listing.parts


def _damaged(path: Path) -> str:
    return f"the database of {path} was damaged and is made again from that file, which is verified again"
