"""The wheel and the sdist, built and used away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import p2pqwen
from p2pqwen.cli.help import manual
from tests.support.processes import ROOT

pytestmark = pytest.mark.slow
hatchling = pytest.importorskip("hatchling", reason="hatchling builds the packages; it is in the dev group")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with both, built from a copy of what git has: a build leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, tracked)):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
            (source / name).chmod((ROOT / name).stat().st_mode)
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t", "sdist", "-t", "wheel"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(built, wheel):
    """A clean environment with the wheel in it. Its dependencies are those of this one, so no registry is asked."""
    folder = built / "venv"
    venv.create(folder)
    python = folder / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "--disable-pip-version-check",
    ]  # to install one takes longer
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "p2pqwen"


def run(program: Path, *arguments: str, folder: Path, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HF_", "P2PQWEN_"))}
    environment |= {"P2PQWEN_HOME": str(folder / "home"), "HF_HOME": str(folder / "hf")}
    return subprocess.run(
        [program, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )


def test_the_command_of_the_wheel_runs(installed, tmp_path):
    assert "Look after" in run(installed, "--help", folder=tmp_path).stdout
    version = json.loads(run(installed, "--version", "--json", folder=tmp_path).stdout)
    assert version["version"] == p2pqwen.__version__
    code = "import p2pqwen; print(p2pqwen.__file__); from p2pqwen import snapshot_download"
    home = run(installed.parent / "python", "-c", code, folder=tmp_path).stdout.strip()
    assert home.startswith(str(installed.parents[1]))  # not the checkout


def test_the_manual_is_in_the_wheel(installed, tmp_path):
    pages = manual()
    assert len(pages) > 10
    listed = json.loads(run(installed, "help", "--json", folder=tmp_path).stdout)["topics"]
    assert [one["topic"] for one in listed] == list(pages)
    for topic, page in pages.items():
        shown = run(installed, "help", topic, "--json", folder=tmp_path)
        assert json.loads(shown.stdout)["text"] == page.text


def test_the_watchlist_is_in_the_wheel(installed, wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("p2pqwen/watchlist.toml") == (ROOT / "torrents" / "watchlist.toml").read_bytes()
        assert "p2pqwen/py.typed" in archive.namelist()
    code = (
        "from pathlib import Path; from p2pqwen.operations.archive.bulk_survey import named_watchlist, read_watchlist;"
        "path = named_watchlist(Path('default')); print(path); print(len(read_watchlist(path)))"
    )
    path, rows = run(installed.parent / "python", "-c", code, folder=tmp_path).stdout.split()
    assert path.startswith(str(installed.parents[1]))
    assert int(rows) > 10


def test_the_demo_runs_from_the_wheel(installed, tmp_path):
    done = run(installed, "demo", folder=tmp_path, seconds=280)
    assert done.returncode == 0, done.stderr
    assert "proven" in done.stdout


def test_the_metadata_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    assert f"\nVersion: {p2pqwen.__version__}\n" in metadata
    for line in (
        "License-Expression: Apache-2.0",
        "Requires-Python: <3.14,>=3.11",
        "Project-URL: Security policy, https",
    ):
        assert f"\n{line}" in metadata
    for minor in (11, 12, 13):
        assert f"\nClassifier: Programming Language :: Python :: 3.{minor}\n" in metadata


def test_the_sdist_holds_what_its_own_tests_need(built, tmp_path):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    wanted = [
        "tests",
        "scripts",
        "torrents",
        "findings",
        "p2pqwen",
        ".github",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    ]
    tracked = subprocess.run(["git", "ls-files", *wanted], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    missing = [name for name in tracked.splitlines() if (ROOT / name).is_file() and not (folder / name).is_file()]
    assert missing == []
    assert os.access(folder / "scripts" / "test", os.X_OK)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    chosen = ["tests/unit/index/test_vectors.py", "tests/unit/scripts", "tests/independent"]
    # These compute for seconds and read no file that the others do not; what they find is the same here.
    left_out = "not changed_ and not small_order"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", left_out, *chosen]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=250
    )
    assert done.returncode == 0, done.stdout
