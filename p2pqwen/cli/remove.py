"""`p2pqwen remove`: delete a snapshot that this library holds."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli import names
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output, fail_for
from p2pqwen.containment import each
from p2pqwen.errors import P2pqwenError, UsageError
from p2pqwen.events import Notice

if TYPE_CHECKING:
    from p2pqwen.app import App


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(remove)


def remove(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="REPO[@COMMIT]…", autocompletion=names.held, help="The snapshots to delete, also by globs."
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Delete snapshots from the library; copies in the Hugging Face cache stay."""
    from p2pqwen.app import open_app
    from p2pqwen.assembly import changing
    from p2pqwen.operations.control.snapshot_calls import RemovedAnswer

    failed: list[P2pqwenError] = []
    with Output(as_json=json_output) as out:
        app = open_app()
        found = list(dict.fromkeys(_named(app, target) for target in names.meant(app, targets)))
        if not yes:
            _confirm(found, out)
        if len(found) == 1:
            done = [changing.remove(app, found[0].name, out.report)]
        else:
            done = each(
                found,
                lambda one: changing.remove(app, one.name, out.report),
                failed=lambda _, error: failed.append(error),
            )
        gone = tuple(one for answer in done for one in answer.removed)
        for left in (left for one in gone for left in one.left):
            out.report(Notice("warning", f"left {left.path}: {left.reason}"))
        away = {one.name for one in found if one.folder is None}
        out.result(RemovedAnswer(gone), [_words(str(one.snapshot), away) for one in gone])
    fail_for(failed, len(found))


@dataclass(frozen=True, slots=True)
class _Named:
    """A snapshot to delete; `folder` None: its disk is not connected, and it is only forgotten."""

    name: str
    folder: Path | None

    @property
    def question(self) -> str:
        return (
            f"Delete {self.name} ({self.folder})?"
            if self.folder
            else (f"Forget {self.name}, whose disk is not connected?")
        )


def _named(app: App, target: str) -> _Named:
    from p2pqwen.library.folders import AwayError
    from p2pqwen.operations.verify.target import held_snapshot

    try:
        held = held_snapshot(target, app.library)
    except AwayError as error:
        return _Named(str(error.snapshot), None)
    return _Named(str(held.id), held.folder)


def _confirm(found: Sequence[_Named], out: Output) -> None:
    """Ask once for all; raises `UsageError` without a terminal, `P2pqwenError` if the answer is no."""
    all_names = ", ".join(one.name for one in found)
    if not sys.stdin.isatty():
        raise UsageError(f"deleting {all_names} needs confirmation, and there is no terminal", hint="use --yes")
    if len(found) > 1:
        for one in found:
            out.note(f"{one.name}  {one.folder or 'its disk is not connected'}")
    question = found[0].question if len(found) == 1 else f"Delete these {len(found)} snapshots?"
    if not out.confirm(question):
        raise P2pqwenError(f"cancelled; {all_names} {'was' if len(found) == 1 else 'were'} not deleted")


def _words(name: str, away: Collection[str]) -> str:
    return f"forgot {name}; its files stay on the disk that is not connected" if name in away else f"removed {name}"
