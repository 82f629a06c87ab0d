"""One change to what the node may do with a snapshot, made by the running node or in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import typer

from p2pqwen.cli import names
from p2pqwen.cli.output import Output

Target = Annotated[
    str,
    typer.Argument(
        metavar="REPO[@COMMIT]", autocompletion=names.held, help="A snapshot of the library, or one being fetched."
    ),
]

Verb = Literal["pause", "resume", "priority", "pin", "unpin"]


def change(verb: Verb, given: Mapping[str, str], words: str, *, json_output: bool) -> None:
    """Carry `verb` out with what was `given`, and say `words` about the snapshot; raises `P2pqwenError`."""
    from p2pqwen.app import open_app
    from p2pqwen.assembly import changing

    with Output(as_json=json_output) as out:
        done = changing.change(open_app(), verb, given, out.report)
        out.result(done, [words.format(done.snapshot)])
