"""A trusted publisher as `standing.judge` sees it: its keys, what it lists, and what it has withdrawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from p2pqwen.index.listing import Listing, listing_of
from p2pqwen.index.root import INDEX_ROLE
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import SnapshotId

if TYPE_CHECKING:
    from p2pqwen.index.document import IndexDocument
    from p2pqwen.index.root import Root
    from p2pqwen.index.standing import Evidence
    from p2pqwen.signing.keys import PublicKey
    from p2pqwen.torrent.infohash import InfoHash
    from p2pqwen.torrent.signer import SignerResult


@dataclass(frozen=True, slots=True)
class Voice:
    """A trusted publisher at this moment: its index keys, their threshold, and what it lists."""

    publisher: Sha256
    name: str
    keys: Mapping[Sha256, PublicKey]
    threshold: int
    listed: Listing = field(repr=False)
    withdrawn: Mapping[SnapshotId, str] = field(repr=False)  # with reasons
    own: bool = False

    @classmethod
    def of(cls, publisher: Sha256, root: Root, document: IndexDocument | None, *, own: bool = False) -> Voice:
        """Return the voice of a publisher by its newest root and its accepted index, None if it has none yet.

        `own`: it is this home's publisher.
        """
        listed = listing_of(() if document is None else document.entries)
        withdrawn = {gone.id: gone.reason for gone in (() if document is None else document.withdrawn)}
        role = root.roles[INDEX_ROLE]
        return cls(publisher, root.name, root.public_keys(INDEX_ROLE), role.threshold, listed, withdrawn, own)

    def lists(self, evidence: Evidence) -> bool:
        """Tell whether the index names this torrent as this snapshot, and its manifest counts."""
        return any(map(evidence.is_of, self.listed.find(evidence.infohash)))

    def lists_bytes(self, snapshot: SnapshotId, infohash: InfoHash) -> bool:
        """Tell whether the index names these bytes as this snapshot, whatever the manifest; that is no standing."""
        return any(one.id == snapshot for one in self.listed.find(infohash))

    def signed(self, snapshot: SnapshotId, signers: Iterable[SignerResult]) -> bool:
        """Tell whether its index keys signed the torrent, by the threshold of its index."""
        valid = {one.keyid for one in signers if one.state == "valid"}
        return snapshot not in self.withdrawn and len(valid & self.keys.keys()) >= self.threshold
