"""The table in README.md is complete and true: every number is there, and every file it names tries it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROW = re.compile(r"\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|")
ROWS = {
    int(match[1]): match[3].strip()
    for match in map(ROW.fullmatch, (HERE / "README.md").read_text().splitlines())
    if match
}
# Tests of other parts carry their own names.
OTHERS = re.compile(r"\.\./unit/(?:values|torrent|webseed|manifest)/|\.\./loopback/test_fetch")


def test_every_number_is_there():
    assert sorted(ROWS) == list(range(1, 58))


@pytest.mark.parametrize(("number", "where"), ROWS.items(), ids=[f"{number:02}" for number in ROWS])
def test_the_files_named_try_it(number, where):
    files = re.findall(r"[\w./]+\.py", where)
    assert files
    for name in files:
        text = (HERE / name).read_text()
        carries = re.search(rf'(?:id="|"|test_|_|\d\d-|f"\{{\')(?:\d\d[-_])*{number:02}(?:[-_\'])', text)
        assert carries or OTHERS.match(name), f"{name} has no test with the number {number:02}"
