"""Programs of our own are started by this Python, and by one way alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import p2pqwen
from p2pqwen.portable.process import python

SOURCES = Path(p2pqwen.__file__).parent
OTHERS = {
    "assembly/serving.py",  # a systemd unit, which runs in no folder of anybody's choice
    "cli/utf8.py",  # this very command line once more
    "portable/process.py",
}


@pytest.mark.parametrize("module", ["json", "p2pqwen"])
def test_what_lies_in_the_folder_is_not_imported(tmp_path, module):
    tmp_path.joinpath(f"{module}.py").write_text("raise SystemExit('not this one')\n")
    code = f"import {module}; print({module}.__file__)"
    done = subprocess.run(python("-c", code), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert not done.stdout.startswith(str(tmp_path))


def test_nothing_is_started_by_another_way():
    found = {
        path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*.py") if "sys.executable" in path.read_text()
    }
    assert found == OTHERS
