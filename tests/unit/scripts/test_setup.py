"""The scripts install system packages only where the user, or CI, says so."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT

SOURCE = f". {ROOT}/scripts/lib/setup.sh; "


def shell(words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "install"}}
    command = ["bash", "-euc", SOURCE + words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=kept | environment, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize(
    ("environment", "may"),
    [({}, False), ({"CI": "true"}, True), ({"CI": ""}, False), ({"install": "1"}, True)],
)
def test_without_a_terminal_nothing_is_installed_unless_it_was_said(environment, may):
    assert shell("may_install git && echo yes || echo no", **environment).stdout == ("yes\n" if may else "no\n")


@pytest.mark.parametrize(("answer", "may"), [("y", True), ("Yes", True), ("n", False), ("", False)])
def test_at_a_terminal_it_asks_and_names_the_packages(answer, may):
    main, other = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in {"CI", "install"}}
    try:
        with subprocess.Popen(
            ["bash", "-euc", SOURCE + "may_install aria2 nginx && echo yes || echo no"],
            stdin=other, stderr=other, stdout=subprocess.PIPE, text=True, env=kept,
        ) as process:  # fmt: skip
            asked = os.read(main, 1000).decode()
            os.write(main, f"{answer}\n".encode())
            said, _ = process.communicate(timeout=30)
    finally:
        os.close(main)
        os.close(other)
    assert "apt install aria2 nginx ?" in asked
    assert said == ("yes\n" if may else "no\n")


def test_what_is_missing_is_named_by_its_package(tmp_path):
    for name in ("git", "ip", "gcc", "nft"):
        (tmp_path / name).symlink_to("/bin/true")
    bash = Path("/bin/bash")
    done = subprocess.run(
        [bash, "-euc", f"{SOURCE}PATH={tmp_path}; missing_packages"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert {"git", "build-essential"}.isdisjoint(done.stdout.split())
    assert "aria2" in done.stdout.split() or Path("/usr/sbin/aria2c").exists()


@pytest.mark.parametrize(
    ("known", "package"), [(0, "chromium-headless-shell"), (100, "chromium")], ids=["Debian", "another system"]
)
def test_the_browser_is_the_one_without_windows_where_the_system_has_it(tmp_path, known, package):
    (tmp_path / "apt-cache").write_text(f"#!/bin/sh\nexit {known}\n")
    (tmp_path / "apt-cache").chmod(0o755)
    command = ["/bin/bash", "-euc", f"{SOURCE}PATH={tmp_path}; missing_packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [one for one in done.stdout.split() if "chromium" in one] == [package]


def python_that_says(folder: Path, name: str, *, fits: bool) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\nexit {0 if fits else 1}\n")
    path.chmod(0o755)
    return path


def test_without_a_python_that_fits_it_says_which_do(tmp_path):
    """Libtorrent has wheels for some versions alone: `pip` would say so in a page of its own words."""
    python_that_says(tmp_path, "python3", fits=False)
    done = shell(f"PATH={tmp_path}; find_python", PYTHON="")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no Python 3.11, 3.12 or 3.13 found (libtorrent has no wheels for others)" in done.stderr
    fits = python_that_says(tmp_path, "python3.12", fits=True)
    assert shell(f"PATH={tmp_path}; find_python", PYTHON="").stdout == f"{fits.name}\n"


def test_a_second_python_is_used_only_where_there_is_one(tmp_path):
    home = {"HOME": str(tmp_path), "PYENV_ROOT": str(tmp_path / "pyenv")}
    python_that_says(tmp_path, "python3.13", fits=False)  # a version manager's, for a version that is not chosen
    look = f"PATH={tmp_path}; other_python 3.13 || echo none"
    assert shell(look, **home).stdout == "none\n"
    (tmp_path / "pyenv" / "versions" / "3.13.0" / "bin").mkdir(parents=True)
    fits = python_that_says(tmp_path / "pyenv" / "versions" / "3.13.0" / "bin", "python", fits=True)
    assert shell(look, **home).stdout == f"{fits}\n"
    python_that_says(tmp_path, "python3.13", fits=True)
    assert shell(look, **home).stdout == "python3.13\n"


def test_the_script_explains_its_options():
    done = subprocess.run([ROOT / "scripts" / "test", "--help"], capture_output=True, text=True, check=True)
    assert "--fast" in done.stdout
    assert "--install" in done.stdout
    assert "set -euo" not in done.stdout
