"""`p2pqwen run`: run a command against this home's Hub endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.network_options import EndpointPeer, NoUpstream, SwitchedOff, network_choices, network_switches
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output, print_error

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.events import Report


def register(app: typer.Typer) -> None:
    """Add the command."""
    settings = {"allow_interspersed_args": False}
    app.command(context_settings=settings)(run)


@network_switches()
def run(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND…", help="The command and its arguments.")],
    peer: EndpointPeer = None,
    no_upstream: NoUpstream = False,
    off: SwitchedOff = (),
    json_output: JsonFlag = False,
) -> None:
    """Run a command with HF_ENDPOINT set to this home's Hub endpoint, and exit with its exit code.

    As a shell does, it exits with 127 if the command is not found, 126 if it cannot be started.

    If the running node or `p2pqwen hub` serves an endpoint, that one is used; otherwise one is started on a free port
    of this machine for as long as the command runs. The variables that are set are printed first.
    """
    from p2pqwen.app import open_app
    from p2pqwen.assembly.running import CannotStartError, RunAnswer, Setting, environment_for, run_command

    with Output(as_json=json_output) as out:
        app = open_app()
        with _endpoint(app, out, peer, off, no_upstream=no_upstream) as url:
            added = environment_for(url)
            out.note(f"set: {' '.join(f'{name}={value}' for name, value in added.items())}")
            try:
                code = run_command(command, added, quiet=json_output)
            except CannotStartError as error:
                print_error(error, code=error.code, as_json=json_output)
                raise typer.Exit(error.code) from error
        if json_output:
            out.result(RunAnswer(url, tuple(Setting(*one) for one in added.items()), code), [])
    raise typer.Exit(code)


@contextmanager
def _endpoint(app: App, out: Output, peer: list[str] | None, off: SwitchedOff, *, no_upstream: bool) -> Iterator[str]:
    from dataclasses import replace

    from p2pqwen.assembly.hub_serving import configured, hub_endpoint
    from p2pqwen.library import endpoint_file
    from p2pqwen.swarm.endpoint import Endpoint

    if (url := endpoint_file.running(app.home)) is not None:
        yield url
        return
    wishes = configured(app, network_choices(app, off), listen="127.0.0.1:0")
    assert wishes is not None  # noqa: S101 - `listen` is given
    peers = tuple(Endpoint.parse(text) for text in peer or ())
    wishes = replace(wishes, peers=(*peers, *wishes.peers), upstream="never" if no_upstream else wishes.upstream)
    with app.state_store(out.report) as store, hub_endpoint(app, store, wishes, _notes(out)) as endpoint:
        yield endpoint.url


def _notes(out: Output) -> Report:
    """Return a report without events: here stdout belongs to the command."""
    from p2pqwen.events import Event, Happened

    def report(event: Event) -> None:
        if not isinstance(event, Happened):
            out.report(event)

    return report
