from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.index.entry import MAX_FILES, Entry, entry_magnet, parse_entry
from p2pqwen.index.upstream import Upstream
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.magnet import parse_magnet
from p2pqwen.torrent.recipe import RECIPE_1
from tests.strategies import sha1s, sha256s, snapshot_ids
from tests.support.publishing import NOW, make_entry

urls = st.sampled_from(
    ["https://huggingface.co/Qwen/Tiny/resolve/", "http://127.0.0.1:8080/", "https://mirror.example/a%20b/(c)/"]
)
mirrors = st.lists(st.sampled_from(["https://one.example/", "http://[::1]:80/keep/"]), max_size=2, unique=True)
trackers = st.lists(
    st.sampled_from(["udp://t.example:6969/announce", "https://t.example/a?key=1&b=2"]), max_size=2, unique=True
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    snapshot = draw(snapshot_ids)
    infohash = InfoHash(draw(sha1s.filter(lambda one: any(one.raw))), draw(sha256s.filter(lambda one: any(one.raw))))
    size = draw(st.integers(0, 2**50))
    seeds = tuple(draw(st.lists(urls, max_size=3, unique=True)))
    places = {"web_seeds": seeds, "trackers": tuple(draw(trackers)), "mirrors": tuple(draw(mirrors))}
    return Entry(
        id=snapshot,
        size=size,
        files=draw(st.integers(1, MAX_FILES)),
        infohash=infohash,
        magnet=entry_magnet(snapshot, infohash, size, **places),
        manifest=draw(sha256s),
        proven=draw(st.booleans()),
        web_seeds=seeds,
        license=draw(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
        added=NOW + timedelta(seconds=draw(st.integers(-(10**9), 10**11))),
        upstream=draw(st.sampled_from(Upstream)),
        extra=draw(st.dictionaries(st.sampled_from(["note", "文"]), st.integers(0, 9), max_size=2)),
    )


@given(entries())
def test_what_is_printed_is_read_back(entry):
    assert parse_entry(entry.to_json()) == entry


def test_the_fields_are_the_designs():
    row = make_entry(1).to_json()
    assert list(row) == [
        "repo", "repo_type", "commit", "size", "files", "piece_length", "recipe", "infohash_v1", "infohash_v2",
        "magnet", "manifest_sha256", "provenance", "torrent", "web_seeds", "license", "added", "upstream",
    ]  # fmt: skip
    assert row["torrent"] == f"{row['repo']}/{row['commit']}.torrent"


def test_the_magnet_may_be_spelled_differently():
    """Other escapes, another order and unknown parameters are somebody else's style, not another meaning."""
    entry = make_entry(1)
    magnet = parse_magnet(entry.magnet)
    other = (
        f"magnet:?dn={magnet.name}&xl={magnet.size}&ws={magnet.web_seeds[0]}&x.note=1"
        f"&xt=urn:btmh:1220{magnet.infohash_v2}&xt=urn%3Abtih%3A{magnet.infohash_v1}"
    )
    assert parse_entry(replace(entry, magnet=other).to_json()).magnet == other


def changed(entry: Entry, **changes: str | None) -> str:
    return str(replace(parse_magnet(entry.magnet), **changes))


@pytest.mark.parametrize(
    ("magnet", "problem"),
    [
        (lambda entry: changed(entry, infohash_v1=None), "infohash"),
        (lambda entry: changed(entry, infohash_v2=None), "infohash"),
        (lambda entry: entry.magnet.replace(str(entry.infohash.v1), str(entry.infohash.v1).upper()), "infohash"),
        (lambda entry: entry.magnet.replace("xt=", "xt.1=", 1), "in another way"),
        (lambda entry: entry.magnet + "&XS=https%3A%2F%2Fa.example%2F", "in another way"),
        (lambda entry: entry.magnet + "&x.pe=", "in another way"),
        (lambda entry: changed(entry, name=None), "name"),
        (lambda entry: changed(entry, name=entry.id.repo.text), "name"),
        (lambda entry: changed(entry, size=None), "size"),
        (lambda entry: changed(entry, web_seeds=()), "web seeds"),
        (lambda entry: changed(entry, peers=("10.0.0.1:22",)), "peers"),
        (lambda entry: entry.magnet + "&tr=nonsense", "tracker"),
        (lambda entry: entry.magnet + "&xs=file%3A%2F%2F%2Fetc%2Fpasswd", "web address"),
        (lambda entry: entry.magnet + "&dn=other", "two different names"),
    ],
)
def test_a_magnet_of_something_else(magnet, problem):
    entry = make_entry(1)
    with pytest.raises(FormatError, match=problem):
        parse_entry({**entry.to_json(), "magnet": magnet(entry)})


@given(st.integers(0, 2**50))
def test_the_piece_length_is_the_recipes(size):
    entry = make_entry(1)
    magnet = entry_magnet(entry.id, entry.infohash, size, web_seeds=(), trackers=(), mirrors=())
    row = replace(entry, size=size, magnet=magnet, web_seeds=()).to_json()
    assert parse_entry(row).size == size
    with pytest.raises(FormatError, match="piece_length"):
        parse_entry({**row, "piece_length": RECIPE_1.piece_length(size) * 2})
