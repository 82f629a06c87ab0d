"""Tables and long lines on terminals of any width."""

from __future__ import annotations

import os

import pytest

from p2pqwen.cli import output, table
from p2pqwen.cli.output import Output
from p2pqwen.cli.table import table_lines

HEADS = ("danger", "snapshot", "size")
ROWS = [("gone", "Qwen/Tiny@c0ffeec", "1.00 GB"), ("endangered", "Qwen/Big@c0ffeec", "20.0 GB")]


@pytest.mark.parametrize("width", [None, 38, 200])
def test_columns_where_they_fit(width):
    assert table_lines(HEADS, ROWS, width, title=1) == [
        "danger      snapshot           size",
        "gone        Qwen/Tiny@c0ffeec  1.00 GB",
        "endangered  Qwen/Big@c0ffeec   20.0 GB",
    ]


def test_rows_one_below_the_other_where_they_do_not():
    assert table_lines(HEADS, ROWS, 37, title=1) == [
        "Qwen/Tiny@c0ffeec",
        "  danger gone, size 1.00 GB",
        "Qwen/Big@c0ffeec",
        "  danger endangered, size 20.0 GB",
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_long_lines_break_between_words_on_a_terminal_alone(capsys, monkeypatch, width):
    link = "magnet:?xt=urn:btih:" + "ab" * 60
    lines = ["  " + "some words and a-hyphen " * 12, f"  {link}", "", "short"]
    with Output(as_json=False) as out:
        out.result({}, lines)
        assert capsys.readouterr().out.splitlines() == lines
        monkeypatch.setattr(output, "columns", lambda: width)
        out.result({}, lines)
    shown = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width or line.strip() == link for line in shown)
    assert " ".join(" ".join(shown).split()) == " ".join(" ".join(lines).split())
    assert shown[1].startswith("    ")
    assert shown[-2:] == ["", "short"]


def test_the_width_is_that_of_the_terminal(monkeypatch):
    assert table.columns() is None
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((57, 20)))
    assert table.columns() == 57
