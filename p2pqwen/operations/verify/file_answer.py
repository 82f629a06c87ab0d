"""What `--files` says of the files of a snapshot, as its torrent lists them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from p2pqwen.values.json_value import FLAT
from p2pqwen.values.model_file import ModelFile
from p2pqwen.values.snapshot_id import RepoId

if TYPE_CHECKING:
    from p2pqwen.torrent.metainfo import Metainfo


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """A file, its size in bytes, and what its name says; `format` and `quantisation` are None if it says nothing."""

    path: str
    size: int
    format: str | None
    quantisation: str | None

    @classmethod
    def all(cls, metainfo: Metainfo, repo: RepoId | None) -> tuple[FileAnswer, ...]:
        """Return every file of a torrent; `repo` is that of its snapshot, if known."""
        named = "" if repo is None else str(repo)
        said = ((file, ModelFile.of(file.path, named)) for file in metainfo.files)
        return tuple(cls(file.path.text, file.size, one.format, one.quantisation) for file, one in said)


@dataclass(frozen=True, slots=True)
class FilesShown:
    """What `--files` adds: the files, None if no torrent says which there are."""

    file_list: tuple[FileAnswer, ...] | None


@dataclass(frozen=True, slots=True)
class HeldFileAnswer:
    """A file of a held snapshot; `held`: it is one of the files wanted here."""

    file: FileAnswer = field(metadata=FLAT)
    held: bool


@dataclass(frozen=True, slots=True)
class HeldFilesShown:
    """What `--files` adds to a held snapshot: its files, None if its torrent is not here."""

    file_list: tuple[HeldFileAnswer, ...] | None
