"""Entries: a snapshot's row in an index, and the magnet that must agree with it (SPEC section 7).

A row of a kind that this version does not know is skipped, not refused: a publisher that lists something new must not
lock out readers that have not updated. The signature covers such a row like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

from p2pqwen.errors import FormatError
from p2pqwen.index.upstream import Upstream
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.magnet import Magnet, parse_magnet
from p2pqwen.torrent.recipe import CURRENT, RECIPES, Recipe
from p2pqwen.torrent.web_address import check_web_url as check_magnet_url
from p2pqwen.values import json_fields
from p2pqwen.values.digest import CommitId, Sha1, Sha256
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId
from p2pqwen.values.snapshot_place import library_parts
from p2pqwen.values.strict_json import MAX_INTEGER, JsonObject, JsonValue
from p2pqwen.values.utc_time import format_time, parse_time
from p2pqwen.values.web_url import check_web_url

_KINDS = {kind.value: kind for kind in RepoKind}
MAX_WEB_SEEDS = 32
MAX_FILES = 1_000_000
MAX_MAGNET = 16 * 1024
MAX_LICENSE = 200
MAX_NAME = 300
"""Characters of a skipped entry's repository, commit and kind."""

# The percent-encoding of `quote(text, safe="")` for ASCII text, at the speed of `str.translate`.
_QUOTED = {code: quote(chr(code), safe="") for code in range(128)}
_PARAMETERS = frozenset({"xt", "dn", "xl", "ws", "xs", "tr", "x.pe"})
_NUMBERED = re.compile(r"\.[0-9]+\Z")  # `xt.1`, as magnets elsewhere number repeated parameters
_SOME_HASH = Sha1(b"\x01" * 20)
_FIELDS = frozenset(
    {
        "repo", "repo_type", "commit", "size", "files", "piece_length", "recipe", "infohash_v1", "infohash_v2",
        "magnet", "manifest_sha256", "provenance", "torrent", "web_seeds", "license", "added", "upstream",
    }
)  # fmt: skip


_PATH_SEEDS = "path_seeds"
_READ_FIELDS = _FIELDS | {_PATH_SEEDS}
PATH_FIELD = "{path}"
"""The placeholder of a file's path in a web seed pattern (webseed/bases.py)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One snapshot of an index. Sizes in bytes; `proven` is the publisher's claim, checked with the manifest later.

    `path_seeds` are web addresses to which only a file's path is appended, without the commit.
    """

    id: SnapshotId
    size: int
    files: int
    infohash: InfoHash
    magnet: str
    manifest: Sha256
    proven: bool
    web_seeds: tuple[str, ...]
    license: str | None
    added: datetime
    upstream: Upstream
    extra: Mapping[str, JsonValue] = field(default_factory=dict)
    recipe: Recipe = CURRENT
    path_seeds: tuple[str, ...] = ()

    @property
    def bases(self) -> tuple[str, ...]:
        """All its web seeds, as bases of a fetch (webseed/bases.py)."""
        return (*self.web_seeds, *(f"{url}{PATH_FIELD}" for url in self.path_seeds))

    @property
    def trackers(self) -> tuple[str, ...]:
        """The trackers that its magnet names."""
        return parse_magnet(self.magnet).trackers if "tr=" in self.magnet else ()  # most name none

    @property
    def torrent(self) -> str:
        """The place of the .torrent, relative to the index."""
        return torrent_location(self.id)

    def to_json(self) -> JsonObject:
        """Return the row, unknown fields included."""
        return {
            **self.extra,
            "repo": self.id.repo.text,
            "repo_type": self.id.repo.kind.value,
            "commit": str(self.id.commit),
            "size": self.size,
            "files": self.files,
            "piece_length": self.recipe.piece_length(self.size),
            "recipe": self.recipe.number,
            "infohash_v1": str(self.infohash.v1),
            "infohash_v2": str(self.infohash.v2),
            "magnet": self.magnet,
            "manifest_sha256": str(self.manifest),
            "provenance": "proven" if self.proven else "unproven",
            "torrent": self.torrent,
            "web_seeds": list(self.web_seeds),
            "license": self.license,
            "added": format_time(self.added),
            "upstream": self.upstream.value,
            **({_PATH_SEEDS: list(self.path_seeds)} if self.path_seeds else {}),
        }


@dataclass(frozen=True, slots=True)
class SkippedEntry:
    """An entry whose `repo_type`, `recipe` or fields this version does not know: named and counted, but not used.

    `raw` is the unchanged row.
    """

    repo: str
    commit: str
    repo_type: str
    recipe: int
    raw: JsonObject = field(repr=False, hash=False)

    @property
    def reason(self) -> str:
        """Which of its fields this version does not know."""
        known = self.repo_type in _KINDS and self.recipe not in RECIPES
        return f"recipe {self.recipe}" if known else f"repo_type {self.repo_type!r}"

    def to_json(self) -> JsonObject:
        """Return the unchanged row."""
        return dict(self.raw)

    def __str__(self) -> str:
        return f"{self.repo}@{self.commit}"


Row: TypeAlias = Entry | SkippedEntry


def row_order(row: Row) -> tuple[str, str, str, int]:
    """Return the sort key of an index's rows: repository, commit, kind, recipe."""
    if isinstance(row, Entry):
        return row.id.repo.text, str(row.id.commit), row.id.repo.kind.value, row.recipe.number
    return row.repo, row.commit, row.repo_type, row.recipe


def torrent_location(snapshot: SnapshotId) -> str:
    """Return the path of a snapshot's .torrent in a published site."""
    return "/".join((*library_parts(snapshot.repo), f"{snapshot.commit}.torrent"))


def parse_row(row: JsonObject) -> Row:
    """Parse one row: an entry, or one that this version skips. Raises `FormatError`."""
    kind, recipe = json_fields.text(row, "repo_type", limit=MAX_NAME), json_fields.integer(row, "recipe", at_least=1)
    if _is_known(kind, recipe, row):
        return parse_entry(row)
    repo, commit = (json_fields.text(row, name, limit=MAX_NAME) for name in ("repo", "commit"))
    for text in (repo, commit, kind):
        if not (text and text.isascii() and text.isprintable()):
            raise FormatError("an entry of an unknown kind", expected="names in printable ASCII", got=repr(text[:80]))
    return SkippedEntry(repo, commit, kind, recipe, row)


def _is_known(kind: str, recipe: int, row: JsonObject) -> bool:
    # Old indexes have rows of type dataset from before datasets had defined fields; those are skipped.
    return kind in _KINDS and recipe in RECIPES and (kind == RepoKind.MODEL or row.keys() >= _FIELDS)


def is_entry_row(row: JsonObject) -> bool:
    """Tell whether a checked row is an entry, not a skipped one."""
    known: Any = row
    return _is_known(known["repo_type"], known["recipe"], row)


def check_row(row: JsonObject) -> bool:
    """Check one row as `parse_row` does; tell whether it is an entry or skipped (False). Raises `FormatError`.

    A row in our own form is compared with its expected text instead of being parsed, which is faster.
    """
    return _is_plain(row) or isinstance(parse_row(row), Entry)


def checked_row(row: JsonObject) -> Row:
    """Return a checked row's content."""
    if not is_entry_row(row):
        return parse_row(row)
    known: Any = row
    return Entry(
        id=SnapshotId(_repo(known["repo"], _KINDS[known["repo_type"]]), CommitId(bytes.fromhex(known["commit"]))),
        size=known["size"],
        files=known["files"],
        infohash=InfoHash(Sha1(bytes.fromhex(known["infohash_v1"])), Sha256(bytes.fromhex(known["infohash_v2"]))),
        magnet=known["magnet"],
        manifest=Sha256(bytes.fromhex(known["manifest_sha256"])),
        proven=known["provenance"] == "proven",
        web_seeds=tuple(known["web_seeds"]),
        license=known.get("license"),
        added=entry_time(known["added"]),
        upstream=_UPSTREAMS[known["upstream"]],
        extra={} if known.keys() <= _FIELDS else {name: known[name] for name in known.keys() - _READ_FIELDS},
        recipe=RECIPES[known["recipe"]],
        path_seeds=tuple(known.get(_PATH_SEEDS, ())),
    )


def row_place(row: JsonObject) -> tuple[str, str, str, int]:
    """Return what `row_order` returns, for a checked row."""
    known: Any = row
    return known["repo"], known["commit"], known["repo_type"], known["recipe"]


def parse_entry(row: JsonObject) -> Entry:
    """Parse one entry and check its consistency; raises `FormatError`."""
    if (kind := _KINDS.get(text := json_fields.text(row, "repo_type"))) is None:
        raise FormatError("field 'repo_type'", expected=", ".join(_KINDS), got=repr(text[:40]))
    snapshot = SnapshotId(_repo(json_fields.text(row, "repo"), kind), CommitId.parse(json_fields.text(row, "commit")))
    try:
        return _parse(row, snapshot)
    except FormatError as error:
        raise FormatError(f"entry {snapshot}: {error.what}", expected=error.expected, got=error.got) from error


def _parse(row: JsonObject, snapshot: SnapshotId) -> Entry:
    if (recipe := RECIPES.get(json_fields.integer(row, "recipe"))) is None:
        raise FormatError("field 'recipe'", expected=", ".join(map(str, RECIPES)), got=row["recipe"])
    json_fields.constant(row, "torrent", torrent_location(snapshot))
    size = json_fields.integer(row, "size")
    json_fields.constant(row, "piece_length", recipe.piece_length(size))
    web_seeds = json_fields.texts(row, "web_seeds", limit=MAX_WEB_SEEDS)
    for url in web_seeds:
        _quoted_url(url)
    if len(set(web_seeds)) != len(web_seeds):
        raise FormatError("a web seed is repeated")
    provenance = json_fields.text(row, "provenance")
    if provenance not in {"proven", "unproven"}:
        raise FormatError("field 'provenance'", expected="proven or unproven", got=repr(provenance))
    entry = Entry(
        id=snapshot,
        size=size,
        files=json_fields.integer(row, "files", at_least=1, at_most=MAX_FILES),
        infohash=InfoHash(
            Sha1.parse(json_fields.text(row, "infohash_v1")), Sha256.parse(json_fields.text(row, "infohash_v2"))
        ),
        magnet=json_fields.text(row, "magnet", limit=MAX_MAGNET),
        manifest=Sha256.parse(json_fields.text(row, "manifest_sha256")),
        proven=provenance == "proven",
        web_seeds=web_seeds,
        license=json_fields.optional_text(row, "license", limit=MAX_LICENSE),
        added=entry_time(json_fields.text(row, "added")),
        upstream=_upstream(json_fields.text(row, "upstream")),
        extra={name: value for name, value in row.items() if name not in _READ_FIELDS},
        recipe=recipe,
        path_seeds=_path_seeds(row) if _PATH_SEEDS in row else (),
    )
    _check_magnet(entry)
    return entry


def _path_seeds(row: JsonObject) -> tuple[str, ...]:
    urls = json_fields.texts(row, _PATH_SEEDS, limit=MAX_WEB_SEEDS)
    for url in urls:
        check_web_url(url)
        if not url.endswith("/"):
            raise FormatError("a path seed", expected="a web address that ends in /", got=repr(url[:200]))
    if len(set(urls)) != len(urls):
        raise FormatError("a path seed is repeated")
    return urls


def _is_plain(row: JsonObject) -> bool:
    """Tell whether a row is a model of the Hub in the form that this program writes; False: it must be parsed.

    `_parse` accepts every row for which this is true; only rows of the current recipe are.
    """
    if _PATH_SEEDS in row:
        return False
    try:
        values = _plain_values(row)
    except KeyError:
        return False
    repo, commit, v1, v2, manifest, magnet, torrent, size, files, length, recipe, seeds, license_, added = values[:14]
    if not (type(size) is type(files) is type(length) is type(recipe) is int and type(seeds) is list):
        return False
    if not (type(repo) is type(magnet) is type(added) is str and (license_ is None or type(license_) is str)):
        return False
    if not _FOUR_HASHES.fullmatch(f"{commit} {v1} {v2} {manifest}") or v1 == ZEROS[:40] or v2 == ZEROS:
        return False
    try:
        quoted, sources = _quoted_repo(repo), quoted_seeds(tuple(seeds))
        entry_time(added)
    except (FormatError, TypeError):
        return False
    start = f"magnet:?xt=urn:btih:{v1}&xt=urn:btmh:1220{v2}&dn={quoted}%40{commit}&xl={size}{sources}"
    return (
        values[14] == RepoKind.MODEL.value
        and values[15] in _PROVENANCE
        and values[16] in _UPSTREAM
        and recipe == CURRENT.number
        and 0 <= size <= MAX_INTEGER
        and 1 <= files <= MAX_FILES
        and length == CURRENT.piece_length(size)
        and torrent == f"{repo}/{commit}.torrent"
        and (license_ is None or len(license_) <= MAX_LICENSE)
        and len(magnet) <= MAX_MAGNET
        and magnet.startswith(start)
        and only_sources(magnet[len(start) :].replace(f"{quoted}%2F{commit}.torrent", "x"))
    )


_plain_values = itemgetter(
    "repo", "commit", "infohash_v1", "infohash_v2", "manifest_sha256", "magnet", "torrent", "size", "files",
    "piece_length", "recipe", "web_seeds", "license", "added", "repo_type", "provenance", "upstream",
)  # fmt: skip
_FOUR_HASHES = re.compile(r"[0-9a-f]{40} [0-9a-f]{40} [0-9a-f]{64} [0-9a-f]{64}", re.ASCII)
ZEROS = "0" * 64
_PROVENANCE = ("proven", "unproven")
_UPSTREAM = tuple(map(str, Upstream))
_UPSTREAMS = {str(one): one for one in Upstream}


@lru_cache(maxsize=4096)
def _quoted_repo(repo: str) -> str:
    return RepoId(repo).text.translate(_QUOTED)


@lru_cache(maxsize=4096)
def quoted_seeds(seeds: tuple[str, ...]) -> str:
    """Return the web seeds as parameters of our magnets; raises `FormatError` for invalid ones."""
    if len(seeds) > MAX_WEB_SEEDS or len(set(seeds)) != len(seeds) or not all(type(one) is str for one in seeds):
        raise FormatError("web seeds")
    return "".join(f"&ws={_quoted_url(url)}" for url in seeds)


# Values recur in an index: several commits of one repository, many entries added at the same time.
_repo = lru_cache(maxsize=4096)(RepoId)
entry_time = lru_cache(maxsize=4096)(parse_time)


_PLAIN_HOST = re.compile(r"https?://[A-Za-z0-9.-]+(?:/|\Z)", re.ASCII)


@lru_cache(maxsize=4096)
def _quoted_url(url: str) -> str:
    # By both rules: otherwise a later parse of the magnet might refuse the URL. They differ only in what they allow
    # between scheme and path.
    check_web_url(url)
    return (url if _PLAIN_HOST.match(url) else check_magnet_url(url)).translate(_QUOTED)


def _upstream(text: str) -> Upstream:
    try:
        return Upstream(text)
    except ValueError as error:
        raise FormatError("field 'upstream'", expected=", ".join(Upstream), got=repr(text[:40])) from error


def _check_magnet(entry: Entry) -> None:
    """Refuse a magnet that names another torrent, snapshot, size or web seed than its entry."""
    if not any(entry.infohash.v1.raw) or not any(entry.infohash.v2.raw):
        raise FormatError("its infohash is all zeros, which clients treat as missing")
    # Fast path, for indexes of 100,000 entries: a magnet in our form is compared, not parsed.
    start = _magnet_start(entry)
    rest = entry.magnet[len(start) :]
    if entry.magnet.startswith(start) and only_sources(rest.replace(entry.torrent.translate(_QUOTED), "x")):
        return
    parse_magnet(entry.magnet)
    found = _parameters(entry.magnet.removeprefix("magnet:?"))
    topics = {f"urn:btih:{entry.infohash.v1}", f"urn:btmh:1220{entry.infohash.v2}"}
    claims = {
        "infohash": (topics, set(found.get("xt", ()))),
        "name": ({str(entry.id)}, set(found.get("dn", ()))),
        "size": ({str(entry.size)}, set(found.get("xl", ()))),
        "web seeds": (list(entry.web_seeds), found.get("ws", [])),
        "peers": ([], found.get("x.pe", [])),
    }
    for name, (expected, got) in claims.items():
        if expected != got:
            raise FormatError(f"its magnet names another {name}", expected=sorted(expected), got=sorted(got))


def _parameters(query: str) -> dict[str, list[str]]:
    """Parse the known parameters, in their only allowed spelling: all readers must see the same magnet."""
    found: dict[str, list[str]] = {}
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        name = _NUMBERED.sub("", key.lower())
        if name not in _PARAMETERS:
            continue
        if key != name or not value:
            raise FormatError("its magnet spells a parameter in another way", expected=f"{name}=…", got=repr(pair[:80]))
        found.setdefault(name, []).append(unquote(value))
    return found


def _magnet_start(entry: Entry) -> str:
    seeds = "".join(f"&ws={_quoted_url(url)}" for url in entry.web_seeds)
    topics = f"xt=urn:btih:{entry.infohash.v1}&xt=urn:btmh:1220{entry.infohash.v2}"
    return f"magnet:?{topics}&dn={str(entry.id).translate(_QUOTED)}&xl={entry.size}{seeds}"


@lru_cache(maxsize=256)
def only_sources(rest: str) -> bool:
    """Tell whether the end of a magnet has only exact sources and trackers."""
    try:
        parse_magnet(f"magnet:?xt=urn:btih:{_SOME_HASH}{rest}")
        return _parameters(rest).keys() <= {"xs", "tr"}
    except FormatError:
        return False


def entry_magnet(
    snapshot: SnapshotId,
    infohash: InfoHash,
    size: int,
    *,
    web_seeds: tuple[str, ...],
    trackers: tuple[str, ...],
    mirrors: tuple[str, ...],
) -> str:
    """Return the magnet of an entry; `mirrors` are folders that hold the published site."""
    return str(
        Magnet(
            infohash_v1=infohash.v1,
            infohash_v2=infohash.v2,
            name=str(snapshot),
            size=size,
            web_seeds=web_seeds,
            trackers=trackers,
            exact_sources=tuple(mirror + torrent_location(snapshot) for mirror in mirrors),
            peers=(),
        )
    )
