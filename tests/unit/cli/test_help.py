"""The manual: every page is whole, and the command shows it."""

from __future__ import annotations

import re

import pytest

from p2pqwen.cli.help import manual
from p2pqwen.operations.control import api as node_calls
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


def test_topics_are_listed(tmp_path):
    user = CommandLine(tmp_path / "home")
    listed = user.ok("help")["topics"]
    assert [row["topic"] for row in listed] == sorted(PAGES)
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
    "archive", "config", "control-api", "fetch", "glossary", "json", "keys", "no-host", "node", "privacy", "publish",
    "quickstart", "troubleshooting", "verify", "web-seeds",
)  # fmt: skip


def test_every_topic_has_its_page():
    assert tuple(PAGES) == TOPICS


def test_the_marks_by_which_examples_are_run_are_not_shown():
    assert not [page.topic for page in PAGES.values() if "<!--" in page.text]


def test_the_control_api_page_names_every_call():
    calls = re.findall(r"^(GET|POST|PUT|DELETE) +(/\S+)", node_calls.__doc__ or "", re.MULTILINE)
    assert len(calls) > 10
    for method, path in calls:
        assert f"`{method} {path}`" in PAGES["control-api"].text
