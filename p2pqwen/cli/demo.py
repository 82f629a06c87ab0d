"""`p2pqwen demo`: the whole story on this machine, without a network."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output

if TYPE_CHECKING:
    from p2pqwen.demo.story import Kept


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    stay: Annotated[
        bool, typer.Option("--stay", help="Seed on at the end, and print what to type in another terminal.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the folder with its published site, and a node with a dashboard.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Preserve, publish and seed a tiny model, stop its Hub, and fetch it as a stranger would, all on this machine."""
    from p2pqwen.demo.node_process import DemoStepError
    from p2pqwen.demo.story import Told, tell_and_keep, tell_story
    from p2pqwen.errors import UsageError

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was made is removed then too
    with Output(as_json=json_output) as out:

        def tell(line: str) -> None:
            if json_output:
                out.note(line)
            else:
                out.lines([line])

        try:
            if keep and stay:
                raise UsageError("--keep and --stay contradict each other", hint="--keep leaves a node that seeds on")
            told = tell_and_keep(tell) if keep else Told(tell_story(tell, partial(_wait, tell) if stay else None))
        except DemoStepError as error:
            for line in error.stderr:
                out.note(f"  | {line}")
            raise
        if json_output:
            out.result(told, [])
        elif told.kept is not None:
            out.lines(_kept_lines(told.kept))


def _kept_lines(kept: Kept) -> list[str]:
    return [
        "",
        f"catalogue  python3 -m http.server --bind 127.0.0.1 --directory {kept.site} 8000",
        "           then open http://127.0.0.1:8000/",
        f"dashboard  {kept.dashboard}",
        f"the end    kill {kept.pid}; rm -r {kept.folder}",
    ]


def _wait(tell: Callable[[str], None], commands: Sequence[str]) -> None:
    """Show what to type, and wait for Ctrl-C."""
    shown = ["The node goes on seeding. In another terminal, fetch the model yourself:", ""]
    shown += [f"  {command}" for command in commands]
    for line in ("", *shown, "", "Ctrl-C here ends the demo."):
        tell(line)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
