"""Atom, RSS and JSON feeds of a published site: with them, any client that has RSS rules can be a steward.

Each .torrent is an enclosure (BEP 36), in RSS with its infohash and size. Enclosures need absolute addresses. If the
index names no mirror, they are magnet links, which clients accept there too.

A feed does not contain the time of writing: the same rows give the same bytes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from feedgen.feed import FeedGenerator

from p2pqwen.catalogue import places
from p2pqwen.catalogue.view import SIZE_CLASSES, Row, Site, size_class
from p2pqwen.index.upstream import Upstream
from p2pqwen.values.snapshot_id import words_of_origins
from p2pqwen.values.strict_json import JsonObject
from p2pqwen.values.utc_time import format_time

ITEMS = 100
"""The most rows in a feed, the newest."""
LICENSES = 40
"""The most licenses with a feed, the commonest: an index may name thousands."""
FEW = 2
"""A snapshot with at most this many whole copies is endangered."""
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_TORRENT = "application/x-bittorrent"


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed: its name in addresses, its title, and its rows, the newest first."""

    name: str
    title: str
    rows: tuple[Row, ...]

    @property
    def rss(self) -> str:
        """The place of the RSS feed."""
        return f"{places.FOLDER}/feeds/{self.name}.rss.xml"

    @property
    def atom(self) -> str:
        """The place of the Atom feed."""
        return f"{places.FOLDER}/feeds/{self.name}.atom.xml"

    @property
    def json(self) -> str:
        """The place of the JSON feed."""
        return f"{places.FOLDER}/feeds/{self.name}.json"


def feeds_of(rows: Sequence[Row]) -> list[Feed]:
    """Return every feed of the list: by event, by size class and by license; some may be empty."""
    newest = sorted(rows, key=lambda row: (row.entry.added, str(row.entry.id)), reverse=True)
    first: dict[str, datetime] = {}
    for row in reversed(newest):
        first.setdefault(row.repo, row.entry.added)

    gone = [row.entry.id.repo.kind.origin for row in newest if _is_gone(row)]

    def feed(name: str, title: str, fits: Callable[[Row], bool]) -> Feed:
        return Feed(name, title, tuple(row for row in newest if fits(row))[:ITEMS])

    return [
        feed("new", "New snapshots", lambda _: True),
        feed("changed", "New revisions of listed models", lambda row: row.entry.added > first[row.repo]),
        feed("endangered", f"Endangered: at most {FEW} copies seen", _is_endangered),
        feed("gone", f"Gone from {words_of_origins(gone, 'or')}", _is_gone),
        *(feed(f"size-{name}", f"Size: {words}", partial(_is_of_size, name)) for name, words, _ in SIZE_CLASSES),
        *(
            feed(f"license-{slug}", f"License: {min(names)}", partial(_is_under, names))
            for slug, names in _licenses(rows)
        ),
    ]


def _is_gone(row: Row) -> bool:
    return row.entry.upstream is Upstream.GONE


def _is_of_size(name: str, row: Row) -> bool:
    return size_class(row.entry.size) == name


def _is_under(names: Container[str], row: Row) -> bool:
    return row.license in names


def _is_endangered(row: Row) -> bool:
    return row.copies is not None and row.copies.seeds is not None and row.copies.seeds <= FEW


def _licenses(rows: Iterable[Row]) -> list[tuple[str, set[str]]]:
    """Return the commonest licenses as pairs: a part of an address, and the names that it covers."""
    found: dict[str, set[str]] = {}
    counted: Counter[str] = Counter()
    for row in rows:
        slug = re.sub(r"[^a-z0-9.]+", "-", row.license.lower()).strip("-.")[:60] or "other"
        found.setdefault(slug, set()).add(row.license)
        counted[slug] += 1
    common = [slug for slug, _ in sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:LICENSES]]
    return [(slug, found[slug]) for slug in sorted(common)]


def base_of(mirrors: Sequence[str]) -> str | None:
    """Return the address of the first mirror's folder, with a slash at the end; None without mirrors."""
    if not mirrors:
        return None
    first = mirrors[0].rpartition("/")[0] if mirrors[0].endswith(".json") else mirrors[0].rstrip("/")
    return f"{first}/"


def render_feed(site: Site, feed: Feed) -> dict[str, bytes]:
    """Return a feed in its three forms, by their places."""
    base = base_of(site.mirrors)
    maker = FeedGenerator()
    maker.load_extension("torrent", atom=False, rss=True)
    maker.id(f"urn:p2pqwen:{site.publisher}:{feed.name}")
    maker.title(f"{site.name}: {feed.title}")
    maker.description(f"{feed.title}, signed by publisher {site.publisher}")
    maker.author({"name": site.name})
    maker.generator("p2pqwen")
    updated = max((row.entry.added for row in feed.rows), default=_NEVER)
    maker.updated(updated)
    maker.lastBuildDate(updated)
    for row in feed.rows:
        _add(maker, row, base)

    def at(place: str) -> FeedGenerator:
        itself = [] if base is None else [{"href": base + place, "rel": "self"}]
        maker.link([*itself, {"href": (base or "") + places.INDEX_PAGE, "rel": "alternate"}], replace=True)
        return maker

    return {
        feed.atom: at(feed.atom).atom_str(pretty=True),
        feed.rss: at(feed.rss).rss_str(pretty=True),
        feed.json: _json(site, feed, base),
    }


def _add(maker: FeedGenerator, row: Row, base: str | None) -> None:
    entry = row.entry
    where = entry.magnet if base is None else base + entry.torrent
    item = maker.add_entry(order="append")
    item.id(f"urn:btih:{entry.infohash.v1}")
    item.title(f"{row.repo} @ {row.short} ({row.size}, {row.license})")
    page = entry.magnet if base is None else f"{base}{row.page}"
    item.link(href=where, rel="enclosure", type=_TORRENT, length=str(entry.size))
    item.link(href=page, rel="alternate")
    item.register_extension("links", _Links, atom=True, rss=False)
    item.links.of(item.link())
    item.description(_words(row))
    item.category(term=size_class(entry.size))
    item.published(entry.added)
    item.updated(entry.added)
    item.torrent.filename(f"{entry.id.commit}.torrent")
    item.torrent.infohash(str(entry.infohash.v1))
    item.torrent.contentlength(str(entry.size))
    if row.copies is not None and row.copies.seeds is not None:
        item.torrent.seeds(str(row.copies.seeds))


class _Links:
    """A feedgen extension that adds the attributes that feedgen 1.0.0 omits from the links of Atom entries.

    Without `rel`, a link is no enclosure.
    """

    def __init__(self) -> None:
        self._links: list[Mapping[str, str]] = []

    def of(self, links: Iterable[Mapping[str, str]]) -> None:
        """Take the links of the entry."""
        self._links = list(links)

    def extend_atom(self, entry: Any) -> Any:  # noqa: ANN401 - an element of lxml
        """Complete the elements of the links."""
        for element, link in zip(entry.iter("link", "{http://www.w3.org/2005/Atom}link"), self._links, strict=True):
            for name, value in link.items():
                element.set(name, value)
        return entry


def _words(row: Row) -> str:
    copies = "" if row.copies is None else f" {row.copies}."
    return f"{row.files}, {row.size}, {row.license}, {row.provenance}, {row.upstream}.{copies} {row.entry.magnet}"


def _json(site: Site, feed: Feed, base: str | None) -> bytes:
    """Return the feed in JSON Feed 1.1 (jsonfeed.org), with the facts for programs under `_p2pqwen`."""
    items = [
        {
            "id": f"urn:btih:{row.entry.infohash.v1}",
            "url": row.entry.magnet if base is None else f"{base}{row.page}",
            "title": f"{row.repo} @ {row.short}",
            "content_text": _words(row),
            "date_published": format_time(row.entry.added),
            "attachments": [
                {
                    "url": row.entry.magnet if base is None else base + row.entry.torrent,
                    "mime_type": _TORRENT,
                    "size_in_bytes": row.entry.size,
                }
            ],
            "_p2pqwen": _facts(row),
        }
        for row in feed.rows
    ]
    whole = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": f"{site.name}: {feed.title}",
        **({} if base is None else {"home_page_url": base + places.INDEX_PAGE, "feed_url": base + feed.json}),
        "items": items,
    }
    return json.dumps(whole, ensure_ascii=False, indent=1).encode() + b"\n"


def _facts(row: Row) -> JsonObject:
    facts: JsonObject = {"formats": list(row.facts.formats), "quantisations": list(row.facts.quantisations)}
    return {**row.entry.to_json(), **facts}
