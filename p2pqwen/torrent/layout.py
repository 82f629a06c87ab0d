"""The order of a torrent's files, their pad files and their offsets (BEP 52 file tree, BEP 47 padding).

Files are in the order of the v2 file tree: by component, compared as bytes. A pad file follows every file, except the
last, whose size is not a multiple of the piece length, so each file starts on a piece. Empty files need none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

from p2pqwen.errors import FormatError
from p2pqwen.torrent.recipe import CURRENT, Recipe
from p2pqwen.values.repo_path import MAX_FILES, RepoPath, refuse_clashes

# libtorrent's max_piece_count, 0x200000: 32 TiB at the largest piece length.
MAX_PIECES = 0x200000


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """One file of the payload: its path and its size in bytes."""

    path: RepoPath
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise FormatError(f"file {self.path} has a negative size", got=self.size)


@dataclass(frozen=True, slots=True)
class Layout:
    """A torrent's payload files in order, at a piece length in bytes.

    Raises `FormatError` for an empty payload, files out of order, clashing paths, too many files or pieces.
    """

    files: tuple[PayloadFile, ...]
    piece_length: int
    _offsets: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.files) > MAX_FILES:
            raise FormatError("too many files for one torrent", expected=f"at most {MAX_FILES}", got=len(self.files))
        for before, file in pairwise(self.files):
            if not before.path < file.path:
                raise FormatError(f"file {file.path} is out of order", expected="order by path component as bytes")
        refuse_clashes(file.path for file in self.files)
        offsets = [0]
        for index, file in enumerate(self.files):
            offsets.append(offsets[-1] + file.size + self.pad_after(index))
        object.__setattr__(self, "_offsets", tuple(offsets))
        if not self.padded_size:
            raise FormatError("a torrent needs at least one file that is not empty")
        if self.piece_count > MAX_PIECES:
            raise FormatError("too many pieces for one torrent", expected=f"at most {MAX_PIECES}", got=self.piece_count)

    @classmethod
    def of(cls, files: Iterable[tuple[RepoPath, int]], recipe: Recipe = CURRENT) -> Self:
        """Lay out files, given in any order, with the recipe's piece length."""
        ordered = tuple(sorted((PayloadFile(path, size) for path, size in files), key=lambda file: file.path.sort_key))
        return cls(ordered, recipe.piece_length(sum(file.size for file in ordered)))

    @property
    def total_size(self) -> int:
        """The payload's size in bytes, without pad files."""
        return sum(file.size for file in self.files)

    @property
    def padded_size(self) -> int:
        """The size of the v1 piece space in bytes, with pad files."""
        return self._offsets[-1]

    @property
    def piece_count(self) -> int:
        """The number of pieces of the v1 piece space."""
        return -(-self.padded_size // self.piece_length)

    def pad_after(self, index: int) -> int:
        """Return the length in bytes of the pad file after the file at `index`, 0 for none."""
        return -self.files[index].size % self.piece_length if index < len(self.files) - 1 else 0

    def offset(self, index: int) -> int:
        """Return the offset in bytes of the file at `index` in the v1 piece space; always the start of a piece."""
        return self._offsets[index]

    def pieces(self, index: int) -> range:
        """Return the pieces that contain bytes of the file at `index`; an empty range for an empty file."""
        first = self._offsets[index] // self.piece_length
        return range(first, first - (-self.files[index].size // self.piece_length))
