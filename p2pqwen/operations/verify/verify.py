"""Re-hash a snapshot and report every file that is not as it was signed, with expected and got."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from p2pqwen.errors import DiskError, NotFoundError, P2pqwenError
from p2pqwen.events import Progress, Report, ignore
from p2pqwen.index.standing import Judgement, Standing, judge_torrent, keys_of
from p2pqwen.index.voice import Voice
from p2pqwen.library.hashing import FileDigests, hash_files
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.verified import Verified
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.manifest.warnings import warnings_of
from p2pqwen.operations.verify.file_check import difference
from p2pqwen.operations.verify.made_of_bytes import is_made_of_bytes
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.layout import Layout, PayloadFile
from p2pqwen.torrent.signer import SignerResult
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId

_NOT_PAYLOAD = (".git/", ".cache/huggingface/")
"""What git and huggingface_hub keep beside the files."""


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that is not what the manifest says."""

    path: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found. `files` and `bytes` count what was checked; `extra` are files nobody signed.

    `looks`: how the files that were read looked.
    """

    files: int
    bytes: int
    bad: tuple[BadFile, ...]
    torrent: CheckedTorrent
    signers: tuple[SignerResult, ...]
    looks: Verified
    judgement: Judgement | None = None  # None if nothing says whose snapshot it is
    extra: tuple[str, ...] = ()
    xet: tuple[str, ...] = ()
    """The files whose Xet hash at the Hub is not that of their bytes, in words."""

    @property
    def provenance(self) -> Provenance:
        """What the torrent's manifest proves."""
        return self.torrent.provenance

    @property
    def manifest(self) -> Manifest | None:
        """The torrent's manifest, None without one."""
        return self.torrent.manifest

    @property
    def infohash(self) -> InfoHash:
        """The torrent's v1 and v2 infohash."""
        return self.torrent.infohash

    @property
    def of_files(self) -> int:
        """How many files the snapshot has; in a partial one, only `files` were chosen."""
        return len(self.torrent.metainfo.layout.files)

    @property
    def ok(self) -> bool:
        """Whether every file is right and no signature is wrong."""
        return not self.bad and all(signer.state != "invalid" for signer in self.signers)

    @property
    def standing(self) -> Standing:
        """How far the snapshot can be trusted."""
        return Standing.UNVOUCHED if self.judgement is None else self.judgement.standing

    @property
    def warnings(self) -> list[str]:
        """What a user who is shown this snapshot should be told."""
        if self.manifest is None:
            return ["the torrent carries no manifest"]
        return [*warnings_of(self.manifest, self.provenance), *self.xet]


def verify_held(held: HeldSnapshot, voices: Sequence[Voice], report: Report = ignore) -> Verification:
    """Verify a snapshot of the library; of a partial one, the files that were chosen."""
    selected = held.selected if held.state is not State.COMPLETE else None
    torrent = held.torrent(keys_of(voices))
    found = verify_folder(torrent, held.folder, voices, snapshot=held.id, selected=selected, report=report)
    if (damage := held.torrent_damage()) is None:
        return found
    expected, got = damage
    return replace(found, bad=(BadFile(held.torrent_path.name, f"sha256 {expected}", f"sha256 {got}"), *found.bad))


def verify_again(
    held: HeldSnapshot, library: Library, voices: Sequence[Voice], report: Report = ignore
) -> Verification:
    """Verify a snapshot of the library and record the result: it now counts as verified, or no longer does."""
    found = verify_held(held, voices, report)
    if held.state is not State.INCOMPLETE:
        with suppress(DiskError):  # the next reader reads it again
            if found.bad:
                library.verified.forget(held.id)
            else:
                library.verified.keep(held.id, found.looks)
    return found


def verify_folder(
    torrent: CheckedTorrent,
    folder: Path,
    voices: Sequence[Voice],
    *,
    snapshot: SnapshotId | None = None,
    selected: tuple[str, ...] | None = None,
    report: Report = ignore,
) -> Verification:
    """Compare the files below `folder` with a torrent and the manifest in it.

    `voices` are the publishers trusted now; `snapshot` is what the folder is taken for, None for what the manifest
    says. Raises `NotFoundError` without the folder.
    """
    if not folder.is_dir():
        raise NotFoundError(f"no folder {folder} with the files to verify")
    keys = keys_of(voices)
    torrent = torrent.tried_with(keys)
    metainfo, manifest = torrent.metainfo, torrent.manifest
    rows = {} if manifest is None else {row.path: row for row in manifest.files}
    files = [file for file in metainfo.layout.files if _wanted(file.path, selected)]
    bad: dict[RepoPath, BadFile] = {}
    present = [file for file in files if not _missing(file, folder, bad)]
    digests = _hash(folder, metainfo.layout, present, rows, bad, report)
    for index, file in enumerate(metainfo.layout.files):
        found = digests.get(file.path)
        if found is not None and (problem := difference(metainfo, index, rows.get(file.path), found)) is not None:
            bad[file.path] = BadFile(file.path.text, *problem.shown)
    of_bytes = manifest is not None and selected is None and not bad and is_made_of_bytes(manifest, folder)
    looks = {path: one.look for path, one in digests.items() if one.look is not None}
    return Verification(
        files=len(files),
        bytes=sum(one.size for one in digests.values()),
        bad=tuple(bad[path] for path in sorted(bad)),
        torrent=torrent,
        signers=torrent.signers(keys),
        judgement=judge_torrent(torrent, voices, of_bytes=of_bytes, snapshot=snapshot),
        extra=_extra(folder, {file.path.text for file in metainfo.layout.files}),
        looks=Verified(metainfo.infohash.v2, looks),
    )


def _wanted(path: RepoPath, selected: tuple[str, ...] | None) -> bool:
    return selected is None or any(fnmatch.fnmatchcase(path.text, glob) for glob in selected)


def _missing(file: PayloadFile, folder: Path, bad: dict[RepoPath, BadFile]) -> bool:
    try:
        found = os.stat(os.path.join(folder, file.path.text))  # noqa: PTH116, PTH118 - of each of many files
        got = f"{found.st_size} bytes" if stat.S_ISREG(found.st_mode) else "missing"
    except (FileNotFoundError, NotADirectoryError):
        got = "missing"
    except OSError as error:
        got = error.strerror or str(error)
    if got != (expected := f"{file.size} bytes"):
        bad[file.path] = BadFile(file.path.text, expected, got)
    return file.path in bad


def _hash(
    folder: Path,
    layout: Layout,
    present: list[PayloadFile],
    rows: Mapping[RepoPath, FileRow],
    bad: dict[RepoPath, BadFile],
    report: Report,
) -> Mapping[RepoPath, FileDigests]:
    total = sum(file.size for file in present)
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        report(Progress("verify", done, total))

    def on_error(path: RepoPath, error: P2pqwenError) -> None:
        bad[path] = BadFile(path.text, "a readable file", error.message)

    return hash_files(
        folder,
        layout,
        only={file.path for file in present},
        lfs={path for path, row in rows.items() if row.lfs},
        on_bytes=on_bytes,
        on_error=on_error,
    )


def _extra(folder: Path, known: set[str]) -> tuple[str, ...]:
    found = []
    for parent, _, names in os.walk(folder):
        below = Path(parent).relative_to(folder).as_posix()
        found += names if below == "." else [f"{below}/{name}" for name in names]
    return tuple(sorted(name for name in found if name not in known and not name.startswith(_NOT_PAYLOAD)))
