"""Scrape addresses, and answers of trackers that say too much, too little, or something else."""

from __future__ import annotations

import pytest

from p2pqwen.errors import FormatError
from p2pqwen.swarm.tracker_scrape import MAX_COUNT, Scraped, parse_scrape, scrape_url
from p2pqwen.torrent import bencode
from p2pqwen.values.digest import Sha1

ONE, TWO = Sha1(b"\x01" * 20), Sha1(b"ab/?&=" + b"\xff" * 14)


@pytest.mark.parametrize(
    ("announce", "scrape"),
    [
        ("http://t.example/announce", "http://t.example/scrape?info_hash="),
        ("https://t.example:8080/x/announce.php", "https://t.example:8080/x/scrape.php?info_hash="),
        ("http://t.example/announce?key=1", "http://t.example/scrape?key=1&info_hash="),
        ("http://192.168.1.1/announce", "http://192.168.1.1/scrape?info_hash="),
        ("http://192.168.1.1/announce?reboot=1", None),
        ("http://t.example/a", None),
        ("http://t.example/announce/x", None),
        ("udp://t.example:6969/announce", None),
        ("wss://t.example/announce", None),
    ],
)
def test_scrape_url(announce, scrape):
    found = scrape_url(announce, [ONE])
    assert found == (None if scrape is None else scrape + "%01" * 20)


def test_every_byte_of_an_infohash_is_escaped():
    query = scrape_url("http://t.example/announce", [ONE, TWO]).partition("?")[2]
    assert query.count("info_hash=") == 2
    assert query.endswith("ab%2F%3F%26%3D" + "%FF" * 14)


def answer(files):
    return bencode.encode({b"files": files})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, {}),
        ({ONE.raw: {b"complete": 3, b"downloaded": 9, b"incomplete": 2}}, {ONE: Scraped(3, 5)}),
        ({ONE.raw: {b"complete": 3}}, {ONE: Scraped(3, 3)}),
        ({ONE.raw: {b"complete": -4, b"incomplete": b"many"}}, {ONE: Scraped(0, 0)}),
        ({ONE.raw: {b"complete": 2**60, b"incomplete": 0}}, {ONE: Scraped(MAX_COUNT, MAX_COUNT)}),
        ({b"short": {b"complete": 3}, TWO.raw: 7, ONE.raw: {}}, {ONE: Scraped(0, 0)}),
    ],
)
def test_parse_scrape(files, expected):
    assert parse_scrape(answer(files)) == expected


def test_keys_may_come_in_any_order():
    row = b"d8:completei1e10:downloadedi0e10:incompletei0ee"
    found = parse_scrape(b"d5:filesd20:" + TWO.raw + row + b"20:" + ONE.raw + row + b"ee")
    assert found == {ONE: Scraped(1, 1), TWO: Scraped(1, 1)}


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"de", bencode.encode({b"failure reason": b"not here"}), bencode.encode({b"files": [1]})]
)
def test_what_is_no_scrape_is_refused(data):
    with pytest.raises(FormatError):
        parse_scrape(data)
