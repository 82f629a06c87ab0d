"""Completion: scripts for three shells, and answers that hold nothing a shell would act on."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from p2pqwen.cli import completion, names
from p2pqwen.cli.main import app, main
from p2pqwen.operations.indexes.known_names import listed_names
from tests.support.command import CommandLine
from tests.support.processes import ROOT
from tests.support.shell_terminal import on_terminal

PUBLISHER = "ab" * 32
COMMIT = "c0ffee" * 6 + "c0de"
PROGRAMS = Path(sys.executable).parent
MODEL = {"repo_type": "model", "repo": "Qwen/Tiny", "commit": COMMIT}
HOSTILE = [
    {**MODEL, "repo": "Qwen/$(touch pwned)"},
    {**MODEL, "repo": "Qwen/`id`"},
    {**MODEL, "repo": "Qwen/Tiny;ls"},
    {**MODEL, "repo": "Qwen/Tiny\nQwen/Second"},
    {**MODEL, "repo": "Qwen/Ti\x1b[2Jny"},
    {**MODEL, "repo": "Qwen/*"},
    {**MODEL, "repo": "~/Tiny"},
    {**MODEL, "commit": "$(touch pwned)"},
    {**MODEL, "commit": None},
    {"repo": "Qwen/Untyped", "commit": COMMIT},
    7,
    None,
    [],
]


def trusting(folder: Path, entries: object) -> CommandLine:
    """A user whose stored index of one publisher lists these entries."""
    user = CommandLine(folder)
    stored = user.home / "trust" / PUBLISHER / "index.json"
    stored.parent.mkdir(parents=True)
    stored.write_text(json.dumps({"signed": {"entries": entries}}))
    return user


@pytest.fixture
def user(tmp_path):
    entries = [MODEL, {**MODEL, "repo": "Qwen/Tiny-Chat"}, {**MODEL, "repo": "Other/Big"}]
    return trusting(tmp_path, [*HOSTILE, *entries])


def ask(user: CommandLine, line: str, capfd, monkeypatch) -> list[str]:
    """What the program answers to a shell, without the explanations; it never says anything else."""
    for name, value in user.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("_P2PQWEN_COMPLETE", line)
    assert main() == 0
    stdout, stderr = capfd.readouterr()
    assert stderr == ""
    return [row.partition("\t")[0] for row in stdout.splitlines()]


def test_a_start_file_is_sound_whatever_the_home_is_called(tmp_path, monkeypatch):
    home = tmp_path / "it's mine"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    path, rc = completion._install(completion.Shell.BASH, "loaded=yes\n")
    command = ["bash", "-c", f". {shlex.quote(str(rc))}; echo $loaded"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("yes\n", "")
    assert path.is_relative_to(home)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("p2pqwen fet", ["fetch"]),
        ("p2pqwen keys rot", ["rotate"]),
        ("p2pqwen completion ", ["bash", "zsh", "fish"]),
        ("p2pqwen fetch --only", ["--only-web-seeds"]),
        ("p2pqwen fetch --web-seeds al", ["always"]),
        ("p2pqwen fetch --web-seeds=al", ["--web-seeds=always"]),
        ("p2pqwen fetch Qw", ["Qwen/Tiny", "Qwen/Tiny-Chat"]),
        ("p2pqwen fetch 'Qwen/Tiny-", ["Qwen/Tiny-Chat"]),
        ("p2pqwen fetch --no-dht Oth", ["Other/Big"]),
        ("p2pqwen get Oth", ["Other/Big"]),
        ("p2pqwen health Qwen/Tiny Oth", ["Other/Big"]),
        ("p2pqwen fetch Qwen/Tiny@", [f"Qwen/Tiny@{COMMIT}"]),
        ("p2pqwen fetch Qwen/Tiny@c0", [f"Qwen/Tiny@{COMMIT}"]),
        ("p2pqwen trust show ab", [PUBLISHER]),
        ("p2pqwen help k", ["keys"]),
        ("p2pqwen help ", ["quickstart", "fetch", "hub", "verify", "node"]),  # and so on
        ("p2pqwen remove Qw", []),  # nothing is held
        ("p2pqwen fetch ./file", []),
        ("p2pqwen fetch \x07\x1b'", []),
        ("", []),
    ],
)
def test_what_is_offered(user, line, answer, capfd, monkeypatch):
    assert ask(user, line, capfd, monkeypatch)[:5] == answer or not line


def test_every_answer_is_safe_on_a_command_line(user, capfd, monkeypatch):
    for line in ("p2pqwen fetch ", "p2pqwen fetch Qwen/", "p2pqwen fetch Qwen/Tiny@", "p2pqwen fetch ~"):
        for one in ask(user, line, capfd, monkeypatch):
            assert re.fullmatch(r"[A-Za-z0-9@%+=:,./_-]+", one)


def test_an_unsafe_candidate_is_left_out_wherever_it_comes_from(user, capfd, monkeypatch):
    monkeypatch.setattr(
        "p2pqwen.cli.candidates.candidates", lambda *_: [("$(id)", ""), ("a b", ""), ("ok", "a\tb\x1b")]
    )
    assert ask(user, "p2pqwen x", capfd, monkeypatch) == ["ok"]


@pytest.mark.parametrize("entries", [HOSTILE, {}, None, "x", 3])
def test_hostile_indexes_offer_nothing(tmp_path, entries, capfd, monkeypatch):
    assert ask(trusting(tmp_path, entries), "p2pqwen fetch Q", capfd, monkeypatch) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_damage_offers_nothing(user, content, capfd, monkeypatch):
    (user.home / "trust" / PUBLISHER / "index.json").write_bytes(content)
    (user.home / "library").write_text("no folder")
    assert ask(user, "p2pqwen fetch Q", capfd, monkeypatch) == []
    (user.home / "config.toml").write_text("nonsense =")
    assert ask(user, "p2pqwen fetch Q", capfd, monkeypatch) == []


def test_a_suggestion_changes_nothing_on_the_disk(tmp_path, capfd, monkeypatch):
    user = CommandLine(tmp_path)
    assert ask(user, "p2pqwen fetch Q", capfd, monkeypatch) == []
    assert not user.home.exists()


def test_every_argument_that_takes_a_name_completes_it():
    def commands(group: typer.core.TyperGroup):
        for one in group.commands.values():
            yield from commands(one) if isinstance(one, typer.core.TyperGroup) else [one]

    named = re.compile(r"REPO\[@|TARGET$|PUBLISHER_ID$")
    found = [
        (f"{command.name} {param.metavar}", param._custom_shell_complete is not None)
        for command in commands(typer.main.get_command(app))
        for param in command.params
        if param.param_type_name == "argument" and named.match(param.metavar or "")
    ]
    assert len(found) > 12
    assert [name for name, completes in found if not completes] == []


def test_neither_libtorrent_nor_huggingface_hub_is_imported_for_it(user):
    code = (
        "import sys; from p2pqwen.cli.main import main; main();"
        "print(sorted({'libtorrent', 'huggingface_hub', 'rich', 'aiohttp', 'dulwich'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **user.environment, "_P2PQWEN_COMPLETE": "p2pqwen fetch Other"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["Other/Big", "[]"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed_whatever_the_environment(tmp_path, shell):
    user = CommandLine(tmp_path)
    printed = user.run("completion", shell, SHELL="")
    assert printed.code == 0
    assert "_P2PQWEN_COMPLETE" in printed.stdout
    assert user.run("--show-completion", shell).stdout == printed.stdout
    assert user.run("completion", SHELL=f"/bin/{shell}").stdout == printed.stdout
    assert user.ok("completion", shell) == {"shell": shell, "script": printed.stdout}


@pytest.mark.parametrize("shell", ["", "/bin/tcsh", "/usr/bin/\x1b[2J"])
def test_a_shell_that_is_not_known_is_said(tmp_path, shell):
    ended = CommandLine(tmp_path).run("completion", SHELL=shell)
    assert ended.code == 2
    assert "hint: name it: `p2pqwen completion bash`" in ended.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_installing_twice_changes_a_start_file_once(tmp_path, shell):
    user = CommandLine(tmp_path)
    rc = tmp_path / f".{shell}rc"
    rc.write_text("alias a=b")  # no line feed at its end
    for _ in range(2):
        done = user.ok("completion", "--install", shell, HOME=str(tmp_path))
    assert Path(done["path"]).read_text() == user.ok("completion", shell)["script"]
    assert done["loaded_from"] == (None if shell == "fish" else str(rc))
    assert rc.read_text() == "alias a=b" + ("" if shell == "fish" else f"\nsource '{done['path']}'\n")


START = {
    "bash": (["--norc", "--noprofile", "-i"], "source <(p2pqwen completion bash)"),
    "zsh": (["-f", "-i"], "autoload -Uz compinit; compinit -u -D; source <(p2pqwen completion zsh)"),
    "fish": (["--no-config", "-i"], "p2pqwen completion fish | source"),
}


@pytest.mark.parametrize("shell", START)
@pytest.mark.slow
def test_tab_completes_the_name_of_a_model(user, shell, tmp_path):
    if (found := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed")
    options, load = START[shell]
    environment = {
        **user.environment,
        "HOME": str(tmp_path),
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    with on_terminal([found, *options], environment, columns=120) as terminal:
        terminal.press(f"{load}; echo loaded''.\r")
        terminal.read_until("loaded.", 90)
        for typed, becomes in (
            ("p2pqwen fetch Oth", "er/Big"),
            ("p2pqwen fetch Qwen/Tiny@c0", COMMIT[2:]),
            ("p2pqwen fetch --only", "-web-seeds"),
            ("p2pqwen rebal", "ance"),
            ("p2pqwen fetch --web-seeds=al", "ways"),
        ):
            terminal.press(typed + "\t")
            terminal.read_until(becomes, 90)
            terminal.press("\x15")  # Ctrl-U empties the line
    assert not [*tmp_path.rglob("pwned"), *ROOT.glob("pwned")]


def test_names_are_found_among_thousands(tmp_path, monkeypatch):
    entries = [{**MODEL, "repo": f"Org{number % 7}/M{number}"} for number in range(20_000)]
    user = trusting(tmp_path, entries)
    for name, value in user.environment.items():
        monkeypatch.setenv(name, value)
    assert len(listed_names(names._app().trust)) == 20_000
    assert names.listed("Org3/M10") == sorted(f"Org3/M{n}" for n in range(20_000) if n % 7 == 3 and f"{n}"[:2] == "10")
    assert completion._MOST < 20_000
