"""Completion candidates, found by typer; the only place that uses its search, which has no public name."""

from __future__ import annotations

from typing import Any

import typer
from typer._click.shell_completion import CompletionItem, ShellComplete


class _Search(ShellComplete):
    """Typer's search, without reading a shell's variables or writing its format."""

    name = "p2pqwen"
    source_template = ""

    def source_vars(self) -> dict[str, Any]:
        """Return nothing: there is no script."""
        return {}

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return nothing: `get_completions` is given what was typed."""
        return [], ""

    def format_completion(self, item: CompletionItem) -> str:
        """Return the word."""
        return str(item.value)


def candidates(app: typer.Typer, words: list[str], word: str) -> list[tuple[str, str]]:
    """Return the candidates for `word`, which follows `words`, and the help of each."""
    search = _Search(typer.main.get_command(app), {}, "p2pqwen", "")
    return [(str(item.value), item.help or "") for item in search.get_completions(words, word)]
