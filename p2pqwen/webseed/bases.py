"""Base URLs of web seeds: where they come from, their order, and how a file's URL is made from one (BEP 19).

Order: command line, config, the newest index, older indexes, the torrent, and last what another origin may have. So a
stale torrent never comes before an index that was signed later, but still serves when nothing else does. Received bytes
are checked against the torrent's hashes, so an old address can waste time but not give wrong bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, urlsplit

from p2pqwen.errors import FormatError, UsageError
from p2pqwen.torrent.web_address import check_web_url
from p2pqwen.values.printable_text import printable
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.values.snapshot_place import hub_path

MAX_BASES = 64
_FIELD = re.compile(r"\{[^{}]*\}")
_FIELDS = frozenset({"{repo}", "{commit}", "{path}"})


class NamedBy(StrEnum):
    """What named a base; the first two are the user, whose base may be in a private network."""

    COMMAND_LINE = "command line"
    CONFIG = "config"
    INDEX = "index"
    TORRENT = "torrent"

    @property
    def is_user(self) -> bool:
        """Whether the user chose it."""
        return self in {NamedBy.COMMAND_LINE, NamedBy.CONFIG}


@dataclass(frozen=True, slots=True)
class Base:
    """One base URL as given, for one torrent: `name` is the torrent's name, in recipe 1 the commit.

    A plain URL is BEP 19's: `<url>/<name>/<path>`. In a pattern, `{repo}` and `{commit}` are filled in. One with
    `{commit}` is followed by the path alone. One with `{path}` is the whole URL of a file, query included. Of these, an
    index may name only URLs that end in `{path}`, without other fields and without a query: path seeds (SPEC 7).
    """

    url: str
    named_by: NamedBy
    name: str
    repo: RepoId | None = None

    def __post_init__(self) -> None:
        fields = set(_FIELD.findall(self.url))
        if unknown := fields - _FIELDS:
            raise FormatError("web seed pattern", expected="{repo}, {commit} or {path}", got=min(unknown))
        if "{repo}" in fields and self.repo is None:
            raise FormatError("web seed pattern holds {repo}, and the repository is not known")
        if "{path}" in fields and not (self.named_by.is_user or self._is_path_seed):
            raise FormatError("web seed pattern holds {path}", expected="it in config or on the command line only")
        check_web_url(self.file_url(RepoPath("file")) if "{path}" in fields else self.expanded)
        if "{path}" not in fields and (urlsplit(self.url).query or urlsplit(self.url).fragment or "?" in self.url):
            raise FormatError("a web seed's base URL has no query", got=repr(self.url[:120]))

    @property
    def _is_path_seed(self) -> bool:
        before = self.url.removesuffix("/{path}")
        return self.named_by is NamedBy.INDEX and before != self.url and not set("{}?#") & set(before)

    @property
    def is_plain(self) -> bool:
        """Whether any BEP 19 client can use it as it is, so that it may go into a torrent."""
        return not _FIELD.search(self.url)

    @property
    def expanded(self) -> str:
        """The URL with `{repo}` and `{commit}` filled in; plain bases end in a slash."""
        url = self.url.replace("{repo}", hub_path(self.repo) if self.repo else "").replace("{commit}", quote(self.name))
        return url if "{path}" in url or url.endswith("/") else url + "/"

    def file_url(self, path: RepoPath) -> str:
        """Return the URL of one file, percent-encoded."""
        if "{path}" in self.url:
            return self.expanded.replace("{path}", quote(path.text))
        if "{commit}" in self.url:
            return self.expanded + quote(path.text)
        return f"{self.expanded}{quote(self.name)}/{quote(path.text)}"

    def __str__(self) -> str:
        return printable(self.url, limit=200)


@dataclass(frozen=True, slots=True)
class Bases:
    """The bases to use, in order, and those that were refused, each with the reason."""

    usable: tuple[Base, ...]
    refused: tuple[tuple[str, str], ...] = ()


def combine_bases(
    name: str,
    repo: RepoId | None = None,
    *,
    command_line: Sequence[str] = (),
    config: Sequence[str] = (),
    indexes: Iterable[Sequence[str]] = (),
    torrent: Sequence[str] = (),
    last: Sequence[str] = (),
) -> Bases:
    """Combine all that is said about one torrent's web seeds.

    `indexes` has one list for each trusted index that contains the snapshot, the newest first. `last` are patterns from
    the configuration, for files that no other base gives. A repeated URL keeps its first place. An invalid one raises
    `UsageError` if the user named it; otherwise it is refused with its reason.
    """
    given = [(url, NamedBy.COMMAND_LINE) for url in command_line] + [(url, NamedBy.CONFIG) for url in config]
    given += [(url, NamedBy.INDEX) for index in indexes for url in index]
    given += [(url, NamedBy.TORRENT) for url in torrent]
    given += [(url, NamedBy.CONFIG) for url in last]
    usable: dict[str, Base] = {}
    refused: list[tuple[str, str]] = []
    for url, named_by in given:
        try:
            base = Base(url, named_by, name, repo)
        except FormatError as error:
            if named_by.is_user:
                raise UsageError.of(error, before=f"web seed {url!r}: ") from error
            refused.append((printable(url, limit=200), error.message))
            continue
        usable.setdefault(_normal(base.expanded), base)
    return Bases(tuple(usable.values())[:MAX_BASES], tuple(refused))


def _normal(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower()).geturl()
