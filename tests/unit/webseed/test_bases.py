"""Base URLs: patterns, order, and what is refused from whom."""

from __future__ import annotations

import pytest
from hypothesis import given

from p2pqwen.errors import FormatError, UsageError
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.webseed.bases import Base, NamedBy, combine_bases
from tests.strategies import repo_paths

NAME = "0123456789" * 4
REPO = RepoId("Qwen/Qwen3-0.6B")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://huggingface.co/Qwen/Qwen3-0.6B/resolve/", f"https://huggingface.co/Qwen/Qwen3-0.6B/resolve/{NAME}/a/b%20c"),
        ("https://m.example/x", f"https://m.example/x/{NAME}/a/b%20c"),
        ("https://m.example/{repo}/resolve/", f"https://m.example/Qwen/Qwen3-0.6B/resolve/{NAME}/a/b%20c"),
        ("https://m.example/{repo}/tree/{commit}/raw", f"https://m.example/Qwen/Qwen3-0.6B/tree/{NAME}/raw/a/b%20c"),
        ("https://m.example/{repo}?rev={commit}&file={path}", f"https://m.example/Qwen/Qwen3-0.6B?rev={NAME}&file=a/b%20c"),
    ],
)  # fmt: skip
def test_a_files_url(url, expected):
    assert Base(url, NamedBy.CONFIG, NAME, REPO).file_url(RepoPath("a/b c")) == expected


@given(repo_paths)
def test_a_files_url_is_ascii_and_keeps_its_path_apart(path):
    url = Base("https://m.example/", NamedBy.TORRENT, NAME).file_url(path)
    assert url.isascii()
    assert url.count("/") == 3 + len(path.parts)
    assert not set(url) & set("?# ")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://m.example/", "file:///etc/passwd", "https://", "/x", "https://user:secret@m.example/", "https://user@m.example/",
        "https://m.example/?x=", "https://m.example/?", "https://m.example/#x", "https://m.example/{branch}/",
        "https://m.example/{path}", "https://m.éxample/", "https://m.example/a b", "https://m.example:0/", "https://m.example:x/",
    ],
)  # fmt: skip
def test_a_torrents_bad_base_is_set_aside_with_its_reason(url):
    found = combine_bases(NAME, REPO, torrent=[url, "https://good.example/"])
    assert [base.url for base in found.usable] == ["https://good.example/"]
    ((shown, reason),) = found.refused
    assert shown
    assert reason


def test_a_bad_base_of_the_users_is_an_error_that_names_it():
    with pytest.raises(UsageError, match=r"ftp://m\.example/"):
        combine_bases(NAME, REPO, command_line=["ftp://m.example/"])


def test_a_pattern_needs_the_repository():
    with pytest.raises(FormatError, match="repository is not known"):
        Base("https://m.example/{repo}/", NamedBy.INDEX, NAME)


def test_order_and_each_once():
    found = combine_bases(
        NAME,
        REPO,
        command_line=["https://cli.example/"],
        config=["https://config.example/{repo}/"],
        indexes=[["https://new.example/"], ["https://old.example/", "https://NEW.example"]],
        torrent=["https://stale.example/", "https://cli.example"],
    )
    assert [(base.url, base.named_by.value) for base in found.usable] == [
        ("https://cli.example/", "command line"),
        ("https://config.example/{repo}/", "config"),
        ("https://new.example/", "index"),
        ("https://old.example/", "index"),
        ("https://stale.example/", "torrent"),
    ]


def test_only_plain_bases_may_go_into_a_torrent():
    assert Base("https://m.example/", NamedBy.CONFIG, NAME).is_plain
    assert not Base("https://m.example/{commit}/", NamedBy.CONFIG, NAME).is_plain
