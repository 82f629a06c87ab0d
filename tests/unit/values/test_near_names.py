"""A name that is nearly one that is known gets a question; where only the case is wrong, that name alone."""

from __future__ import annotations

import pytest

from p2pqwen.values.near_names import did_you_mean, near_names
from p2pqwen.values.snapshot_id import RepoId

KNOWN = ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B", "Qwen/Tiny", "other/tiny", "QWEN/tiny"]


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("qwen/qwen3-0.6b", ["Qwen/Qwen3-0.6B"]),
        ("QWEN/QWEN3-1.7B", ["Qwen/Qwen3-1.7B"]),
        ("qwen/Tiny", ["QWEN/tiny", "Qwen/Tiny"]),
        ("Qwen/Tiny", ["QWEN/tiny", "Qwen/Tiny"]),
        ("Qwen/Qwen3-0.6", ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B"]),
        ("Nobody/Nothing", []),
    ],
)
def test_what_is_near(typed, near):
    assert sorted(map(str, near_names(RepoId(typed), map(RepoId, KNOWN)))) == sorted(near)


def test_nobody_is_asked_whether_they_meant_what_they_typed():
    assert did_you_mean(RepoId("Qwen/Tiny"), [RepoId("Qwen/Tiny")]) == ""
    assert did_you_mean(RepoId("qwen/tiny"), [RepoId("Qwen/Tiny")]) == "did you mean Qwen/Tiny? "
