"""Change what the node may do with a snapshot, through the running node or in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import typer

from p2pqwen.cli import names
from p2pqwen.cli.output import Output, fail_for
from p2pqwen.containment import each
from p2pqwen.errors import P2pqwenError

Target = Annotated[
    str,
    typer.Argument(
        metavar="REPO[@COMMIT]", autocompletion=names.held, help="A snapshot of the library, or one being fetched."
    ),
]

Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="REPO[@COMMIT]…",
        autocompletion=names.held,
        help="Snapshots of the library, or being fetched; globs of what is held.",
    ),
]

Verb = Literal["pause", "resume", "priority", "pin", "unpin"]


def change(verb: Verb, given: Mapping[str, str], words: str, *, json_output: bool) -> None:
    """Carry out `verb` with the `given` arguments, and print `words` about the snapshot; raises `P2pqwenError`."""
    from p2pqwen.app import open_app
    from p2pqwen.assembly import changing

    with Output(as_json=json_output) as out:
        done = changing.change(open_app(), verb, given, out.report)
        out.result(done, [words.format(done.snapshot)])


def change_all(
    verb: Literal["pause", "resume", "pin", "unpin"], targets: Sequence[str], words: str, *, json_output: bool
) -> None:
    """Carry out `verb` for every named snapshot; a failure does not stop the others."""
    from p2pqwen.app import open_app
    from p2pqwen.assembly import changing
    from p2pqwen.operations.control.snapshot_calls import ChoicesAnswer

    failed: list[P2pqwenError] = []
    with Output(as_json=json_output) as out:
        app = open_app()
        meant = names.meant(app, targets)
        if len(meant) == 1 and meant == list(targets):  # otherwise the answer is a list, whatever a glob matches
            one = changing.change(app, verb, {"target": meant[0]}, out.report)
            out.result(one, [words.format(one.snapshot)])
            return
        done = each(
            meant,
            lambda name: changing.change(app, verb, {"target": name}, out.report),
            failed=lambda _, error: failed.append(error),
        )
        out.result(ChoicesAnswer(tuple(done)), [words.format(one.snapshot) for one in done])
    fail_for(failed, len(meant))
