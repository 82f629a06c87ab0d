"""The index file that a publication signs, written row by row because two million rows do not fit in memory."""

from __future__ import annotations

import contextlib
import mmap
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from p2pqwen.index.document import INDEX_TYPE, IndexDocument, print_pieces, signed_parts
from p2pqwen.index.root import SignedRoot
from p2pqwen.library import durable
from p2pqwen.library.index_source import IndexSource, Spool, remove_left
from p2pqwen.signing.envelope import pae_before, sign_message
from p2pqwen.signing.keys import Message, PrivateKey
from p2pqwen.values.strict_json import canonical

_GAP = 128
"""Bytes left free for the prefix of the signed document, which gives its length."""


@contextlib.contextmanager
def signed_file(
    roots: Sequence[SignedRoot], document: IndexDocument, private: Sequence[PrivateKey], folder: Path
) -> Iterator[IndexSource]:
    """Sign an index and print its file, which may be in `folder` until the block ends; raises `DiskError`."""
    remove_left(folder)
    with _message(document, folder) as message:
        signatures = [sign_message(message, key) for key in private]
    spool = Spool(folder)
    try:
        for piece in print_pieces(roots, document, list(signatures)):
            spool.take(piece)
        yield spool.source()
    finally:
        spool.close()


@contextlib.contextmanager
def _message(document: IndexDocument, folder: Path) -> Iterator[Message]:
    """Yield what the signatures cover, from a file without a name."""
    before, after = signed_parts(document.header_json())
    with durable.disk_errors(f"write in {folder}"), tempfile.TemporaryFile(dir=folder) as file:
        file.seek(_GAP)
        file.write(before)
        for number, row in enumerate(document.rows()):
            file.write(b"," * (number > 0) + canonical(row.to_json()))
        file.write(after)
        prefix = pae_before(INDEX_TYPE, file.tell() - _GAP)
        file.seek(_GAP - len(prefix))
        file.write(prefix)
        file.flush()
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held,
            memoryview(held) as whole,
            whole[_GAP - len(prefix) :] as message,
        ):
            yield message
