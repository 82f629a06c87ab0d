"""What a user types for files, what is stored of it, and that what is stored never widens."""

from __future__ import annotations

import pytest

from p2pqwen.errors import NotFoundError, UsageError
from p2pqwen.torrent import chosen_files
from p2pqwen.torrent.chosen_files import choose_files, exactly, selection
from tests.support.snapshots import make_snapshot

FILES = {
    "README.md": b"hello",
    "config.json": b"{}",
    "sub/tokenizer_config.json": b"{}",
    "Tiny-BF16.gguf": b"b" * 9,
    "Tiny-F16.gguf": b"f" * 8,
    "Tiny-Q4_K_M.gguf": b"m" * 5,
    "Tiny-Q4_K_S.gguf": b"s" * 4,
    "Tiny-UD-Q2_K_XL-00001-of-00002.gguf": b"1",
    "Tiny-UD-Q2_K_XL-00002-of-00002.gguf": b"2",
    "mmproj-F16.gguf": b"p",
    "odd[1].txt": b"o",
}
METAINFO = make_snapshot(FILES)
GGUF = {name for name in FILES if name.endswith(".gguf")}


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        pytest.param("q4_k_m", {"Tiny-Q4_K_M.gguf"}, id="a quantisation in any case"),
        pytest.param("F16", {"Tiny-F16.gguf"}, id="not BF16, not the projector"),
        pytest.param("fp16", {"Tiny-F16.gguf"}, id="another spelling of it"),
        pytest.param("q2_k_xl", {one for one in FILES if "Q2_K_XL" in one}, id="every shard"),
        pytest.param("q4_k", {"Tiny-Q4_K_M.gguf", "Tiny-Q4_K_S.gguf"}, id="a part of two"),
        pytest.param("config.json", {"config.json"}, id="a path goes first"),
        pytest.param("CONFIG.JSON", {"config.json"}, id="a path in another case"),
        pytest.param("tokenizer", {"sub/tokenizer_config.json"}, id="a part of a name"),
        pytest.param("sub/", {"sub/tokenizer_config.json"}, id="a folder"),
        pytest.param("*.GGUF", GGUF, id="a glob in any case"),
        pytest.param("*.gguf", GGUF, id="a glob"),
        pytest.param("*[A-Z]4_k_m*", {"Tiny-Q4_K_M.gguf"}, id="a set of a glob"),
        pytest.param("odd[1].txt", {"odd[1].txt"}, id="a path that looks like a glob"),
        pytest.param("d[1]*", set(), id="a glob is no part"),
    ],
)
def test_what_a_text_means(typed, names):
    if not names:
        with pytest.raises(NotFoundError):
            selection(METAINFO, [typed])
        return
    stored = selection(METAINFO, [typed])
    assert {one.text for one in choose_files(METAINFO, stored)} == names
    assert selection(METAINFO, None) is None


def test_a_glob_that_matches_as_it_is_spelled_is_stored_as_it_is():
    assert selection(METAINFO, ["*.gguf", "sub/*", "config.json"]) == ("*.gguf", "sub/*", "config.json")


def test_a_stored_glob_keeps_its_case_and_is_never_a_part():
    """As older versions stored them: what was partial stays the same part."""
    assert {one.text for one in choose_files(METAINFO, ("*.json", "*.GGUF", "q4"))} == {
        "config.json",
        "sub/tokenizer_config.json",
    }


def test_one_glob_of_several_may_match_nothing_and_a_name_may_not():
    assert selection(METAINFO, ["*.json", "*.bin"]) == ("*.json",)
    with pytest.raises(NotFoundError, match="q9"):
        selection(METAINFO, ["*.json", "q9"])


def test_exact_paths_are_just_that():
    assert selection(METAINFO, [exactly("config.json"), exactly("odd[1].txt")]) == ("config.json", "odd[[]1].txt")
    with pytest.raises(NotFoundError, match=r"\./CONFIG\.json"):
        selection(METAINFO, ["*.json", exactly("CONFIG.json")])
    with pytest.raises(NotFoundError):
        selection(METAINFO, [exactly("*.json")])


def test_a_miss_lists_the_largest_files_with_their_sizes():
    with pytest.raises(NotFoundError) as caught:
        selection(METAINFO, ["*.onnx"])
    assert "Tiny-Q4_K_M.gguf (5 B)" in caught.value.hint
    many = make_snapshot({f"{number:02}.bin": b"x" * number for number in range(1, 31)})
    with pytest.raises(NotFoundError) as caught:
        selection(many, ["none"])
    assert caught.value.hint.count(".bin (") == chosen_files.MAX_NAMED
    assert caught.value.hint.startswith("there are 11.bin (11 B), ")
    assert caught.value.hint.endswith(", and 10 more")


def test_no_more_names_are_stored_than_a_marker_holds(monkeypatch):
    monkeypatch.setattr(chosen_files, "MAX_STORED", 2)
    mixed = make_snapshot({"a.x": b"1", "a2.X": b"2", "b.x": b"3"})
    with pytest.raises(UsageError, match="too many"):
        selection(mixed, ["*.x"])
