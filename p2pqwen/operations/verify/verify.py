"""Re-hash a snapshot and say what is not as it was signed: every bad file, with expected and got."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from p2pqwen.errors import DiskError, NotFoundError, P2pqwenError
from p2pqwen.events import Progress, Report, ignore
from p2pqwen.index.standing import Evidence, Judgement, Standing, Voice, judge, keys_of
from p2pqwen.library.hashing import FileDigests, hash_files
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.verified import Verified
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.manifest.warnings import warnings_of
from p2pqwen.operations.verify.file_check import difference
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.layout import Layout, PayloadFile
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.signature import SignerResult, verify_torrent
from p2pqwen.torrent.snapshot_torrent import signed_manifest
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that is not what the manifest says."""

    path: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found. `files` and `bytes` count what was checked; `extra` are files nobody signed.

    `looks`: how the files looked that were read.
    """

    files: int
    bytes: int
    bad: tuple[BadFile, ...]
    provenance: Provenance
    signers: tuple[SignerResult, ...]
    manifest: Manifest | None
    infohash: InfoHash
    looks: Verified
    judgement: Judgement | None = None  # None where nothing says whose snapshot it is
    extra: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Every file right and no signature wrong."""
        return not self.bad and all(signer.state != "invalid" for signer in self.signers)

    @property
    def standing(self) -> Standing:
        """How far the snapshot can be believed."""
        return Standing.UNVOUCHED if self.judgement is None else self.judgement.standing

    @property
    def warnings(self) -> list[str]:
        """What anybody who is shown this snapshot should be told."""
        return ["the torrent carries no manifest"] if self.manifest is None else warnings_of(self.manifest)


def verify_held(held: HeldSnapshot, voices: Sequence[Voice], report: Report = ignore) -> Verification:
    """Verify a snapshot of the library; of a partial one, the files that were chosen."""
    selected = held.selected if held.state is not State.COMPLETE else None
    found = verify_folder(held.metainfo(), held.folder, voices, snapshot=held.id, selected=selected, report=report)
    if (damage := held.torrent_damage()) is None:
        return found
    expected, got = damage
    return replace(found, bad=(BadFile(held.torrent_path.name, f"sha256 {expected}", f"sha256 {got}"), *found.bad))


def verify_again(
    held: HeldSnapshot, library: Library, voices: Sequence[Voice], report: Report = ignore
) -> Verification:
    """Verify a snapshot of the library, and keep what that showed: it is as it was verified now, or it is not."""
    found = verify_held(held, voices, report)
    if held.state is not State.INCOMPLETE:
        with suppress(DiskError):  # the next reader reads it again
            if found.bad:
                library.verified.forget(held.id)
            else:
                library.verified.keep(held.id, found.looks)
    return found


def verify_folder(
    metainfo: Metainfo,
    folder: Path,
    voices: Sequence[Voice],
    *,
    snapshot: SnapshotId | None = None,
    selected: tuple[str, ...] | None = None,
    report: Report = ignore,
) -> Verification:
    """Compare the files below `folder` with a torrent and the manifest in it.

    `voices` are the publishers trusted now; `snapshot` is what the folder is taken for, None: what the manifest says.
    Raises `VerificationError` where torrent and manifest contradict each other, `NotFoundError` without the folder.
    """
    if not folder.is_dir():
        raise NotFoundError(f"no folder {folder} with the files to verify")
    manifest, provenance = signed_manifest(metainfo)
    rows = {} if manifest is None else {row.path: row for row in manifest.files}
    files = [file for file in metainfo.layout.files if _wanted(file.path, selected)]
    bad: dict[RepoPath, BadFile] = {}
    present = [file for file in files if not _missing(file, folder, bad)]
    digests = _hash(folder, metainfo.layout, present, rows, bad, report)
    for index, file in enumerate(metainfo.layout.files):
        found = digests.get(file.path)
        if found is not None and (problem := difference(metainfo, index, rows.get(file.path), found)) is not None:
            bad[file.path] = BadFile(file.path.text, *problem.shown)
    looks = {path: one.look for path, one in digests.items() if one.look is not None}
    signers = tuple(verify_torrent(metainfo, keys_of(voices)))
    taken_for = snapshot if snapshot is not None or manifest is None else manifest.snapshot
    return Verification(
        files=len(files),
        bytes=sum(one.size for one in digests.values()),
        bad=tuple(bad[path] for path in sorted(bad)),
        provenance=provenance,
        signers=signers,
        manifest=manifest,
        infohash=metainfo.infohash,
        judgement=None
        if taken_for is None
        else judge(evidence_of(taken_for, metainfo, manifest, provenance, signers), voices),
        extra=_extra(folder, {file.path.text for file in metainfo.layout.files}),
        looks=Verified(metainfo.infohash.v2, looks),
    )


def evidence_of(
    snapshot: SnapshotId,
    metainfo: Metainfo,
    manifest: Manifest | None,
    provenance: Provenance,
    signers: Sequence[SignerResult],
) -> Evidence:
    """Return what a torrent shows that was checked by `signed_manifest` and `verify_torrent`."""
    named = None if manifest is None else manifest.snapshot
    return Evidence(snapshot, metainfo.infohash, named, provenance, tuple(signers))


def judge_torrent(metainfo: Metainfo, voices: Sequence[Voice]) -> Judgement | None:
    """Return the standing of what a torrent's manifest names, None without one; raises as `signed_manifest`."""
    manifest, provenance = signed_manifest(metainfo)
    if manifest is None:
        return None
    signers = verify_torrent(metainfo, keys_of(voices))
    return judge(evidence_of(manifest.snapshot, metainfo, manifest, provenance, signers), voices)


def _wanted(path: RepoPath, selected: tuple[str, ...] | None) -> bool:
    return selected is None or any(fnmatch.fnmatchcase(path.text, glob) for glob in selected)


def _missing(file: PayloadFile, folder: Path, bad: dict[RepoPath, BadFile]) -> bool:
    path = folder / file.path.text
    if not path.is_file():
        bad[file.path] = BadFile(file.path.text, f"{file.size} bytes", "missing")
    elif (size := path.stat().st_size) != file.size:
        bad[file.path] = BadFile(file.path.text, f"{file.size} bytes", f"{size} bytes")
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
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return tuple(sorted(name for name in found if name not in known and not name.startswith(".cache/huggingface/")))
