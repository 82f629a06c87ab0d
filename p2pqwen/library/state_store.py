"""What a node remembers between runs: small named JSON documents in state.sqlite, each with its own checksum.

SQLite keeps transactions whole through a crash, but does not notice a flipped bit in a row, and a flip inside a page
can hide a row. So every document has a SHA-256 over its name and body, and a seal over all of them is written in the
same transaction. A store that fails either check is set aside and reported, and the documents that are provably right
are kept. Losing a document is harmless by design: its reader falls back to defaults.

The exception is what the user said: pins, pauses, limits, the budget, and the uploads that a monthly quota counts.
These are also written to choices.json beside the database, in the same transaction. If the database is gone or broken,
they are restored from there, and that is reported: deleting state.sqlite must not unpin anything.

A database is made under another name and then renamed, so that no process opens an unfinished one. One process at a
time opens, checks and repairs it, and sets it aside only if no other has it open.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, NoReturn, Self, TypeVar

from p2pqwen.errors import DiskError, NotFoundError, P2pqwenError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.library.checksummed import seal as seal_document
from p2pqwen.library.checksummed import unseal
from p2pqwen.library.durable import PRIVATE, SharedLock, disk_errors, lock, open_private, read, rename, write
from p2pqwen.portable.owners import give_mode
from p2pqwen.values import json_fields
from p2pqwen.values.plural import plural

MAX_DOCUMENT = 16 << 20
_BUSY_SECONDS = 10.0
_SEAL = ""  # the row whose body is the XOR of all other rows' digests
_SCHEMA = "CREATE TABLE IF NOT EXISTS documents (name TEXT PRIMARY KEY, body BLOB NOT NULL, digest BLOB NOT NULL)"
_NOTHING = bytes(32)
_KEPT = ("limits", "steward", "choice/", "month/")  # names and prefixes
_KEPT_MONTHS = 2
_BESIDE = ("-wal", "-shm")
KEPT_FILE = "choices.json"

Json = Any
Value = TypeVar("Value")


class StateStore:
    """The documents of one home; safe for threads and processes. Methods raise `DiskError`."""

    def __init__(self, path: Path, report: Report = ignore) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._kept = path.with_name(KEPT_FILE)
        self._report = report
        self._users: SharedLock | None = None
        self._connection = self._connected()
        self.is_open = True
        self._opened = _identity(path)
        self._times_opened = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; the store cannot be used afterwards."""
        self.is_open = False
        self._connection.close()
        if self._users is not None:
            self._users.close()

    def get(self, name: str) -> Json | None:
        """Return a document, None if it is missing or damaged."""
        with self._using() as connection:
            row = connection.execute("SELECT body, digest FROM documents WHERE name = ?", (name,)).fetchone()
        return None if row is None or not _is_right(name, *row) else json.loads(row[0])

    def items(self, prefix: str) -> dict[str, Json]:
        """Return the documents whose names begin with `prefix`, by the rest of the name."""
        with self._using() as connection:
            rows = connection.execute(
                "SELECT name, body, digest FROM documents WHERE name >= ? AND name < ?", (prefix, prefix + "\U0010ffff")
            ).fetchall()
        right = ((name, body) for name, body, digest in rows if name != _SEAL and _is_right(name, body, digest))
        return {name[len(prefix) :]: json.loads(body) for name, body in right}

    def version(self) -> tuple[int, ...]:
        """Return a value that changes whenever a document may have changed, by this process or another."""
        with self._using() as connection:
            others = connection.execute("PRAGMA data_version").fetchone()[0]  # counts commits of other connections
            return self._times_opened, others, connection.total_changes

    def put(self, name: str, value: Json) -> None:
        """Write a document."""
        self.update(name, lambda _: value)

    def delete(self, name: str) -> None:
        """Remove a document; a missing one is fine."""
        self.update(name, lambda _: None)

    def update(self, name: str, change: Callable[[Json | None], Json | None]) -> Json | None:
        """Replace a document by what `change` makes of it (None: remove it), in one transaction; return the new one."""
        return self.update_all({name: change})[name]

    def update_all(self, changes: Mapping[str, Callable[[Json | None], Json | None]]) -> dict[str, Json | None]:
        """Do what `update` does for many documents, in one transaction: all or none."""
        if not all(changes):
            raise ValueError("a document needs a name")
        values: dict[str, Json | None] = {}
        with self._using() as connection, _transaction(connection):
            seal = _read_seal(connection)
            for name, change in changes.items():
                values[name], seal = _replace(connection, name, change, seal)
            _write_seal(connection, seal)
            if kept := [name for name in changes if _is_kept(name)]:
                # Counters change every few seconds, and may lag a little after a crash.
                self._keep(connection, sync=any(not name.startswith("month/") for name in kept))
        return values

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._follow()
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise _unusable("use", self._path, error) from error

    def _follow(self) -> None:
        """Reopen the database if the one we opened was deleted or set aside.

        A deleted file accepts writes and loses them, and other processes never see them.
        """
        if self._opened == _identity(self._path):
            return
        before, self._connection = self._connection, self._connected()
        self._times_opened += 1
        self._opened = _identity(self._path)
        before.close()

    def _connected(self) -> sqlite3.Connection:
        locks = self._path.parent / "locks"
        with lock(locks / f"{self._path.name}.lock", wait=True):
            users = self._users or SharedLock(locks / f"{self._path.name}.users")
            try:
                connection = self._open_or_rebuild(users)
            except BaseException:
                if self._users is None:
                    users.close()
                raise
            self._users = users
            return connection

    def _keep(self, connection: sqlite3.Connection, *, sync: bool = True) -> None:
        """Write what the user said to the file beside the database; raises `DiskError`."""
        rows = connection.execute("SELECT name, body, digest FROM documents").fetchall()
        kept = {
            name: json.loads(body) for name, body, digest in rows if _is_kept(name) and _is_right(name, body, digest)
        }
        for old in sorted(name for name in kept if name.startswith("month/"))[:-_KEPT_MONTHS]:
            del kept[old]
        write(self._kept, seal_document({"documents": kept}), sync=sync)

    def _bring_back(self, connection: sqlite3.Connection, report: Report) -> None:
        """Restore what the user said into a new database, from the file beside it, if there is one."""
        try:
            kept = unseal(read(self._kept, max_bytes=MAX_DOCUMENT), max_bytes=MAX_DOCUMENT, always=True)
            documents = json_fields.obj(kept, "documents")
        except NotFoundError:
            return
        except P2pqwenError as error:
            report(Notice("warning", f"{self._kept} is damaged: {error.message}; set your limits and pins again"))
            return
        seal = _read_seal(connection)
        for name, value in documents.items():
            _, seal = _replace(connection, name, _always(value), seal)
        _write_seal(connection, seal)
        chosen = sum(name.startswith("choice/") for name in documents)
        report(
            Notice(
                "warning",
                f"{self._path} is new, but there was one before; limits, this month's transfers and the choices (pins, "
                f"pauses) for {plural(chosen, 'snapshot')} are back from {self._kept.name}; "
                "other counters start again at 0",
            )
        )

    def _open_or_rebuild(self, users: SharedLock) -> sqlite3.Connection:
        try:
            return self._open(self._report)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                raise _unusable("open", self._path, error) from error
            with users.alone() as alone:
                if not alone:
                    raise DiskError(
                        f"{self._path} is damaged, and another process uses it",
                        got=str(error),
                        hint="end that process (`p2pqwen status` shows a node); the next command repairs the file",
                    ) from error
                return self._rebuild(str(error), self._report)

    def _open(self, report: Report) -> sqlite3.Connection:
        if not self._path.exists():
            with disk_errors(f"open {self._path}"):
                for extra in _BESIDE:  # of a deleted database, which a node may still use
                    self._path.with_name(self._path.name + extra).unlink(missing_ok=True)
            _make(self._path)
        cut_off = self._path.is_file() and self._path.stat().st_size == 0
        with disk_errors(f"open {self._path}"):
            # SQLite gives the files beside it the same mode. Set it by name: closing a descriptor of the file would
            # drop the locks of this process's other connections (fcntl(2)), and the next to close would delete the log.
            give_mode(self._path, PRIVATE)
        connection = _connect(self._path)
        try:
            if cut_off:
                _refuse("the file is empty")
            _check_structure(connection)
            with _transaction(connection):
                is_new = not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'documents'").fetchone()
                connection.execute(_SCHEMA)
                _check_seal(connection)
                if is_new:
                    self._bring_back(connection, report)
                if not self._kept.exists():  # made by an older version, or the first one
                    self._keep(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _rebuild(self, reason: str, report: Report) -> sqlite3.Connection:
        aside = self._path.with_name(self._path.name + ".damaged")
        saved = _readable_rows(self._path)
        with disk_errors(f"set {self._path} aside"):
            self._path.replace(aside)
            for extra in _BESIDE:
                self._path.with_name(self._path.name + extra).unlink(missing_ok=True)
        report(
            Notice(
                "warning",
                f"{self._path} was damaged ({reason}); it is now {aside.name}, {len(saved)} intact documents were "
                f"kept, and your choices are also in {self._kept.name}",
            )
        )
        connection = self._open(report)
        with _transaction(connection):
            seal = _read_seal(connection)
            for name, body, _ in saved:
                _, seal = _replace(connection, name, _always(json.loads(body)), seal)
            _write_seal(connection, seal)
            self._keep(connection)
        return connection


class Followed(Generic[Value]):
    """A value read from a store, and read again only if the store has changed; thread-safe.

    Nothing may change the object that `read` returns. An unchanged value stays the same object.
    """

    def __init__(self, store: StateStore, read: Callable[[], Value]) -> None:
        self._store, self._read = store, read
        self._known: tuple[tuple[int, ...], Value] | None = None

    def now(self) -> Value:
        """Return the current value; raises what `read` does, and `DiskError`."""
        known, version = self._known, self._store.version()  # version first: later changes are read next time
        if known is None or known[0] != version:
            found = self._read()
            known = self._known = version, found if known is None or known[1] != found else known[1]
        return known[1]


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes a file from another of the same name, None if there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _always(value: Json) -> Callable[[Json | None], Json | None]:
    return lambda _: value


def _is_kept(name: str) -> bool:
    return any(name == kept or (kept.endswith("/") and name.startswith(kept)) for kept in _KEPT)


def _replace(
    connection: sqlite3.Connection, name: str, change: Callable[[Json | None], Json | None], seal: bytes
) -> tuple[Json | None, bytes]:
    """Replace one document; return it and the seal over all of them."""
    row = connection.execute("SELECT body, digest FROM documents WHERE name = ?", (name,)).fetchone()
    before = None if row is None or not _is_right(name, *row) else json.loads(row[0])
    value = change(before)
    if row is not None:
        seal = _xor(seal, row[1])
    if value is None:
        connection.execute("DELETE FROM documents WHERE name = ?", (name,))
        return None, seal
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    if len(body) > MAX_DOCUMENT:
        raise DiskError(f"state {name} grew too large", expected=f"at most {MAX_DOCUMENT} bytes")
    digest = _digest(name, body)
    connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (name, body, digest))
    return value, _xor(seal, digest)


def _unusable(doing: str, path: Path, error: sqlite3.Error) -> DiskError:
    hint = "free some space, or point P2PQWEN_HOME at a larger disk" if "full" in str(error) else None
    return DiskError(f"cannot {doing} {path}", got=str(error), hint=hint)


def _make(path: Path) -> None:
    """Make an empty database, and name it once it is whole; the caller adds table and content in one transaction."""
    new = path.with_name(f".{path.name}.new")
    with disk_errors(f"create {path}"):
        new.unlink(missing_ok=True)  # of a killed process: under the lock, one process at a time makes a database
        os.close(open_private(new, os.O_RDWR))
    _connect(new).close()
    rename(new, path)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _readable_rows(path: Path) -> list[tuple[str, bytes, bytes]]:
    """Read every intact document, as far as the file can be read."""
    saved: dict[str, tuple[str, bytes, bytes]] = {}
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_connect(path)) as connection:
        for name, body, digest in connection.execute("SELECT name, body, digest FROM documents"):
            if name != _SEAL and isinstance(name, str) and _is_right(name, body, digest):
                saved[name] = name, body, digest
    return list(saved.values())


def _check_structure(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        _refuse(str(found))


def _refuse(reason: str) -> NoReturn:
    raise sqlite3.DatabaseError(reason)


def _check_seal(connection: sqlite3.Connection) -> None:
    seal, rows = _NOTHING, 0
    for name, body, digest in connection.execute("SELECT name, body, digest FROM documents"):
        if name == _SEAL:
            continue
        rows += 1
        if not _is_right(name, body, digest):
            _refuse("a document changed since it was written")
        seal = _xor(seal, digest)
    if seal != _read_seal(connection):
        _refuse("documents are missing, or of another time")


def _read_seal(connection: sqlite3.Connection) -> bytes:
    row = connection.execute("SELECT body, digest FROM documents WHERE name = ?", (_SEAL,)).fetchone()
    if row is None:
        return _NOTHING
    if not _is_right(_SEAL, *row) or len(row[0]) != len(_NOTHING):
        _refuse("the checksum does not match")
    return bytes(row[0])


def _write_seal(connection: sqlite3.Connection, seal: bytes) -> None:
    connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (_SEAL, seal, _digest(_SEAL, seal)))


def _digest(name: str, body: bytes) -> bytes:
    return hashlib.sha256(len(name.encode()).to_bytes(8, "big") + name.encode() + body).digest()


def _is_right(name: object, body: object, digest: object) -> bool:
    return isinstance(name, str) and isinstance(body, bytes) and digest == _digest(name, body)


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one) ^ int.from_bytes(other)).to_bytes(len(_NOTHING))
