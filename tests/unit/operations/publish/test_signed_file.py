"""A file that is signed and printed row by row is the one that is made at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pqwen.index.acceptance import TrustedState, accept
from p2pqwen.index.document import INDEX_TYPE, encode_file, print_pieces
from p2pqwen.index.entry import SkippedEntry
from p2pqwen.library import index_source
from p2pqwen.library.index_source import bytes_of
from p2pqwen.operations.publish.signed_file import signed_file
from p2pqwen.signing.envelope import sign
from p2pqwen.values.strict_json import canonical
from tests.support.publishing import NOW, Rules, chain, key, make_document, make_entry, make_index

ROOTS = chain(Rules())
UNKNOWN = SkippedEntry("Org/M", "space", "ab" * 20, 1, {"repo": "Org/M", "repo_type": "space", "commit": "ab" * 20})


def document(count, **more):
    listed = sorted((make_entry(number, f"Org/Model-{number}") for number in range(count)), key=lambda one: one.id)
    return make_document(ROOTS, 1, listed, **more)


@pytest.mark.parametrize("count", [0, 1, 2, 40])
@pytest.mark.parametrize("in_memory", [1 << 20, 0], ids=["memory", "disk"])
def test_it_says_what_a_file_made_at_once_says(tmp_path: Path, monkeypatch, count, in_memory):
    monkeypatch.setattr(index_source, "_IN_MEMORY", in_memory)
    made = document(count)
    with signed_file(ROOTS, made, [key("index")], tmp_path) as source:
        data = bytes_of(source)
    assert data == make_index(ROOTS, made)
    assert list(accept(data, TrustedState(None), NOW).document.entries) == list(made.entries)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "extra",
    [
        {"note": '\n  "entries": []', "deeper": {"entries": [], "more": [{"entries": []}]}},
        {"a": [], "zz": "Straße \u2028", "entriesX": []},
    ],
)
@pytest.mark.parametrize("count", [0, 3])
def test_what_looks_like_entries_is_left_alone(extra, count):
    made = document(count, extra=extra, skipped=(UNKNOWN,) * (count > 0))
    signatures = [sign(INDEX_TYPE, canonical(made.to_json()), key("index"))]
    assert b"".join(print_pieces(ROOTS, made, signatures)) == encode_file(ROOTS, made.to_json(), signatures)


def test_what_a_killed_publishing_left_goes(tmp_path):
    old, fresh, other = (tmp_path / name for name in (".index.json.1.tmp", ".index.json.2.tmp", "index.json"))
    for path in (old, fresh, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (1, 1))
    with signed_file(ROOTS, document(1), [key("index")], tmp_path):
        pass
    assert sorted(tmp_path.iterdir()) == [fresh, other]
