"""The root of the command line: its help in panels that fit the terminal, and what people type out of habit.

Another program's word for one of our commands runs that command if it only reads, lists or fetches. A command that
deletes, publishes or listens never runs under another name. A link or a model's name in place of a command fetches
nothing: the error says what to type.
"""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar

import typer
from typer._click.formatting import HelpFormatter  # the one formatter of typer's plain help; it has no public name
from typer.core import TyperGroup

from p2pqwen.cli.plain_texts import take_texts_as_they_are
from p2pqwen.errors import UsageError

if TYPE_CHECKING:
    from typer._click.core import Command
    from typer._click.core import Context as AnyContext

NARROWEST, WIDEST = 40, 100
"""Least and most columns of a help text; longer lines are hard to read."""
_FIRST_COLUMN = 30
_TARGET = re.compile(r"[/:@]|\.torrent$|^[0-9a-fA-F]{40}$|^[0-9a-fA-F]{64}$", re.ASCII)

RUN = {"download": "fetch", "get": "fetch", "pull": "fetch", "ls": "list", "find": "search"}
"""Other programs' words for commands that read or fetch; these run."""
SAY = {
    "add": "`p2pqwen trust add` pins a publisher, `p2pqwen library import` imports models that are on this machine",
    "config": "`p2pqwen help config` lists the settings of config.toml",
    "delete": "`p2pqwen remove REPO[@COMMIT]` deletes a snapshot from the library",
    "info": "`p2pqwen search WORDS` shows what publishers list, `p2pqwen status` what this library holds, "
    "`p2pqwen torrent show FILE` what a torrent holds",
    "install": "`p2pqwen fetch ORG/MODEL` fetches a model, `p2pqwen service install` runs the node in the background",
    "login": "p2pqwen has no accounts; it reads HF_TOKEN for the Hub",
    "push": "`p2pqwen preserve REPO`, then `p2pqwen publish --out DIR`",
    "rm": "`p2pqwen remove REPO[@COMMIT]` deletes a snapshot from the library",
    "serve": "`p2pqwen seed` serves the library to others",
    "share": "`p2pqwen seed` serves the library to others",
    "show": "`p2pqwen search WORDS` shows what publishers list, `p2pqwen status` what this library holds, "
    "`p2pqwen torrent show FILE` what a torrent holds",
    "start": "`p2pqwen seed` runs the node, `p2pqwen service install` runs it in the background",
    "stop": "press Ctrl-C where the node runs, or see `p2pqwen service --help`",
    "update": "`p2pqwen index update` gets newer indexes of the publishers you trust",
    "upload": "`p2pqwen preserve REPO`, then `p2pqwen publish --out DIR`",
}
"""Words that run no command, and the hint that each gets instead."""


class Formatter(HelpFormatter):
    """Help as wide as the terminal; typer's has at least 50 columns, so narrow terminals break its lines."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        columns = shutil.get_terminal_size().columns if width is None else width
        super().__init__(indent_increment, max(NARROWEST, min(columns, max_width or WIDEST)) - 2, max_width)

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = _FIRST_COLUMN, col_spacing: int = 2) -> None:
        """Write a list of terms and meanings; in a narrow one the terms take at most a third."""
        super().write_dl(rows, col_max if self.width >= 2 * col_max else self.width // 3, col_spacing)


class Context(typer.Context):
    """A context whose help is laid out by `Formatter`, and whose parameters skip pydantic if possible."""

    formatter_class = Formatter

    def __init__(self, command: Command, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401 - typer's own
        super().__init__(command, *arguments, **settings)
        take_texts_as_they_are(command.get_params(self))


class OnDemand(MutableMapping[str, "Command"]):
    """Commands by name; the module of each, which has its name and a `register(app)`, is imported on first use.

    `words`: the help text of each.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words
        self._loaded: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._words:
            raise KeyError(name)
        if name not in self._loaded:
            self._loaded[name] = _laid_out(_load(name, self._words[name]))
        return self._loaded[name]

    def __setitem__(self, name: str, command: Command) -> None:
        raise TypeError("a command is listed in the panels")

    def __delitem__(self, name: str) -> None:
        raise TypeError("a command is listed in the panels")

    def __contains__(self, name: object) -> bool:  # the mixin's own would import the command
        return name in self._words

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)


def _load(name: str, words: str) -> Command:
    alone = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    importlib.import_module(f"p2pqwen.cli.{name}").register(alone)
    command = typer.main.get_group(alone).commands[name]
    command.short_help = words
    return command


class Commands(TyperGroup):
    """The group of all commands, each imported on first use; a subclass lists them."""

    context_class = Context
    panels: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """The commands with their help texts, by the panel of the help that shows them."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - typer's own
        super().__init__(**settings)
        self.commands = OnDemand({name: words for panel in self.panels.values() for name, words in panel.items()})

    def list_commands(self, ctx: AnyContext) -> list[str]:  # noqa: ARG002 - typer's own
        """Return the names of the commands, in the order of the panels."""
        return list(self.commands)

    def format_commands(self, ctx: AnyContext, formatter: HelpFormatter) -> None:  # noqa: ARG002 - typer's own
        """Write the commands, a section for each panel."""
        width = max((len(name) for panel in self.panels.values() for name in panel), default=0)
        for panel, commands in self.panels.items():
            with formatter.section(panel):
                formatter.write_dl([(name.ljust(width), words) for name, words in commands.items()])

    def resolve_command(self, ctx: AnyContext, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """Find the command; raises `UsageError`, which says what to type, for an unknown name."""
        name = RUN.get(args[0], args[0])
        if name not in self.commands and not ctx.resilient_parsing and not name.startswith("-"):
            raise UsageError(f"no such command {name!r}", hint=self._hint(args))
        return super().resolve_command(ctx, [name, *args[1:]])

    def _hint(self, args: list[str]) -> str:
        name = args[0]
        if name in SAY:
            return SAY[name]
        if _is_a_target(name):
            from p2pqwen.values.snapshot_id import name_of_page

            return f"`p2pqwen fetch {shlex.quote(name_of_page(name) or name)}` fetches it"
        if inside := [f"`p2pqwen {group} {name}`" for group in self._groups_with(name)]:
            return f"did you mean {' or '.join(inside)}?"
        known = {*self.commands, *RUN, *SAY}
        near = [f"`p2pqwen {RUN.get(one, one)}`" for one in get_close_matches(name, known) if one not in SAY]
        guess = f"did you mean {' or '.join(dict.fromkeys(near))}? " if near else ""
        return f"{guess}see `p2pqwen --help`"

    def _groups_with(self, name: str) -> list[str]:
        """Return the groups that have a command of this name, as `keys` has `rotate`."""
        groups = [one for one in self.commands.values() if isinstance(one, TyperGroup)]
        return [str(group.name) for group in groups if name in group.commands]


def _is_a_target(text: str) -> bool:
    """Tell whether this is a target of `fetch` rather than a command: a name, a link, an infohash or a file."""
    return _TARGET.search(text) is not None


def _laid_out(command: Command) -> Command:
    """Return a command whose help is laid out like that of the group."""
    command.context_class = Context
    if isinstance(command, TyperGroup):
        for one in command.commands.values():
            _laid_out(one)
    return command
