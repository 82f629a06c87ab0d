"""The table in README.md is complete and true: every number is there, and every file it names tries it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROW = re.compile(r"\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|")
MATCHES = [match for match in map(ROW.fullmatch, (HERE / "README.md").read_text().splitlines()) if match]
ROWS = {int(match[1]): match[3].strip() for match in MATCHES}


def test_every_number_is_there():
    assert sorted(ROWS) == list(range(1, 173))
    assert len(MATCHES) == len(ROWS)


@pytest.mark.parametrize(("number", "where"), ROWS.items(), ids=[f"{number:02}" for number in ROWS])
def test_the_files_named_try_it(number, where):
    places = re.findall(r"([\w./]+\.py)(?:::(\w+))?", where)
    assert places
    for name, test in places:
        text = (HERE / name).read_text()
        if test:  # a test of another part that carries no number
            assert f"def {test}(" in text, f"{name} has no {test}"
        else:
            carries = re.search(rf'(?:id="|"|test_|_|\d\d-|f"\{{\')(?:\d\d[-_])*{number:02}(?:[-_\'])', text)
            assert carries, f"{name} has no test with the number {number:02}"
