"""Find which pieces of a file on disk differ from its torrent, or whether the file differs from its manifest."""

from __future__ import annotations

from pathlib import Path

from p2pqwen.library.hashing import OnBytes, hash_file
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.operations.verify.file_check import bad_pieces, difference
from p2pqwen.operations.verify.scrub_record import Damage
from p2pqwen.torrent.metainfo import Metainfo


def look_for_damage(
    metainfo: Metainfo, folder: Path, index: int, row: FileRow | None, on_bytes: OnBytes | None = None
) -> Damage | None:
    """Read the file at `index` below `folder` and compare every piece, v1 and v2, and its manifest row, if it has one.

    Returns None if it is right. Raises `DiskError` if it cannot be read, and whatever `on_bytes` raises to stop.
    """
    layout, file = metainfo.layout, metainfo.layout.files[index]
    path = folder / file.path.text
    pieces = tuple(layout.pieces(index))
    if not path.is_file() or path.is_symlink():
        return Damage(file.path.text, pieces, f"{file.size} bytes", "missing")
    if (size := path.stat().st_size) != file.size:
        return Damage(file.path.text, pieces, f"{file.size} bytes", f"{size} bytes")
    found = hash_file(
        path,
        piece_length=layout.piece_length,
        padded=layout.pad_after(index) > 0,
        git_blob=row is not None and not row.lfs,
        on_bytes=on_bytes,
    )
    root = metainfo.files[index].pieces_root
    bad = bad_pieces(metainfo, index, found)
    if bad or found.hashes.pieces_root != root:
        return Damage(file.path.text, bad or pieces, f"pieces root {root}", f"pieces root {found.hashes.pieces_root}")
    if (wrong := difference(metainfo, index, row, found)) is not None:
        return Damage(file.path.text, (), *wrong.shown)
    return None
