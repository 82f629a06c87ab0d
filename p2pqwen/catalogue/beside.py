"""Files for other programs: beside each .torrent, its magnet and a Metalink 4 (RFC 5854); for the site, a sitemap."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote
from xml.etree import ElementTree as ET

from p2pqwen.catalogue import places
from p2pqwen.catalogue.feeds import base_of
from p2pqwen.catalogue.view import Row, Site
from p2pqwen.index.entry import Entry
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.values.utc_time import format_time

_METALINK = "urn:ietf:params:xml:ns:metalink"
_SITEMAP = "http://www.sitemaps.org/schemas/sitemap/0.9"
MAX_SITEMAP = 50_000
"""The most addresses of one sitemap (sitemaps.org)."""
_UNHOLDABLE = frozenset("\ufffe\uffff")  # XML 1.0 section 2.2; paths have no other characters that XML excludes


def magnet_file(entry: Entry) -> tuple[str, bytes]:
    """Return the place and the content of a magnet file."""
    return entry.torrent.removesuffix(".torrent") + ".magnet", entry.magnet.encode() + b"\n"


def metalink(entry: Entry, manifest: Manifest, mirrors: Sequence[str], *, in_tree: bool = False) -> tuple[str, bytes]:
    """Return the place and the content of a snapshot's Metalink: each file's size, SHA-256 and web seeds.

    `in_tree`: the first mirror's tree has the files too. Files are named `<commit>/<path>`, as in the torrent. A file
    whose name XML cannot hold is left out. The torrent is not listed: aria2 would prefer it to the addresses, and never
    finish, since it requests pad files, which no Hub has.
    """
    root = ET.Element("metalink", xmlns=_METALINK)
    ET.SubElement(root, "generator").text = "p2pqwen"
    ET.SubElement(root, "published").text = format_time(entry.added)
    base, commit = base_of(mirrors), str(entry.id.commit)
    for row in manifest.files:
        if not _UNHOLDABLE.isdisjoint(row.path.text):
            continue
        file = ET.SubElement(root, "file", name=f"{commit}/{row.path.text}")
        ET.SubElement(file, "size").text = str(row.size)
        ET.SubElement(file, "hash", type="sha-256").text = str(row.sha256)
        urls = [f"{seed}{commit}/{quote(row.path.text)}" for seed in entry.web_seeds]
        if in_tree and base is not None:
            urls.append(f"{base}{places.TREE}/{quote(places.tree_file(entry.id, row.path.text))}")
        for place, url in enumerate(dict.fromkeys(urls), 1):
            ET.SubElement(file, "url", priority=str(place)).text = url
    return entry.torrent.removesuffix(".torrent") + ".meta4", _printed(root)


def sitemap(site: Site, rows: Sequence[Row]) -> bytes | None:
    """Return the sitemap, None if the site has no mirror and so no address."""
    base = base_of(site.mirrors)
    if base is None:
        return None
    root = ET.Element("urlset", xmlns=_SITEMAP)
    named = dict.fromkeys([places.INDEX_PAGE, *(places.model_page(row.entry.id.repo) for row in rows)])
    for place in list(named)[:MAX_SITEMAP]:
        ET.SubElement(ET.SubElement(root, "url"), "loc").text = base + place
    return _printed(root)


def _printed(root: ET.Element) -> bytes:
    ET.indent(root, " ")
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"
