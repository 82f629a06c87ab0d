"""Reads what a held snapshot's torrent says of itself; usually once, as it is remembered (`library.torrent_facts`)."""

from __future__ import annotations

from p2pqwen.index.standing import keys_of
from p2pqwen.library.snapshots import HeldSnapshot, State
from p2pqwen.library.torrent_facts import TorrentFacts, look_at
from p2pqwen.manifest.hazards import pickle_files
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.manifest.shown import ShownManifest
from p2pqwen.operations.verify.made_of_bytes import is_made_of_bytes
from p2pqwen.operations.verify.standings import Voices


def read_facts(held: HeldSnapshot, voices: Voices) -> TorrentFacts:
    """Read a torrent, prove its manifest and verify its signatures; `voices` gives the keys, if they matter.

    Raises as `HeldSnapshot.torrent` does.
    """
    look = look_at(held.torrent_path)  # before it is read, so that a later change is noticed
    whole = held.state is State.COMPLETE
    torrent = held.torrent()
    manifest = torrent.manifest
    of_bytes = manifest is not None and whole and is_made_of_bytes(manifest, held.folder)
    needed = torrent.signatures and torrent.provenance is not Provenance.PROVEN
    keys = keys_of(voices()) if needed else {}
    layout = torrent.metainfo.layout
    return TorrentFacts(
        look,
        torrent.infohash,
        layout.total_size,
        len(pickle_files(file.path for file in layout.files)),
        None if manifest is None else ShownManifest(manifest.snapshot, manifest.digest, of_bytes),
        whole,
        torrent.provenance,
        (held.torrent(keys) if needed else torrent).signers(keys),
    )
