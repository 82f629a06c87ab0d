"""`p2pqwen remove`: delete a snapshot that this library holds."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from p2pqwen.cli import names
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output
from p2pqwen.errors import P2pqwenError, UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(short_help="Delete a snapshot from the library.")(remove)


def remove(
    target: Annotated[
        str, typer.Argument(metavar="REPO[@COMMIT]", autocompletion=names.held, help="The snapshot to delete.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Delete a snapshot from the library; copies in the Hugging Face cache stay."""
    from p2pqwen.app import open_app
    from p2pqwen.assembly import changing
    from p2pqwen.library.folders import AwayError
    from p2pqwen.operations.verify.target import held_snapshot

    with Output(as_json=json_output) as out:
        app = open_app()
        try:
            held = held_snapshot(target, app.library)
            name, where, words = str(held.id), held.folder, "removed {}"
        except AwayError as error:
            name, where, words = (
                str(error.snapshot),
                None,
                "forgot {}; its files stay on the disk that is not connected",
            )
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError(f"there is no terminal to confirm deleting {name} on", hint="use --yes")
            question = f"Delete {name} ({where})?" if where else f"Forget {name}, whose disk is not connected?"
            if not out.confirm(question):
                raise P2pqwenError(f"cancelled; {name} was not deleted")
        done = changing.remove(app, name, out.report)
        out.result(done, [words.format(name)])
