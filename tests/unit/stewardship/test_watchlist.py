"""Watchlists are read strictly, and ours says where everything in it was read."""

from __future__ import annotations

import contextlib
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.manifest.license import Redistribution, redistribution
from p2pqwen.stewardship.watchlist import MAX_WATCHLIST_SIZE, parse_watchlist

OURS = Path(__file__).parents[3] / "torrents" / "watchlist.toml"
ROWS = tomllib.loads(OURS.read_text(encoding="utf-8"))["model"]


def listed(rows):
    return parse_watchlist(f"format = 1\n{rows}".encode())


def test_ours_is_read_without_loss_sorted_and_names_nothing_twice():
    watched = parse_watchlist(OURS.read_bytes())
    assert [one.repo.text for one in watched] == [row["repo"] for row in ROWS]
    order = [(row["group"], row["repo"]) for row in ROWS]
    assert order == sorted(set(order))
    assert len({row["repo"].lower() for row in ROWS}) == len(ROWS) >= 400
    assert all(row["repo"].startswith("Qwen/") for row in ROWS)


def test_ours_says_where_everything_was_read():
    for row in ROWS:
        assert row["source"].startswith("https://"), row
        confirmed = row.get("confirmed", True)
        assert confirmed == ("note" not in row), row  # what is not confirmed says what is missing
        if confirmed:
            assert row["license"], row
        if "license_source" in row:
            assert row["license_source"] != row["source"], row
            assert "license" in row, row


def test_ours_knows_its_licenses():
    licenses = Counter(row["license"] for row in ROWS if "license" in row)
    assert licenses.keys() == {"apache-2.0", "qwen", "qwen-research", "tongyi-qianwen", "tongyi-qianwen-research"}
    assert redistribution("apache-2.0") is Redistribution.CLEAR
    for other in licenses.keys() - {"apache-2.0"}:
        assert redistribution(other) is not Redistribution.CLEAR


@pytest.mark.parametrize(
    ("group", "at_least"),
    [
        ("language", 200), ("coder", 35), ("math", 12), ("vision", 80), ("omni", 5), ("audio", 10), ("image", 5),
        ("embedding", 8), ("reranker", 5), ("guard", 6), ("reward", 5),
    ],
)  # fmt: skip
def test_ours_covers_every_kind(group, at_least):
    watched = [one for one in parse_watchlist(OURS.read_bytes()) if one.group == group]
    assert len(watched) >= at_least
    assert all(1 <= one.priority <= 5 for one in watched)


@pytest.mark.parametrize("kind", ["-AWQ", "-GPTQ-Int4", "-GGUF", "-FP8", "-MLX", "-Base", "-Instruct"])
def test_ours_covers_official_quantisations_base_and_instruct(kind):
    assert sum(kind in row["repo"] for row in ROWS) >= 10


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "unknown format"),
        ("format = 2\n", "unknown format"),
        ("format = 1\nmodel = 5\n", "watchlist rows"),
        ("format = 1\nmodel = [5]\n", "row 1"),
        ("format = [\n", "not TOML"),
        ("\xff", "not TOML"),
        ("format = 1\n" + "x = [" * 5000, "not TOML"),
        ("format = 1\n[[model]]\n", "names no repo"),
        ('format = 1\n[[model]]\nrepo = "../x"\n', "repository name"),
        ('format = 1\n[[model]]\nrepo = "Qwen"\n', "repository name"),
        ('format = 1\n[[model]]\nrepo = "Q/x"\ncolour = 1\n', "unknown key"),
        ('format = 1\n[[model]]\nrepo = "Q/x"\npriority = true\n', "priority"),
        ('format = 1\n[[model]]\nrepo = "Q/x"\npriority = -1\n', "priority"),
        ('format = 1\n[[model]]\nrepo = "Q/x"\nconfirmed = "no"\n', "confirmed"),
        ('format = 1\n[[model]]\nrepo = "Q/x"\nsource = "file:///etc"\n', "http"),
        ('format = 1\n[[model]]\nrepo = "Q/x"\nlicense_source = "nowhere"\n', "http"),
        ('format = 1\n[[model]]\nrepo = "Q/x"\nnote = 5\n', "note"),
        (f'format = 1\n[[model]]\nrepo = "Q/x"\nnote = "{"x" * 301}"\n', "note"),
        ('format = 1\n[[model]]\nrepo = "Q/x"\n[[model]]\nrepo = "Q/x"\n', "twice"),
        ("#" * (MAX_WATCHLIST_SIZE + 1), "too large"),
    ],
)
def test_what_is_no_watchlist(text, complaint):
    with pytest.raises(FormatError, match=complaint):
        parse_watchlist(text.encode("latin-1"))


def test_two_revisions_of_one_repository_are_two_rows():
    rows = listed('[[model]]\nrepo = "Q/x"\n[[model]]\nrepo = "Q/x"\nrevision = "v1"\n')
    assert [one.revision for one in rows] == [None, "v1"]


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("Qwen/Qwen3-0.6B", True),
        ("Qwen3-*", True),
        ("*/Qwen3-*", True),
        ("other/*", False),
        ("qwen3-*", False),  # names on the Hub keep their case
        ("group:lang*", True),
        ("group:coder", False),
        ("language", False),
    ],
)
def test_globs(pattern, matches):
    (row,) = listed('[[model]]\nrepo = "Qwen/Qwen3-0.6B"\ngroup = "language"\n')
    assert row.matches(pattern) is matches


@given(st.binary(max_size=200))
def test_any_bytes_are_a_watchlist_or_refused(data):
    with contextlib.suppress(FormatError):
        parse_watchlist(data)
