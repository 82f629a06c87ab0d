"""Help and wrong calls, as somebody meets them who types for the first time."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import typer

from p2pqwen.cli.main import app, main

WIDTH = 80  # typer writes help no wider, whatever the terminal


def groups(command, name="p2pqwen") -> Iterator[tuple[str, dict]]:
    if commands := getattr(command, "commands", {}):
        yield name, commands
        for one, below in commands.items():
            yield from groups(below, f"{name} {one}")


GROUPS = dict(groups(typer.main.get_command(app)))


@pytest.mark.parametrize("name", GROUPS)
def test_no_command_is_described_by_half_a_sentence(name):
    limit = WIDTH - 6 - max(map(len, GROUPS[name]))
    said = {one: command.get_short_help_str(limit) for one, command in GROUPS[name].items()}
    assert all(words.endswith(".") and not words.endswith("...") for words in said.values()), said


@pytest.mark.parametrize("name", GROUPS)
def test_an_option_that_may_be_given_more_than_once_shows_it(name):
    for command in GROUPS[name].values():
        for option in command.params:
            if option.param_type_name == "option":
                assert option.multiple == (option.metavar or "").endswith("…"), (command.name, option.opts)


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_alone_shows_its_help(name, capsys):
    assert main(name.split()[1:]) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert stderr.startswith(f"Usage: {name} [OPTIONS] COMMAND")
    assert all(f"\n  {command} " in stderr for command in GROUPS[name])


@pytest.mark.parametrize(
    ("call", "what", "hint"),
    [
        ("preserv Qwen/Tiny", "no such command 'preserv'", "did you mean 'preserve', 'resume'? see `p2pqwen --help`"),
        ("trust bogus", "no such command 'bogus'", "see `p2pqwen trust --help`"),
        ("fetch", "missing argument 'TARGET'", "see `p2pqwen fetch --help`"),
        ("keys init", "missing option '--name'", "see `p2pqwen keys init --help`"),
        ("list --jsn", "no such option: --jsn", "see `p2pqwen list --help`"),
        (
            "fetch a/b --web-seeds some",
            "invalid value for '--web-seeds': 'some' is not one of 'auto', 'always', 'never'",
            "see `p2pqwen fetch --help`",
        ),
    ],
)
def test_a_wrong_call_is_told_like_every_error(call, what, hint, capsys):
    assert main(call.split()) == 2
    stdout, stderr = capsys.readouterr()
    told = stderr.splitlines()
    assert (stdout, told[0].startswith(f"error: {what}"), told[1]) == ("", True, f"hint: {hint}")


def test_a_wrong_call_with_json_is_an_object(capsys):
    assert main(["keys", "init", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["exit_code"], told["error"]["what"]) == (2, "missing option '--name'")
