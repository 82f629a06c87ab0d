"""What Xet calls held files: kept beside the manifest, made once, and never believed where it cannot be read."""

from __future__ import annotations

import json

import pytest

from p2pqwen.library.home import Home
from p2pqwen.library.xet_hashes import XetHashes, XetNames
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import SnapshotId

SNAPSHOT = SnapshotId.parse("Qwen/Tiny@" + "ab" * 20)
ONE, TWO = Sha256.of(b"one"), Sha256.of(b"two")
A, B = "a" * 64, "b" * 64


@pytest.fixture
def hashes(tmp_path):
    return XetHashes(Home(tmp_path / "home"))


def test_what_is_listed_and_what_is_made_stand_beside_each_other(hashes):
    hashes.keep_listed(SNAPSHOT, {ONE: A, TWO: A})
    hashes.keep_made(SNAPSHOT, {ONE: A, TWO: B})
    assert hashes.of(SNAPSHOT) == {ONE: XetNames(A, A), TWO: XetNames(A, B)}
    assert [names.differ for names in hashes.of(SNAPSHOT).values()] == [False, True]
    hashes.keep_listed(SNAPSHOT, {TWO: B})
    assert hashes.of(SNAPSHOT)[TWO] == XetNames(B, B)
    hashes.forget(SNAPSHOT)
    assert hashes.of(SNAPSHOT) == {}


def test_what_was_made_once_is_not_made_again(hashes, tmp_path):
    asked = []

    def hasher(files):
        asked.append(list(files))
        return [A] * len(files)

    files = {ONE: tmp_path / "one"}
    assert hashes.made(SNAPSHOT, files, hasher) == {ONE: A}
    assert hashes.made(SNAPSHOT, files | {TWO: tmp_path / "two"}, hasher) == {ONE: A, TWO: A}
    assert hashes.made(SNAPSHOT, files, lambda _: None) == {ONE: A}
    assert asked == [[tmp_path / "one"], [tmp_path / "two"]]


def test_where_nobody_can_make_them_there_are_none(hashes, tmp_path):
    assert hashes.made(SNAPSHOT, {ONE: tmp_path / "one"}, lambda _: None) == {}
    assert hashes.of(SNAPSHOT) == {}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": 7}', '{"files": {"x": {}}}', json.dumps({"files": {str(ONE): {"listed": A}}})]
)
def test_what_cannot_be_read_is_unknown(hashes, tmp_path, text):
    hashes.keep_listed(SNAPSHOT, {ONE: A})
    (path,) = (tmp_path / "home" / "xet").iterdir()
    path.write_text(text)
    assert hashes.of(SNAPSHOT) == {}


@pytest.mark.parametrize("name", ["../x", "A" * 64, "a" * 63, 7, None])
def test_no_other_text_is_taken_for_a_hash(hashes, tmp_path, name):
    hashes.keep_listed(SNAPSHOT, {ONE: A})
    (path,) = (tmp_path / "home" / "xet").iterdir()
    path.write_text(json.dumps({"files": {str(ONE): {"listed": name, "made": name}}}))
    assert hashes.of(SNAPSHOT) == {ONE: XetNames()}
