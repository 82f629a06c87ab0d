"""The mirror tree of a site: the files themselves in plain folders, for rsync, wget2, aria2 and old mirrors.

    files/SHA256SUMS, files/SHA256SUMS.sig      every file below, as `sha256sum -c` reads it, and its signature
    files/<site path>/<commit>.sha256           the same for one snapshot
    files/<site path>/<commit>/<path>           the file

Nothing is copied or hard-linked: a write through a hard link would change the library's file. If the file system shares
blocks (btrfs, XFS), a file is a clone with the time of the original. Otherwise it is a relative symlink into the
library, which rsync follows with `-L` and web servers follow by themselves. The hashes are the manifest's.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from p2pqwen.catalogue import places
from p2pqwen.catalogue.sums import read_sums, sums_text
from p2pqwen.containment import each, warn
from p2pqwen.errors import DiskError, FormatError, NotFoundError, UsageError, VerificationError
from p2pqwen.events import Progress, Report
from p2pqwen.index.entry import Entry
from p2pqwen.library import durable
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.operations.publish.site import listed_manifest
from p2pqwen.portable.files import clone
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId

MAX_SUMS = 64 << 20


@dataclass(frozen=True, slots=True)
class MirrorTreeAnswer:
    """What a mirror tree holds: `bytes` of payload; `clones` and `links` are files. `missing`: listed but not in it."""

    folder: Path
    snapshots: int
    files: int
    bytes: int
    clones: int
    links: int
    missing: tuple[SnapshotId, ...]


@dataclass(slots=True)
class _Counted:
    bytes: int = 0
    clones: int = 0
    links: int = 0


@dataclass(frozen=True, slots=True)
class MirrorTree:
    """The mirror tree below `out`, made of what `library` holds."""

    out: Path
    library: Library
    report: Report

    @property
    def folder(self) -> Path:
        """Its own folder."""
        return self.out / places.TREE

    def require_ours(self) -> None:
        """Raise `UsageError` if files that are not a mirror tree are in its place."""
        with durable.disk_errors(f"look at {self.folder}"):
            foreign = self.folder.exists() and not (self.folder.is_dir() and self._is_ours())
        if foreign:
            hint = f"choose another --out, or move {self.folder} away"
            raise UsageError(f"{self.folder} is there, and no mirror tree", hint=hint)

    def _is_ours(self) -> bool:
        return (self.folder / places.SUMS).is_file() or not any(self.folder.iterdir())

    def place(self, entries: Collection[Entry]) -> tuple[Mapping[SnapshotId, Manifest], MirrorTreeAnswer]:
        """Put the snapshots that are listed and held into the tree; return what it holds now. Raises `DiskError`.

        A listed snapshot that is no longer held stays while its files are there: clones outlive the library's files.
        """
        counted, stands = _Counted(), dict[SnapshotId, Manifest]()

        def put(entry: Entry) -> None:
            self.report(Progress("mirror tree", len(stands), len(entries), str(entry.id), "snapshots"))
            manifest = self._manifest(entry)
            held = self._whole(entry)
            if held is None and not self._stands(manifest):
                return
            clones = sum(self._put(entry.id, row.path.text, held) for row in manifest.files)
            counted.clones += clones
            counted.links += len(manifest.files) - clones
            counted.bytes += entry.size
            stands[entry.id] = manifest

        each(entries, put, failed=warn(self.report, lambda entry: f"{entry.id} is not in the mirror tree"))
        self.report(Progress("mirror tree", len(entries), len(entries), unit="snapshots"))
        answer = MirrorTreeAnswer(
            self.folder,
            len(stands),
            counted.clones + counted.links,
            counted.bytes,
            counted.clones,
            counted.links,
            tuple(one.id for one in entries if one.id not in stands),
        )
        return stands, answer

    def _put(self, snapshot: SnapshotId, path: str, held: HeldSnapshot | None) -> bool:
        """Put one file into the tree if its snapshot is held; tell whether the file there is a clone."""
        target = self.folder / places.tree_file(snapshot, path)
        if held is None:
            return not target.is_symlink()
        with durable.disk_errors(f"look at {target}"):
            if _leads_out((self.folder / places.tree_file(snapshot, "x")).parent.parent, target):
                what = f"a folder on the way to {target} is a link to elsewhere, and nothing is written there"
                raise DiskError(what, hint="remove that link")
        return _placed(held.folder / path, target)

    def remove(self, place: str) -> None:
        """Remove the files that a snapshot's sums name, and the folders left empty; never remove anything else."""
        sums = self.out / RepoPath(place).text
        try:
            named = [RepoPath(path).text for path in read_sums(durable.read(sums, max_bytes=MAX_SUMS))]
        except (NotFoundError, FormatError):
            return
        with durable.disk_errors(f"remove what {sums} names"):
            folders = set[Path]()
            for path in named:
                file = sums.parent / path
                if file.is_symlink() or (file.is_file() and not _leads_out(sums.parent, file)):
                    file.unlink()
                folders |= {sums.parent / one for one in PurePosixPath(path).parents if one.name}
            for folder in sorted(folders, key=lambda one: len(one.parts), reverse=True):
                with suppress(OSError):  # other files are there
                    folder.rmdir()

    def remove_empty(self, folder: Path) -> None:
        """Remove a folder of the tree, and those above it, while they are empty."""
        while folder.is_relative_to(self.folder):
            with suppress(OSError):
                folder.rmdir()
            if folder.exists():
                return
            folder = folder.parent

    def _manifest(self, entry: Entry) -> Manifest:
        manifest = listed_manifest(self.out, entry, self.library.torrents)
        if manifest is None:
            raise VerificationError("its torrent holds no manifest, or another one than the index names")
        return manifest

    def _whole(self, entry: Entry) -> HeldSnapshot | None:
        """Return the held snapshot if it is the listed one, complete and as it was verified."""
        held = self.library.get(entry.id)
        if held is None or held.state is not State.COMPLETE:
            return None
        whole = self.library.state(held, entry.infohash.v2, entry.size) is State.COMPLETE
        return held if whole else None

    def _stands(self, manifest: Manifest) -> bool:
        with durable.disk_errors(f"look at {self.folder}"):
            paths = ((self.folder / places.tree_file(manifest.snapshot, row.path.text), row) for row in manifest.files)
            return all(path.is_file() and path.stat().st_size == row.size for path, row in paths)


def snapshot_sums(manifest: Manifest) -> bytes:
    """Return the sums of one snapshot, relative to the parent of its folder."""
    commit = manifest.snapshot.commit
    return sums_text({f"{commit}/{row.path.text}": str(row.sha256) for row in manifest.files})


def tree_sums(manifests: Iterable[Manifest]) -> bytes:
    """Return the sums of a whole tree, relative to its folder."""
    return sums_text(
        {places.tree_file(one.snapshot, row.path.text): str(row.sha256) for one in manifests for row in one.files}
    )


def _placed(source: Path, target: Path) -> bool:
    """Put a file of the library at a place of the tree; tell whether it is a clone rather than a symlink."""
    with durable.disk_errors(f"place {target}"):
        source = source.resolve(strict=True)
        looks = source.stat()
        link = os.path.relpath(source, target.parent.resolve())
        if target.is_symlink():
            if target.readlink() == Path(link):
                return False
        elif target.is_file():
            there = target.stat()
            if (there.st_size, there.st_mtime_ns) == (looks.st_size, looks.st_mtime_ns):
                return True
        temporary = durable.temporary_beside(target, shared=True)
        try:
            if is_clone := clone(source, temporary):
                os.utime(temporary, ns=(looks.st_atime_ns, looks.st_mtime_ns))
            else:
                temporary.symlink_to(link)
            temporary.replace(target)
        except NotImplementedError as error:
            raise DiskError(f"cannot make a symlink at {target}", got=str(error)) from error
        finally:
            temporary.unlink(missing_ok=True)
        return is_clone


def _leads_out(folder: Path, file: Path) -> bool:
    """Tell whether a folder on the way to a file is a symlink out of `folder`."""
    return not file.parent.resolve().is_relative_to(folder.resolve())
