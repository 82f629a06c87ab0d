"""Check that a torrent is the one that an index entry names (SPEC section 7).

There is a check for each state of a torrent: metadata from peers (`check_metadata`), a parsed .torrent (`check_copy`),
and a checked one, signatures included (`check_listed`).
"""

from __future__ import annotations

from collections.abc import Container

from p2pqwen.errors import VerificationError
from p2pqwen.index.entry import Entry
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.digest import Sha256


def check_metadata(entry: Entry, metainfo: Metainfo) -> None:
    """Check an info dictionary, from any source, against the entry; raises `VerificationError`."""
    if metainfo.infohash != entry.infohash:
        raise VerificationError(
            f"torrent of {entry.id} is another one than the index names",
            expected=entry.infohash.v2,
            got=metainfo.infohash.v2,
        )
    if metainfo.name != str(entry.id.commit):
        raise VerificationError(
            f"torrent of {entry.id} is of another commit", expected=entry.id.commit, got=metainfo.name
        )
    if (metainfo.layout.total_size, len(metainfo.files)) != (entry.size, entry.files):
        got = f"{len(metainfo.files)} of {metainfo.layout.total_size} bytes"
        raise VerificationError(f"files of {entry.id}", expected=f"{entry.files} of {entry.size} bytes", got=got)


def check_copy(entry: Entry, metainfo: Metainfo) -> None:
    """Check a .torrent before its manifest is read: metadata, and the manifest's digest; raises `VerificationError`."""
    check_metadata(entry, metainfo)
    if metainfo.manifest is None or Sha256.of(metainfo.manifest) != entry.manifest:
        got = "none" if metainfo.manifest is None else Sha256.of(metainfo.manifest)
        raise VerificationError(f"manifest of {entry.id}", expected=entry.manifest, got=got)


def check_listed(entry: Entry, torrent: CheckedTorrent, keyids: Container[Sha256]) -> None:
    """Check a torrent, tried with the publisher's keys, against the entry and keys; raises `VerificationError`."""
    check_copy(entry, torrent.metainfo)
    if torrent.snapshot != entry.id:
        raise VerificationError("the manifest is of another snapshot", expected=entry.id, got=torrent.snapshot)
    if not any(signer.state == "valid" for signer in torrent.signers(keyids)):
        raise VerificationError(f"torrent of {entry.id} carries no valid signature of its publisher")
