"""Feeds, Metalink and the sitemap, read by other people's readers."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from xml.etree import ElementTree as ET

import feedparser
import pytest

from p2pqwen.catalogue.beside import metalink, sitemap
from p2pqwen.catalogue.feeds import ITEMS, base_of, feeds_of, render_feed
from p2pqwen.catalogue.view import Copies, Facts, Row, Site
from p2pqwen.index.acceptance import TrustedState, accept
from p2pqwen.index.upstream import Upstream
from p2pqwen.manifest.manifest import parse_manifest
from tests.support.catalogue import Model
from tests.support.publishing import NOW, Publisher, make_entry

MIRROR = "https://mirror.example/qwen/"


def site_of(mirrors: tuple[str, ...] = (MIRROR,)) -> Site:
    accepted = accept(Publisher().publish(mirrors=mirrors), TrustedState(None), NOW)
    return Site.of(accepted, accepted.document.entries, sums=True)


def row(number: int, repo: str = "Qwen/Tiny", *, days: int = 0, seeds: int | None = None, **changes) -> Row:
    copies = None if seeds is None else Copies(seeds, date(2026, 11, 20))
    return Row(
        make_entry(number, repo, added=NOW - timedelta(days=days), **changes), Facts(("gguf",), ("Q4_K_M",)), copies
    )


ROWS = [
    row(1, days=30, seeds=9),
    row(2, days=1, seeds=2),
    row(3, "Qwen/Gone", days=5, upstream=Upstream.GONE, license=None),
    row(4, "Qwen/Large", days=9, size=150 * 10**9, license="Qwen RESEARCH LICENSE AGREEMENT"),
]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("new", [2, 3, 4, 1]),
        ("changed", [2]),
        ("endangered", [2]),
        ("gone", [3]),
        ("size-small", [2, 3, 1]),
        ("size-medium", []),
        ("size-large", [4]),
        ("license-apache-2.0", [2, 1]),
        ("license-qwen-research-license-agreement", [4]),
        ("license-no-license-named", [3]),
    ],
)
@pytest.mark.parametrize("mirrors", [(MIRROR,), ()], ids=["mirror", "no mirror"])
def test_feeds_are_read_and_name_their_torrents(name, numbers, mirrors):
    feed = next(one for one in feeds_of(ROWS) if one.name == name)
    made = render_feed(site_of(mirrors), feed)
    assert all(place.endswith((".xml", ".json")) for place in made)
    expected = [ROWS[number - 1].entry for number in numbers]
    for place in (feed.atom, feed.rss):
        read = feedparser.parse(made[place])
        assert not read.bozo, read.get("bozo_exception")
        assert [one.id for one in read.entries] == [f"urn:btih:{entry.infohash.v1}" for entry in expected]
        itself = [one.href for one in read.feed.links if one.rel == "self"]
        assert itself == [mirror + place for mirror in mirrors]
        for one, entry in zip(read.entries, expected, strict=True):
            enclosure = one.enclosures[0]
            assert enclosure.type == "application/x-bittorrent"
            assert enclosure.href == (mirrors[0] + entry.torrent if mirrors else entry.magnet)
            assert int(enclosure.length) == entry.size
            assert entry.id.repo.text in one.title
    items = json.loads(made[feed.json])["items"]
    assert [one["_p2pqwen"]["magnet"] for one in items] == [entry.magnet for entry in expected]


def test_an_rss_item_names_its_infohash_and_seeds():
    feed = next(one for one in feeds_of(ROWS) if one.name == "endangered")
    text = render_feed(site_of(), feed)[feed.rss].decode()
    assert f"<torrent:infohash>{ROWS[1].entry.infohash.v1}</torrent:infohash>" in text
    assert "<torrent:seed>2</torrent:seed>" in text


def test_a_feed_whose_rows_did_not_change_is_the_same_bytes():
    feed = feeds_of(ROWS)[0]
    assert render_feed(site_of(), feed) == render_feed(site_of(), feed)


def test_a_feed_holds_the_newest():
    rows = [row(number, f"Qwen/M-{number}", days=number) for number in range(ITEMS + 20)]
    feed = feeds_of(rows)[0]
    assert [one.entry.id for one in feed.rows] == [one.entry.id for one in rows[:ITEMS]]


EVIL = "]]></title><script>alert(1)</script>&amp; \u202e\x1b"


def test_hostile_names_are_text():
    site = replace(site_of(), name=EVIL.replace("\x1b", "\\x1b"))
    feed = feeds_of([row(1, license="<b>")])[0]
    made = render_feed(site, feed)
    for place in (feed.atom, feed.rss):
        ET.fromstring(made[place])
        assert b"<script>" not in made[place]


@pytest.mark.parametrize(
    ("mirrors", "base"),
    [
        ((), None),
        (("https://a.example/x",), "https://a.example/x/"),
        (("https://a.example/x/",), "https://a.example/x/"),
        (("https://a.example/x/index.json", "https://b.example/"), "https://a.example/x/"),
    ],
)
def test_addresses_begin_with_the_first_mirror(mirrors, base):
    assert base_of(mirrors) == base


def test_a_metalink_names_every_file_with_its_hash_and_web_seeds():
    model = Model("Qwen/Tiny", sizes={"a b#.safetensors": 5})
    torrent = model.torrent()
    entry, manifest = model.entry(torrent), parse_manifest(torrent.manifest or b"")
    place, data = metalink(entry, manifest, (MIRROR,))
    assert place == f"Qwen/Tiny/{entry.id.commit}.meta4"
    space = {"m": "urn:ietf:params:xml:ns:metalink"}
    files = ET.fromstring(data).findall("m:file", space)
    assert [one.get("name") for one in files] == [f"{entry.id.commit}/{one.path.text}" for one in manifest.files]
    odd = files[-1]
    assert odd.findtext("m:hash", namespaces=space) == str(manifest.files[-1].sha256)
    assert odd.findtext("m:size", namespaces=space) == "5"
    assert odd.findtext("m:url", namespaces=space) == f"{entry.web_seeds[0]}{entry.id.commit}/a%20b%23.safetensors"
    assert odd.find("m:metaurl", space) is None, "aria2 takes a torrent before any address, and waits for pad files"


@pytest.mark.parametrize(
    ("mirrors", "in_tree", "more"),
    [
        ((MIRROR,), True, [f"{MIRROR}files/Qwen/Tiny/COMMIT/a%20b%23.safetensors"]),
        ((MIRROR,), False, []),
        ((), True, []),
    ],
)
def test_a_metalink_names_the_mirror_tree_after_the_web_seeds(mirrors, in_tree, more):
    model = Model("Qwen/Tiny", sizes={"a b#.safetensors": 5})
    torrent = model.torrent()
    entry = model.entry(torrent)
    _, data = metalink(entry, parse_manifest(torrent.manifest or b""), mirrors, in_tree=in_tree)
    last = ET.fromstring(data).findall("{urn:ietf:params:xml:ns:metalink}file")[-1]
    urls = [one.text for one in last.findall("{urn:ietf:params:xml:ns:metalink}url")]
    assert urls[len(entry.web_seeds) :] == [one.replace("COMMIT", str(entry.id.commit)) for one in more]


def test_a_name_that_xml_cannot_hold_spoils_no_metalink():
    model = Model("Qwen/Tiny", sizes={"a\ufffe.bin": 5, "b.bin": 6})
    torrent = model.torrent()
    _, data = metalink(model.entry(torrent), parse_manifest(torrent.manifest or b""), (MIRROR,))
    named = [one.get("name", "").partition("/")[2] for one in ET.fromstring(data).iter() if one.get("name")]
    assert "b.bin" in named
    assert not [name for name in named if "\ufffe" in name]


def test_a_sitemap_needs_a_mirror():
    assert sitemap(site_of(()), ROWS) is None
    places = [one.text for one in ET.fromstring(sitemap(site_of(), ROWS) or b"").iter() if one.text]
    assert f"{MIRROR}Qwen/Gone/index.html" in places
    assert len([one for one in places if one.startswith("https")]) == 4
