"""A model card as HTML: the README of a snapshot, by strangers, rendered so that nothing in it runs or is fetched.

Markdown is rendered by markdown-it, then nh3 keeps the tags, attributes and addresses named here and nothing else.
There are no images: one that is fetched tells its host who reads the page. Headings become h3 to h6, below the page's.
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
"""Characters that are rendered; a longer card is cut at a line."""

DEEPEST = 64
"""Tags within one another that are kept."""

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
# What changes how the text around it is read; marks that say how one word runs (U+200E, U+200F) may stay.
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


@dataclass(frozen=True, slots=True)
class Card:
    """A rendered card; `cut` tells that the README is longer."""

    html: Markup
    cut: bool


def render_card(readme: bytes) -> Card:
    """Return a README as safe HTML. It never fails: bytes that are no UTF-8 are shown as such."""
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
        set_tag_attribute_values={"table": {"tabindex": "0"}},  # it scrolls sideways on a phone: by keyboard too
    )
    return Card(Markup(_flattened(clean)), cut)  # noqa: S704 - nh3 made it, and tags that are left out come in pairs


def _flattened(clean: str) -> str:
    """Leave out the tags that stand deeper than `DEEPEST`: a browser takes minutes for tens of thousands.

    `clean` is of nh3, in which every tag is closed.
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
    """Drop links without a scheme: they mean files of the repository, which do not stand beside the page."""
    if (tag, name) == ("a", "href") and not re.match(r"(?:https?://|mailto:)", value, re.IGNORECASE):
        return None
    return value


def _visible(text: str) -> str:
    """Show controls and characters that reorder text as their escapes; lines and tabs stay."""
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
