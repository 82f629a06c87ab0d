"""Make the database of an index while its rows are judged."""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import sqlite3
import tempfile
import weakref
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from p2pqwen.index.acceptance import Accepted
from p2pqwen.index.entry import Entry, SkippedEntry, is_entry_row
from p2pqwen.index.listing import COLUMNS_AT_ONCE, claimed_torrent
from p2pqwen.index.plain_row import PlainRows
from p2pqwen.library import durable
from p2pqwen.library.checksummed import seal
from p2pqwen.library.index_rows.parts import (
    FORMAT,
    HASHED,
    KINDS,
    DamagedRowsError,
    FileMark,
    Kind,
    Parts,
    RowsNotWrittenError,
    read_part,
)
from p2pqwen.library.index_rows.records import (
    BLANKS,
    HASHES_IN_PART,
    PREFIX,
    ROW_BITS,
    ROWS_IN_PART,
    WORDS_IN_PART,
    bytes_of,
    name_digits,
)
from p2pqwen.library.index_rows.stored_listing import SkippedRows, StoredListing, no_way_back
from p2pqwen.portable import files
from p2pqwen.signing.keys import Message
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import RepoId, RepoKind
from p2pqwen.values.strict_json import JsonObject, canonical

MAX_TRACKED = 64
"""Entries whose trackers are used: more than a bundle's peers announce at."""
_SMALL_MESSAGE = 8 << 20


class RowsBuilder:
    """Makes a database: a `RowSink` for one acceptance. If the index is not accepted, nothing is left behind."""

    def __init__(self, folder: Path | None) -> None:
        """`folder` is that of the file, present or not; None keeps everything in memory. Raises `DiskError`."""
        self.path: Path | None = None
        if folder is not None:
            with durable.disk_errors(f"write in {folder}"):
                self.path = durable.temporary_beside(folder / "index.sqlite")
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, durable.PRIVATE))
        self._connection = sqlite3.connect(self.path or ":memory:", isolation_level=None, check_same_thread=False)
        self._leaving = weakref.finalize(self, _leave, self._connection, self.path)
        self.file_digest: Sha256 | None = None
        """The SHA-256 of the file that was read; set at its end."""
        self._listing: StoredListing | None = None
        self._lists: dict[Kind, list[bytes]] = {kind: [] for kind in KINDS}
        self._rows: list[bytes] = []
        self._words: list[str] = []
        self._first: list[str] = []
        self._hashes = {kind: array("Q") for kind in HASHED}
        self._name = ""
        self._columns = _no_columns()
        self._claims: tuple[list[str], list[str]] = [], []
        self._hashed = [
            (self._hashes[kind], name)
            for kind, name in ((Kind.V1, "infohash_v1"), (Kind.V2, "infohash_v2"), (Kind.COMMITS, "commit"))
        ]
        self._count = self._skipped = 0
        self._bytes = 0
        self._tracked: list[int] = []
        with _writing():
            for setting in ("page_size = 16384", "journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
                self._connection.execute(f"PRAGMA {setting}")
            self._connection.execute("CREATE TABLE parts (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
            self._connection.execute("BEGIN")

    def add(self, canonical: bytes, row: JsonObject | None) -> None:
        """Add the next row."""
        self._rows.append(canonical)
        self._bytes += len(canonical) + 1
        if row is not None:
            self._index(row)
        self._count += 1
        if len(self._rows) == ROWS_IN_PART:
            self._put_rows()

    def add_plain(self, rows: PlainRows) -> None:
        """Add the next rows, in slices that each fill at most one part."""
        start = 0
        while start < len(rows):
            room = ROWS_IN_PART - len(self._rows), WORDS_IN_PART - len(self._words), COLUMNS_AT_ONCE - self._in_columns
            end = min(len(rows), start + min(room))
            self._index_plain(rows, slice(start, end))
            lines = rows.canonical[start:end]
            self._rows += lines
            self._bytes += sum(map(len, lines)) + len(lines)
            self._count += len(lines)
            if len(self._rows) == ROWS_IN_PART:
                self._put_rows()
            start = end

    def _index_plain(self, rows: PlainRows, part: slice) -> None:
        repos, commits, licenses = rows.repos[part], rows.commits[part], rows.licenses[part]
        if not self._count % ROWS_IN_PART:
            self._first.append(f"{repos[0]}\0{commits[0]}")
        for kind, digits in ((Kind.V1, rows.v1[part]), (Kind.V2, rows.v2[part]), (Kind.COMMITS, commits)):
            self._hashes[kind].extend(
                [int(one[:PREFIX], 16) << ROW_BITS | row for row, one in enumerate(digits, self._count)]
            )
        for row, repo in enumerate(repos, self._count):
            if repo != self._name:
                self._take_name(repo, row)
        names, sizes, columns_licenses, upstream = self._columns
        names += map("{}@{}".format, repos, commits)
        sizes += rows.sizes[part]
        columns_licenses += licenses
        upstream += rows.upstream[part]
        added, torrents = self._claims
        added += rows.added[part]
        torrents += map(claimed_torrent, rows.v1[part], rows.v2[part], rows.manifests[part])
        if self._in_columns == COLUMNS_AT_ONCE:
            self._put_columns()
        if len(self._tracked) < MAX_TRACKED:
            tracked = (row for row, one in enumerate(rows.sources[part], self._count) if "&tr=" in one)
            self._tracked += islice(tracked, MAX_TRACKED - len(self._tracked))
        self._words += [f"{repo}\t{one or ''}".lower() for repo, one in zip(repos, licenses, strict=True)]  # in ASCII
        if len(self._words) == WORDS_IN_PART:
            self._put_words()

    def _take_name(self, name: str, row: int) -> None:
        self._name = name
        self._hashes[Kind.NAMES].append(int(name_digits(name.lower()), 16) << ROW_BITS | row)

    @property
    def _in_columns(self) -> int:
        return len(self._columns[0])

    def _index(self, row: JsonObject) -> None:
        known: Any = row
        if not self._count % ROWS_IN_PART:
            self._first.append(f"{known['repo']}\0{known['commit']}")
        if is_entry_row(row):
            for hashes, name in self._hashed:
                hashes.append(int(known[name][:PREFIX], 16) << ROW_BITS | self._count)
            shown = _shown(known["repo"], known["repo_type"])
            if shown != self._name:
                self._take_name(shown, self._count)
            names, sizes, licenses, upstream = self._columns
            names.append(f"{shown}@{known['commit']}")
            sizes.append(known["size"])
            licenses.append(known.get("license"))
            upstream.append(known["upstream"])
            added, torrents = self._claims
            added.append(known["added"])
            torrents.append(claimed_torrent(known["infohash_v1"], known["infohash_v2"], known["manifest_sha256"]))
            if len(names) == COLUMNS_AT_ONCE:
                self._put_columns()
            if "&tr=" in known["magnet"] and len(self._tracked) < MAX_TRACKED:
                self._tracked.append(self._count)
            license_ = known.get("license") or ""
            if not license_.isprintable():
                license_ = license_.translate(BLANKS)
            self._words.append(f"{shown}\t{license_}".casefold())
        else:
            self._skipped += 1
            self._words.append("")
        if len(self._words) == WORDS_IN_PART:
            self._put_words()

    @property
    def count(self) -> int:
        """The number of rows added."""
        return self._count

    @property
    def size(self) -> int:
        """The bytes of the rows added, with separators."""
        return max(0, self._bytes - 1)

    @contextlib.contextmanager
    def message(self, before: bytes, after: bytes) -> Iterator[Message]:
        """Yield the message, in memory if it is short, else in an unnamed file."""
        self._put_rows()
        pieces = (part.replace(b"\n", b",") for part in self._written(Kind.ROWS))
        if self._bytes <= _SMALL_MESSAGE:
            yield b"".join((before, b",".join(pieces), after))
            return
        folder = None if self.path is None else self.path.parent
        with durable.disk_errors("write a temporary file"), tempfile.TemporaryFile(dir=folder) as file:
            file.write(before)
            for number, piece in enumerate(pieces):
                file.write(b"," + piece if number else piece)
            file.write(after)
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held, memoryview(held) as message:
                yield message

    def finish(self) -> tuple[Sequence[Entry], Sequence[SkippedEntry]]:
        """Write what finds the rows, and return entries and skipped rows; raises `DiskError`."""
        self._put_rows()
        self._put_words()
        self._put_columns()
        for kind, hashes in self._hashes.items():
            ordered = sorted(hashes)
            heads = []
            for start in range(0, len(ordered), HASHES_IN_PART):
                heads.append(ordered[start])
                self._put(kind, bytes_of(ordered[start : start + HASHES_IN_PART]))
            self._put(Kind.HEADS, bytes_of(heads))
            del hashes[:]
        self._put(Kind.FIRST, "\n".join(self._first).encode())
        lists = {kind: b"".join(digests) for kind, digests in self._lists.items()}
        sealed = self._counts()
        self._listing = StoredListing(Parts(self._connection, lists, sealed), no_way_back, self)
        return self._listing, SkippedRows(self._listing, self._skipped)

    def place(self, file: Path, mark: FileMark, accepted: Accepted) -> None:
        """Seal the database for a file, present or about to be, and put it beside that; raises `DiskError`.

        `accepted` is what the file says. A database in memory stays there.
        """
        if self.path is None or self._listing is None or self.file_digest is None:
            return
        target = file.with_name(f"{file.stem}.{str(self.file_digest)[:16]}.sqlite")
        self._put(Kind.HEADER, canonical(_header_of(accepted)))
        lists = {kind: b"".join(digests) for kind, digests in self._lists.items()}
        sealed: JsonObject = {
            "format": FORMAT,
            "file": {"size": mark.size, "mtime_ns": str(mark.mtime_ns), "inode": str(mark.inode)},
            "sha256": str(self.file_digest),
            **self._counts(),
            "lists": {str(kind): str(Sha256.of(found)) for kind, found in lists.items()},
        }
        with _writing():
            rows = [(Kind.LISTS << 32 | kind, found) for kind, found in lists.items()]
            self._connection.executemany("INSERT INTO parts VALUES (?, ?)", [*rows, (Kind.SEAL << 32, seal(sealed))])
            self._connection.execute("COMMIT")
            self._connection.close()
        with durable.disk_errors(f"write {target}"):
            files.sync_file(self.path)
        durable.rename(self.path, target)
        with _writing():
            self._listing.go_on_with(target)

    def _counts(self) -> JsonObject:
        return {
            "entries": self._count - self._skipped,
            "rows": self._count,
            "skipped": self._skipped,
            "tracked": list(self._tracked),
        }

    def discard(self) -> None:
        """Delete the database."""
        self._leaving()

    def _put_rows(self) -> None:
        if self._rows:
            self._put(Kind.ROWS, b"\n".join(self._rows))
            self._rows = []

    def _put_words(self) -> None:
        if self._words:
            self._put(Kind.WORDS, "\n".join(self._words).encode())
            self._words = []

    def _put_columns(self) -> None:
        if self._columns[0]:
            for kind, found in ((Kind.COLUMNS, self._columns), (Kind.CLAIMS, self._claims)):
                self._put(kind, json.dumps(found, separators=(",", ":")).encode())
            self._columns, self._claims = _no_columns(), ([], [])

    def _put(self, kind: Kind, body: bytes) -> None:
        with _writing():
            self._connection.execute("INSERT INTO parts VALUES (?, ?)", (kind << 32 | len(self._lists[kind]), body))
        self._lists[kind].append(hashlib.sha256(body).digest())

    def _written(self, kind: Kind) -> Iterator[bytes]:
        for number in range(len(self._lists[kind])):
            with _writing():
                body = read_part(self._connection, kind, number)
            yield body


def _header_of(accepted: Accepted) -> JsonObject:
    signers = accepted.signers
    return {
        "roots": [signed.to_json() for signed in accepted.roots],
        "header": accepted.header,
        "signatures": accepted.signatures,
        "digest": str(accepted.digest),
        "threshold": signers.threshold,
        "signed_by": list(map(str, signers.signed_by)),
        "missing": list(map(str, signers.missing)),
        "ignored": list(signers.ignored),
    }


def _no_columns() -> tuple[list[str], list[int], list[str | None], list[str]]:
    return [], [], [], []


def _shown(repo: str, kind: str) -> str:
    return repo if kind == RepoKind.MODEL.value else str(RepoId(repo, RepoKind(kind)))


def _leave(connection: sqlite3.Connection, path: Path | None) -> None:
    connection.close()
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, DamagedRowsError) as error:
        hint = "free some space, or point P2PQWEN_HOME at a larger disk" if "full" in str(error) else None
        raise RowsNotWrittenError("cannot write the database of an index", got=str(error), hint=hint) from error
