#!/usr/bin/env python3
"""Write the man pages into a folder: p2pqwen.1 from the command line's own help, p2pqwen-TOPIC.7 from the manual.

    scripts/make_man.py DIR

They are for packagers. They are generated on demand and not kept with the sources: `p2pqwen help` shows the same pages
wherever p2pqwen is installed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402 - the project's root must be found first
from markdown_it import MarkdownIt  # noqa: E402
from markdown_it.token import Token  # noqa: E402
from typer.core import TyperCommand, TyperGroup  # noqa: E402

from p2pqwen import __version__  # noqa: E402
from p2pqwen.cli.help import Page, manual, tables_as_lists  # noqa: E402
from p2pqwen.cli.main import app  # noqa: E402

_PARSER = MarkdownIt("commonmark")
_INLINE = {
    "code_inline": ("\\fB", "\\fR"),
    "strong_open": ("\\fB", ""),
    "strong_close": ("\\fR", ""),
    "em_open": ("\\fI", ""),
    "em_close": ("\\fR", ""),
}


def pages() -> dict[str, str]:
    """Return every man page by its file's name."""
    topics = manual()
    made = {f"p2pqwen-{topic}.7": topic_page(page) for topic, page in topics.items()}
    return {"p2pqwen.1": command_page(list(topics)), **made}


def topic_page(page: Page) -> str:
    """Return a page of the manual as roff."""
    body = page.text.partition("\n")[2]
    head = [
        _title(f"p2pqwen-{page.topic}", 7),
        ".SH NAME",
        f"p2pqwen-{page.topic} \\- {_text(page.title)}",
        ".SH DESCRIPTION",
    ]
    return "\n".join([*head, *_roff(body), ".SH SEE ALSO", ".BR p2pqwen (1)"]) + "\n"


def command_page(topics: Sequence[str]) -> str:
    """Return the page of the command line."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    lines = [
        _title("p2pqwen", 1),
        ".SH NAME",
        "p2pqwen \\- keep open-weight models alive: signed torrents, a signed index, peers",
        ".SH SYNOPSIS",
        ".B p2pqwen",
        ".RI [ options ]",
        ".I command",
        ".RI [ arguments ]",
        ".SH DESCRIPTION",
        *_roff(root.help or ""),
        ".SH OPTIONS",
        *_options(root, "p2pqwen"),
        ".SH COMMANDS",
    ]
    for name, command in sorted(_commands(root, "p2pqwen")):
        lines += [f".SS {_text(_usage(command, name))}", *_roff(command.help or ""), *_options(command, name)]
    lines += [".SH EXIT STATUS", *_exit_status(), ".SH SEE ALSO"]
    lines += [f".BR p2pqwen\\-{_text(topic)} (7){',' if topic != topics[-1] else ''}" for topic in topics]
    return "\n".join(lines) + "\n"


def _commands(group: TyperGroup, name: str) -> Iterator[tuple[str, TyperCommand]]:
    for below, command in group.commands.items():
        if command.hidden:
            continue
        if isinstance(command, TyperGroup):
            yield from _commands(command, f"{name} {below}")
        else:
            yield f"{name} {below}", command


def _usage(command: TyperCommand, name: str) -> str:
    with _context(command, name) as context:
        return " ".join([name, *command.collect_usage_pieces(context)])


def _options(command: TyperCommand | TyperGroup, name: str) -> list[str]:
    lines = []
    with _context(command, name) as context:
        for param in command.params:
            record = param.get_help_record(context)
            if record is not None and param.param_type_name == "option":
                lines += [".TP", f"\\fB{_text(record[0].strip())}\\fR", _text(record[1] or "")]
    return lines


def _context(command: TyperCommand | TyperGroup, name: str) -> AbstractContextManager[typer.Context]:
    return command.make_context(name, [], resilient_parsing=True).scope()


def _exit_status() -> list[str]:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", manual()["json"].text, re.MULTILINE)
    return [line for code, meaning in rows for line in (".TP", code, _text(meaning.strip()))]


def _title(name: str, section: int) -> str:
    # An address is one long word, before which a justified line would be stretched too far.
    return f'.TH "{name.upper()}" "{section}" "" "p2pqwen {__version__}" "p2pqwen"\n.ad l'


@dataclass(slots=True)
class _Roff:
    """The output so far. `lists` are the open lists: 0 for a bullet list, else the next number."""

    lines: list[str] = field(default_factory=list)
    lists: list[int] = field(default_factory=list)
    fresh: bool = False  # an item has just begun, so its paragraph continues its line

    def take(self, token: Token, content: str) -> None:
        """Write a token; `content` is a heading's text, which is in the token after it."""
        match token.type:
            case "heading_open":
                self.lines.append(f"{'.SH' if token.tag == 'h2' else '.SS'} {content}")
            case "paragraph_open":
                if not self.fresh:
                    self.lines.append(".PP" if not self.lists else ".IP")
                self.fresh = False
            case "bullet_list_open" | "ordered_list_open":
                self.lists.append(0 if token.type.startswith("bullet") else 1)
            case "bullet_list_close" | "ordered_list_close":
                self.lists.pop()
            case "list_item_open":
                number = self.lists[-1]
                self.lists[-1] += 1 if number else 0
                self.lines.append(f".IP {number}. 4" if number else ".IP \\(bu 2")
                self.fresh = True
            case "fence" | "code_block":
                code = [_text(line) for line in token.content.rstrip("\n").split("\n")]
                self.lines += [".PP", ".in +4n", ".nf", *code, ".fi", ".in"]
            case _:
                pass


def _roff(markdown: str) -> list[str]:
    """Return Markdown as lines of roff; a table becomes a list of its rows."""
    made = _Roff()
    heading = False
    tokens = _PARSER.parse(tables_as_lists(markdown))
    for number, token in enumerate(tokens):
        if token.type == "inline" and not heading:
            made.lines += [line for line in _inline(token).split("\n") if line]
        heading = token.type == "heading_open"
        made.take(token, _inline(tokens[number + 1]) if heading else "")
    return made.lines


def _inline(token: Token) -> str:
    """Return running text, line by line, in which no line that begins with a dot or a quote is a request."""
    said, link = [], ""
    for child in token.children or ():
        if child.type in _INLINE:
            before, after = _INLINE[child.type]
            said.append(before + _text(child.content) + after)
        elif child.type in {"softbreak", "hardbreak"}:
            said.append("\n")
        elif child.type == "link_open":
            link = str(child.attrs["href"])
        elif child.type == "link_close":
            said.append(f" ({_text(link)})")
        else:
            said.append(_text(child.content))
    return "\n".join(_plain(line) for line in "".join(said).split("\n"))


def _text(text: str) -> str:
    """Return text escaped for roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("→", "\\(->")
    return _plain(escaped)


def _plain(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="where man1 and man7 are made, such as share/man")
    folder = parser.parse_args().folder
    for name, text in pages().items():
        path = folder / f"man{name[-1]}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
