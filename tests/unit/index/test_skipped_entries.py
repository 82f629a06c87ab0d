"""Entries of kinds that this version does not know: skipped, kept, shown to reviewers, and no reason to refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from p2pqwen.errors import FormatError
from p2pqwen.index.acceptance import TrustedState, accept
from p2pqwen.index.diff import describe, diff
from p2pqwen.index.document import IndexDocument, parse_document
from p2pqwen.index.entry import parse_row
from p2pqwen.index.next_index import next_document
from tests.support.publishing import NOW, Rules, chain, make_document, make_entry, make_index

ROOTS = chain(Rules())
KNOWN = make_entry(1, "Qwen/Tiny").to_json()


def with_rows(*rows: dict[str, Any]) -> dict[str, Any]:
    return {**make_document(ROOTS).to_json(), "entries": list(rows)}


def unknown(**changes: Any) -> dict[str, Any]:
    return {"repo": "Qwen/Zeta", "commit": "1" * 40, "repo_type": "dataset", "recipe": 1, **changes}


UNKNOWN = {
    "a dataset without its fields": unknown(),
    "a space with a model's fields": {**KNOWN, "repo": "Qwen/Zeta", "repo_type": "space"},
    "another recipe": {**KNOWN, "recipe": 2, "piece_length": 7},
    "another recipe of a known snapshot": {**KNOWN, "recipe": 2},
    "a commit of another system": unknown(commit="r7-2026"),
    "fields of any kind": unknown(files=[{"x": None}], magnet=7),
}


@pytest.mark.parametrize("row", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_the_rest_of_the_index_is_read(row):
    signed = with_rows(KNOWN, row)
    accepted = accept(make_index(ROOTS, signed), TrustedState(ROOTS[0].root.digest), NOW)
    assert [entry.to_json() for entry in accepted.document.entries] == [KNOWN]
    (skipped,) = accepted.document.skipped
    assert str(skipped) == f"{row['repo']}@{row['commit']}"
    assert skipped.reason in {"repo_type 'dataset'", "repo_type 'space'", "recipe 2"}
    assert accepted.document.to_json() == signed, "what is not understood is kept as it stands"


REFUSED = {
    "a kind that is a number": (unknown(repo_type=7), "field 'repo_type'"),
    "no kind": ({name: value for name, value in unknown().items() if name != "repo_type"}, "field 'repo_type'"),
    "recipe 0": (unknown(recipe=0), "field 'recipe'"),
    "a recipe that is true": (unknown(recipe=True), "field 'recipe'"),
    "no repository": (unknown(repo=None), "field 'repo'"),
    "a blank repository": (unknown(repo=""), "unknown kind"),
    "an escape sequence": (unknown(repo_type="\x1b[2J"), "unknown kind"),
    "letters beyond ASCII": (unknown(commit="é"), "unknown kind"),
    "a long name": (unknown(repo="x" * 301), "'repo' is too long"),
}


@pytest.mark.parametrize(("row", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_what_a_skipped_entry_must_be_all_the_same(row, problem):
    with pytest.raises(FormatError, match=problem):
        parse_row(row)


@pytest.mark.parametrize(
    "rows",
    [(unknown(), KNOWN), (KNOWN, unknown(), unknown()), ({**KNOWN, "recipe": 2}, KNOWN)],
    ids=["before a smaller name", "twice", "recipe 2 before recipe 1"],
)
def test_the_order_covers_them(rows):
    with pytest.raises(FormatError, match=r"out of order|repeated"):
        parse_document(with_rows(*rows))


def parsed(*rows: dict[str, Any]) -> IndexDocument:
    return parse_document(with_rows(*rows))


def test_the_next_index_carries_them_on():
    accepted = accept(make_index(ROOTS, with_rows(KNOWN, unknown())), TrustedState(None), NOW)
    new = next_document(ROOTS, accepted, accepted, [make_entry(2)], withdraw={}, mirrors=(), now=NOW)
    assert unknown() in new.to_json()["entries"]
    assert parse_document(new.to_json()) == replace(new, issued=NOW)


DIFFERENCES = {
    "added": ((KNOWN,), (KNOWN, unknown()), "is added"),
    "dropped": ((KNOWN, unknown()), (KNOWN,), "disappears"),
    "changed": ((KNOWN, unknown()), (KNOWN, unknown(size=1)), "changes"),
}


@pytest.mark.parametrize(("old", "new", "word"), DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_a_reviewer_is_told_what_cannot_be_reviewed(old, new, word):
    found = diff(parsed(*old), parsed(*new))
    assert not found.empty
    assert [line for line in describe(found) if line.startswith("ALARM")] == [
        f"ALARM      Qwen/Zeta@{'1' * 40} {word}: this version cannot read its repo_type 'dataset'"
    ]
    assert diff(parsed(*old), parsed(*old)).empty
