"""Render the pages with jinja2 and autoescape; they fetch nothing from other hosts, and their policy forbids it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import metadata, resources

import segno
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from p2pqwen.catalogue import places
from p2pqwen.catalogue.card import Card
from p2pqwen.catalogue.feeds import Feed, base_of
from p2pqwen.catalogue.view import SIZE_CLASSES, Revision, Row, Site
from p2pqwen.index.document import Withdrawal
from p2pqwen.index.entry import Entry
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.plural import grouped, plural
from p2pqwen.values.printable_text import printable
from p2pqwen.values.utc_time import format_time

ALL_ON_ONE = 500
"""A list of at most this many rows is one page."""
ROWS = 150
"""Rows per page of a longer list: with its script and style, a page stays below 300 kB."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""The Content-Security-Policy of every page."""
_PACKAGE = "p2pqwen.catalogue"
_SCRIPT = ("verify.js", "page.js")
_MAKERS = (
    *(f"catalogue/{name}.py" for name in ("beside", "card", "feeds", "pages", "places", "view")),
    *(f"values/{name}.py" for name in ("byte_size", "model_file", "plural", "printable_text", "snapshot_id")),
    *("values/snapshot_place.py", "values/utc_time.py", "manifest/license.py", "torrent/magnet.py"),
)
"""The sources that determine the words and addresses of a page, besides the templates."""
_LIBRARIES = ("feedgen", "jinja2", "markdown-it-py", "nh3", "segno")


def pages_of(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """Cut the list into pages; there is always at least one."""
    step = len(rows) if len(rows) <= ALL_ON_ONE else ROWS
    return [rows[at : at + step] for at in range(0, len(rows), max(step, 1))] or [()]


def linked(number: int, count: int) -> list[int]:
    """Return the pages to which page `number` of `count` links: its neighbours, the ends, and some evenly between.

    For 700 pages the links fill a line or two, and every page is a few steps away.
    """
    near = range(max(1, number - 2), min(count, number + 2) + 1)
    return sorted({1, count, *near, *range(0, count, max(1, -(-count // 8)))} - {0})


def render_row(row: Row, place: str) -> bytes:
    """Return a row of the list as HTML for the page at a place."""
    return str(_row_macro()(row, places.to_root(place))).encode()


def render_list(
    site: Site,
    rows: Sequence[bytes],
    start: int,
    number: int,
    count: int,
    withdrawn: Sequence[Withdrawal],
    feeds: Sequence[Feed],
    data_parts: int,
) -> bytes:
    """Return page `number` (from 1) of `count` of the list; the first one also shows what was withdrawn.

    `rows` are the page's rows from `render_row`; `start` is the number of rows on the pages before it.
    """
    place = places.list_page(number)
    return _page(
        "list.html",
        place,
        site,
        rows=Markup(b"".join(rows).decode()),  # noqa: S704 - made by the template of a row
        start=start,
        number=number,
        count=count,
        links=[(at, places.list_page(at)) for at in linked(number, count)],
        withdrawn=withdrawn if number == 1 else (),
        feeds=feeds if number == 1 else (),
        about=_catalogue(site) if number == 1 else None,
        data_parts=data_parts,
    )


def render_model(
    site: Site, revisions: Sequence[Revision], card: Card | None, withdrawn: Sequence[Withdrawal], readme: str | None
) -> bytes:
    """Return a model's page, the newest revision first. `readme` is the place of the card's source."""
    newest = revisions[0]
    return _page(
        "model.html",
        places.model_page(newest.row.entry.id.repo),
        site,
        newest=newest,
        revisions=revisions,
        card=card,
        withdrawn=withdrawn,
        readme=readme,
        qr=_qr(newest.magnet_short),
        about=_about(newest, site),
    )


def assets() -> dict[str, bytes]:
    """Return the scripts and the style sheet, by place.

    The pages' script is one classic file, since browsers load no modules from a disk. It contains the verifier
    unchanged, except for the word `export`.
    """
    files = resources.files(_PACKAGE) / "files"
    parts = [(files / name).read_text() for name in _SCRIPT]
    script = '"use strict";\n(() => {\n' + "\n".join(_as_classic(part) for part in parts) + "})();\n"
    found = {
        f"{places.FOLDER}/page.js": script.encode(),
        f"{places.FOLDER}/verify.js": (files / "verify.js").read_bytes(),
        f"{places.FOLDER}/style.css": (files / "style.css").read_bytes(),
    }
    for one in (files / "noble").iterdir():
        if one.name.endswith(".js") or one.name == "LICENSE":
            found[f"{places.FOLDER}/noble/{one.name}"] = one.read_bytes()
    return found


@cache
def made_by() -> str:
    """Return a fingerprint that changes whenever this version renders an index differently."""
    files = resources.files(_PACKAGE) / "files" / "templates"
    parts = [one.read_bytes() for one in sorted(files.iterdir(), key=lambda one: one.name)]
    parts += [(resources.files("p2pqwen") / name).read_bytes() for name in _MAKERS]
    parts += [f"{name} {metadata.version(name)}".encode() for name in _LIBRARIES]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _as_classic(module: str) -> str:
    lines = [line.removeprefix("export ") for line in module.splitlines() if not line.startswith("import ")]
    return "\n".join(lines) + "\n"


def _page(template: str, place: str, site: Site, **values: object) -> bytes:
    text = (
        _environment()
        .get_template(template)
        .render(site=site, place=place, root=places.to_root(place), policy=POLICY, places=places, **values)
    )
    return text.encode()


@cache
def _row_macro() -> Callable[[Row, str], Markup]:
    macro: Callable[[Row, str], Markup] = vars(_environment().get_template("row.html").module)["row"]
    return macro


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_PACKAGE, "files/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "grouped": grouped,
        "plural": plural,
        "size": format_size,
        "time": format_time,
        "printable": printable,
    }
    environment.globals |= {"size_classes": SIZE_CLASSES}
    return environment


def _qr(text: str) -> Markup:
    """Return the QR code of an ASCII magnet of ours, as SVG."""
    # Any mask can be read; evaluating all 8 would take most of the time of a page.
    code = segno.make(text, error="l", boost_error=False, mask=3)
    svg = code.svg_inline(border=2, scale=4, omitsize=True, svgclass="qr", lineclass=None, dark="#000", light="#fff")
    return Markup(svg.replace("<svg ", '<svg role="img" aria-label="QR code of the magnet link" ', 1))  # noqa: S704


_CONTEXT = ("https://schema.org", {"dcat": "http://www.w3.org/ns/dcat#", "dcterms": "http://purl.org/dc/terms/"})
"""The vocabularies of search engines (schema.org) and of catalogues of research data (DCAT 3)."""


def _catalogue(site: Site) -> Mapping[str, object]:
    """Return the whole list in schema.org and DCAT terms; each model's page describes its dataset."""
    base = base_of(site.mirrors)
    where = {} if base is None else {"@id": base, "url": base}
    return {
        "@context": _CONTEXT,
        "@type": ["DataCatalog", "dcat:Catalog"],
        **where,
        "name": site.name,
        "identifier": site.publisher,
        "dateModified": format_time(site.issued),
        "version": site.position,
        "description": f"{site.repositories} as signed torrents, {format_size(site.size)} in all.",
        "publisher": {"@type": "Organization", "name": site.name, "identifier": site.publisher},
        "isAccessibleForFree": True,
    }


def _about(revision: Revision, site: Site) -> Mapping[str, object]:
    """Return the model in schema.org and DCAT terms, for search engines and catalogues."""
    row, entry, base = revision.row, revision.row.entry, base_of(site.mirrors)
    where = {} if base is None else {"@id": f"{base}{row.page}", "url": f"{base}{row.page}"}
    catalogue = {"@type": "DataCatalog", "name": site.name, **({} if base is None else {"@id": base})}
    return {
        "@context": _CONTEXT,
        "@type": ["Dataset", "dcat:Dataset"],
        **where,
        "name": row.repo,
        "identifier": [str(entry.id), f"urn:btih:{entry.infohash.v1}", f"urn:btmh:1220{entry.infohash.v2}"],
        "description": f"Model files of {row.repo} at commit {entry.id.commit}, {row.files}, {row.size}.",
        "license": row.license,
        "version": str(entry.id.commit),
        "dateModified": format_time(entry.added),
        "isAccessibleForFree": True,
        "publisher": {"@type": "Organization", "name": site.name, "identifier": site.publisher},
        "includedInDataCatalog": catalogue,
        "distribution": [_distribution(entry, url) for url in _downloads(entry, base)],
    }


def _downloads(entry: Entry, base: str | None) -> list[str]:
    return [entry.magnet] if base is None else [entry.magnet, f"{base}{entry.torrent}"]


def _distribution(entry: Entry, url: str) -> Mapping[str, object]:
    media = "https://www.iana.org/assignments/media-types/application/x-bittorrent"
    return {
        "@type": ["DataDownload", "dcat:Distribution"],
        "encodingFormat": "application/x-bittorrent",
        "contentUrl": url,
        "contentSize": str(entry.size),
        "dcat:downloadURL": {"@id": url},
        "dcat:byteSize": entry.size,
        "dcat:mediaType": {"@id": media},
    }
