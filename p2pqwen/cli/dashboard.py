"""`p2pqwen dashboard`: the page of the node that runs in this home."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output


@dataclass(frozen=True, slots=True)
class DashboardAnswer:
    """The answer of `dashboard --json`; the URL's fragment holds the node's token."""

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

    A page that only you can read, and that works once, within a minute, takes the browser there. The printed address
    holds a token, which is renewed whenever the node starts. With --json nothing is opened.
    """
    import webbrowser

    from p2pqwen.app import open_app
    from p2pqwen.errors import NotFoundError
    from p2pqwen.server.address import dashboard_url, write_opener
    from p2pqwen.server.control import TICKET, TicketAnswer

    with Output(as_json=json_output) as out:
        app = open_app()
        client = app.running()
        url = None if client is None else dashboard_url(app.home.root)
        if client is None or url is None:
            raise NotFoundError(
                "no node of this home serves a dashboard", hint="start one: `p2pqwen seed --dashboard 127.0.0.1:9470`"
            )
        if not (no_open or json_output):
            method, _, path = TICKET.partition(" ")
            ticket = client.call(TicketAnswer, method, path).ticket
            page = write_opener(app.home.root, f"{url.partition('#')[0]}#ticket={ticket}")
            webbrowser.open(page.as_uri())
        out.result(DashboardAnswer(url), [url])
