"""Compare the Xet hashes of held files with the Hub's; they are computed once and kept beside the manifest.

A difference says nothing against files whose SHA-256 is right: then the Hub's listing is wrong, and a client that
fetches by it gets something else.
"""

from __future__ import annotations

from dataclasses import replace

from p2pqwen.errors import P2pqwenError
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.library.xet_hashes import XetHasher
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.operations.verify.verify import Verification


def differing_names(held: HeldSnapshot, library: Library) -> list[str]:
    """Return in words what is known to differ; only the records are read."""
    known = library.xet_hashes.of(held.id)
    differ = {digest: names for digest, names in known.items() if names.differ}
    if not differ or (manifest := _manifest(held)) is None:
        return []
    rows = ((row, differ[row.sha256]) for row in manifest.files if row.sha256 in differ)
    return [
        f"the Hub lists {row.path} under another Xet hash, {names.listed}, than its bytes have, {names.made}"
        for row, names in rows
    ]


def with_xet_names(found: Verification, held: HeldSnapshot, library: Library, hasher: XetHasher) -> Verification:
    """Return what `verify` found, with the files whose Xet hash at the Hub is not that of their bytes.

    Files that the Hub named are read for this, once: a Xet hash holds as long as the SHA-256 does, which was just
    checked.
    """
    if found.manifest is None:
        return found
    listed = {digest for digest, names in library.xet_hashes.of(held.id).items() if names.listed is not None}
    bad = {one.path for one in found.bad}
    right = {
        row.sha256: held.folder / row.path.text
        for row in found.manifest.files
        if row.sha256 in listed and row.path.text not in bad and held.wants(row.path)
    }
    library.xet_hashes.made(held.id, right, hasher)
    return replace(found, xet=tuple(differing_names(held, library)))


def _manifest(held: HeldSnapshot) -> Manifest | None:
    try:
        return held.torrent().manifest
    except P2pqwenError:
        return None
