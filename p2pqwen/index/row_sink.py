"""The receiver of an index's entries while it is read, one at a time, so that they need not all fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from p2pqwen.index.entry import Entry, SkippedEntry, checked_row
from p2pqwen.index.plain_row import PlainRows
from p2pqwen.signing.keys import Message
from p2pqwen.values.strict_json import JsonObject


class RowSink(Protocol):
    """Takes the rows of one index and returns them. Methods raise `DiskError` if it keeps them on a disk."""

    def add(self, canonical: bytes, row: JsonObject | None) -> None:
        """Take the next row, in its RFC 8785 form; `row` None: it is invalid, and only its bytes count."""

    def add_plain(self, rows: PlainRows) -> None:
        """Take the next rows, as `add` does each of them."""

    @property
    def size(self) -> int:
        """The size in bytes of the rows in the index's RFC 8785 form, with the commas between them."""

    def message(self, before: bytes, after: bytes) -> AbstractContextManager[Message]:
        """Return those bytes between two others, as one message."""

    def finish(self) -> tuple[Sequence[Entry], Sequence[SkippedEntry]]:
        """Return the rows, once all of them are accepted."""


class MemoryRows:
    """Keeps all rows in memory: for small indexes, and for those in the making."""

    def __init__(self) -> None:
        self._rows: list[bytes] = []
        self._entries: list[Entry] = []
        self._skipped: list[SkippedEntry] = []

    def add(self, canonical: bytes, row: JsonObject | None) -> None:
        """Take the next row."""
        self._rows.append(canonical)
        if row is None:
            return
        found = checked_row(row)
        if isinstance(found, Entry):
            self._entries.append(found)
        else:
            self._skipped.append(found)

    def add_plain(self, rows: PlainRows) -> None:
        """Take them one by one."""
        for line, row in rows.rows():
            self.add(line, row)

    @property
    def size(self) -> int:
        """Count them."""
        return sum(map(len, self._rows)) + max(0, len(self._rows) - 1)

    def message(self, before: bytes, after: bytes) -> AbstractContextManager[Message]:
        """Return all of it."""
        return nullcontext(b"".join((before, b",".join(self._rows), after)))

    def finish(self) -> tuple[Sequence[Entry], Sequence[SkippedEntry]]:
        """Return the entries."""
        self._rows = []
        return tuple(self._entries), tuple(self._skipped)
