"""Model cards by strangers: whatever is in them, only tags and addresses that are allowed come out."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from p2pqwen.catalogue.card import DEEPEST, MAX_CARD, render_card
from tests.support.hostile_cards import CARDS

ALLOWED = {
    "a": {"href", "title", "rel"},
    "table": {"tabindex"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
}
NAMES = (
    "a abbr b blockquote br code dd del details div dl dt em h3 h4 h5 h6 hr i ins kbd li ol p pre q s samp small span "
    "strong sub summary sup table tbody td tfoot th thead tr u ul var"
)
TAGS = set(NAMES.split())


class Judge(HTMLParser):
    """Takes apart what was rendered."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str | None] = []

    def handle_starttag(self, tag, attrs) -> None:
        assert tag in TAGS
        for name, value in attrs:
            assert name in ALLOWED.get(tag, set()), (tag, name, value)
            if name == "href":
                assert value is not None
                assert value.lower().startswith(("http://", "https://", "mailto:"))
                self.links.append(value)

    def handle_comment(self, data) -> None:
        raise AssertionError(data)

    def handle_data(self, data) -> None:
        self.text += data


def judged(readme: bytes) -> Judge:
    judge = Judge()
    judge.feed(str(render_card(readme).html))
    judge.close()
    return judge


@pytest.mark.parametrize("name", CARDS)
def test_nothing_of_a_hostile_card_runs_or_is_fetched(name):
    judged(CARDS[name])


@pytest.mark.parametrize(
    ("readme", "text"),
    [
        (b"---\nlicense: mit\n---\nHello", "Hello"),
        (b"\xef\xbb\xbf---\nlicense: mit\n---\nHello", "Hello"),
        (b"Hello ![a curve](https://outside.example/x.png)", "Hello [image: a curve]"),
        ("\u202eevil".encode(), "\\u202eevil"),
        (b"bell\x07", "bell\\x07"),
        (b"\xff", "\ufffd"),
        (b"{{ 7*7 }}", "{{ 7*7 }}"),
        (b"&lt;b&gt;", "<b>"),
    ],
)
def test_a_card_says_what_its_readme_says(readme, text):
    assert judged(readme).text.strip() == text


@pytest.mark.parametrize(("level", "tag"), [(1, "h3"), (2, "h4"), (4, "h6"), (6, "h6")])
def test_headings_go_below_those_of_the_page(level, tag):
    assert f"<{tag}>T</{tag}>" in render_card(b"#" * level + b" T").html


def test_links_say_that_nobody_vouches_for_them():
    html = render_card(b"[x](https://example.org/x)").html
    assert html == '<p><a href="https://example.org/x" rel="noopener noreferrer nofollow ugc">x</a></p>\n'


@pytest.mark.parametrize(("size", "cut"), [(100, False), (MAX_CARD, False), (MAX_CARD + 1, True), (10 << 20, True)])
def test_a_long_card_is_cut_and_says_so(size, cut):
    card = render_card(b"x" * size)
    assert card.cut is cut
    assert len(card.html) < MAX_CARD + 100


@pytest.mark.parametrize("tag", ["div", "b", "blockquote", "ul><li", "details"])
def test_tags_deeper_than_anybody_writes_are_left_out_and_their_text_stays(tag):
    names = tag.split("><")
    opened, closed = "".join(f"<{one}>" for one in names), "".join(f"</{one}>" for one in reversed(names))
    html = str(render_card((opened * 3000 + "deep" + closed * 3000).encode()).html)
    depth = deepest = 0
    for end in re.findall(r"<(/?)[a-z0-9]+", html):
        depth += -1 if end else 1
        deepest = max(deepest, depth)
    assert depth == 0, "every tag that is kept is closed"
    assert 0 < deepest <= DEEPEST
    assert "deep" in html


def test_a_mark_in_an_attribute_is_no_tag():
    html = str(render_card(b'<a href="https://example.org/?a=1" title="a > b <c>">x</a>').html)
    assert html.count("<a ") == html.count("</a>") == 1
    assert ">x</a>" in html
