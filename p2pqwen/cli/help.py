"""`p2pqwen help`: the manual, which ships with the program and needs no network."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib import resources
from typing import Annotated

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output, can_redraw
from p2pqwen.errors import NotFoundError

WIDEST = 100
"""Columns that a page takes at most; longer lines are hard to read."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the manual: Markdown, with its title in the first line and one sentence after it."""

    topic: str
    text: str

    @property
    def title(self) -> str:
        """The title."""
        return self.text.partition("\n")[0].removeprefix("# ").strip()

    @property
    def summary(self) -> str:
        """The first sentence, in one line."""
        paragraph = self.text.split("\n\n")[1].replace("\n", " ").strip()
        return paragraph.partition(". ")[0].rstrip(".")


@dataclass(frozen=True, slots=True)
class Topic:
    """A page without its text."""

    topic: str
    title: str
    summary: str


@dataclass(frozen=True, slots=True)
class Topics:
    """What `help --json` says."""

    topics: tuple[Topic, ...]


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """What `help TOPIC --json` says."""

    topic: str
    title: str
    text: str


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("help", short_help="Read the manual.")(show_page)


def show_page(
    topic: Annotated[
        str | None,
        typer.Argument(metavar="[TOPIC]", help="A page, such as `json`; without one: the list."),
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Show a page of the manual, or the list of its topics. Exit 4 for a topic that the manual does not have."""
    pages = manual()
    with Output(as_json=json_output) as out:
        if topic is None:
            topics = Topics(tuple(Topic(one.topic, one.title, one.summary) for one in pages.values()))
            width = max(map(len, pages))
            lines = [f"{one.topic:<{width}}  {one.title}" for one in pages.values()]
            out.result(topics, [*lines, "", "`p2pqwen help TOPIC` shows a page."])
            return
        page = pages.get(topic.lower())
        if page is None:
            raise NotFoundError(f"the manual has no page {topic!r}", hint="its pages: " + ", ".join(pages))
        if not json_output and _show_on_terminal(page):
            return
        out.result(PageAnswer(page.topic, page.title, page.text), page.text.splitlines())


def manual() -> dict[str, Page]:
    """Return every page by its topic, in alphabetical order."""
    folder = resources.files("p2pqwen") / "manual"
    files = sorted(one.name for one in folder.iterdir() if one.name.endswith(".md"))
    topics = [name.removesuffix(".md") for name in files]
    return {topic: Page(topic, (folder / f"{topic}.md").read_text(encoding="utf-8")) for topic in topics}


def _show_on_terminal(page: Page) -> bool:
    """Show a page rendered, and paged where it is longer than the screen; return False where there is no terminal."""
    if not (can_redraw(sys.stdout) and sys.stdin is not None and sys.stdin.isatty()):
        return False
    from rich.console import Console
    from rich.markdown import Markdown

    os.environ.setdefault("LESS", "-FRX")  # colours, and no paging of what fits on the screen
    console = Console()
    with console.pager(styles=True):
        console.print(Markdown(page.text), width=min(console.width, WIDEST))
    return True
