"""Every answer keeps its keys and the kinds of their values, and every command and call has a typed one."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

import p2pqwen
from p2pqwen.operations.control.routes import node_calls
from tests.support.answer_shapes import misfits, paths_of, shape_of
from tests.support.registered import registered
from tests.unit.answers.table import CALLS, COMMANDS, FAILURES

SOURCES = Path(p2pqwen.__file__).parent
# Drawn from what version 0.1 printed. A field may be added here; none is taken out or becomes another kind.
SHAPES = json.loads(Path(__file__).with_name("shapes.json").read_text(encoding="utf-8"))
ALL = {
    f"{name} (of many)" if index else name: kind
    for name, kinds in {**COMMANDS, **{call: (kind,) for call, kind in (CALLS | FAILURES).items()}}.items()
    for index, kind in enumerate(kinds)
}


PACK = "libtorrent's settings by name"
PARSED = "what a parser gives, checked field by field where it is read"
STORED = "a small file of ours, read at the edge; what makes no sense in it is left out"
# Where `dict[str, Any]` may stand, and why. Commands and operations have typed answers.
UNTYPED = {
    "cli/candidates.py": "the signature of typer's own method",
    "config/tables.py": PARSED,
    "demo/node_process.py": "what a process printed, as a user of `--json` reads it",
    "demo/story.py": "what a process printed, as a user of `--json` reads it",
    "library/folders.py": STORED,
    "library/known_peers.py": STORED,
    "library/steward_store.py": STORED,
    "library/verified.py": STORED,
    "modelscope/client.py": "ModelScope's own JSON, each field looked at where it is read",
    "operations/fetch/request.py": "arguments of a call, checked one by one before they are a request",
    "swarm/settings.py": PACK,
    "values/json_value.py": "the type of a dataclass's own table of fields",
    "values/strict_json.py": PARSED,
}


@pytest.mark.parametrize("name", ALL)
def test_an_answer_has_the_shape_it_always_had(name):
    assert shape_of(ALL[name]) == SHAPES[name]


def test_nothing_else_has_a_shape():
    assert SHAPES.keys() == ALL.keys()


def test_every_command_has_a_row():
    app = registered()
    commands = {one.name or one.callback.__name__ for one in app.registered_commands}
    for group in app.registered_groups:
        held = group.typer_instance.registered_commands
        commands |= {f"{group.name} {one.name or one.callback.__name__}" for one in held}
    assert commands == COMMANDS.keys()


def test_every_call_has_a_row():
    routes = {
        node.value
        for node in ast.walk(ast.parse((SOURCES / "operations/control/routes.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " /v1/" in node.value
        if "\n" not in node.value and not node.value.startswith("Return")
    }
    assert node_calls.__doc__
    assert routes == CALLS.keys()


def test_a_shape_tells_what_does_not_fit():
    shape = {"": ["object"], ".size": ["int"], ".rate": ["float"], ".by": ["object"], ".by.*": ["int"]}
    assert misfits({"size": 1, "rate": 1, "by": {"a": 2}}, shape) == []
    assert misfits({"size": "1"}, shape) == [".size: text is none of ['int']"]
    assert misfits({"more": None, "by": {"a": "b"}}, shape) == [
        ".more: null is none of []",
        ".by.a: text is none of ['int']",
    ]
    assert ("[].a", "null") in list(paths_of([{"a": None}]))


def test_untyped_dictionaries_stand_where_a_reason_does():
    found = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Subscript) and ast.unparse(node) == "dict[str, Any]"
    }
    assert found == UNTYPED.keys()


def documented():
    """Each command of the manual's table, with the fields that it promises."""
    page = (SOURCES / "manual" / "json.md").read_text(encoding="utf-8")
    for commands, promised in re.findall(r"^\| (`[a-z].*?`.*?) \| (.*) \|$", page, re.MULTILINE):
        name = re.sub(" --(org|daemon)", " (of many)", commands.split("`")[1])
        outer = re.sub(r"\[.*?\]|\{.*?\}", "", promised)
        fields = [part.partition(":")[0].strip() for part in outer.split(",")]
        yield pytest.param(name, [field for field in fields if field.isidentifier()], id=name)


@pytest.mark.parametrize(("name", "promised"), list(documented()))
def test_the_manual_promises_what_there_is(name, promised):
    assert promised
    assert [field for field in promised if f".{field}" not in SHAPES[name]] == []


def test_the_manual_promises_something_of_most_commands():
    assert len(list(documented())) > 15
