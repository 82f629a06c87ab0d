"""The published site: a folder of torrents and index.json, and whether it is ours to write.

Order of writes: torrents, this home's record of what it published, deltas, index.json. Then the torrents of withdrawn
snapshots are removed. After a crash, the old index and everything it names are still there; the next publication
continues after the index that was never seen, or that only a delta has shown.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from p2pqwen.errors import NotFoundError, UsageError, VerificationError
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.index.acceptance import Accepted, TrustedState
from p2pqwen.index.document import INDEX_FILE, IndexDocument
from p2pqwen.index.entry import Entry, torrent_location
from p2pqwen.library import durable
from p2pqwen.library.index_rows.beside import put_beside, remove_others
from p2pqwen.library.index_rows.judging import accept_apart, builder_of, file_digest
from p2pqwen.library.index_rows.parts import FileMark
from p2pqwen.library.index_source import FileSource, IndexSource, digest_of, pieces_of, size_of
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.torrent_reader import TorrentReader
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.operations.publish.deltas import write_deltas
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES

_TORRENT = re.compile(r"[0-9a-f]{40}\.torrent", re.ASCII)


def read_base(keys: KeyStore, path: Path, now: datetime) -> Accepted:
    """Return the index of this publisher that a user wants to continue; raises `RefusedError`."""
    path = path / INDEX_FILE if path.is_dir() else path
    return accept_apart(FileSource(path), TrustedState(keys.publisher()), now)


def listed_manifest(out: Path, entry: Entry, torrents: TorrentReader) -> Manifest | None:
    """Return the manifest in a torrent of the site, None if it is not the one that the entry names.

    Raises `NotFoundError`, `DiskError`, and what `CheckedTorrent.read` does.
    """
    manifest = torrents.torrent(durable.read(out / entry.torrent, max_bytes=MAX_TORRENT_BYTES)).manifest
    return None if manifest is None or manifest.digest != entry.manifest else manifest


def check_site(keys: KeyStore, out: Path, last: Accepted | None, base: Accepted | None, now: datetime) -> None:
    """Refuse a folder whose index.json is not ours to overwrite; raises `UsageError`.

    An index of our publisher that this home did not publish may be a colleague's, or a thief's: the user must look.
    """
    site = out / INDEX_FILE
    if not site.exists():
        return
    try:
        ours = last is not None and digest_of(FileSource(site)) == file_digest(last)
        there = last if last is not None and ours else accept_apart(FileSource(site), TrustedState(None), now)
    except VerificationError as error:
        raise UsageError(
            f"{site} is no valid index: {error.message}", hint="choose another folder, or remove that file"
        ) from error
    if there.publisher != keys.publisher():
        raise UsageError(
            f"{site} belongs to another publisher",
            expected=keys.publisher(),
            got=there.publisher,
            hint="choose another folder for --out",
        )
    hint = f"see `p2pqwen index diff`; then use --base {site} to continue from it, or --base FILE for a better one"
    check_known(keys, there, str(site), last, base, hint)


def check_known(
    keys: KeyStore, there: Accepted, place: str, last: Accepted | None, base: Accepted | None, hint: str
) -> None:
    """Refuse to continue if the next index would contradict `there`, an index of our publisher at `place`.

    Raises `UsageError` unless `there` was published here, is the one to continue, or is older than one of those.
    """
    known = {one.digest for one in (last, base) if one is not None}
    if there.digest in known or any(there.position < one.position for one in (last, base) if one is not None):
        return
    if there.root.version >= len(keys.roots()):  # else the keys changed since: its signers no longer count
        raise UsageError(f"{place} holds index {there.position}, which this home did not publish", hint=hint)


def write_torrent(keys: KeyStore, out: Path, location: str, data: bytes) -> None:
    """Put a signed torrent into the site and this home's copy of it; files that are already right stay untouched."""
    if keys.torrent(location) != data:
        keys.write_torrent(location, data)
    path = out / location
    if not path.exists() or durable.read(path, max_bytes=MAX_TORRENT_BYTES) != data:
        durable.write(path, data, mode=durable.SHARED)


def complete_site(keys: KeyStore, out: Path, document: IndexDocument, report: Report = ignore) -> None:
    """Add every torrent that the index names and the site lacks, as it was published before.

    Half-written torrents that a killed publication left there are removed. The caller holds the publisher's lock, so no
    other process writes there now.
    """

    def lacking() -> Iterator[tuple[Path, bytes]]:
        folder, names = out, set[str]()
        # Each folder once, in whatever case it is spelled: a second look would find what is being written now.
        tidied: set[str] = set()
        for done, entry in enumerate(document.entries, 1):
            path = out / entry.torrent
            if path.parent != folder:
                folder, spelled = path.parent, entry.torrent.rpartition("/")[0].casefold()
                names = _files_in(folder, tidy=spelled not in tidied)
                tidied.add(spelled)
            if path.name in names or path.exists():
                continue
            if (kept := keys.torrent(entry.torrent)) is None:
                raise NotFoundError(
                    f"the torrent of {entry.id} is neither in the library nor in {out}",
                    hint=f"copy {entry.torrent} there from a mirror, or withdraw the snapshot",
                )
            yield path, kept
            report(Progress("write", done, len(document.entries), str(entry.id), "torrents"))

    durable.write_many(out, lacking(), mode=durable.SHARED)


def _files_in(folder: Path, *, tidy: bool) -> set[str]:
    """Return the names of the files in a folder, if it can be read; `tidy`: remove half-written torrents first."""
    names = set()
    with contextlib.suppress(OSError):
        for one in list(os.scandir(folder)):
            if tidy and (target := durable.target_of(one.name)) is not None and _TORRENT.fullmatch(target):
                Path(one.path).unlink(missing_ok=True)
            elif one.is_file(follow_symlinks=False):
                names.add(one.name)
    return names


def write_index(
    keys: KeyStore,
    out: Path,
    source: IndexSource,
    accepted: Accepted,
    earlier: Iterable[Accepted | None] | None,
    report: Report = ignore,
) -> Path:
    """Record a published index, then write it to the site.

    `earlier` are its possible predecessors; None: it is the one that was published last, whose record and deltas stay.
    """
    if earlier is not None:
        keys.write_published(source)
        write_deltas(out, earlier, accepted, size_of(source), report)
    if builder_of(accepted) is not None:
        mark = FileMark.of(keys.published_path.stat())
        put_beside(keys.published_path, mark, accepted, accepted.document.issued, report)
        remove_others(keys.published_path, file_digest(accepted))
    durable.write_pieces(out / INDEX_FILE, pieces_of(source), mode=durable.SHARED)
    return out / INDEX_FILE


def remove_withdrawn(out: Path, document: IndexDocument, report: Report = ignore) -> None:
    """Remove the torrents of withdrawn snapshots from the site, which no longer names them; raises `DiskError`.

    This home keeps its own copies, from which a reinstated one is published again. A file that the index names stays,
    however it is spelled: on a case-insensitive file system two repositories may share one.
    """
    named: dict[str, list[Path]] = {}
    for entry in document.entries:
        named.setdefault(entry.torrent.casefold(), []).append(out / entry.torrent)
    for gone in document.withdrawn:
        location = torrent_location(gone.id)
        path = out / location
        if not (path.is_file() or path.is_symlink()):
            continue
        if any(_is_same(path, listed) for listed in named.get(location.casefold(), ())):
            continue
        durable.remove(path)
        report(Notice("info", f"withdrawn, and taken out of the site: {path}"))


def _is_same(path: Path, other: Path) -> bool:
    with durable.disk_errors(f"look at {path}"):
        return path.exists() and other.exists() and path.samefile(other)
