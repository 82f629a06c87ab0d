"""A held snapshot as plain files in its own folder, for another BitTorrent client to seed or a program to read.

The library is no place for other programs: Transmission renames every file that it takes for incomplete, which includes
every file before a pad file that is not on the disk. An export is therefore outside the library. Its files are reflinks
or copies, so that nothing written there reaches the library; with `pads`, the pad files of BEP 47 are written as sparse
files. Hard links are made only if the user asks for them: a write through one changes the library's file.

An export is DIR/<commit>/… and DIR/<commit>.torrent; DIR is the download folder to name in the other client.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import NotFoundError, P2pqwenError, UsageError, VerificationError, about
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.index.voice import Voice
from p2pqwen.library import durable
from p2pqwen.library.folders import bytes_to_write
from p2pqwen.library.hashing import hash_file
from p2pqwen.library.linking import Placement, place
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.space import require_free
from p2pqwen.operations.verify.file_check import difference
from p2pqwen.operations.verify.verify import verify_again
from p2pqwen.torrent.chosen_files import choose_files
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
from p2pqwen.torrent.metainfo import Metainfo, read_metainfo
from p2pqwen.values.repo_path import RepoPath

PADS = ".pad"
_UNFINISHED = ".p2pqwen-export"


@dataclass(frozen=True, slots=True)
class Exported:
    """What the folder holds now, in bytes; `kept` were there already. `pads` is the number of pad files."""

    held: HeldSnapshot
    folder: Path
    torrent: Path
    files: int
    size: int
    linked: int
    copied: int
    kept: int
    pads: int
    whole: bool


def export(
    held: HeldSnapshot,
    into: Path,
    library: Library,
    voices: Sequence[Voice],
    *,
    apart: Iterable[Path],
    pads: bool,
    hard_links: bool = False,
    report: Report = ignore,
) -> Exported:
    """Write a snapshot's files (the chosen ones, if it is partial) below `into`, and its torrent beside them.

    `apart` are folders where nothing may be put: those of p2pqwen and the Hugging Face cache. Files that are already
    there and right are kept, and nothing is overwritten. A snapshot that does not look as it did when it was verified
    is read first.

    Raises `UsageError`, `NotFoundError` for a snapshot that is not whole, `VerificationError` for a damaged one,
    `P2pqwenError` if another file is in the way, `DiskError`.
    """
    into = into.absolute()
    _refuse_inside(into, library, apart)
    if held.state is State.INCOMPLETE:
        raise NotFoundError(f"{held.id} is not all here", hint=f"`p2pqwen fetch {held.id}` brings the rest")
    with durable.lock(library.lock_path(held.id)):
        metainfo = held.metainfo()
        chosen = choose_files(metainfo, held.selected if held.state is not State.COMPLETE else None)
        files = [file for file in metainfo.files if chosen is None or file.path in chosen]
        wanted = [file.path for file in files]
        _require_right(held, metainfo, wanted, library, voices, report)
        writer = _Writer(held, metainfo, into / metainfo.name, report, hard_links=hard_links)
        writer.look(wanted)
        torrent = into / f"{metainfo.name}.torrent"
        _refuse_other_torrent(torrent, metainfo)
        with library.verified.naming(held.id, held.folder, wanted if hard_links else ()):
            writer.write(wanted)
        if not library.verified.unchanged(held.id, metainfo.infohash.v2, held.folder, wanted):
            raise VerificationError(f"{held.id} changed while it was exported", hint="export it again")
        count = writer.pad(metainfo.layout) if pads else 0
        if pads and count < sum(map(bool, map(metainfo.layout.pad_after, range(len(metainfo.files))))):
            report(Notice("warning", "two pad files have one length: Transmission 4.1 refuses such a torrent"))
        durable.write(torrent, durable.read(held.torrent_path, max_bytes=MAX_TORRENT_BYTES), mode=durable.SHARED)
    return Exported(
        held=held,
        folder=writer.folder,
        torrent=torrent,
        files=len(files),
        size=sum(file.size for file in files),
        linked=writer.linked,
        copied=writer.copied,
        kept=writer.kept,
        pads=count,
        whole=chosen is None,
    )


class _Writer:
    """Writes the files of one snapshot below `folder`."""

    def __init__(
        self, held: HeldSnapshot, metainfo: Metainfo, folder: Path, report: Report, *, hard_links: bool
    ) -> None:
        self._held, self._metainfo, self.folder, self._report = held, metainfo, folder, report
        self._hard_links = hard_links
        self._sizes = {file.path: file.size for file in metainfo.files}
        self._there: set[RepoPath] = set()
        self.linked = self.copied = 0

    @property
    def kept(self) -> int:
        """Bytes that were there already."""
        return sum(self._sizes[path] for path in self._there)

    def look(self, wanted: Sequence[RepoPath]) -> None:
        """Read the files that are there; raises `P2pqwenError` for one that differs, `DiskError` for no room."""
        exported = frozenset(wanted)
        for index, file in enumerate(self._metainfo.files):
            target = self.folder / file.path.text
            if file.path in exported and (target.exists() or target.is_symlink()):
                self._require_same(index, target)
                self._there.add(file.path)
        lacking = ((self._sizes[path], self._held.folder / path.text) for path in wanted if path not in self._there)
        require_free(self.folder, bytes_to_write(lacking, hard_links=self._hard_links)(self.folder))

    def write(self, wanted: Sequence[RepoPath]) -> None:
        """Write the files that are not there yet, each under its name only when it is whole."""
        lacking = [path for path in wanted if path not in self._there]
        total, done = sum(self._sizes[path] for path in lacking), 0
        for path in lacking:
            how = self._place(path)
            if how is Placement.COPY:
                self.copied += self._sizes[path]
            else:
                self.linked += self._sizes[path]
            done += self._sizes[path]
            self._report(Progress("export", done, total))
        durable.sync_tree(self.folder)

    def pad(self, layout: Layout) -> int:
        """Write the pad files, which are all zeros and take no room; those of one length share one file."""
        lengths = {length for index in range(len(layout.files)) if (length := layout.pad_after(index))}
        for length in sorted(lengths):
            target = self.folder / PADS / str(length)
            with durable.disk_errors(f"write {target}"):
                durable.make_folder(target.parent, shared=True)
                if not target.exists():
                    with target.open("xb") as file:
                        file.truncate(length)
                elif target.stat().st_size != length:
                    raise _in_the_way(target, f"{length} bytes", f"{target.stat().st_size} bytes")
        return len(lengths)

    def _require_same(self, index: int, target: Path) -> None:
        layout = self._metainfo.layout
        if target.is_symlink() or not target.is_file():
            raise _in_the_way(target, "a file", "a link or a folder")
        found = hash_file(target, piece_length=layout.piece_length, padded=layout.pad_after(index) > 0)
        if (problem := difference(self._metainfo, index, None, found)) is not None:
            raise _in_the_way(target, *problem.shown)

    def _place(self, path: RepoPath) -> Placement:
        target = self.folder / path.text
        unfinished = target.with_name(_UNFINISHED)
        with durable.disk_errors(f"write {target}"):
            durable.make_folder(target.parent, shared=True)
            unfinished.unlink(missing_ok=True)
            how = place(self._held.folder / path.text, unfinished, allow_hard_link=self._hard_links)
            unfinished.rename(target)
        return how


def _in_the_way(path: Path, expected: str, got: str) -> P2pqwenError:
    return P2pqwenError(
        f"{path} is there, and not what would be written", expected=expected, got=got, hint="name another folder"
    )


def _refuse_inside(into: Path, library: Library, apart: Iterable[Path]) -> None:
    real = into.resolve()
    inside = next((one for one in apart if real.is_relative_to(one.resolve())), None)
    if inside is not None or library.contains(into):
        raise UsageError(
            "an export stands outside the library and the Hugging Face cache",
            expected="a folder of its own",
            got=into,
            hint="other programs may rename and rewrite what is in it",
        )


def _refuse_other_torrent(path: Path, metainfo: Metainfo) -> None:
    if not path.exists():
        return
    with about(path):
        there = read_metainfo(durable.read(path, max_bytes=MAX_TORRENT_BYTES))
    if there.infohash != metainfo.infohash:
        raise _in_the_way(path, str(metainfo.infohash.v2), str(there.infohash.v2))


def _require_right(
    held: HeldSnapshot,
    metainfo: Metainfo,
    wanted: Sequence[RepoPath],
    library: Library,
    voices: Sequence[Voice],
    report: Report,
) -> None:
    if held.torrent_damage() is None and library.verified.unchanged(held.id, metainfo.infohash.v2, held.folder, wanted):
        return
    found = verify_again(held, library, voices, report)
    if found.bad:
        first = found.bad[0]
        raise VerificationError(
            f"{held.id} is damaged, {first.path} first",
            expected=first.expected,
            got=first.got,
            hint=f"`p2pqwen verify {held.id} --repair`",
        )
