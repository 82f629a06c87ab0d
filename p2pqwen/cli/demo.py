"""`p2pqwen demo`: the whole story on this machine, without a network."""

from __future__ import annotations

import signal

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(short_help="Watch a tiny model survive its host, on this machine only.")(demo)


def demo(json_output: JsonFlag = False) -> None:
    """Preserve, publish and seed a tiny model, stop its Hub, and fetch it as a stranger would, all on this machine."""
    from p2pqwen.demo.node_process import DemoStepError
    from p2pqwen.demo.story import Told, tell_story

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was made is removed then too
    with Output(as_json=json_output) as out:

        def tell(line: str) -> None:
            if json_output:
                out.note(line)
            else:
                out.lines([line])

        try:
            figures = tell_story(tell)
        except DemoStepError as error:
            for line in error.stderr:
                out.note(f"  | {line}")
            raise
        if json_output:
            out.result(Told(figures), [])
