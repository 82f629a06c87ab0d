"""Facts about the torrents of held snapshots, so that a torrent need not be read and proved each time.

In the state store, `torrent/<snapshot>`: size, infohashes, what the manifest proves, and which signatures are right. A
record is valid while the torrent's file looks unchanged (inode, size, times); losing it costs one read. Whom this home
trusts is not part of it: a signature is recorded by its key, and whether that key may sign is checked at the time of
use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2pqwen.errors import DiskError, FormatError
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.manifest.shown import ShownManifest
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.signer import SignatureState, SignerResult
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.strict_json import JsonObject

if TYPE_CHECKING:
    from p2pqwen.library.state_store import StateStore

_PREFIX = "torrent/"
_STATES: Mapping[str, SignatureState] = {"valid": "valid", "invalid": "invalid", "unknown key": "unknown key"}

Look = tuple[int, int, int, int]
"""Size, inode, and the times of modification and change, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class TorrentFacts:
    """What was found in a torrent that looked like `look`. `size` in bytes; `hazards` counts pickle-format files.

    `manifest` is None if there is none. `whole`: it was compared with the files while all of them were there.
    `signers` were tried with the keys known at that time.
    """

    look: Look
    infohash: InfoHash
    size: int
    hazards: int
    manifest: ShownManifest | None
    whole: bool
    provenance: Provenance
    signers: tuple[SignerResult, ...]

    def to_json(self) -> JsonObject:
        """Return the stored document."""
        return {
            "look": list(self.look),
            "v1": str(self.infohash.v1),
            "v2": str(self.infohash.v2),
            "size": self.size,
            "hazards": self.hazards,
            "manifest": None if self.manifest is None else _shown(self.manifest),
            "whole": self.whole,
            "provenance": self.provenance.value,
            "signers": [[one.label, str(one.keyid), one.state] for one in self.signers],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> TorrentFacts | None:
        """Read a stored document; a malformed one counts as none."""
        try:
            if value is None:
                return None
            size, inode, modified, changed = map(int, value["look"])
            return cls(
                (size, inode, modified, changed),
                InfoHash(Sha1.parse(value["v1"]), Sha256.parse(value["v2"])),
                int(value["size"]),
                int(value["hazards"]),
                None if value["manifest"] is None else _read_shown(value["manifest"]),
                bool(value["whole"]),
                Provenance(value["provenance"]),
                tuple(
                    SignerResult(str(label), Sha256.parse(keyid), _STATES[state])
                    for label, keyid, state in value["signers"]
                ),
            )
        except (KeyError, TypeError, ValueError, FormatError):
            return None


class FactsStore:
    """The records of one home. Methods raise `DiskError`."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    def all(self) -> dict[SnapshotId, TorrentFacts]:
        """Return every record."""
        read = {name: TorrentFacts.from_json(value) for name, value in self._store.items(_PREFIX).items()}
        return {SnapshotId.parse(name): facts for name, facts in read.items() if facts is not None}

    def put(self, found: Mapping[SnapshotId, TorrentFacts | None]) -> None:
        """Write records in one transaction; None removes one."""
        self._store.update_all({f"{_PREFIX}{snapshot}": _to(facts) for snapshot, facts in found.items()})


def _shown(manifest: ShownManifest) -> JsonObject:
    return {"snapshot": str(manifest.snapshot), "digest": str(manifest.digest), "of_bytes": manifest.of_bytes}


def _read_shown(value: Mapping[str, Any]) -> ShownManifest:
    return ShownManifest(SnapshotId.parse(value["snapshot"]), Sha256.parse(value["digest"]), bool(value["of_bytes"]))


def _to(facts: TorrentFacts | None) -> Callable[[Any], Any]:
    value = None if facts is None else facts.to_json()
    return lambda _: value


def look_at(path: Path) -> Look:
    """Return how a torrent's file looks now; raises `DiskError`."""
    try:
        stat = path.stat()
    except OSError as error:
        raise DiskError(f"cannot look at {path}", got=error.strerror or str(error)) from error
    return stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns
