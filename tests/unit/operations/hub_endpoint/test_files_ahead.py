"""Which small files are asked for before somebody reads them."""

from __future__ import annotations

import pytest

from p2pqwen.operations.hub_endpoint.files_ahead import LARGEST, MOST, FilesAhead
from p2pqwen.torrent.layout import Layout
from p2pqwen.values.repo_path import RepoPath

COUNT = 3 * MOST
SIZES = {f"{number:03}.json": 100 for number in range(COUNT)}


def files_ahead(sizes, *, here=()):
    layout = Layout.of((RepoPath(name), size) for name, size in sizes.items())
    return FilesAhead(layout, [file.path for file in layout.files if file.path.text not in here])


def told(ahead, places):
    return [index for place in places for index in ahead.after(place)]


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        ([0, 1, 2], []),  # as much as a client reads that wants configuration and tokenizer alone
        ([0, 1, 2, 3], range(4, 4 + MOST)),
        ([3, 1, 0, 2], range(4, 4 + MOST)),  # by several threads at once
        ([10, 12, 9, 14], range(15, 15 + MOST)),
        ([0, 100, 50, 150, 10, 190], []),  # here and there
        ([0, 1, 2, 100, 101, 102, 103], range(104, 104 + MOST)),
        ([COUNT - 4, COUNT - 3, COUNT - 2, COUNT - 1], []),
    ],
)
def test_a_run_of_files_has_the_next_ones_asked_for(read, expected):
    assert told(files_ahead(SIZES), read) == list(expected)


def test_who_reads_them_all_has_each_asked_for_once_and_many_at_a_time():
    ahead, questions, found = files_ahead(SIZES), 0, []
    for place in range(COUNT):
        asked = ahead.after(place)
        assert all(place < one <= place + MOST for one in asked)
        questions += bool(asked)
        found += asked
    assert found == list(range(4, COUNT))
    assert questions <= COUNT // (MOST // 2)


def test_large_and_empty_files_and_those_that_are_here_are_left_out():
    sizes = SIZES | {"004.json": 0, "005.json": LARGEST, "006.json": LARGEST + 1, "007.json": 1}
    found = told(files_ahead(sizes, here={"008.json"}), range(4))
    assert found[:4] == [5, 7, 9, 10]
    assert told(files_ahead(sizes), [6, 4] * 9) == []
