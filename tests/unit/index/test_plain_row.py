"""What the one expression reads is what the strict parser and the checks of a row say; all else it leaves to them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.index.entry import check_row, entry_magnet, is_entry_row
from p2pqwen.index.plain_row import MAX_PLAIN, plain_rows
from p2pqwen.values.strict_json import canonical, parse_object
from tests.support.publishing import make_entry

MIRRORS = ("https://one.example/keep/", "https://two.example/keep/")


def made(number=1, **changes):
    entry = make_entry(number, f"Org.{number % 5}/Model_{number}-x")
    magnet = entry_magnet(
        entry.id, entry.infohash, entry.size, web_seeds=entry.web_seeds, trackers=(), mirrors=MIRRORS[: number % 3]
    )
    return {**replace(entry, magnet=magnet).to_json(), **changes}


def one_row(text, at):
    """Return the first row as it is read, its RFC 8785 form, and where it ends; None where none is."""
    found = plain_rows(text, at)
    if found is None:
        return None
    rows, end = found
    ((line, row),) = rows.rows()
    return row, line, end


PRINTED = [
    lambda row: json.dumps(row, indent=1),
    lambda row: json.dumps(row, indent=4),
    json.dumps,
    lambda row: json.dumps(row, separators=(",", ":")),
    lambda row: canonical(row).decode(),
    lambda row: json.dumps(dict(sorted(row.items())), indent="\t"),
]


@pytest.mark.parametrize("printed", PRINTED)
@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize(
    "changes", [{}, {"license": None}, {"license": ""}, {"upstream": "gone"}, {"provenance": "unproven"}]
)
def test_a_row_of_ours_is_read_in_every_print(printed, number, changes):
    row = made(number, **changes)
    text = f"[ {printed(row)} , 1]"
    found = one_row(text, 2)
    assert found is not None
    read, line, end = found
    assert (read, line, text[end:]) == (row, canonical(row), " , 1]")


CHANGED = {
    "another version's field": {"later": 1},
    "no license": {"license": ...},
    "a kind": {"repo_type": "dataset"},
    "a recipe": {"recipe": 2},
    "an escape": {"license": 'a"b'},
    "a letter": {"license": "é"},
    "path seeds": {"path_seeds": []},
    "a float": {"size": 1.0},
    "a size below 0": {"size": -1},
    "true for a number": {"files": True},
    "no file": {"files": 0},
    "too many files": {"files": 10**9},
    "another piece length": {"piece_length": 1 << 20},
    "another torrent": {"torrent": "Qwen/Other/x.torrent"},
    "zeros": {"infohash_v1": "0" * 40},
    "a time that is none": {"added": "2026-13-01T00:00:00Z"},
    "a seed twice": {"web_seeds": ["https://a.example/", "https://a.example/"]},
    "a seed that is no address": {"web_seeds": ["ftp://a.example/"]},
    "a seed at a name in Punycode": {"web_seeds": ["https://XN--a/"]},
    "a seed to a folder above": {"web_seeds": ["https://a.example/../b"]},
    "a name that is none": {"repo": "a..b/c"},
    "a license that is too long": {"license": "x" * 5000},
    "a row that is too long": {"license": "x" * MAX_PLAIN},
    "a magnet to peers": {"magnet": "magnet:?xt=urn:btih:0"},
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED.keys())
@pytest.mark.parametrize("printed", PRINTED)
def test_what_is_not_so_is_left_to_the_strict_parser(change, printed):
    row = {name: value for name, value in {**made(), **change}.items() if value is not ...}
    if isinstance(row["size"], float) and printed is PRINTED[4]:
        row["size"] = 2**53  # which RFC 8785 has no form for either
        text = json.dumps(row)
    else:
        text = printed(row)
    assert one_row(text, 0) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"size": ', '"size": 0'),
        ('"size": ', '"size": -'),
        ('"repo"', '"repo": "Qwen/Tiny", "repo"'),
        ('"upstream"', '"upstream": "gone", "upstream"'),
        ('"license": "', '"license": "\\u0061'),
        ('"license": "', '"license": "\x00'),
        ('"license": "', '"license": "\x7f'),
        ("&xl=", "&xl=0"),
        ("&dn=", "&dn=x"),
        ("&xs=", "&x.pe=10.0.0.1:1&xs="),
        ("&xs=", "&tr=nowhere&xs="),
        ("}", ",}"),
        ("}", ""),
        ("{", "[{"),
    ],
)
def test_neither_a_repeated_key_nor_another_spelling_nor_a_magnet_that_says_more_is_matched(old, new):
    text = json.dumps(made())
    assert old in text
    assert one_row(text.replace(old, new, 1), 0) is None


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_what_is_matched_is_what_all_checks_find_right(data):
    """A few characters anywhere are others: if it is matched still, the strict reader reads and accepts the same."""
    text = json.dumps(made(data.draw(st.integers(0, 5))), indent=data.draw(st.sampled_from([None, 1])))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        some = data.draw(
            st.sampled_from([*'0123456789abcdefgZ"\\{}[],:%&=/. \n\t-_', "\x00", "é", "", "00", "..", "--"])
        )
        text = text[:at] + some + text[at + data.draw(st.integers(0, 2)) :]
    found = one_row(text, 0)
    if found is None:
        return
    read, line, end = found
    row = parse_object(text[:end].encode(), max_bytes=MAX_PLAIN)
    assert (read, line) == (row, canonical(row))
    assert check_row(row)
    assert is_entry_row(row)


def test_a_row_that_nearly_matches_costs_no_more_than_its_length():
    long = json.dumps(made(web_seeds=["https://a.example/" + "a/" * 50_000], license=" " * 100_000))
    assert one_row(long.replace('"upstream"', '"upstreams"'), 0) is None
    assert one_row('{"repo": "' + "a" * 200_000, 0) is None
    with pytest.raises(FormatError):
        check_row(made(license="x" * 5000))
