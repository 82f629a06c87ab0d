"""All commands in one typer application."""

from __future__ import annotations

import importlib

import typer

from p2pqwen.cli.main import PANELS


def registered() -> typer.Typer:
    """Return a typer with all commands and groups; the program itself imports each on demand."""
    app = typer.Typer()
    for panel in PANELS.values():
        for name in panel:
            importlib.import_module(f"p2pqwen.cli.{name}").register(app)
    return app
