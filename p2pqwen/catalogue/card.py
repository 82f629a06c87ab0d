"""Render a model card, an untrusted README, as HTML in which nothing runs or is fetched.

markdown-it renders the Markdown, and nh3 keeps only the tags, attributes and addresses named here. There are no images:
fetching one would tell its host who reads the page. Headings become h3 to h6, below the page's own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import Markup, escape

MAX_CARD = 128 * 1024
"""The most characters that are rendered; a longer card is cut at a line end."""

DEEPEST = 64
"""The deepest nesting of tags that is kept."""

_TAG = re.compile(r"<(?P<end>/?)(?P<name>[a-z][a-z0-9]*)(?:\s+[a-z-]+=\"[^\"]*\")*\s*>", re.ASCII)
_VOID = frozenset({"br", "hr"})
_TAG_NAMES = (
    "a abbr b blockquote br code dd del details div dl dt em h3 h4 h5 h6 hr i ins kbd li ol p pre q s samp small span "
    "strong sub summary sup table tbody td tfoot th thead tr u ul var"
)
_TAGS = frozenset(_TAG_NAMES.split())
_WITH_CONTENT = frozenset({"script", "style", "iframe", "object", "noscript", "template", "title", "textarea", "svg"})
_ATTRIBUTES = {"a": {"href", "title"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan", "scope"}}
_FRONT_MATTER = re.compile(r"\A\ufeff?(?:\s*\n)?---[ \t]*\r?\n.*?^(?:---|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)
# Characters that reorder the text around them; marks for the direction of one word (U+200E, U+200F) may stay.
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


@dataclass(frozen=True, slots=True)
class Card:
    """A rendered card; `cut`: the README is longer."""

    html: Markup
    cut: bool


def render_card(readme: bytes) -> Card:
    """Return a README as safe HTML. It never fails: invalid UTF-8 is shown as U+FFFD."""
    text = _visible(_FRONT_MATTER.sub("", readme[: 4 * MAX_CARD + 4].decode("utf-8", "replace"), count=1))
    cut = len(text) > MAX_CARD or len(readme) > 4 * MAX_CARD + 4
    if len(text) > MAX_CARD:
        text = text[:MAX_CARD].rpartition("\n")[0] or text[:MAX_CARD]
    clean = nh3.clean(
        _markdown().render(text),
        tags=set(_TAGS),
        clean_content_tags=set(_WITH_CONTENT),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        attribute_filter=_kept,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow ugc",
        set_tag_attribute_values={"table": {"tabindex": "0"}},  # makes wide tables scrollable by keyboard
    )
    return Card(Markup(_flattened(clean)), cut)  # noqa: S704 - nh3 made it, and dropped tags come in pairs


def _flattened(clean: str) -> str:
    """Drop tags nested deeper than `DEEPEST`: a browser takes minutes for tens of thousands.

    `clean` is nh3's output, in which every tag is closed.
    """
    depth, open_tags, parts, at = 0, list[bool](), list[str](), 0
    for tag in _TAG.finditer(clean):
        parts.append(clean[at : tag.start()])
        at = tag.end()
        if tag["name"] in _VOID:
            kept = True
        elif tag["end"]:
            kept = open_tags.pop() if open_tags else False
            depth -= kept
        else:
            kept = depth < DEEPEST
            open_tags.append(kept)
            depth += kept
        if kept:
            parts.append(tag[0])
    return "".join((*parts, clean[at:]))


def _kept(tag: str, name: str, value: str) -> str | None:
    """Drop links without a scheme: they point at files of the repository, which are not beside the page."""
    if (tag, name) == ("a", "href") and not re.match(r"(?:https?://|mailto:)", value, re.IGNORECASE):
        return None
    return value


def _visible(text: str) -> str:
    """Replace control characters and characters that reorder text by escapes; line ends and tabs stay."""
    return "".join(
        character.encode("unicode_escape").decode()
        if character in _REORDERING or (unicodedata.category(character) == "Cc" and character not in "\n\t\r")
        else character
        for character in text
    )


@cache
def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    markdown.add_render_rule("image", _image)
    markdown.add_render_rule("heading_open", _heading)
    markdown.add_render_rule("heading_close", _heading)
    return markdown


def _image(
    self: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    alt = self.renderInlineAsText(tokens[at].children, options, env) if tokens[at].children else ""
    return f"<em>[image{': ' if alt else ''}{escape(alt)}]</em>"


def _heading(_: RendererHTML, tokens: Sequence[Token], at: int, *_rest: object) -> str:
    level = min(6, int(tokens[at].tag[1]) + 2)
    return f"<h{level}>" if tokens[at].nesting == 1 else f"</h{level}>\n"
