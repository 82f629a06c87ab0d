"""What people type names one known snapshot, several, or none; nothing is guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import NotFoundError, UsageError
from p2pqwen.values.known_snapshots import KnownSnapshots
from p2pqwen.values.snapshot_id import SnapshotId
from tests.strategies import snapshot_ids

COFFEE = "Qwen/Tiny@" + "c0ffee" * 6 + "c0de"
ONES, TWO = "Qwen/Tiny@" + "1" * 40, "Qwen/Tiny@" + "1" * 39 + "2"
CHAT = "Qwen/Tiny-Chat@" + "1" * 40
KNOWN = KnownSnapshots.of(map(SnapshotId.parse, (COFFEE, ONES, TWO, CHAT)), "in the library")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Qwen/Tiny@c0ffeec", [COFFEE]),
        ("Qwen/Tiny@C0FFEEC0FFE", [COFFEE]),
        (" Qwen/Tiny@c0ffeec\n", [COFFEE]),
        (COFFEE, [COFFEE]),
        ("Qwen/Tiny", [ONES, TWO, COFFEE]),
        ("Qwen/Tiny-Chat@1111111", [CHAT]),
        ("qwen/*-chat", [CHAT]),
        ("*@c0*", [COFFEE]),
        ("*/*", [ONES, TWO, COFFEE, CHAT]),
    ],
)
def test_what_is_meant(typed, meant):
    assert [str(one) for one in KNOWN.meant(typed)] == meant


@pytest.mark.parametrize(
    ("typed", "error", "said"),
    [
        (
            "Qwen/Tiny@1111111",
            UsageError,
            f"short for 2 snapshots, expected more digits of the commit, got {ONES}, {TWO}",
        ),
        ("Qwen/Tiny@2222222", NotFoundError, "no snapshot in the library is Qwen/Tiny@2222222"),
        ("Qwen/Tiny@" + "2" * 40, NotFoundError, "no snapshot in the library is"),
        ("Qwen/Other", NotFoundError, "no snapshot in the library is Qwen/Other"),
        ("Other/*", NotFoundError, "no snapshot in the library matches"),
        ("Qwen/Tiny@c0ffee", UsageError, "7 to 40"),  # shorter than what is shown
        ("Qwen/Tiny@", UsageError, "no commit after @"),
        ("Qwen/Tiny@main", UsageError, "not a commit"),
        ("magnet:?xt=urn:btih:00", NotFoundError, "matches"),
        ("no/such/name", UsageError, "not a repository name"),
    ],
)
def test_what_is_not(typed, error, said):
    with pytest.raises(error) as caught:
        KNOWN.meant(typed)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("typed", "whole"),
    [
        ("Qwen/Tiny@c0ffeec", COFFEE),
        (COFFEE, COFFEE),
        ("Qwen/Tiny@" + "2" * 40, "Qwen/Tiny@" + "2" * 40),  # it may be had elsewhere
        ("Qwen/Tiny@c0ffee", "Qwen/Tiny@c0ffee"),
        ("Qwen/Tiny", "Qwen/Tiny"),
        ("Qwen/Tiny@main", "Qwen/Tiny@main"),
        ("magnet:?x@y", "magnet:?x@y"),
    ],
)
def test_a_whole_name(typed, whole):
    assert KNOWN.whole(typed) == whole


@pytest.mark.parametrize(("typed", "error"), [("Qwen/Tiny@1111111", UsageError), ("Qwen/Tiny@2222222", NotFoundError)])
def test_no_whole_name(typed, error):
    with pytest.raises(error):
        KNOWN.whole(typed)


@given(st.frozensets(snapshot_ids, min_size=1), st.integers(7, 40))
def test_every_beginning_of_a_name_means_it_or_says_which_it_may_mean(ids, digits):
    known = KnownSnapshots(ids, "here")
    for one in ids:
        short = f"{one.repo}@{str(one.commit)[:digits]}"
        others = [two for two in ids if str(two).startswith(short)]
        if len(others) == 1:
            assert (known.meant(short), known.whole(short)) == ([one], str(one))
        else:
            with pytest.raises(UsageError, match="short for"):
                known.meant(short)
