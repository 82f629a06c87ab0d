"""A link means the same however it was pasted, and no odd field of it takes the rest along."""

from __future__ import annotations

import html
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.torrent.magnet import Magnet, parse_magnet, read_magnet
from p2pqwen.torrent.pasted_link import is_pasted_magnet, straightened
from p2pqwen.values.digest import Sha1, Sha256

V1 = "0123456789abcdef0123456789abcdef01234567"
V2 = "ab" * 32
MAGNET = Magnet(
    Sha1.parse(V1),
    Sha256.parse(V2),
    f"Qwen/Qwen3 & more 100%@{V1}",
    5,
    ("https://w.example/a?b=1&amp=2",),
    ("http://x.example/",),
    ("udp://t.example:1",),
    ("h.example:1",),
)
ENCODED = quote(str(MAGNET), safe="")

ways = st.sampled_from(
    [
        str,
        html.escape,
        lambda text: html.escape(html.escape(text)),
        lambda text: text.replace("&", "&#38;"),
        lambda text: text.replace("&", "&#X26;"),
        lambda text: quote(text, safe=""),
        lambda text: quote(text, safe=":"),
        lambda text: quote(text, safe=":?"),
        lambda text: quote(quote(text, safe=""), safe=""),
        lambda text: quote(html.escape(text), safe=""),
        lambda text: html.escape(quote(text, safe="")),
    ]
)
wrappings = st.sampled_from(["{}", "  {}\n", '"{}"', "'{}'", "<{}>", "`{}`"])


@given(ways, wrappings)
def test_the_same_link_however_it_came(way, wrapping):
    text = wrapping.format(way(str(MAGNET)))
    assert is_pasted_magnet(text)
    assert parse_magnet(straightened(text)) == MAGNET


@pytest.mark.parametrize(("between", "apart"), [("&", " & "), ("&", "&amp; "), ("&", " &"), ("magnet:?", "magnet: ? ")])
def test_a_link_with_blanks_between_its_parts(between, apart):
    text = str(MAGNET).replace(between, apart)
    assert is_pasted_magnet(text)
    assert parse_magnet(straightened(text)) == MAGNET


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n    ", "\n\n"])
def test_a_link_that_a_mail_broke(end):
    text = str(MAGNET)
    assert parse_magnet(straightened(end.join(text[at : at + 60] for at in range(0, len(text), 60)))) == MAGNET


@pytest.mark.parametrize(
    "text", ["", "Qwen/Qwen3", "magnetic/model", "magnet", "https://a.example/?m=magnet%3A%3F", V1]
)
def test_anything_else_is_no_magnet(text):
    assert not is_pasted_magnet(text)


@given(st.text(alphabet="magnet:?%3ADF25&p;#x6=\n\"' ", max_size=60))
def test_straightening_junk_ends_and_never_raises(text):
    once = straightened(text)
    assert len(once) <= len(text)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ("xs=dchub://hub.example", "not a web address"),
        ("ws=ftp://mirror.example/", "not a web address"),
        ("ws=https://user:secret@mirror.example/", "no user name or password"),
        ("tr=http://tr%C3%A4cker.example/announce", "not a tracker address"),
        ("tr=%ff", "not UTF-8"),
        ("x.pe=nowhere", "HOST:PORT"),
        ("xl=many", "a number of bytes"),
        ("xl=6", "two different sizes"),
        ("dn=other", "two different names"),
        ("dn=%1b[2J", "printable text"),
        ("zz=100%", "broken % escape"),
    ],
)
def test_an_odd_field_is_passed_over_and_said(odd, said):
    read = read_magnet(f"{MAGNET}&{odd}")
    assert [said in problem.message for problem in read.passed_over] == [True]
    assert "secret" not in read.passed_over[0].message
    kept = read.magnet
    assert (kept.infohash_v1, kept.infohash_v2) == (MAGNET.infohash_v1, MAGNET.infohash_v2)
    assert (kept.web_seeds, kept.exact_sources, kept.trackers, kept.peers) == (
        MAGNET.web_seeds, MAGNET.exact_sources, MAGNET.trackers, MAGNET.peers,
    )  # fmt: skip
    with pytest.raises(FormatError):
        parse_magnet(f"{MAGNET}&{odd}")


@pytest.mark.parametrize("odd", [f"xt=urn:btih:{V1[::-1]}", f"xt=urn:btmh:1120{V2}", "xt=urn:btih:%zz"])
def test_what_is_wanted_must_be_told_right(odd):
    with pytest.raises(FormatError):
        read_magnet(f"{MAGNET}&{odd}")
