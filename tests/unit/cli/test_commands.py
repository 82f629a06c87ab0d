"""What `--help` shows on any terminal, and what becomes of the first thing that people type."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys

import pytest
import typer

import p2pqwen
from p2pqwen.cli.command_group import RUN, SAY
from p2pqwen.cli.main import PANELS, app
from tests.support.command import CommandLine

NAMES = [command.name for command in typer.main.get_command(app).commands.values()]


def every_call(group=None, before=()):
    for name, one in (group or typer.main.get_command(app)).commands.items():
        yield (*before, name)
        if isinstance(one, typer.core.TyperGroup):
            yield from every_call(one, (*before, name))


@pytest.fixture
def user(tmp_path):
    return CommandLine(tmp_path)


def test_help_shows_every_command_once_in_panels(user):
    shown = user.run("--help").stdout
    titles = [line.removesuffix(":") for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == ["Options", *PANELS]
    for name in NAMES:
        assert sum(line.startswith(f"  {name} ") for line in shown.splitlines()) == 1


@pytest.mark.parametrize(
    ("call", "columns"),
    [
        *((call, 40) for call in every_call()),
        *((call, columns) for call in ((), ("fetch",)) for columns in (57, 80, 120, 200)),
        ((), 40),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_help_fits_the_terminal(user, call, columns):
    ended = user.run(*call, "--help", COLUMNS=str(columns))
    assert ended.code == 0
    assert max(map(len, ended.stdout.splitlines())) <= columns
    assert "\x1b" not in ended.stdout  # no colours: readable on dark and light, with NO_COLOR and without a terminal


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (("Qwen/Qwen3-0.6B",), "`p2pqwen fetch Qwen/Qwen3-0.6B` fetches it"),
        (("magnet:?xt=urn:btih:00&dn=x",), "`p2pqwen fetch 'magnet:?xt=urn:btih:00&dn=x'` fetches it"),
        (("ab" * 20,), f"`p2pqwen fetch {'ab' * 20}` fetches it"),
        (("model.torrent",), "`p2pqwen fetch model.torrent` fetches it"),
        (("https://huggingface.co/Qwen/Qwen3-0.6B",), "`p2pqwen fetch Qwen/Qwen3-0.6B` fetches it"),
        (
            ("verify", "https://huggingface.co/Qwen/Qwen3-0.6B/tree/main"),
            "leave out the address: the name alone, Qwen/Qwen3-0.6B",
        ),
        (("preserve", "https://hf.co/datasets/Qwen/Rows"), "leave out the address: the name alone, datasets/Qwen/Rows"),
        (
            ("preserve", "Qwen3-0.6B"),
            "put its organisation in front: ORG/Qwen3-0.6B; `p2pqwen search Qwen3-0.6B` shows",
        ),
        (("adopt", "--budget", "2", "TB"), "write the number and TB without a blank between them; see `p2pqwen adopt"),
        (("rm", "Qwen/Tiny", "--yes"), SAY["rm"]),
        (("info", "Qwen/Tiny"), SAY["info"]),
        (("fecth",), "did you mean `p2pqwen fetch`? see `p2pqwen --help`"),
        (("donwload",), "did you mean `p2pqwen fetch`? see `p2pqwen --help`"),
        (("rotate",), "did you mean `p2pqwen keys rotate`?"),
        (("import",), "did you mean `p2pqwen library import`?"),
        (("preserve", "Qwen/Tiny", "Qwen/Small"), "one repository at a time; --watchlist FILE takes a list of several"),
        (("preserve", "dataset/Qwen/Rows"), "it is written datasets/Qwen/Rows"),
        (("fetch", "modelscope/Qwen/Tiny"), "it is written modelscope:Qwen/Tiny"),
        (("preserve", "--org", "https://huggingface.co/Qwen"), "leave out the address: the name alone, such as Qwen"),
        (("xyzzy",), "see `p2pqwen --help`"),
        (("\x1b[2J",), "see `p2pqwen --help`"),
        (("--json", "list"), "p2pqwen list --json"),
        (("--json",), "p2pqwen COMMAND --json"),
    ],
)
def test_what_to_type_instead_is_said(user, typed, hint):
    ended = user.run(*typed)
    assert (ended.code, ended.stdout if "--json" not in typed else "") == (2, "")
    assert f"hint: {hint}" in ended.stderr
    assert not user.home.exists()


@pytest.mark.parametrize(
    ("typed", "error", "hint"),
    [
        (("fetch", "--timeout"), "option '--timeout' requires an argument", "see `p2pqwen fetch --help`"),
        (("pull", "--timeout"), "option '--timeout' requires an argument", "see `p2pqwen fetch --help`"),
        (("library", "move", "x", "--to"), "option '--to' requires an argument", "see `p2pqwen library move --help`"),
        (("library", "--x"), "no such option: --x", "see `p2pqwen library --help`"),
        (("fetch", "A/B", "--tiemout", "5"), "no such option: --tiemout", "did you mean --timeout? see `p2pqwen fetch"),
        (("fetch", "A/B", "--timeout", "x"), "expected a valid number", "see `p2pqwen fetch --help`"),
        (("library", "moev"), "no such command 'moev'", "did you mean 'move'? see `p2pqwen library --help`"),
        (("fetch",), "missing argument 'TARGET… [FILE…]'", "see `p2pqwen fetch --help`"),
    ],
)
def test_a_usage_error_leads_to_the_help_of_its_command(user, typed, error, hint):
    ended = user.run(*typed)
    assert (ended.code, ended.stdout) == (2, "")
    said, led = ended.stderr.splitlines()
    assert said.endswith(error)
    assert led.startswith(f"hint: {hint}")


@pytest.mark.parametrize(
    "call",
    [("verify",), ("trust", "add"), ("index", "verify"), ("index", "show"), ("library", "import")],
)
def test_what_is_too_long_for_a_name_is_told(user, call):
    ended = user.run(*call, "a" * 5000, "--json")
    assert (ended.code, ended.json["exit_code"]) == (2, 2)
    assert len(ended.stderr) < 500


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("nosuch", 127, "command not found: nosuch"),
        ("/nosuch/program", 127, "command not found: /nosuch/program"),
        ("/etc", 126, "cannot start /etc, got Permission denied"),
    ],
)
def test_run_ends_as_a_shell_does_where_a_command_cannot_be_started(user, command, code, said):
    ended = user.run("run", "--", command)
    assert (ended.code, f"error: {said}\n" in ended.stderr) == (code, True)
    call = [sys.executable, "-m", "p2pqwen", "run", "--json", "--", command]
    real = subprocess.run(call, env=user.environment, capture_output=True, check=False)
    assert (real.returncode, json.loads(real.stdout)["exit_code"]) == (code, code)


@pytest.mark.parametrize(("typed", "command"), RUN.items())
def test_other_words_for_what_reads_or_fetches_run(user, typed, command):
    assert user.run(typed, "--help").stdout == user.run(command, "--help").stdout.replace(" " + command, " " + command)


def test_no_other_word_hides_a_command_or_runs_what_deletes_or_publishes():
    assert not (RUN.keys() | SAY.keys()) & set(NAMES)
    assert not RUN.keys() & SAY.keys()
    assert set(RUN.values()) <= {"fetch", "list", "search"}


@pytest.mark.parametrize("call", [("--version",), ("version",)])
def test_the_version_names_what_it_runs_on(user, call):
    assert user.run(*call).stdout == f"p2pqwen {p2pqwen.__version__}\n"
    assert user.ok(*call) == {
        "version": p2pqwen.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libtorrent": importlib.metadata.version("libtorrent"),
        "huggingface_hub": importlib.metadata.version("huggingface_hub"),
    }


@pytest.mark.parametrize("call", [["--help"], ["--version", "--json"], ["fetch", "--help"], ["xyzzy"]])
def test_nothing_large_is_imported_for_it(call):
    code = (
        "import sys; from p2pqwen.cli.main import main; main(sys.argv[1:]);"
        "print(sorted({'libtorrent', 'huggingface_hub', 'rich', 'aiohttp', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *call], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
