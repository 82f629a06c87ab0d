"""The arguments of `fetch`: one model, files of it by their paths, or several models, also by globs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2pqwen.cli import names
from p2pqwen.errors import FormatError, NotFoundError, P2pqwenError, UsageError

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.values.known_snapshots import KnownSnapshots


@dataclass(frozen=True, slots=True)
class Wanted:
    """The targets of one command. `files`: paths in the only target.

    `listed`: the answer is a list, whatever a glob matches.
    """

    targets: tuple[str, ...]
    files: tuple[str, ...] = ()
    listed: bool = False

    def explained(self, error: P2pqwenError) -> P2pqwenError:
        """Return the error of a fetch of files, with a hint if one of them may have been meant as a model."""
        mistaken = [one for one in self.files if _is_repo(one)]
        if not mistaken or not isinstance(error, NotFoundError):
            return error
        said = f"{mistaken[0]} was taken for a file of {self.targets[0]}: no trusted index lists a model of that name"
        hint = said if error.hint is None else f"{said}; {error.hint}"
        return NotFoundError(error.what, expected=error.expected, got=error.got, hint=hint)


def wanted(app: App, typed: Sequence[str]) -> Wanted:
    """Tell models from files among what was typed.

    The first is a model. So is any other that is a link, an infohash or a .torrent, that has a commit or a
    quantisation, or that is held or listed. The rest are files of the first. If there are several models, whatever
    looks like a model's name is one too, so that it fails separately. Raises `UsageError` for files of several models,
    `NotFoundError` for a glob that matches nothing.
    """
    first, *others = typed
    if not others and not _is_glob(first):
        return Wanted((first,))
    known = names.known(app)
    models = [first, *(one for one in others if _is_model(one, known))]
    if len(models) > 1:
        models = [one for one in typed if one in models or _is_repo(one)]
    files = [one for one in others if one not in models]
    listed = len(models) > 1 or _is_glob(first)
    if listed and files:
        raise UsageError(
            f"{files[0]} is not a model, and files can be named for one model only",
            expected="ORG/MODEL…, or one ORG/MODEL and paths of its files",
            got=" ".join(typed),
            hint="choose files of several models with --include",
        )
    found = dict.fromkeys(target for one in models for target in _targets(one, known))
    return Wanted(tuple(found), tuple(files), listed)


def _is_glob(text: str) -> bool:
    """Tell whether it is a glob of models: links and URLs may hold a `?`, and existing files any character."""
    from p2pqwen.operations.fetch.target import is_link
    from p2pqwen.values.known_snapshots import is_glob

    return is_glob(text) and not is_link(text) and not names.is_path(text)


def _targets(text: str, known: KnownSnapshots) -> list[str]:
    """Return the targets that one argument means; a glob of repositories means the newest snapshot of each."""
    from p2pqwen.operations.fetch.target import split_files

    name, colon, part = split_files(text)
    if not _is_glob(text):
        return [text]
    found = [str(one) if "@" in name else str(one.repo) for one in known.meant(name)]
    return [one + colon + part for one in dict.fromkeys(found)]


def _is_model(text: str, known: KnownSnapshots) -> bool:
    from p2pqwen.operations.fetch.target import is_link, split_files

    if is_link(text):
        return True
    if _is_glob(text) and "/" not in text:  # `*.gguf` means files
        return False
    try:
        return bool(known.meant(split_files(text)[0]))
    except NotFoundError:
        return "@" in text and not _is_glob(text)
    except P2pqwenError:
        return "@" in text  # a commit that is short for several; the lookup reports it


def _is_repo(text: str) -> bool:
    from p2pqwen.operations.fetch.target import split_files
    from p2pqwen.values.snapshot_name import SnapshotName

    try:
        SnapshotName.parse(split_files(text)[0])
    except FormatError:
        return False
    return True
