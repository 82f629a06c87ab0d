"""Which files below a folder are a snapshot's, judged by size and content; names only say where to look first.

Programs have their own layouts for models, and add files: ModelScope writes `Qwen3-0___6B` for `Qwen3-0.6B` and puts
`.msc`, `.mv` and `configuration.json` beside the model; LM Studio keeps one GGUF of many at `publisher/repository/`;
Ollama calls a blob `sha256-<hex>` after its content. Files that the snapshot does not have are left alone, and
reported.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from p2pqwen.errors import P2pqwenError
from p2pqwen.library.hashing import hash_file
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.operations.indexes.known_torrents import KnownTorrent
from p2pqwen.torrent.layout import Layout, PayloadFile
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_place import cache_folder

MAX_DEPTH = 8
"""How many levels below a given folder are searched: enough for `.ollama/models/manifests/hf.co/org/name`."""
SKIPPED = frozenset({".git", ".cache", ".staging", "node_modules", "__pycache__"})
MAX_READ = 8
"""How many files of the right size are read to find one with another name."""
_NAMED_BY_HASH = re.compile(r"(?:sha256[-:])?([0-9a-f]{64})", re.ASCII)
_ALONE = ".gguf"  # a file that is a model by itself, as in a repository of quantisations


@dataclass(frozen=True, slots=True)
class FolderMatch:
    """Files that may be a snapshot's: all or most of it, or, if `chosen` is not None, only those files.

    `root` is their folder. `ignored` are files beside them that the snapshot does not have.
    """

    root: Path
    files: Mapping[RepoPath, Path]
    bytes: int
    chosen: tuple[RepoPath, ...] | None = None
    ignored: tuple[str, ...] = ()


@dataclass(slots=True)
class FolderFiles:
    """Every file below a folder, except what is `apart`; listed when the object is made."""

    top: Path
    apart: Callable[[Path], bool] = lambda _: False
    _by_size: dict[int, list[Path]] = field(default_factory=lambda: defaultdict(list))
    _totals: dict[Path, int] = field(default_factory=lambda: defaultdict(int))
    _names: set[str] = field(default_factory=set)
    _hashes: dict[Path, Sha256 | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._names = {_plain(part) for part in self.top.absolute().parts[-3:]}
        if self.apart(self.top):
            return
        for parent, folders, files in os.walk(self.top):
            here = Path(parent)
            self._names |= {_plain(here.name), _plain(f"{here.parent.name}/{here.name}")}
            folders[:] = sorted(name for name in folders if name not in SKIPPED and not self.apart(here / name))
            if len(here.relative_to(self.top).parts) >= MAX_DEPTH:
                folders.clear()
            for name in sorted(files):
                self._add(here / name)

    def may_hold(self, known: KnownTorrent) -> bool:
        """Tell whether a torrent is worth reading: a name here matches, or a folder holds about as many bytes."""
        repo = known.id.repo
        called = {repo.name, cache_folder(repo), str(known.id.commit)}
        called |= {f"{repo.org}{join}{repo.name}" for join in ("--", "_", "__", "-")}
        if known.is_open or self._names & {_plain(name) for name in called}:
            return True
        margin = known.size // 10
        return any(abs(total - known.size) <= margin for total in self._totals.values())

    def roots_of(self, layout: Layout) -> list[Path]:
        """Return the folders that have every file of a torrent, by path and size; empty files may be missing."""
        wanted = [file for file in layout.files if file.size]
        largest = max(wanted, key=lambda file: file.size)
        roots = (_root_of(path, largest.path) for path in self._by_size.get(largest.size, ()))
        return [root for root in roots if root is not None and all(self._has(root, file) for file in wanted)]

    def _has(self, root: Path, file: PayloadFile) -> bool:
        return root / file.path.text in self._by_size.get(file.size, ())

    def find(self, manifest: Manifest) -> list[FolderMatch]:
        """Return what may be this snapshot, largest match first."""
        rows = [row for row in manifest.files if row.size]
        roots: dict[Path, dict[RepoPath, Path]] = defaultdict(dict)
        for row in rows:
            for path in self._by_size.get(row.size, ()):
                if (root := _root_of(path, row.path)) is not None:
                    roots[root][row.path] = path
        found = [self._match(rows, root, files) for root, files in roots.items()] or [self._match(rows, None, {})]
        return sorted((one for one in found if one is not None), key=lambda one: -one.bytes)

    def _match(self, rows: list[FileRow], root: Path | None, files: dict[RepoPath, Path]) -> FolderMatch | None:
        named = bool(files)
        for row in rows:
            if row.path not in files and (path := self._elsewhere(row, root)) is not None:
                files[row.path] = path
        here = [row for row in rows if row.path in files]
        chosen = None
        if 2 * sum(row.size for row in here) <= sum(row.size for row in rows):
            here = [row for row in here if row.path.text.lower().endswith(_ALONE) and self._is(files[row.path], row)]
            chosen = tuple(row.path for row in here)
        if not here:
            return None
        taken = {row.path: files[row.path] for row in here}
        place = root or taken[max(here, key=lambda row: row.size).path].parent
        ignored = self._beside(place, taken) if named else ()
        return FolderMatch(place, taken, sum(row.size for row in here), chosen, ignored)

    def _elsewhere(self, row: FileRow, root: Path | None) -> Path | None:
        """Return a file with another name or place whose content matches the row."""
        same_size = self._by_size.get(row.size, [])
        if by_hash := next((path for path in same_size if _named_hash(path) == str(row.sha256)), None):
            return by_hash
        others = [path for path in same_size if _named_hash(path) is None]
        near = sorted(others, key=lambda path: (path.name != row.path.parts[-1], root not in path.parents))
        return next((path for path in near[:MAX_READ] if self._is(path, row)), None)

    def _is(self, path: Path, row: FileRow) -> bool:
        if path not in self._hashes:
            try:
                digests = hash_file(path, piece_length=1 << 20, padded=False, git_blob=False)
                self._hashes[path] = digests.sha256
            except P2pqwenError:
                self._hashes[path] = None
        return self._hashes[path] == row.sha256

    def _beside(self, root: Path, taken: Mapping[RepoPath, Path]) -> tuple[str, ...]:
        """Return what else is in the folders of the files that were taken, by path from the root."""
        folders, ours = {path.parent for path in taken.values()} | {root}, set(taken.values())
        others = (path for paths in self._by_size.values() for path in paths if path not in ours)
        return tuple(sorted(path.relative_to(root).as_posix() for path in others if path.parent in folders))

    def _add(self, path: Path) -> None:
        try:
            if not path.is_file():  # follows links, which snapshots in the Hugging Face cache consist of
                return
            size = path.stat().st_size
        except OSError:
            return
        self._by_size[size].append(path)
        for folder in path.parents:
            self._totals[folder] += size
            if folder == self.top:
                break


def _root_of(path: Path, wanted: RepoPath) -> Path | None:
    """Return the folder relative to which a file has the wanted path, None if its path ends otherwise."""
    count = len(wanted.parts)
    if tuple(unicodedata.normalize("NFC", part) for part in path.parts[-count:]) != wanted.parts:
        return None
    return path.parents[count - 1]


def _named_hash(path: Path) -> str | None:
    found = _NAMED_BY_HASH.fullmatch(path.name)
    return None if found is None else found[1]


def _plain(name: str) -> str:
    """Return a name in the form used for comparison: lower case, with dots where ModelScope writes `___`."""
    return name.lower().replace("___", ".")
