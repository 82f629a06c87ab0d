"""Model cards by strangers: whatever is in them, only tags and addresses that are allowed come out."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from p2pqwen.catalogue.card import MAX_CARD, render_card
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
