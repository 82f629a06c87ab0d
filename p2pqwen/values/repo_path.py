"""A file's path inside a snapshot: relative, POSIX, safe to create on every supported file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from p2pqwen.errors import FormatError

MAX_PATH_BYTES = 1024
MAX_COMPONENT_BYTES = 255
MAX_COMPONENTS = 64
MAX_FILES = 100_000
"""The most files of one snapshot, and so of its manifest and torrent."""

_RESERVED_STEMS = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10)), *(f"lpt{n}" for n in range(1, 10))}
)
_FORBIDDEN_CHARACTERS = frozenset('<>:"|?*\\')
# Cc: control, Cf: format (bidi overrides, zero-width), Cs: surrogates, Zl/Zp: line and paragraph separators.
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Fast path for most paths: ASCII without control characters and those that Windows forbids.
_PLAIN = re.compile(r"[ !#-)+-9;=@-[\]-{}~]+")


@dataclass(frozen=True, slots=True)
class RepoPath:
    """One valid path, with git's `text`; ordered by component as bytes (the order of a BEP 52 file tree).

    Raises `FormatError` for empty and absolute paths, `.` and `..`, NUL, control and bidi characters, backslash, drive
    letters and other characters that Windows forbids, reserved device names, trailing dots and blanks, text that is not
    NFC, a component named `.git` or `.pad`, overlong components and paths.
    """

    text: str

    def __post_init__(self) -> None:
        if problem := _problem(self.text):
            raise FormatError(f"path {self.text[:120]!r} is not safe to create: {problem}")

    @property
    def parts(self) -> tuple[str, ...]:
        """The components, in order."""
        return tuple(self.text.split("/"))

    @property
    def sort_key(self) -> tuple[bytes, ...]:
        """The components as bytes, so `model/x` sorts before `model.safetensors`."""
        return tuple(part.encode() for part in self.parts)

    def __lt__(self, other: RepoPath) -> bool:
        return self.sort_key < other.sort_key

    def __str__(self) -> str:
        return self.text


def _problem(text: str) -> str | None:
    if not text:
        return "it is empty"
    if text.startswith("/"):
        return "it is absolute"
    if not _PLAIN.fullmatch(text):
        if not unicodedata.is_normalized("NFC", text):
            return "it is not in Unicode normal form C"
        for character in text:
            if character in _FORBIDDEN_CHARACTERS or unicodedata.category(character) in _FORBIDDEN_CATEGORIES:
                return f"it holds the character {character!a}"
    if len(text.encode()) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    parts = text.split("/")
    if len(parts) > MAX_COMPONENTS:
        return f"it is more than {MAX_COMPONENTS} folders deep"
    return next((problem for part in parts if (problem := _component_problem(part))), None)


def _component_problem(part: str) -> str | None:
    if part in {"", ".", ".."}:
        return f"it holds the component {part!r}"
    if len(part.encode()) > MAX_COMPONENT_BYTES:
        return f"a component is longer than {MAX_COMPONENT_BYTES} bytes"
    if part[-1] in ". ":
        return f"the component {part!r} ends in a dot or blank"
    if part.casefold() in {".git", ".pad"}:
        return f"the component {part!r} has a special meaning in git or BitTorrent"
    if part.split(".", 1)[0].rstrip().casefold() in _RESERVED_STEMS:
        return f"the component {part!r} is a device name on Windows"
    return None


def refuse_clashes(paths: Iterable[RepoPath]) -> None:
    """Refuse a set of paths that cannot exist in one folder.

    Raises `FormatError` for a repeated path, two that differ only in case or compatibility form, or a file that another
    path needs as a folder. Time and memory are linear in the length of the paths.
    """
    # (number of the folder, folded name) -> (number of this name, the path that brought it)
    names: dict[tuple[int, str], tuple[int, RepoPath]] = {}
    for path in paths:
        folder = 0
        for depth, part in enumerate(path.parts, 1):
            key = (folder, _fold(part))
            if (known := names.get(key)) is not None:
                _refuse_clash(known[1], path, depth)
            folder, _ = names.setdefault(key, (len(names) + 1, path))


def _refuse_clash(other: RepoPath, path: RepoPath, depth: int) -> None:
    """Refuse two paths that share a name `depth` components down, unless both have it as the same folder."""
    there, here = "/".join(other.parts[:depth]), "/".join(path.parts[:depth])
    if there == other.text and here == path.text:
        raise FormatError(f"paths {there!r} and {here!r} clash in one folder")
    if there == other.text or here == path.text:
        file, folder = (here, there) if here == path.text else (there, here)
        raise FormatError(f"path {file!r} is a file and {folder!r} a folder")
    if there != here:
        raise FormatError(f"folders {there!r} and {here!r} clash")


def _fold(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
