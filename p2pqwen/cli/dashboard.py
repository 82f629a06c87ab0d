"""`p2pqwen dashboard`: the page of the node that runs in this home."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output


@dataclass(frozen=True, slots=True)
class DashboardAnswer:
    """What `dashboard --json` says; the token of the node stands behind the `#`."""

    url: str


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(dashboard)


def dashboard(
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Print the address and start no browser, for an SSH tunnel.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Open the dashboard of this home's node, which runs with `seed --dashboard HOST:PORT`. Exit 4 without one.

    The address holds a token that is made anew whenever the node starts. With --json nothing is opened.
    """
    import webbrowser

    from p2pqwen.app import open_app
    from p2pqwen.errors import NotFoundError
    from p2pqwen.server.address import dashboard_url

    with Output(as_json=json_output) as out:
        app = open_app()
        url = dashboard_url(app.home.root) if app.running() is not None else None
        if url is None:
            raise NotFoundError(
                "no node of this home serves a dashboard", hint="start one: `p2pqwen seed --dashboard 127.0.0.1:9470`"
            )
        if not (no_open or json_output):
            webbrowser.open(url)
        out.result(DashboardAnswer(url), [url])
