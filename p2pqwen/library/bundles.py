"""Bundles on disk: the newest published sites of our own publisher and of those we follow, as torrents.

    bundles/<publisher id>/<v1 infohash>/p2pqwen-index-<epoch>.<version>/…     index.json and the .torrent files here
    bundles/<publisher id>/p2pqwen-index-<epoch>.<version>.<v1 infohash>.info  its info dictionary; present once held
    bundles/<publisher id>/.coming-<random>/…                                  an index being fetched, not judged yet

A bundle is held once its index is accepted. Until then each fetch writes to its own folder, which shares no file with
a bundle. Once a bundle is held, unchanged files become links to those of the version before. Such a file is read first,
and must match the v1 pieces and pieces root of the new bundle. A bundle whose index came as a delta has no index.json.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import FormatError, P2pqwenError
from p2pqwen.index.acceptance import Position
from p2pqwen.index.bundle import INDEX_PATH, bundle_name, check_bundle, parse_bundle_name
from p2pqwen.library import durable
from p2pqwen.library.hashing import hash_file
from p2pqwen.library.home import Home
from p2pqwen.library.linking import place_linked
from p2pqwen.portable.files import allocated
from p2pqwen.torrent.info import MAX_INFO_BYTES, FileEntry
from p2pqwen.torrent.metainfo import Metainfo, metainfo_from_info
from p2pqwen.torrent.piece_hasher import V1_SIZE
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.repo_path import RepoPath

KEPT = 2
"""Bundles kept for each publisher: the newest, and the one before, which others may still be fetching."""
_COMING = ".coming-"
_LEFT_SECONDS = 86_400.0
_INFO = re.compile(r"(?P<name>.+)\.(?P<infohash>[0-9a-f]{40})\.info", re.ASCII)


@dataclass(frozen=True, slots=True)
class HeldBundle:
    """A held bundle, whole or in part. `save_path` is the torrent's: the folder that contains `<name>/`."""

    publisher: Sha256
    position: Position
    infohash: Sha1
    save_path: Path

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        return self.save_path / bundle_name(self.position)

    @property
    def info_path(self) -> Path:
        """The file of its info dictionary, which exists once the bundle is held."""
        return self.save_path.with_name(f"{bundle_name(self.position)}.{self.infohash}.info")

    def metainfo(self) -> Metainfo:
        """Read its torrent, which has no piece layers; raises `FormatError`, `NotFoundError`, `DiskError`."""
        metainfo = metainfo_from_info(durable.read(self.info_path, max_bytes=MAX_INFO_BYTES))
        check_bundle(metainfo.parsed_info, self.position)
        if metainfo.infohash.v1 != self.infohash:
            raise FormatError(f"{self.info_path} is damaged", expected=self.infohash, got=metainfo.infohash.v1)
        return metainfo

    def path(self, file: RepoPath) -> Path:
        """Return the path of one of its files, present or not."""
        return self.folder / file.text

    @property
    def has_index(self) -> bool:
        """Whether its index.json is held. It is not if the index came as a delta."""
        return _has_content(self.path(INDEX_PATH))

    def files_here(self, metainfo: Metainfo) -> frozenset[RepoPath]:
        """Return the files that are here with their full size."""
        return frozenset(file.path for file in metainfo.files if _is_here(self.path(file.path), file))


class BundleStore:
    """The bundles under one home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def newest(self, publisher: Sha256) -> HeldBundle | None:
        """Return the newest held bundle of a publisher."""
        return next(iter(self.all(publisher)), None)

    def all(self, publisher: Sha256) -> list[HeldBundle]:
        """Return every held bundle of a publisher, the newest first."""
        folder = self.folder(publisher)
        found = [
            self._held(publisher, position, Sha1.parse(match["infohash"]))
            for path in (folder.iterdir() if folder.is_dir() else ())
            if (match := _INFO.fullmatch(path.name)) and (position := _position(match["name"])) is not None
        ]
        return sorted(found, key=lambda held: held.position, reverse=True)

    def get(self, publisher: Sha256, position: Position) -> HeldBundle | None:
        """Return the bundle of the index at a position, if it is held; prefer one that has its index.json."""
        found = [held for held in self.all(publisher) if held.position == position]
        return max(found, key=lambda held: held.has_index, default=None)

    def folder(self, publisher: Sha256) -> Path:
        """Return the folder of a publisher's bundles."""
        return self._home.bundles / str(publisher)

    def lock_path(self, publisher: Sha256) -> Path:
        """Return the lock that protects changes to this publisher's bundles."""
        return self._home.locks / f"bundle-{publisher}.lock"

    @contextlib.contextmanager
    def coming(self, publisher: Sha256, position: Position, infohash: Sha1) -> Iterator[HeldBundle]:
        """Make a folder for the files of a bundle that is not judged yet; it is removed after the block.

        No other fetch, in this process or another, uses that folder, so none has to wait. Raises `DiskError`.
        """
        folder = self.folder(publisher) / f"{_COMING}{secrets.token_hex(8)}"
        held = HeldBundle(publisher, position, infohash, folder)
        self._sweep(publisher)
        with durable.disk_errors(f"create {folder}"):
            held.folder.mkdir(parents=True)
        try:
            yield held
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.folder(publisher).rmdir()  # if the publisher has nothing else

    def prepare(self, publisher: Sha256, position: Position, metainfo: Metainfo) -> HeldBundle:
        """Make a bundle's folder; until `enter` the bundle is not held and shares no file. Raises `DiskError`."""
        held = self._held(publisher, position, metainfo.infohash.v1)
        with durable.disk_errors(f"create {held.folder}"):
            durable.make_folder(held.folder)
        return held

    def separate(self, held: HeldBundle, metainfo: Metainfo, files: Collection[RepoPath]) -> frozenset[RepoPath]:
        """Return those of `files` that share their bytes with another bundle and are right.

        A shared file that is wrong is unlinked here, so that a download writes a new file. Raises `DiskError`.
        """
        had = set()
        for index, file in enumerate(metainfo.files):
            path = held.path(file.path)
            if file.path not in files or path.is_symlink() or not path.is_file() or path.stat().st_nlink < 2:
                continue
            if _is_right(path, metainfo, index):
                had.add(file.path)
            else:
                durable.remove(path)
        return frozenset(had)

    def write(self, held: HeldBundle, files: Iterable[tuple[RepoPath, bytes]]) -> None:
        """Write files of a bundle. A file that is right already is left alone, so a link stays a link.

        `files` is consumed lazily. Raises `DiskError`.
        """
        placed = ((held.path(file), data) for file, data in files)
        durable.write_many(held.folder, ((path, data) for path, data in placed if not _holds(path, data)))

    def enter(self, held: HeldBundle, metainfo: Metainfo) -> None:
        """Mark a bundle as held, since its index was accepted. Share what it can, and remove all but the last `KEPT`.

        The caller holds `lock_path`.
        """
        durable.write(held.info_path, metainfo.info)
        self.share(held, metainfo)
        for old in self.all(held.publisher)[KEPT:]:
            self.remove(old)
        self._sweep(held.publisher)

    def remove(self, held: HeldBundle) -> None:
        """Delete a bundle, held or not."""
        durable.remove(held.info_path)
        with durable.disk_errors(f"remove {held.save_path}"):
            shutil.rmtree(held.save_path, ignore_errors=True)

    def forget(self, publisher: Sha256) -> None:
        """Delete every bundle of a publisher; raises `DiskError`."""
        for held in self.all(publisher):
            self.remove(held)
        folder = self.folder(publisher)
        with durable.disk_errors(f"remove {folder}"):
            if folder.is_dir():
                shutil.rmtree(folder)

    def _sweep(self, publisher: Sha256) -> None:
        """Delete what killed fetches left behind."""
        long_ago = time.time() - _LEFT_SECONDS
        for path in self.folder(publisher).glob(f"{_COMING}*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < long_ago:
                    shutil.rmtree(path, ignore_errors=True)

    def share(self, held: HeldBundle, metainfo: Metainfo) -> None:
        """Link files that are missing here to an earlier bundle that has them.

        The bundle's index was accepted. The caller holds `lock_path`, as does a download into a bundle, so nothing
        writes to the files.
        """
        earlier = self._content(one for one in self.all(held.publisher) if one != held)
        for index, file in enumerate(metainfo.files):
            source = None if file.pieces_root is None else earlier.get(file.pieces_root)
            target = held.path(file.path)
            if source is None or target.exists() or target.is_symlink() or not _is_right(source, metainfo, index):
                continue
            place_linked(source, target)

    def _held(self, publisher: Sha256, position: Position, infohash: Sha1) -> HeldBundle:
        return HeldBundle(publisher, position, infohash, self.folder(publisher) / str(infohash))

    @staticmethod
    def _content(bundles: Iterable[HeldBundle]) -> Mapping[Sha256, Path]:
        """Map the pieces roots of the files that are here to their paths."""
        found: dict[Sha256, Path] = {}
        for held in bundles:
            try:
                metainfo = held.metainfo()
            except P2pqwenError:
                continue
            for file in metainfo.files:
                if file.pieces_root is not None and _is_here(held.path(file.path), file):
                    found.setdefault(file.pieces_root, held.path(file.path))
        return found


def _position(name: str) -> Position | None:
    try:
        return parse_bundle_name(name)
    except FormatError:
        return None  # not one of our files


def _is_right(path: Path, metainfo: Metainfo, index: int) -> bool:
    """Read a file and compare it with a torrent's file at `index`. The torrent has no piece layers here."""
    layout, file = metainfo.layout, metainfo.files[index]
    try:
        found = hash_file(
            path, piece_length=layout.piece_length, padded=layout.pad_after(index) > 0, git_blob=False
        ).hashes
    except P2pqwenError:
        return False
    pieces = layout.pieces(index)
    v1 = metainfo.pieces[pieces.start * V1_SIZE : pieces.stop * V1_SIZE]
    return (found.size, found.pieces, found.pieces_root) == (file.size, v1, file.pieces_root)


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


def _is_here(path: Path, file: FileEntry) -> bool:
    """Tell whether a file has its full size and is not a hole that a download left for later."""
    try:
        return path.stat().st_size == file.size and _has_content(path)
    except OSError:
        return False


def _has_content(path: Path) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False
    return allocated(path, stat) > 0 or stat.st_size < 512
