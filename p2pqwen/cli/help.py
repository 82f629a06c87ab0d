"""`p2pqwen help`: the manual, which ships with the program and needs no network."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Annotated

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output, can_redraw
from p2pqwen.errors import NotFoundError

ORDER = (
    *("quickstart", "fetch", "hub", "verify", "node", "archive"),
    *("publish", "catalogue", "keys", "web-seeds", "clients", "no-host"),
    *("privacy", "troubleshooting", "config", "json", "control-api", "glossary"),
)
"""The topics in the order in which a newcomer would read them; reference pages come last."""
WIDEST = 100
"""Most columns of a page; longer lines are hard to read."""
NARROW = 64
"""With fewer columns, tables are shown as lists, because their cells would be cut off."""


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
    """The answer of `help --json`."""

    topics: tuple[Topic, ...]


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """The answer of `help TOPIC --json`."""

    topic: str
    title: str
    text: str


def _topics(incomplete: str) -> list[str]:
    return [topic for topic in manual() if topic.startswith(incomplete.lower())]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("help")(show_page)


def show_page(
    ctx: typer.Context,
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="[TOPIC]", autocompletion=_topics, help="A page, such as `json`; without one: the list."
        ),
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
        page = pages.get(_as_topic(topic))
        if page is None:
            raise NotFoundError(f"the manual has no page {topic!r}", hint=_instead(topic, pages, _commands(ctx)))
        if not json_output and _show_on_terminal(page):
            return
        out.result(PageAnswer(page.topic, page.title, page.text), page.text.splitlines())


def manual() -> dict[str, Page]:
    """Return every page by its topic, in the order of `ORDER`."""
    folder = resources.files("p2pqwen") / "manual"
    found = {one.name.removesuffix(".md") for one in folder.iterdir() if one.name.endswith(".md")}
    topics = [*(topic for topic in ORDER if topic in found), *sorted(found.difference(ORDER))]
    return {topic: Page(topic, _without_comments((folder / f"{topic}.md").read_text("utf-8"))) for topic in topics}


def _as_topic(text: str) -> str:
    """Return a typed text in the form of topics: `Web seeds` becomes `web-seeds`."""
    return "-".join(text.lower().replace("_", " ").split())


def _instead(text: str, pages: Mapping[str, Page], commands: Collection[str]) -> str:
    """Return a hint what to type: the command of that name, the pages that mention it, or similar topics."""
    wanted = _as_topic(text)
    said = [f"`p2pqwen {wanted} --help` explains the command"] if wanted in commands else []
    near = difflib.get_close_matches(wanted, pages, n=3) or [
        topic for topic, page in pages.items() if wanted in commands and f"`p2pqwen {wanted}" in page.text
    ]
    said += ["see " + ", ".join(f"`p2pqwen help {topic}`" for topic in near)] if near else []
    return "; ".join(said) or "its pages: " + ", ".join(pages)


def _commands(ctx: typer.Context) -> Collection[str]:
    """Return the names of all commands."""
    root = ctx.find_root()
    return getattr(root.command, "commands", {}).keys()


def _without_comments(text: str) -> str:
    """Return a page without the comments that mark its tested examples; they are on separate lines."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("<!-- ")).rstrip("\n") + "\n"


def _show_on_terminal(page: Page) -> bool:
    """Show a page rendered, through a pager if it is longer than the screen; return False without a terminal."""
    if not (can_redraw(sys.stdout) and sys.stdin is not None and sys.stdin.isatty()):
        return False
    from rich.console import Console
    from rich.markdown import Markdown

    os.environ.setdefault("LESS", "-FRX")  # colours, and no paging of a page that fits on the screen
    console = Console()
    text = page.text if console.width >= NARROW else tables_as_lists(page.text)
    with console.pager(styles=True):
        console.print(Markdown(text), width=min(console.width, WIDEST))
    return True


def tables_as_lists(text: str) -> str:
    """Return Markdown with each row of a table as a list item: the first cell, then the others."""
    lines: list[str] = []
    names: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            names = []
            lines.append(line)
        elif not names:
            names = _cells(line)
        elif set(line) - set("|-: "):
            first, *others = _cells(line)
            said = [
                other if number == 0 else f"{name}: {other}"
                for number, (name, other) in enumerate(zip(names[1:], others, strict=True))
                if other
            ]
            lines += [f"- **{first}**: {'; '.join(said)}"]
    return "\n".join(lines) + "\n"


def _cells(row: str) -> list[str]:
    """Return the cells of a table's row; as on GitHub, an unescaped bar separates them even inside `code`."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row.strip())[1:-1]]
