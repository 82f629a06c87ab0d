"""What a user types becomes one kind of target, or an error that names the kinds."""

from __future__ import annotations

import pytest

from p2pqwen.errors import NotFoundError, UsageError
from p2pqwen.operations.fetch.request import absolute
from p2pqwen.operations.fetch.target import MagnetTarget, NamedTarget, TorrentTarget, parse_target

V1 = "ab" * 20
V2 = "cd" * 32


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("Qwen/Qwen3-0.6B", NamedTarget, "Qwen/Qwen3-0.6B"),
        (f"Qwen/Qwen3-0.6B@{V1}", NamedTarget, f"Qwen/Qwen3-0.6B@{V1}"),
        ("Qwen/Qwen3-0.6B:Q4_K_M", NamedTarget, "Qwen/Qwen3-0.6B"),
        (f"magnet:?xt=urn:btih:{V1}", MagnetTarget, f"infohash {V1}"),
        (f"  MAGNET:?xt=urn:btmh:1220{V2} ", MagnetTarget, f"infohash {V2}"),
        (V1, MagnetTarget, f"infohash {V1}"),
        (V2.upper(), MagnetTarget, f"infohash {V2}"),
        ("https://mirror.example/x.torrent", TorrentTarget, "https://mirror.example/x.torrent"),
        ("http://127.0.0.1:8000/x.torrent", TorrentTarget, "http://127.0.0.1:8000/x.torrent"),
    ],
)
def test_targets(text, kind, shown):
    target = parse_target(text)
    assert type(target) is kind
    assert str(target) == shown


def test_a_part_of_a_repository():
    target = parse_target(f"Qwen/Qwen3-0.6B-GGUF@{V1}:q4_k_m")
    assert isinstance(target, NamedTarget)
    assert (str(target.commit), target.part) == (V1, "q4_k_m")
    with pytest.raises(UsageError, match="after :"):
        parse_target("Qwen/Qwen3-0.6B:")


def test_an_odd_field_does_not_refuse_a_pasted_link():
    target = parse_target(f"magnet:?xt=urn:btih:{V1}&amp;dn=a&amp;xs=dchub://hub.example")
    assert isinstance(target, MagnetTarget)
    assert target.magnet.name == "a"
    assert len(target.passed_over) == 1
    assert "dchub" in target.passed_over[0]


@pytest.mark.parametrize("rest", ["", "/", "/tree/main"])
def test_a_page_of_the_hub_is_no_torrent_and_says_the_name(rest):
    with pytest.raises(UsageError, match="page of the Hub") as caught:
        parse_target(f"https://huggingface.co/Qwen/Qwen3-0.6B{rest}")
    assert caught.value.hint == "name it as Qwen/Qwen3-0.6B"


def test_a_file_is_a_torrent_whatever_its_name(tmp_path):
    (tmp_path / "model").write_bytes(b"x")
    assert parse_target(str(tmp_path / "model")) == TorrentTarget(str(tmp_path / "model"))


def test_a_torrent_file_that_is_not_there(tmp_path):
    with pytest.raises(NotFoundError, match="no file"):
        parse_target(str(tmp_path / "none.torrent"))


def test_a_link_longer_than_any_file_name_is_a_link():
    """Asked whether it is a file, the system answers with an error (ENAMETOOLONG)."""
    text = f"magnet:?xt=urn:btih:{V1}&dn=Qwen%2FTiny%40{V1}&ws=" + "http%3A%2F%2Fhost.example%2F" + "x" * 300
    assert absolute(text) == text
    with pytest.raises(UsageError):
        parse_target("Qwen/" + "x" * 5000)
    with pytest.raises(UsageError):
        parse_target("Qwen/\0")


def test_a_file_keeps_its_meaning_in_another_folder(tmp_path, monkeypatch):
    (tmp_path / "x.torrent").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    assert absolute("x.torrent") == str(tmp_path / "x.torrent")


@pytest.mark.parametrize(
    "text",
    [
        "", "Qwen", "Qwen/a/b", "Qwen/Model@main", f"Qwen/Model@{V1[:39]}", "magnet:?dn=x", "magnet:?xt=urn:btih:zz",
        "http://user:secret@host/x.torrent", "https://", V1[:39], "../none", f"magnet:?xt=urn:btih:{'0' * 40}",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError, match="not something to fetch"):
        parse_target(text)
