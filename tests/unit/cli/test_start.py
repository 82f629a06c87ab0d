"""What `--help` and `list` do not wait for: modules that are not imported, instead of a busy machine's seconds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer

from p2pqwen.cli.main import PANELS, app
from tests.support.command import CommandLine
from tests.support.preserved import Preserver, small_model

IMPORTED = """
import json, sys
from p2pqwen.cli.main import main
code = main(sys.argv[1:])
print("\\n" + json.dumps([code, sorted(sys.modules)]))
"""
NEVER = {
    *("aiohttp", "asyncio", "dulwich", "http.client", "huggingface_hub", "jinja2", "libtorrent", "pydantic", "pygit2"),
    *("rich", "ssl", "urllib.request"),
}
NEVER_OF_OURS = ("p2pqwen.hub.client", "p2pqwen.server", "p2pqwen.swarm", "p2pqwen.webseed")


def imported(user, *call):
    """The modules that a command has imported when it ends well."""
    import json

    environment = {**os.environ, **user.environment}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *call], capture_output=True, text=True, env=environment, check=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    return set(modules)


@pytest.fixture(scope="module")
def member(tmp_path_factory):
    """A user who trusts a publisher, and holds what it lists."""
    maker = Preserver(tmp_path_factory.mktemp("start"))
    maker.preserve(small_model())
    user = maker.trusted_by("member")
    source = maker.folder / "sources" / ("a" * 40)
    user.ok("preserve", "--from", source, "--repo", "Qwen/Tiny", "--commit", "a" * 40)
    assert user.ok("list")["snapshots"][0]["standing"] == "signed"
    return user


@pytest.mark.parametrize("call", [("--help",), ("-h",)])
def test_help_imports_no_command_and_nothing_that_commands_need(tmp_path, call):
    modules = imported(CommandLine(tmp_path), *call)
    commands = {name for panel in PANELS.values() for name in panel}
    assert not {f"p2pqwen.cli.{name}" for name in commands} & modules
    layers = {name.split(".")[1] for name in modules if name.startswith("p2pqwen.")}
    assert layers <= {"cli", "errors", "events", "hidden", "values"}
    assert not (NEVER | {"cryptography", "sqlite3", "tomllib", "platformdirs"}) & modules


def test_list_of_an_empty_home_imports_no_network_and_no_signatures(tmp_path):
    modules = imported(CommandLine(tmp_path), "list")
    assert not (NEVER | {"cryptography"}) & modules
    assert not [name for name in modules if name.startswith(NEVER_OF_OURS)]


@pytest.mark.parametrize("call", [("list",), ("list", "--json"), ("list", "--files")])
def test_list_of_what_is_held_imports_no_network(member, call):
    modules = imported(member, *call)
    assert not NEVER & modules
    assert not [name for name in modules if name.startswith(NEVER_OF_OURS)]


def test_a_text_that_is_given_is_taken_without_pydantic(member):
    assert "pydantic" not in imported(member, "search", "tiny")


def test_each_command_has_a_module_that_makes_it_and_help_says_of_a_group_what_it_says_itself():
    root = typer.main.get_command(app)
    for panel in PANELS.values():
        for name, words in panel.items():
            command = root.commands[name]
            assert (command.name, command.get_short_help_str(100)) == (name, words)
            if isinstance(command, typer.core.TyperGroup):
                assert words.rstrip(".") in command.help


@pytest.mark.parametrize("call", [("--json", "--show-completion"), ("--version", "--install-completion")])
def test_an_option_of_completion_stands_alone(tmp_path, call):
    ended = CommandLine(tmp_path).run(*call)
    assert ended.code == 2
    assert "goes without a command" in ended.stderr
