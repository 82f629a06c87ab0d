"""Find what `verify REPO[@C] | PATH | FILE.torrent` means: which files to read, and which torrent to believe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from p2pqwen.containment import first_of
from p2pqwen.errors import FormatError, NotFoundError, P2pqwenError, UsageError, about
from p2pqwen.events import Report, ignore
from p2pqwen.index.voice import Voice
from p2pqwen.library import durable
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.operations.verify.verify import Verification, verify_again, verify_folder
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.limits import MAX_TORRENT_BYTES
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.digest import CommitId
from p2pqwen.values.known_snapshots import KnownSnapshots
from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.values.snapshot_place import parse_cache_folder

_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


def verify_target(
    target: str,
    *,
    torrent: Path | None,
    data: Path | None,
    library: Library,
    voices: Sequence[Voice],
    report: Report = ignore,
) -> Verification:
    """Verify whatever `target` names; raises `NotFoundError`, `UsageError`, `VerificationError`, `DiskError`.

    A path wins over a repository of the same name. A folder is compared with `torrent`, else with the torrent beside
    it, else with that of the held snapshot of the commit (in a Hugging Face cache: and of the repository) it is named
    after. An option that would go unused is refused, because the user would believe that something else was read.
    """
    if not target:
        raise UsageError("nothing is named", expected="ORG/MODEL[@COMMIT], a folder or a .torrent file")
    path = Path(target)
    if torrent is not None and not path.is_dir():
        raise UsageError("--torrent says what a folder should hold", expected="a folder to verify", got=target)
    if data is not None and not path.is_file():
        raise UsageError("--data says where a .torrent's files are", expected="a .torrent to verify", got=target)
    if path.is_file():
        metainfo = _read(path, library)
        return _verify_torrent(path, metainfo, data, library, voices, report)
    if path.is_dir():
        metainfo = _read(torrent, library) if torrent is not None else _torrent_of(path, library)
        return verify_folder(CheckedTorrent.of(metainfo), path, voices, report=report)
    if target.endswith(".torrent") or target.startswith((".", "/", "~")):
        raise NotFoundError(f"no file or folder {target}")
    return verify_again(held_snapshot(target, library), library, voices, report)


def held_snapshot(target: str, library: Library) -> HeldSnapshot:
    """Return the held snapshot that `REPO[@COMMIT]` names, its commit full or shortened.

    Raises `UsageError`, `NotFoundError`.
    """
    here = (*(one.id for one in library.all()), *(one.id for one in library.away()))
    name, at, commit = KnownSnapshots.of(here, "in the library").whole(target).partition("@")
    try:
        return library.find(RepoId.parse(name), CommitId.parse(commit) if at else None)
    except FormatError as error:
        raise UsageError.of(error) from error


def _verify_torrent(
    path: Path,
    metainfo: Metainfo,
    data: Path | None,
    library: Library,
    voices: Sequence[Voice],
    report: Report,
) -> Verification:
    folder = data
    held = _held_of(metainfo, library)
    if folder is None and (beside := path.parent / metainfo.name).is_dir():
        folder = beside
    selected = None
    if held is not None and (folder is None or folder.resolve() == held.folder.resolve()):
        folder, selected = held.folder, held.selected
    if folder is None:
        raise NotFoundError(
            f"no files for {path}: neither a folder {metainfo.name} beside it nor the snapshot in the library",
            hint="name the folder with --data DIR",
        )
    return verify_folder(CheckedTorrent.of(metainfo), folder, voices, selected=selected, report=report)


def _held_of(metainfo: Metainfo, library: Library) -> HeldSnapshot | None:
    """Return the held snapshot of a torrent, or the only one of its commit."""
    held = library.of_commit(metainfo.commit)

    def same(one: HeldSnapshot) -> HeldSnapshot | None:
        return one if one.metainfo().infohash == metainfo.infohash else None

    found = first_of(held, same, failed=lambda *_: None)  # a damaged one is not it
    return found if found is not None or len(held) != 1 else held[0]


def _torrent_of(folder: Path, library: Library) -> Metainfo:
    name = folder.resolve().name
    beside = folder.resolve().parent / f"{name}.torrent"
    if beside.is_file():
        return _read(beside, library)
    if _COMMIT.fullmatch(name):
        held = library.of_commit(CommitId.parse(name))
        if (repo := parse_cache_folder(folder.resolve().parent.parent.name)) is not None:
            held = [one for one in held if one.id.repo == repo]
        if len(held) > 1:
            raise P2pqwenError(
                f"the repository of {folder} is unknown: the library holds {', '.join(str(one.id) for one in held)}",
                hint="name the torrent with --torrent FILE",
            )
        if held:
            return held[0].metainfo()
    raise NotFoundError(
        f"nothing says what {folder} should hold",
        expected=f"{name}.torrent beside it, or a held snapshot of that commit",
        hint="name the torrent with --torrent FILE",
    )


def _read(path: Path, library: Library) -> Metainfo:
    with about(path):
        return library.torrents.bare_metainfo(durable.read(path, max_bytes=MAX_TORRENT_BYTES))
