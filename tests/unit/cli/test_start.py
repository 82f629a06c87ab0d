"""What quick commands do not wait for: modules that are not imported, instead of a busy machine's seconds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer

from p2pqwen.cli.main import PANELS, app
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.preserved import Preserver

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
# Reads torrents, indexes or config.toml: not needed if nobody is trusted, nothing is set and the torrents are known.
READERS = {
    *("p2pqwen.config.tables", "p2pqwen.index.document", "p2pqwen.index.listing", "p2pqwen.library.torrent_reader"),
    *("p2pqwen.library.trust_store", "p2pqwen.manifest.manifest", "p2pqwen.torrent.metainfo"),
    *("cryptography", "http.client", "platformdirs", "tomllib"),
}
MOST_OF_OURS = {"--help": 30, "list": 82, "status": 135}
"""Modules of ours that a command may import; a dozen of them take about 5 ms."""


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


@pytest.fixture(scope="module")
def holder(tmp_path_factory):
    """A user who holds a snapshot that nobody vouches for, and trusts nobody."""
    user = CommandLine(tmp_path_factory.mktemp("holder"))
    source = write_folder(user.home.parent / "source", small_model())
    user.ok("preserve", "--from", source, "--repo", "Qwen/Tiny", "--commit", "a" * 40)
    assert user.ok("list")["snapshots"][0]["standing"] == "unvouched"
    return user


def ours(modules):
    return [name for name in modules if name.partition(".")[0] == "p2pqwen"]


@pytest.mark.parametrize("call", [("--help",), ("-h",)])
def test_help_imports_no_command_and_nothing_that_commands_need(tmp_path, call):
    modules = imported(CommandLine(tmp_path), *call)
    commands = {name for panel in PANELS.values() for name in panel}
    assert not {f"p2pqwen.cli.{name}" for name in commands} & modules
    layers = {name.split(".")[1] for name in modules if name.startswith("p2pqwen.")}
    assert layers <= {"cli", "errors", "events", "hidden", "values"}
    assert not (NEVER | {"cryptography", "sqlite3", "tomllib", "platformdirs"}) & modules
    assert len(ours(modules)) <= MOST_OF_OURS["--help"]


def test_list_of_an_empty_home_imports_no_network_and_no_signatures(tmp_path):
    modules = imported(CommandLine(tmp_path), "list")
    assert not (NEVER | READERS | {"sqlite3"}) & modules
    assert not [name for name in modules if name.startswith(NEVER_OF_OURS)]
    assert len(ours(modules)) <= MOST_OF_OURS["list"]


@pytest.mark.parametrize("call", [("list",), ("list", "--json")])
def test_list_of_what_was_looked_at_before_reads_no_torrent_and_no_index(holder, call):
    modules = imported(holder, *call)
    assert not (NEVER | READERS) & modules
    assert len(ours(modules)) <= MOST_OF_OURS["list"] + 12 * ("--json" in call)


def test_status_without_a_node_imports_no_server_and_no_fetch(holder):
    modules = imported(holder, "status")
    assert not ((NEVER | {"http.client"}) - {"asyncio"}) & modules
    assert not [name for name in modules if name.startswith(("p2pqwen.operations.fetch.run", "p2pqwen.server.control"))]
    assert len(ours(modules)) <= MOST_OF_OURS["status"]


def test_garbage_is_collected_while_a_command_runs():
    code = "import gc; from p2pqwen.__main__ import run; assert gc.isenabled(); gc.freeze = lambda: print('end'); run()"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "end"


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
    assert "stands alone" in ended.stderr
