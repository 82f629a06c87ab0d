"""The words by which pages describe an index; the pages' own check derives the same words from index.json.

`page.js` builds them in `expectedWords`. Other words of a row are marked `also`; only the signature over SHA256SUMS
covers those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from p2pqwen.catalogue.places import model_page
from p2pqwen.index.acceptance import Accepted
from p2pqwen.index.entry import Entry
from p2pqwen.index.upstream import Upstream
from p2pqwen.manifest.license import reason
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.torrent.magnet import Magnet, parse_magnet
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.model_file import ModelFile
from p2pqwen.values.plural import grouped, plural
from p2pqwen.values.printable_text import printable
from p2pqwen.values.snapshot_id import RepoId, RepoKind
from p2pqwen.values.strict_json import JsonValue
from p2pqwen.values.utc_time import format_time

SHORT = 8
"""The number of digits of a commit id that a row shows."""
NO_LICENSE = "no license named"
ODD_LICENSE = "a license without a plain name"
SIZE_CLASSES = (
    ("small", "up to 2 GB", 2 * 10**9),
    ("medium", "2 to 20 GB", 20 * 10**9),
    ("large", "20 to 200 GB", 200 * 10**9),
    ("huge", "over 200 GB", None),
)
"""(name, words, largest size in bytes) of each class in feeds and filters."""


def size_class(size: int) -> str:
    """Return the name of a payload's size class; size in bytes."""
    return next(name for name, _, most in SIZE_CLASSES if most is None or size <= most)


def upstream_words(repo: RepoId, upstream: Upstream) -> str:
    """Say whether a repository's origin still shows it."""
    place = repo.kind.origin.words
    if upstream is Upstream.UNKNOWN:
        return f"{repo.kind.origin.label} not asked"
    return f"gone from {place}" if upstream is Upstream.GONE else f"on {place}"


def license_words(name: str | None) -> str:
    """Return a license's name for a page; a name that is not printable ASCII is not shown."""
    if name is None:
        return NO_LICENSE
    return name if name and name.isascii() and name.isprintable() else ODD_LICENSE


@dataclass(frozen=True, slots=True)
class Copies:
    """What the publisher's node last saw of a swarm: the whole copies (None: unknown), and the day."""

    seeds: int | None
    seen: date

    def __str__(self) -> str:
        count = "copies unknown" if self.seeds is None else "1 copy" if self.seeds == 1 else f"{self.seeds} copies"
        return f"{count}, seen {self.seen.isoformat()}"


@dataclass(frozen=True, slots=True)
class Facts:
    """The formats and quantisations of a snapshot, by its files' names, each sorted."""

    formats: tuple[str, ...] = ()
    quantisations: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> Facts:
        """Read the names of a manifest's files."""
        repo = manifest.snapshot.repo.text
        said = [ModelFile.of(row.path, repo) for row in manifest.files]
        return cls(
            tuple(sorted({one.format for one in said if one.format})),
            tuple(sorted({one.quantisation for one in said if one.quantisation and not one.companion})),
        )


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as a row of the list."""

    entry: Entry
    facts: Facts
    copies: Copies | None

    @property
    def repo(self) -> str:
        """The model's full name, including its origin."""
        return str(self.entry.id.repo)

    @property
    def page(self) -> str:
        """The place of its page."""
        return model_page(self.entry.id.repo)

    @property
    def short(self) -> str:
        """The first digits of the commit id."""
        return str(self.entry.id.commit)[:SHORT]

    @property
    def size(self) -> str:
        """The payload's size."""
        return format_size(self.entry.size)

    @property
    def files(self) -> str:
        """The number of files."""
        return plural(self.entry.files, "file")

    @property
    def license(self) -> str:
        """The license's name."""
        return license_words(self.entry.license)

    @property
    def terms(self) -> str:
        """What is known of the license."""
        return reason(self.entry.license)

    @property
    def provenance(self) -> str:
        """The publisher's claim."""
        return "proven" if self.entry.proven else "unproven"

    @property
    def upstream(self) -> str:
        """Whether the Hub, or ModelScope, still has it."""
        return upstream_words(self.entry.id.repo, self.entry.upstream)

    @property
    def added(self) -> str:
        """The day on which it was first listed."""
        return format_time(self.entry.added)[:10]

    @property
    def also(self) -> str:
        """The formats and quantisations, by the files' names."""
        return " ".join((*self.facts.formats, *self.facts.quantisations))

    def data(self) -> list[JsonValue]:
        """Return the row of a data part: the values to search, filter, sort and show."""
        entry, copies = self.entry, self.copies
        return [
            self.repo,
            str(entry.id.commit),
            entry.size,
            entry.files,
            entry.license,
            entry.proven,
            entry.upstream.value,
            format_time(entry.added),
            " ".join(self.facts.formats),
            " ".join(self.facts.quantisations),
            None if copies is None else copies.seeds,
            None if copies is None else copies.seen.isoformat(),
        ]


@dataclass(frozen=True, slots=True)
class Site:
    """What every page says about its index.

    `repositories`: the number of models and datasets, in words. `sums`: whether SHA256SUMS is signed.
    """

    publisher: str
    name: str
    position: str
    issued: datetime
    signers: tuple[str, ...]
    entries: int
    repositories: str
    size: int
    mirrors: tuple[str, ...]
    sums: bool

    @classmethod
    def of(cls, accepted: Accepted, entries: Sequence[Entry], *, sums: bool) -> Site:
        """Describe an accepted index; `entries` are all its entries."""
        document = accepted.document
        return cls(
            publisher=str(accepted.publisher),
            name=printable(accepted.root.name),
            position=str(accepted.position),
            issued=document.issued,
            signers=tuple(map(printable, accepted.signer_labels)),
            entries=len(entries),
            repositories=_repositories({entry.id.repo for entry in entries}),
            size=sum(entry.size for entry in entries),
            mirrors=document.mirrors,
            sums=sums,
        )


def _repositories(repos: Collection[RepoId]) -> str:
    datasets = sum(repo.kind.holds is RepoKind.DATASET for repo in repos)
    models = len(repos) - datasets
    if not datasets:
        return grouped(models, "model")
    return f"{grouped(models, 'model')} and {grouped(datasets, 'dataset')}" if models else grouped(datasets, "dataset")


@dataclass(frozen=True, slots=True)
class FileLine:
    """One file of a snapshot."""

    path: str
    size: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Revision:
    """One snapshot on its model's page. `changes`: the differences from the previous revision, in words.

    `in_tree`: whether its files are in the site's mirror tree.
    """

    row: Row
    files: tuple[FileLine, ...]
    changes: tuple[str, ...]
    in_tree: bool = False

    @property
    def magnet_v1(self) -> str:
        """A magnet for clients that ignore `btmh`."""
        return str(replace(parse_magnet(self.row.entry.magnet), infohash_v2=None))

    @property
    def magnet_short(self) -> str:
        """A short magnet for a QR code: infohashes and name."""
        infohash, name = self.row.entry.infohash, str(self.row.entry.id)
        return str(Magnet(infohash.v1, infohash.v2, name))


def file_lines(manifest: Manifest | None) -> tuple[FileLine, ...]:
    """Return the files of a manifest."""
    rows = () if manifest is None else manifest.files
    return tuple(FileLine(row.path.text, format_size(row.size), row.size, str(row.sha256)) for row in rows)


def changes_between(before: Manifest | None, after: Manifest | None) -> tuple[str, ...]:
    """Say which files a revision adds, removes or changes; empty if either manifest is unknown."""
    if before is None or after is None:
        return ()
    old, new = ({row.path.text: row.sha256 for row in one.files} for one in (before, after))
    found = (
        ("added", sorted(new.keys() - old.keys())),
        ("removed", sorted(old.keys() - new.keys())),
        ("changed", sorted(path for path in old.keys() & new.keys() if old[path] != new[path])),
    )
    return tuple(f"{word}: {_some(paths)}" for word, paths in found if paths) or ("the same files",)


def _some(paths: Sequence[str], most: int = 12) -> str:
    rest = len(paths) - most
    return ", ".join(paths[:most]) + (f" and {rest} more" if rest > 0 else "")


def by_model(rows: Iterable[Row]) -> Mapping[RepoId, list[Row]]:
    """Group rows by model, the newest revision of each first."""
    found: dict[RepoId, list[Row]] = {}
    for row in rows:
        found.setdefault(row.entry.id.repo, []).append(row)
    for revisions in found.values():
        revisions.sort(key=lambda row: (row.entry.added, str(row.entry.id.commit)), reverse=True)
    return found
