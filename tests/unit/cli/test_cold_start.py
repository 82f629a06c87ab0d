"""A command loads what it needs, and its own module alone; what it is given means the same as it does to typer."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.command import CommandLine

HEAVY = frozenset(
    {"aiohttp", "asyncio", "cryptography", "dulwich", "email", "huggingface_hub", "libtorrent", "pydantic"}
)


@pytest.fixture
def user(tmp_path):
    return CommandLine(tmp_path)


@pytest.mark.parametrize(
    "call",
    [
        ["search", "x"],
        ["search", "x", "--json"],
        ["find", "x", "--magnet"],
        ["adopt", "--budget", "1GB", "--dry-run", "--look-seconds", "0"],
        ["trust", "list"],
    ],
)
def test_what_only_looks_things_up_loads_nothing_large(call, tmp_path, monkeypatch):
    monkeypatch.setenv("P2PQWEN_HOME", str(tmp_path))
    code = (
        "import sys; from p2pqwen.cli.main import main; main(sys.argv[1:]);"
        f"print(sorted(set({sorted(HEAVY)!r}) & set(sys.modules)),"
        " [one for one in sys.modules if one in ('p2pqwen.cli.fetch', 'p2pqwen.cli.seed')])"
    )
    done = subprocess.run([sys.executable, "-c", code, *call], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] []"


@pytest.mark.parametrize(
    ("option", "code", "said"),
    [
        (("--look-seconds", "0"), 4, "no trusted index"),
        (("--look-seconds", "1.5"), 4, "no trusted index"),
        (("--look-seconds", " 2 "), 4, "no trusted index"),  # as pydantic reads it
        (("--look-seconds", "1e0"), 4, "no trusted index"),
        (("--look-seconds", "-1"), 2, "look-seconds"),
        (("--look-seconds", "x"), 2, "look-seconds"),
        (("--look-seconds", "٣x"), 2, "look-seconds"),
        (("--timeout", "ten"), 2, "timeout"),
        (("--prefer", "Qwen/*", "--prefer", "é*"), 4, "no trusted index"),
        (("--prefer",), 2, "prefer"),
    ],
)
def test_options_mean_what_they_mean_to_typer(user, option, code, said):
    ended = user.run(
        "adopt", "--budget", "1GB", "--dry-run", "--no-dht", "--no-trackers", "--look-seconds", "0", *option
    )
    assert (ended.code, said in ended.stderr) == (code, True), ended.stderr


@pytest.mark.parametrize("word", ["\udcff", "é", "模型"])
def test_a_text_beyond_ascii_is_what_it_is_to_typer(user, word):
    ended = user.run("search", word)
    assert (ended.code, ended.stderr) == (0, "")
