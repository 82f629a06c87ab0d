"""Which files of a torrent a user wants, and how that choice is stored.

A partial snapshot stores case-sensitive globs, which always mean the same files (`choose_files`). Users may type looser
patterns, which `selection` turns into such globs once.
"""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Callable, Iterator, Sequence

from p2pqwen.errors import NotFoundError, UsageError
from p2pqwen.torrent.info import FileEntry
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.model_file import ModelFile, quantisation_named
from p2pqwen.values.repo_path import RepoPath

MAX_NAMED = 20
"""The most files that an error names."""
MAX_STORED = 5_000
"""The most names that are stored for one pattern."""
MAX_STORED_BYTES = 1 << 18
_MISS = "no file of the snapshot matches --include"
_EXACTLY = "./"  # no path in a snapshot begins with it
_GLOB_CHARACTERS = frozenset("*?[")


def choose_files(metainfo: Metainfo, globs: Sequence[str] | None) -> frozenset[RepoPath] | None:
    """Return the files that match any of the stored globs, None for all; raises `NotFoundError` if none match."""
    if globs is None:
        return None
    chosen = frozenset(
        file.path for file in metainfo.files if any(fnmatch.fnmatchcase(file.path.text, one) for one in globs)
    )
    if not chosen:
        raise _miss(metainfo, _MISS, globs)
    return chosen


def selection(metainfo: Metainfo, typed: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the globs to store for what a user typed, None for all files.

    A glob ignores case. A plain text is a path, else a quantisation, else a part of a path, ignoring case. A text that
    begins with `./` is an exact path. Raises `NotFoundError` for a plain text that means no file, and if nothing
    matches; `UsageError` for a pattern that cannot be stored.
    """
    if typed is None:
        return None
    found = {text: _stored(metainfo, text) for text in typed}
    missed = [text for text, stored in found.items() if not stored]
    if plain := [text for text in missed if not _is_glob(text)]:
        raise _miss(metainfo, _MISS, plain)
    if len(missed) == len(found):
        raise _miss(metainfo, _MISS, missed)
    return tuple(dict.fromkeys(one for stored in found.values() for one in stored))


def exactly(path: str) -> str:
    """Return the text that `selection` reads as exactly this path."""
    return _EXACTLY + path


def _is_glob(text: str) -> bool:
    return not text.startswith(_EXACTLY) and not _GLOB_CHARACTERS.isdisjoint(text)


def _stored(metainfo: Metainfo, text: str) -> tuple[str, ...]:
    """Return the globs for one text: one glob if that means the same files, else their names."""
    names = next(filter(None, _readings(metainfo, text)), [])
    for same in (text, glob.escape(text), f"*{glob.escape(text)}*"):
        if names and [one.path.text for one in metainfo.files if fnmatch.fnmatchcase(one.path.text, same)] == names:
            return (same,)
    if len(names) > MAX_STORED or sum(map(len, names)) > MAX_STORED_BYTES:
        raise UsageError(
            f"--include {text} means {len(names)} files in another case, too many to keep a list of",
            hint="spell it as the names of the files are spelled",
        )
    return tuple(map(glob.escape, names))


def _readings(metainfo: Metainfo, text: str) -> Iterator[list[str]]:
    """Yield lists of the names that a text may mean, the closest reading first."""
    if text.startswith(_EXACTLY):
        yield _names(metainfo, lambda file: file.path.text == text.removeprefix(_EXACTLY))
        return
    folded = text.casefold()
    yield _names(metainfo, lambda file: file.path.text == text)
    if _is_glob(text):
        yield _names(metainfo, lambda file: fnmatch.fnmatchcase(file.path.text.casefold(), folded))
        return
    yield _names(metainfo, lambda file: file.path.text.casefold() == folded)
    if (wanted := quantisation_named(text)) is not None:
        yield _names(metainfo, lambda file: _is_quantised(file.path, wanted))
    yield _names(metainfo, lambda file: folded in file.path.text.casefold())


def _is_quantised(path: RepoPath, wanted: str) -> bool:
    said = ModelFile.of(path)
    return said.quantisation == wanted and not said.companion


def _names(metainfo: Metainfo, fits: Callable[[FileEntry], bool]) -> list[str]:
    return [file.path.text for file in metainfo.files if fits(file)]


def _miss(metainfo: Metainfo, what: str, typed: Sequence[str]) -> NotFoundError:
    """Return the error for a text that means no file; it lists the torrent's largest files in the torrent's order."""
    largest = sorted(metainfo.files, key=lambda file: -file.size)[:MAX_NAMED]
    named = {file.path for file in largest}
    there = [f"{file.path} ({format_size(file.size)})" for file in metainfo.files if file.path in named]
    more = len(metainfo.files) - len(there)
    hint = "there are " + ", ".join(there) + (f", and {more} more" if more else "")
    return NotFoundError(what, got=", ".join(typed), hint=hint)
