"""Find pieces on the disk that the resume data does not name: those that arrived between its last write and a crash.

Resume data is written now and then; libtorrent takes every piece that it does not name for missing and fetches it
again. Those pieces are therefore hashed, if the file has any data there, and kept if the hash is right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from p2pqwen.library.durable import disk_errors
from p2pqwen.portable.files import has_data, read_at
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.repo_path import RepoPath

_SHA1 = 20


def pieces_on_disk(
    metainfo: Metainfo,
    folder: Path,
    have: bytes,
    *,
    files: Collection[RepoPath] | None = None,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> Iterator[int]:
    """Yield the pieces without a 1 in `have` (a byte for each) whose bytes below `folder` have the v1 hash.

    With `files` None, all files are searched. Raises `DiskError`, and whatever `on_bytes` raises to stop.
    """
    layout = metainfo.layout
    for index, file in enumerate(layout.files):
        missing = [piece for piece in layout.pieces(index) if not have[piece]]
        path = folder / file.path.text
        if not missing or (files is not None and file.path not in files) or path.is_symlink() or not path.is_file():
            continue
        first, length = layout.pieces(index)[0], layout.piece_length
        with disk_errors(f"read {path}"), path.open("rb", buffering=0) as reader:
            for piece in missing:
                start = (piece - first) * length
                size = min(length, file.size - start)
                if not has_data(reader.fileno(), start, size):
                    continue
                digest = hashlib.sha1(read_at(reader.fileno(), size, start), usedforsecurity=False)
                if layout.pad_after(index):
                    digest.update(bytes(length - size))
                on_bytes(size)
                if digest.digest() == metainfo.pieces[piece * _SHA1 : (piece + 1) * _SHA1]:
                    yield piece
