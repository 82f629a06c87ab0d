"""`p2pqwen demo`: the whole story on this machine, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output
from p2pqwen.cli.stopping import InterruptOnce

if TYPE_CHECKING:
    from p2pqwen.demo.story import Kept, Tell, Told


_STOPS_WITHIN = 10  # seconds; until then the node may write into the folder, which then is not empty


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    stay: Annotated[
        bool, typer.Option("--stay", help="Keep seeding at the end, and print what to type in another terminal.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the folder with its published site, and a node with a dashboard.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Preserve, publish and seed a tiny model, stop its Hub, and fetch it as a stranger would, all on this machine."""
    from p2pqwen.errors import UsageError

    if keep and stay:
        raise UsageError("--keep and --stay contradict each other", hint="--keep leaves a node that keeps seeding")
    with Output(as_json=json_output) as out:
        interruption = InterruptOnce()

        def tell(line: str) -> None:
            interruption.check()
            if json_output:
                out.note(line)
            else:
                out.lines([line])

        with interruption:
            told = _told(tell, out, interruption, stay=stay, keep=keep)
        if json_output:
            out.result(told, [])
        elif told.kept is not None:
            out.unbroken(_kept_lines(told.kept))


def _told(tell: Tell, out: Output, interruption: InterruptOnce, *, stay: bool, keep: bool) -> Told:
    from p2pqwen.demo.node_process import DemoStepError
    from p2pqwen.demo.story import Told, tell_and_keep, tell_story

    try:
        if keep:
            return tell_and_keep(tell)
        return Told(tell_story(tell, partial(_wait, tell, out, interruption) if stay else None))
    except DemoStepError as error:
        interruption.check()  # the terminal's Ctrl-C reaches the step's process too
        for line in error.stderr:
            out.note(f"  | {line}")
        raise


def _kept_lines(kept: Kept) -> list[str]:
    return [
        "",
        f"catalogue  python3 -m http.server --bind 127.0.0.1 --directory {kept.site} 8000",
        "           then open http://127.0.0.1:8000/",
        f"dashboard  {kept.dashboard}",
        f"the end    kill {kept.pid}; sleep {_STOPS_WITHIN}; rm -r {kept.folder}",
    ]


def _wait(tell: Tell, out: Output, interruption: InterruptOnce, commands: Sequence[str]) -> None:
    """Show what to type, and wait for Ctrl-C."""
    interruption.expect()
    for line in ("", "The node keeps seeding. In another terminal, fetch the model yourself:", ""):
        tell(line)
    out.unbroken(f"  {command}" for command in commands)
    for line in ("", "Ctrl-C here ends the demo."):
        tell(line)
    interruption.wait()
