"""`p2pqwen upstream`: whether the Hub still shows the snapshots of this home."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli import names
from p2pqwen.cli.options import JsonFlag, QuietFlag
from p2pqwen.cli.output import Output

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.stewardship.upstream import UpstreamRecord
    from p2pqwen.values.snapshot_id import SnapshotId

app = typer.Typer(
    help="Check whether the Hub still has the snapshots of the library and of this home's index.",
    short_help="Check whether the Hub still has the snapshots.",
    no_args_is_help=True,
)

Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="REPO[@COMMIT]", autocompletion=names.held, help="Only these (default: all tracked snapshots)."
    ),
]


def register(parent: typer.Typer) -> None:
    """Add the group."""
    parent.add_typer(app, name="upstream")


@app.command(short_help="Show the last known state of each, and since when.")
def show(targets: Targets = None, json_output: JsonFlag = False) -> None:
    """Show the last known state: present, gone or unknown, since when, and when its origin was last asked."""
    from p2pqwen.app import open_app
    from p2pqwen.operations.archive.upstream import UpstreamShown

    with Output(as_json=json_output) as out:
        app = open_app()
        wanted = _wanted(app, out, targets)
        known = app.upstream_records(out.report)
        nothing = ["this home holds nothing and publishes nothing"]
        out.result(UpstreamShown.of(wanted, known), [*_lines(wanted, known)] or nothing)


@app.command(short_help="Ask the Hub or ModelScope, and remember the answers.")
def check(targets: Targets = None, quiet: QuietFlag = False, json_output: JsonFlag = False) -> None:
    """Ask the origin of each, the Hub or ModelScope, and remember the answers; a running node does so every day.

    The next `p2pqwen publish` drops the origin's web seed of snapshots that are gone, and keeps listing them.
    """
    from p2pqwen.app import open_app
    from p2pqwen.errors import NetworkError
    from p2pqwen.library.upstream_store import UpstreamStore
    from p2pqwen.operations.archive.upstream import UpstreamChecked, UpstreamShown, check_upstream
    from p2pqwen.values.snapshot_id import words_of_origins

    with Output(as_json=json_output, quiet=quiet) as out:
        app = open_app()
        wanted = _wanted(app, out, targets)
        with app.state_store(out.report) as store:
            records = UpstreamStore(store)
            done = check_upstream(
                wanted, app.origins(out.report), records, clock=lambda: datetime.now(UTC), report=out.report
            )
            known = records.all()
        if done.asked and not done.answered:
            where = words_of_origins(one.repo.kind.origin for one in wanted)
            raise NetworkError(
                f"no answer from {where} for any snapshot", hint="`p2pqwen doctor` looks at what is asked"
            )
        out.result(
            UpstreamChecked(done, UpstreamShown.of(wanted, known)),
            [*_lines(wanted, known), f"{done.answered} of {done.asked} answered"],
        )


def _wanted(app: App, out: Output, targets: list[str] | None) -> list[SnapshotId]:
    from p2pqwen.operations.archive.upstream import tracked
    from p2pqwen.values.known_snapshots import KnownSnapshots

    found = tracked(app.library, app.keys, datetime.now(UTC), out.report)
    if not targets:
        return found
    known = KnownSnapshots.of(found, "that is held or published here")
    return sorted({one for target in targets for one in known.meant(target)})


def _lines(wanted: Iterable[SnapshotId], known: Mapping[SnapshotId, UpstreamRecord]) -> Iterator[str]:
    for one in wanted:
        record = known.get(one)
        if record is None:
            yield f"unknown  {one}  never asked"
        else:
            yield f"{record.state:<7}  {one}  since {record.since:%Y-%m-%d}, last asked {record.looked:%Y-%m-%d %H:%M}"
