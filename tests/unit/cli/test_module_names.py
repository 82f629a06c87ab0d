"""A command's module is found by its name."""

from __future__ import annotations

import importlib

import pytest
import typer

from p2pqwen.cli import main


@pytest.mark.parametrize("module", [one for panel in main.PANELS.values() for one in panel])
def test_a_module_is_named_after_a_command_that_it_holds(module):
    app = typer.Typer()
    importlib.import_module(f"p2pqwen.cli.{module}").register(app)
    commands = {one.name or one.callback.__name__ for one in app.registered_commands}
    groups = {one.name for one in app.registered_groups}
    assert module in commands | groups
