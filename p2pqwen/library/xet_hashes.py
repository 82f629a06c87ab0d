"""The Xet hashes of the files of held snapshots, beside the manifest, which does not contain them.

    xet/<org>--<model>@<commit>.json    {"files": {"<SHA-256>": {"listed": <Xet hash> or null, "made": … or null}}}

`listed` is what the Hub last answered. `made` was computed from the bytes themselves, by hf_xet. A Xet hash depends
only on the bytes, as the SHA-256 does, so a computed one stays valid. Anything unreadable counts as unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from p2pqwen.errors import DiskError, FormatError, NotFoundError
from p2pqwen.library import durable
from p2pqwen.library.home import Home
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.snapshot_place import file_stem

MAX_RECORD_SIZE = 64 << 20
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_UNREADABLE = (NotFoundError, DiskError, FormatError, ValueError, KeyError, TypeError, AttributeError, RecursionError)

XetHasher: TypeAlias = Callable[[Sequence[Path]], Sequence[str] | None]
"""Compute the Xet hash of each file from its bytes; None if that is not possible here."""


@dataclass(frozen=True, slots=True)
class XetNames:
    """One file's Xet hash (64 hex digits): as the Hub listed it, and as computed from its bytes; None if unknown."""

    listed: str | None = None
    made: str | None = None

    @property
    def differ(self) -> bool:
        """Whether the Hub lists another hash than the bytes have."""
        return None not in {self.listed, self.made} and self.listed != self.made


_NONE = XetNames()


class XetHashes:
    """The records under one home. Methods that write raise `DiskError`."""

    def __init__(self, home: Home) -> None:
        self._folder = home.xet

    def of(self, snapshot: SnapshotId) -> Mapping[Sha256, XetNames]:
        """Return what is known of a snapshot's files."""
        try:
            document = json.loads(durable.read(self._path(snapshot), max_bytes=MAX_RECORD_SIZE))
            return {Sha256.parse(digest): _names_of(row) for digest, row in document["files"].items()}
        except _UNREADABLE:
            return {}

    def keep_listed(self, snapshot: SnapshotId, listed: Mapping[Sha256, str]) -> None:
        """Record what the Hub lists."""
        known = self.of(snapshot)
        self._write(snapshot, known, {one: replace(known.get(one, _NONE), listed=name) for one, name in listed.items()})

    def keep_made(self, snapshot: SnapshotId, made: Mapping[Sha256, str]) -> None:
        """Record what was computed from the bytes."""
        known = self.of(snapshot)
        self._write(snapshot, known, {one: replace(known.get(one, _NONE), made=name) for one, name in made.items()})

    def made(
        self, snapshot: SnapshotId, files: Mapping[Sha256, Path], hasher: XetHasher, *, most: int | None = None
    ) -> Mapping[Sha256, str]:
        """Return the Xet hashes of these verified files, each file read only once; files without one are left out.

        `most`: the bytes that may be read for this now. What cannot be stored is computed again next time.
        """
        known = {digest: one.made for digest, one in self.of(snapshot).items()}
        lacking = [digest for digest in files if known.get(digest) is None]
        if most is not None:
            lacking = _within(lacking, files, most)
        new = (hasher([files[digest] for digest in lacking]) or ()) if lacking else ()
        found = dict(zip(lacking, new, strict=True)) if new else {}
        if found:
            with suppress(DiskError):
                self.keep_made(snapshot, found)
        return {digest: name for digest in files if (name := known.get(digest) or found.get(digest)) is not None}

    def forget(self, snapshot: SnapshotId) -> None:
        """Forget a snapshot's hashes."""
        durable.remove(self._path(snapshot))

    def _write(self, snapshot: SnapshotId, known: Mapping[Sha256, XetNames], new: Mapping[Sha256, XetNames]) -> None:
        if all(known.get(digest) == names for digest, names in new.items()):
            return
        files = {str(digest): {"listed": one.listed, "made": one.made} for digest, one in {**known, **new}.items()}
        durable.write(self._path(snapshot), json.dumps({"files": files}).encode())

    def _path(self, snapshot: SnapshotId) -> Path:
        return self._folder / f"{file_stem(snapshot)}.json"


def _within(digests: Sequence[Sha256], files: Mapping[Sha256, Path], most: int) -> list[Sha256]:
    """Return the first of these files that have at most `most` bytes together."""
    chosen = []
    for digest in digests:
        try:
            most -= files[digest].stat().st_size
        except OSError:  # gone, which is reported elsewhere
            continue
        if most < 0:
            break
        chosen.append(digest)
    return chosen


def _names_of(row: Mapping[str, object]) -> XetNames:
    return XetNames(_hash_of(row["listed"]), _hash_of(row["made"]))


def _hash_of(stored: object) -> str | None:
    return stored if isinstance(stored, str) and _HASH.fullmatch(stored) else None
