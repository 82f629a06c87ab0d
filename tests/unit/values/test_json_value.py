"""Typed values become JSON in one way, and nothing that has no way gets through; what was written is read back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.json_value import FLAT, from_json, named, object_json, to_json
from p2pqwen.values.snapshot_id import RepoId, RepoKind, SnapshotId

SNAPSHOT = SnapshotId.parse("Qwen/Tiny@" + "a" * 40)
NOON = datetime(2026, 11, 25, 12, 0, 30, 999, tzinfo=timezone(timedelta(hours=1)))


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Row:
    path: Path
    pieces: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Late:
    late: int


@dataclass(frozen=True, slots=True)
class Early:
    early: int


@dataclass(frozen=True, slots=True)
class Whole:
    format: int = field(default=1, init=False)
    snapshot: SnapshotId = field(metadata=FLAT)
    digest: Sha256
    colour: Colour
    origin: str = field(metadata=named("from"))
    seconds: float
    at: datetime | None
    rows: tuple[Row, ...]
    counts: Mapping[str, int]
    by: Literal["index", "signature"]
    more: Late | Early | None = field(metadata=FLAT)
    ok: bool = True


WHOLE = Whole(
    SNAPSHOT,
    Sha256(bytes(32)),
    Colour.BLUE,
    "here",
    0.5,
    datetime(2026, 11, 25, 11, 0, 30, tzinfo=UTC),
    (Row(Path("/a"), (1, 2)), Row(Path("/b"))),
    {"bad": 1},
    "index",
    Late(3),
)
SHOWN = {
    "format": 1,
    "repo": "Qwen/Tiny",
    "commit": "a" * 40,
    "digest": "0" * 64,
    "colour": "blue",
    "from": "here",
    "seconds": 0.5,
    "at": "2026-11-25T11:00:30Z",
    "rows": [{"path": "/a", "pieces": [1, 2]}, {"path": "/b", "pieces": []}],
    "counts": {"bad": 1},
    "by": "index",
    "late": 3,
    "ok": True,
}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.5, 0.5),
        ("text", "text"),
        (Colour.RED, "red"),
        (NOON, "2026-11-25T11:00:30Z"),
        (Path("/a/b"), "/a/b"),
        (CommitId.parse("a" * 40), "a" * 40),
        (RepoId("Qwen/Tiny"), "Qwen/Tiny"),
        (SNAPSHOT, {"repo": "Qwen/Tiny", "commit": "a" * 40}),
        ((1, (Colour.RED,)), [1, ["red"]]),
        ({"a": Colour.RED}, {"a": "red"}),
        (WHOLE, SHOWN),
    ],
)
def test_what_a_value_is_in_json(value, shown):
    assert to_json(value) == shown
    assert type(to_json(value)) is type(shown), "no enumeration and no tuple is left"


@pytest.mark.parametrize("value", [b"raw", {1, 2}, object(), Row, {1: "a"}, [b"raw"], lambda: None])
def test_what_has_no_place_in_json(value):
    with pytest.raises(TypeError):
        to_json(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf]])
def test_a_number_that_is_none(value):
    with pytest.raises(ValueError, match="no place in JSON"):
        to_json(value)


@pytest.mark.parametrize("repo", [RepoId("Qwen/Tiny"), RepoId("Qwen/Text", RepoKind.DATASET)])
def test_a_repository_of_any_kind_is_read_back(repo):
    snapshot = SnapshotId(repo, SNAPSHOT.commit)
    assert from_json(SnapshotId, object_json(snapshot)) == snapshot


def test_an_answer_is_read_back():
    assert from_json(Whole, json.loads(json.dumps(object_json(WHOLE)))) == WHOLE


@pytest.mark.parametrize(
    "changes",
    [
        {"more": "a newer version's"},
        {"ok": ...},
        {"late": ...},
        {"seconds": 1},
        {"at": None},
    ],
)
def test_what_may_differ(changes):
    shown = {name: value for name, value in (SHOWN | changes).items() if value is not ...}
    assert isinstance(from_json(Whole, shown), Whole)


def test_of_two_kinds_the_one_whose_fields_are_there_is_read():
    rest = {name: value for name, value in SHOWN.items() if name != "late"}
    assert from_json(Whole, rest | {"early": 1}).more == Early(1)
    assert from_json(Whole, rest).more is None


@pytest.mark.parametrize(
    ("changes", "named_as"),
    [
        ({"repo": ...}, "Whole.repo"),
        ({"repo": "no name"}, "Whole.repo"),
        ({"commit": "b" * 39}, "Whole.commit"),
        ({"digest": 5}, "Whole.digest"),
        ({"colour": "green"}, "Whole.colour"),
        ({"from": None}, "Whole.from"),
        ({"seconds": "1"}, "Whole.seconds"),
        ({"seconds": math.nan}, "Whole.seconds"),
        ({"seconds": True}, "Whole.seconds"),
        ({"at": "today"}, "Whole.at"),
        ({"rows": {}}, "Whole.rows"),
        ({"rows": [None]}, "Whole.rows"),
        ({"rows": [{"path": "/a", "pieces": [True]}]}, "Whole.rows.pieces"),
        ({"counts": {"bad": "1"}}, "Whole.counts.bad"),
        ({"by": "rumour"}, "Whole.by"),
        ({"late": "3"}, "late"),
        ({"ok": 1}, "Whole.ok"),
    ],
)
def test_what_is_damaged_is_named(changes, named_as):
    shown = {name: value for name, value in (SHOWN | changes).items() if value is not ...}
    with pytest.raises(FormatError) as refused:
        from_json(Whole, shown)
    assert named_as in refused.value.what


@pytest.mark.parametrize("value", [None, [], "text", 5, True])
def test_what_is_no_object_is_refused(value):
    with pytest.raises(FormatError):
        from_json(Whole, value)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
ANY_JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(ANY_JSON)
def test_whatever_comes_is_read_or_refused(value):
    for kind in (Whole, Row, SnapshotId):
        try:
            assert isinstance(from_json(kind, value), kind)
        except FormatError:
            continue


@given(st.dictionaries(st.sampled_from(sorted(SHOWN)), st.none() | st.integers() | st.text() | st.lists(st.integers())))
def test_whatever_a_field_holds_is_read_or_refused(changes):
    try:
        assert isinstance(from_json(Whole, SHOWN | changes), Whole)
    except FormatError:
        return
