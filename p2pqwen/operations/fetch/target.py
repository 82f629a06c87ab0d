"""What `fetch TARGET` means: a repository, a magnet link, a .torrent file or URL, an infohash."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from p2pqwen.errors import FormatError, NotFoundError, UsageError
from p2pqwen.torrent.magnet import Magnet, read_magnet
from p2pqwen.torrent.pasted_link import is_pasted_magnet, straightened
from p2pqwen.torrent.web_address import check_web_url
from p2pqwen.user_path import user_path
from p2pqwen.values.digest import CommitId, Sha1, Sha256
from p2pqwen.values.snapshot_id import RepoId, hint_at_owner, name_of_page, split_origin

_HEX = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NamedTarget:
    """A repository, at a given commit or at the newest one that a trusted index lists.

    `part` names files as `--include` does, usually a quantisation; empty: every file.
    """

    repo: RepoId
    commit: CommitId | None
    part: str = ""

    def __str__(self) -> str:
        return str(self.repo) if self.commit is None else f"{self.repo}@{self.commit}"


@dataclass(frozen=True, slots=True)
class MagnetTarget:
    """A magnet link, or a bare infohash. `passed_over`: why some of its fields were ignored."""

    magnet: Magnet
    passed_over: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"infohash {self.magnet.infohash_v2 or self.magnet.infohash_v1}"


@dataclass(frozen=True, slots=True)
class TorrentTarget:
    """A .torrent file: a path or a web address."""

    location: str

    def __str__(self) -> str:
        return self.location


FetchTarget: TypeAlias = NamedTarget | MagnetTarget | TorrentTarget


def parse_target(text: str) -> FetchTarget:
    """Parse what a user typed; raises `UsageError`, and `NotFoundError` for a .torrent file that does not exist."""
    try:
        return _parse(text.strip())
    except FormatError as error:
        raise UsageError(
            f"not something to fetch: {error.what}",
            expected=error.expected
            or "ORG/MODEL[@COMMIT][:QUANTISATION], a magnet link, a .torrent file or URL, or an infohash",
            got=error.got,
            hint=error.hint or hint_at_owner(text.strip()),
        ) from error


def is_link(text: str) -> bool:
    """Tell whether a text is a magnet link, a URL, an infohash or a .torrent, rather than a model's name."""
    text = text.strip()
    web = text.lower().startswith(("http://", "https://"))
    return web or is_pasted_magnet(text) or text.endswith(".torrent") or _HEX.fullmatch(text) is not None


def _parse(text: str) -> FetchTarget:
    if is_pasted_magnet(text):
        read = read_magnet(straightened(text))
        return MagnetTarget(read.magnet, tuple(problem.message for problem in read.passed_over))
    if text.lower().startswith(("http://", "https://")):
        if (name := name_of_page(text)) is not None:
            raise UsageError("that is a page of the Hub, not a .torrent", got=text, hint=f"name it as {name}")
        return TorrentTarget(check_web_url(text))
    if _HEX.fullmatch(text):
        return MagnetTarget(_of_infohash(text.lower()))
    if (path := _file(text)) is not None:
        return TorrentTarget(str(path))
    if text.endswith(".torrent"):
        raise NotFoundError(f"no file {text}")
    named, colon, part = split_files(text)
    if colon and not part:
        raise FormatError("no name of files after :", expected="ORG/MODEL:QUANTISATION", got=repr(text[:160]))
    name, at, commit = named.partition("@")
    return NamedTarget(RepoId.parse(name), _commit(commit) if at else None, part)


def split_files(text: str) -> tuple[str, str, str]:
    """Split a target into name, colon and files: `ORG/MODEL@COMMIT`, `:`, `Q4_K_M`."""
    _, rest = split_origin(text)
    name, colon, part = rest.partition(":")
    return text[: len(text) - len(rest)] + name, colon, part


def _commit(text: str) -> CommitId:
    try:
        return CommitId.parse(text.lower())
    except FormatError as error:
        hint = "no publisher lists branches or tags: leave it out for the newest commit, or see `p2pqwen search`"
        raise FormatError(error.what, expected=error.expected, got=error.got, hint=hint) from error


def _file(text: str) -> Path | None:
    try:
        path = user_path(text, "TARGET")
        return path.absolute() if path.is_file() else None
    except (OSError, ValueError, UsageError):  # too long for a path, contains NUL, or names an unknown user's home
        return None


def _of_infohash(digits: str) -> Magnet:
    return Magnet(infohash_v1=Sha1.parse(digits)) if len(digits) == 40 else Magnet(infohash_v2=Sha256.parse(digits))
