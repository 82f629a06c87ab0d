"""Watchlists: which repositories to preserve, in which order, and where each was named (torrents/watchlist.toml).

format = 1
name = "…"

[[model]]
repo = "Qwen/Qwen3-0.6B"            # the only required key
group = "language"                  # for people, and for --include group:language
priority = 1                        # smaller is sooner; 5 by default
license = "apache-2.0"              # as the page named it; the snapshot's own README.md decides
page = "https://huggingface.co/Qwen/Qwen3-0.6B"
source = "https://…"                # the public page on which the name was read
license_source = "https://…"        # the page on which the license was read, if it is another
confirmed = true                    # name and license are on those pages; if not, `note` says what is missing
revision = "main"                   # a branch, tag or commit instead of the main branch

[[dataset]]                         # a dataset, with the same keys
repo = "Qwen/P-MMEval"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from p2pqwen.errors import FormatError
from p2pqwen.values.snapshot_id import RepoId, RepoKind
from p2pqwen.values.web_url import check_web_url

FORMAT = 1
MAX_WATCHLIST_SIZE = 8 << 20
MAX_ROWS = 20_000
MAX_TEXT = 300
DEFAULT_PRIORITY = 5
_KEYS = frozenset(
    {"repo", "group", "priority", "license", "page", "source", "license_source", "confirmed", "revision", "note"}
)


@dataclass(frozen=True, slots=True)
class WatchedRepo:
    """One repository to keep. `license` is what its page said when the row was written.

    `named`: its name in the watchlist, if the Hub has another name for it.
    """

    repo: RepoId
    revision: str | None = None
    group: str | None = None
    priority: int = DEFAULT_PRIORITY
    license: str | None = None
    page: str | None = None
    source: str | None = None
    confirmed: bool = True
    named: RepoId | None = None

    def matches(self, pattern: str) -> bool:
        """Tell whether a glob names it: `ORG/MODEL`, `MODEL`, or `group:GROUP`."""
        if pattern.startswith("group:"):
            return self.group is not None and fnmatchcase(self.group, pattern.removeprefix("group:"))
        names = (str(self.repo), self.repo.text) if "/" in pattern else (self.repo.name,)
        return any(fnmatchcase(name, pattern) for name in names)


def parse_watchlist(data: bytes) -> tuple[WatchedRepo, ...]:
    """Parse a watchlist, in order; raises `FormatError`."""
    if len(data) > MAX_WATCHLIST_SIZE:
        raise FormatError("watchlist is too large", expected=f"at most {MAX_WATCHLIST_SIZE} bytes", got=len(data))
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise FormatError("watchlist is not TOML", got=str(error)[:200]) from error
    if document.get("format") != FORMAT:
        raise FormatError("watchlist of an unknown format", expected=f"format = {FORMAT}", got=document.get("format"))
    found: dict[tuple[RepoId, str | None], WatchedRepo] = {}
    for kind in RepoKind:
        rows = document.get(kind.value, [])
        if not isinstance(rows, list) or len(rows) > MAX_ROWS:
            raise FormatError("watchlist rows", expected=f"at most {MAX_ROWS} of [[{kind}]]")
        for number, row in enumerate(rows, 1):
            one = _row(row, number, kind)
            if found.setdefault((one.repo, one.revision), one) is not one:
                raise FormatError(f"watchlist names {one.repo} twice")
    return tuple(found.values())


def _row(row: object, number: int, kind: RepoKind) -> WatchedRepo:
    if not isinstance(row, Mapping):
        raise FormatError(f"watchlist row {number}", expected="a table")
    name = _text(row, "repo", number)
    if name is None:
        raise FormatError(f"watchlist row {number} names no repo")
    if unknown := sorted(set(row) - _KEYS):
        raise FormatError(f"watchlist row {name} has an unknown key", expected=", ".join(sorted(_KEYS)), got=unknown[0])
    priority = row.get("priority", DEFAULT_PRIORITY)
    confirmed = row.get("confirmed", True)
    if type(priority) is not int or not 0 <= priority <= 1000:
        raise FormatError(f"watchlist row {name}: priority", expected="0 to 1000", got=repr(priority)[:40])
    if type(confirmed) is not bool:
        raise FormatError(f"watchlist row {name}: confirmed", expected="true or false", got=repr(confirmed)[:40])
    _url(row, "license_source", number)
    _text(row, "note", number)
    return WatchedRepo(
        repo=RepoId(name, kind),
        revision=_text(row, "revision", number),
        group=_text(row, "group", number),
        priority=priority,
        license=_text(row, "license", number),
        page=_url(row, "page", number),
        source=_url(row, "source", number),
        confirmed=confirmed,
    )


def _text(row: Mapping[str, Any], name: str, number: int) -> str | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
        raise FormatError(f"watchlist row {number}: {name}", expected=f"text of at most {MAX_TEXT} characters")
    return value


def _url(row: Mapping[str, Any], name: str, number: int) -> str | None:
    text = _text(row, name, number)
    return None if text is None else check_web_url(text)
