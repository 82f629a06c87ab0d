from dataclasses import replace

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.magnet import MAX_MAGNET, Magnet, parse_magnet
from p2pqwen.values.digest import Sha1, Sha256
from tests.strategies import sha1s, sha256s, snapshot_ids

V1 = "0123456789abcdef0123456789abcdef01234567"
V2 = "ab" * 32
BTIH = f"xt=urn:btih:{V1}"
BTMH = f"xt=urn:btmh:1220{V2}"

urls = st.sampled_from(
    ["https://huggingface.co/Qwen/Qwen3-0.6B/resolve/", "http://127.0.0.1:8080/x?a=1&b=2%20c+d", "https://[::1]:80/"]
)
trackers = urls | st.sampled_from(["udp://tracker.example:1337/announce", "wss://tracker.example"])
peers = st.sampled_from(["127.0.0.1:6881", "seed.example:1", "[2001:db8::1]:65535"])


def several(values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(values, unique=True, max_size=3).map(tuple)


magnets = st.builds(
    Magnet,
    sha1s.filter(lambda digest: any(digest.raw)),
    sha256s.filter(lambda digest: any(digest.raw)) | st.none(),
    snapshot_ids.map(str) | st.just("模型 & =+%") | st.none(),
    st.integers(0, 2**50) | st.none(),
    several(urls),
    several(urls),
    several(trackers),
    several(peers),
)


@given(magnets)
def test_what_is_printed_is_read_back(magnet):
    assert parse_magnet(str(magnet)) == magnet


@given(magnets)
def test_libtorrent_reads_the_same(magnet):
    theirs = lt.parse_magnet_uri(str(magnet))
    assert str(theirs.info_hashes.v1) == str(magnet.infohash_v1)
    assert theirs.info_hashes.has_v2() == (magnet.infohash_v2 is not None)
    if magnet.infohash_v2 is not None:
        assert str(theirs.info_hashes.v2) == str(magnet.infohash_v2)
    assert theirs.name == (magnet.name or "")
    assert set(theirs.url_seeds) == set(magnet.web_seeds)
    assert set(theirs.trackers) == set(magnet.trackers)


@given(magnets)
def test_the_link_for_v1_clients_is_the_same_without_the_v2_infohash(magnet):
    alone = magnet.v1_alone
    assert "btmh" not in str(alone)
    assert replace(alone, infohash_v2=magnet.infohash_v2) == magnet


def test_a_link_without_a_v1_infohash_has_none_for_v1_clients():
    assert parse_magnet(f"magnet:?{BTMH}").v1_alone is None


def test_the_order_of_ours():
    magnet = Magnet(
        Sha1.parse(V1),
        Sha256.parse(V2),
        f"Qwen/Qwen3@{V1}",
        5,
        ("http://w/",),
        ("http://x/",),
        ("udp://t:1",),
        ("h:1",),
    )
    assert str(magnet) == (
        f"magnet:?{BTIH}&{BTMH}&dn=Qwen%2FQwen3%40{V1}&xl=5&ws=http%3A%2F%2Fw%2F&xs=http%3A%2F%2Fx%2F&tr=udp%3A%2F%2Ft%3A1"
        "&x.pe=h%3A1"
    )


def test_of_a_hybrid():
    magnet = Magnet.of(InfoHash(Sha1.parse(V1), Sha256.parse(V2)), "name", 7, web_seeds=("http://w/",))
    assert str(magnet) == f"magnet:?{BTIH}&{BTMH}&dn=name&xl=7&ws=http%3A%2F%2Fw%2F"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"magnet:?{BTIH}", Magnet(Sha1.parse(V1))),
        (f"MAGNET:?{BTIH.upper()}", Magnet(Sha1.parse(V1))),
        ("magnet:?xt=urn:btih:AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH", Magnet(Sha1.parse(V1))),
        ("magnet:?xt=urn:btih:aerukz4jvpg66ajdivtytk6n54asgrlh", Magnet(Sha1.parse(V1))),
        (f"magnet:?{BTMH}", Magnet(None, Sha256.parse(V2))),
        (f"magnet:?xt.1=urn:btih:{V1}&xt.2=urn:btmh:1220{V2}", Magnet(Sha1.parse(V1), Sha256.parse(V2))),
        (f"magnet:?xt=urn%3Abtih%3A{V1}", Magnet(Sha1.parse(V1))),
        (f"magnet:?{BTIH}&{BTIH}", Magnet(Sha1.parse(V1))),
        (f"magnet:?{BTIH}&dn=a+b", Magnet(Sha1.parse(V1), name="a b")),
        (f"magnet:?{BTIH}&dn=", Magnet(Sha1.parse(V1))),
        (f"magnet:?{BTIH}&ws=http://a/x+y&ws=http://a/x+y", Magnet(Sha1.parse(V1), web_seeds=("http://a/x+y",))),
        (f"magnet:?{BTIH}&so=0-2&kt=x&&zz", Magnet(Sha1.parse(V1))),
        (f"magnet:?{BTIH}&xt=urn:sha1:YNCKHTQCWBTRNJIV4WNAE52SJUQCZO5C", Magnet(Sha1.parse(V1))),
    ],
)
def test_read(text, expected):
    assert parse_magnet(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a magnet link"),
        ("http://a.example/", "not a magnet link"),
        ("magnet:", "not a magnet link"),
        ("magnet:?", "names no torrent"),
        ("magnet:?dn=x", "names no torrent"),
        ("magnet:?xt=urn:btih:", "not a SHA-1"),
        (f"magnet:?xt=urn:btih:{V1}JUNK", "not a SHA-1"),
        (f"magnet:?xt=urn:btih:{V1[:-1]}", "not a SHA-1"),
        (f"magnet:?xt=urn:btih:{V1[:-1]}g", "not a SHA-1"),
        (f"magnet:?xt=urn:btih:{V1[:-1]}%EF%BC%91", "not a SHA-1"),
        ("magnet:?xt=urn:btih:" + "1" * 32, "40 hex or 32 base32"),
        ("magnet:?xt=urn:btih:" + "é" * 32, "40 hex or 32 base32"),
        (f"magnet:?xt=urn:btmh:1120{V2}", "expected 1220"),
        (f"magnet:?xt=urn:btmh:1220{V2}00", "not a SHA-256"),
        (f"magnet:?xt=urn:btmh:{V2}", "expected 1220"),
        (f"magnet:?{BTIH}&xt=urn:btih:{'0' * 40}", "two different v1 infohashes"),
        (f"magnet:?{BTMH}&xt=urn:btmh:1220{'0' * 64}", "two different v2 infohashes"),
        (f"magnet:?xt=urn:btih:{'0' * 40}", "all zeros"),
        (f"magnet:?{BTIH}&xt=urn:btmh:1220{'0' * 64}", "all zeros"),
        (f"magnet:?{BTIH}&dn=a&dn=b", "two different names"),
        (f"magnet:?{BTIH}&dn=%1b[2J", "printable text"),
        (f"magnet:?{BTIH}&dn=%e2%80%ae", "printable text"),
        (f"magnet:?{BTIH}&dn=%ff", "not UTF-8"),
        (f"magnet:?{BTIH}&dn=100%", "broken % escape"),
        (f"magnet:?{BTIH}&dn=%zz", "broken % escape"),
        (f"magnet:?{BTIH}&dn={'x' * 1025}", "printable text"),
        (f"magnet:?{BTIH}&xl=-1", "a number of bytes"),
        (f"magnet:?{BTIH}&xl=1e9", "a number of bytes"),
        (f"magnet:?{BTIH}&xl=%D9%A3", "a number of bytes"),
        (f"magnet:?{BTIH}&xl=9999999999999999999", "out of range"),
        (f"magnet:?{BTIH}&xl=1&xl=2", "two different sizes"),
        (f"magnet:?{BTIH}&ws=file:///etc/passwd", "not a web address"),
        (f"magnet:?{BTIH}&ws=ftp://a.example/", "not a web address"),
        (f"magnet:?{BTIH}&ws=http://", "not a web address"),
        (f"magnet:?{BTIH}&ws=http://user:secret@a.example/", "no user name"),
        (f"magnet:?{BTIH}&ws=http://a.example/%0d%0aX:", "not a web address"),
        (f"magnet:?{BTIH}&ws=http://bücher.example/", "not a web address"),
        (f"magnet:?{BTIH}&ws=http://a.example:99999/", "not a web address"),
        (f"magnet:?{BTIH}&ws=http://[::1/", "not a web address"),
        (f"magnet:?{BTIH}&xs=urn:sha1:x", "not a web address"),
        (f"magnet:?{BTIH}&tr=javascript:alert(1)", "not a tracker address"),
        (f"magnet:?{BTIH}&x.pe=127.0.0.1", "expected HOST:PORT"),
        (f"magnet:?{BTIH}&x.pe=127.0.0.1:0", "expected HOST:PORT"),
        (f"magnet:?{BTIH}&x.pe=127.0.0.1:65536", "expected HOST:PORT"),
        (f"magnet:?{BTIH}&x.pe=2001:db8::1:80", "expected HOST:PORT"),
        (f"magnet:?{BTIH}&x.pe=[::zz]:80", "expected HOST:PORT"),
        (f"magnet:?{BTIH}&x.pe=a%20b:80", "expected HOST:PORT"),
        (f"magnet:?{BTIH}" + "&x=y" * 500, "too many parameters"),
        (f"magnet:?{BTIH}&dn=" + "x" * MAX_MAGNET, "too long"),
    ],
)
def test_refused(text, problem):
    with pytest.raises(FormatError, match=problem):
        parse_magnet(text)


@given(st.text(max_size=60))
def test_junk_never_raises_anything_else(text):
    try:
        parse_magnet(f"magnet:?{BTIH}&{text}")
    except FormatError:
        return
