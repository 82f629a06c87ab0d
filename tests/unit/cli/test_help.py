"""The manual: every page is whole, and the command shows it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys

import pytest

from p2pqwen.cli.help import ORDER, manual, tables_as_lists
from p2pqwen.operations.control import routes as node_calls
from tests.support.command import CommandLine

PAGES = manual()


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
def test_a_page_has_a_title_and_says_what_it_is_about(page):
    assert page.text.startswith("# ")
    assert page.text.endswith("\n")
    assert 3 < len(page.title) < 60
    assert 20 < len(page.summary) < 140
    for named in re.findall(r"`p2pqwen help ([\w-]+)`", page.text):
        assert named in PAGES, f"{page.topic} sends readers to {named}"


def test_topics_are_listed_as_a_newcomer_would_read_them(tmp_path):
    user = CommandLine(tmp_path / "home")
    listed = user.ok("help")["topics"]
    topics = [row["topic"] for row in listed]
    assert sorted(ORDER) == sorted(PAGES)  # a new page has its place
    assert topics == list(ORDER)
    assert (topics[:2], topics[-1]) == (["quickstart", "fetch"], "glossary")
    shown = user.run("help").stdout
    assert all(row["title"] in shown for row in listed)


def test_a_page_is_printed_as_it_is_where_there_is_no_terminal(tmp_path):
    user = CommandLine(tmp_path / "home")
    assert user.run("help", "GLOSSARY").stdout == PAGES["glossary"].text
    assert user.ok("help", "json") == {"topic": "json", "title": PAGES["json"].title, "text": PAGES["json"].text}


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("nothing", "its pages: "),
        ("glosary", "`p2pqwen help glossary`"),
        ("webseeds", "`p2pqwen help web-seeds`"),
        ("preserve", "`p2pqwen preserve --help` explains the command; see "),
    ],
)
def test_a_page_that_is_not_there_is_told_with_what_to_type(tmp_path, typed, hint):
    missing = CommandLine(tmp_path).run("help", typed)
    assert missing.code == 4
    assert hint in missing.stderr


@pytest.mark.parametrize("typed", ["web-seeds", "Web_Seeds", "web seeds"])
def test_topics_may_be_typed_loosely(tmp_path, typed):
    assert CommandLine(tmp_path).ok("help", typed)["topic"] == "web-seeds"


TOPICS = (
    "archive", "catalogue", "clients", "config", "control-api", "fetch", "glossary", "hub", "json", "keys", "no-host",
    "node", "privacy", "publish", "quickstart", "troubleshooting", "verify", "web-seeds",
)  # fmt: skip


def test_every_topic_has_its_page():
    assert tuple(sorted(PAGES)) == TOPICS


def test_the_marks_by_which_examples_are_run_are_not_shown():
    assert not [page.topic for page in PAGES.values() if "<!--" in page.text]


def test_the_control_api_page_names_every_call():
    calls = re.findall(r"^(GET|POST|PUT|DELETE) +(/\S+)", node_calls.__doc__ or "", re.MULTILINE)
    assert len(calls) > 10
    for method, path in calls:
        assert f"`{method} {path}`" in PAGES["control-api"].text


def test_on_a_narrow_terminal_a_table_is_a_list():
    table = (
        "Before.\n\n| name | what | default |\n|---|---|---|\n| `a` | one \\| two | 1 |\n| `b` | three | |\n\nAfter.\n"
    )
    assert tables_as_lists(table) == "Before.\n\n- **`a`**: one | two; default: 1\n- **`b`**: three\n\nAfter.\n"


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_on_a_terminal_a_page_is_rendered_to_its_width(tmp_path, columns):
    shown = _on_a_terminal(tmp_path, columns)
    assert "dht_bootstrap" in shown  # whole at any width
    assert "**" not in shown
    assert max(map(len, shown.splitlines())) <= min(int(columns), 100)


def _on_a_terminal(home, columns):
    leader, follower = pty.openpty()
    environment = {**os.environ, "P2PQWEN_HOME": str(home), "COLUMNS": columns, "TERM": "xterm", "PAGER": "cat"}
    with subprocess.Popen(
        [sys.executable, "-m", "p2pqwen", "help", "config"], stdin=follower, stdout=follower, env=environment
    ):
        os.close(follower)
        said = bytearray()
        with contextlib.suppress(OSError):  # Linux: the last writer has gone
            while block := os.read(leader, 1 << 16):
                said += block
    os.close(leader)
    return re.sub(r"\x1b\[[0-9;]*m", "", said.decode().replace("\r\n", "\n"))
