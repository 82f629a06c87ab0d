"""`p2pqwen status`: the running node and its snapshots."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output, can_redraw

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.library.state_store import StateStore
    from p2pqwen.operations.control.status import Status, StatusAnswer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(
    once: Annotated[bool, typer.Option("--once", help="Print the status once and exit.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Show whether a node of this home is running, and the state of each snapshot.

    On a terminal, while a node runs, the table is refreshed every second until Ctrl-C; elsewhere it is printed once.
    """
    from p2pqwen.app import open_app
    from p2pqwen.assembly.home_status import home_status

    with Output(as_json=json_output) as out:
        app = open_app()
        with app.state_store(out.report) as store:
            found = home_status(app, store, out.report)
            if json_output:
                out.result(_answer(app, store, found), ())
            elif not sys.stdout.isatty():
                out.lines(_lines(app, store, found))
            else:
                _draw(app, store, found, out, once=once)


def _draw(app: App, store: StateStore, found: Status, out: Output, *, once: bool) -> None:
    from p2pqwen.assembly.home_status import home_status
    from p2pqwen.cli.status_table import print_once, show_live

    if once or found.node is None or not can_redraw(sys.stdout):
        print_once(found, notes_of(app, store, found))
    else:
        show_live(lambda: home_status(app, store, out.report), lambda now: notes_of(app, store, now))


def _answer(app: App, store: StateStore, found: Status) -> StatusAnswer:
    from p2pqwen.library.steward_store import StewardStore
    from p2pqwen.library.upstream_store import UpstreamStore
    from p2pqwen.operations.archive.keeper_answer import ArchiveAnswer
    from p2pqwen.operations.archive.watch_record import WatchAnswer, last_round
    from p2pqwen.operations.control.status import StatusAnswer, StatusRows

    return StatusAnswer(
        found.node,
        WatchAnswer.of(last_round(store), app.config.watch.rounds_every, node_runs=found.node is not None),
        ArchiveAnswer.of(StewardStore(store)),
        found.limits,
        StatusRows().all(found.rows, UpstreamStore(store).all()),
    )


def _lines(app: App, store: StateStore, found: Status) -> list[str]:
    from p2pqwen.cli.status_lines import plain_lines
    from p2pqwen.library.upstream_store import UpstreamStore
    from p2pqwen.stewardship.upstream import gone_words

    gone = {str(snapshot): gone_words(snapshot, record) for snapshot, record in UpstreamStore(store).all().items()}
    held_back = [found.held_back] if found.held_back else []  # a table shows it in its summary
    return [*notes_of(app, store, found), *held_back, *plain_lines(found, gone)]


def notes_of(app: App, store: StateStore, found: Status) -> list[str]:
    """Return the lines above the table: the node, its watch on the Hub, what is gone from there."""
    from p2pqwen.index.upstream import Upstream
    from p2pqwen.library.steward_store import StewardStore
    from p2pqwen.library.upstream_store import UpstreamStore
    from p2pqwen.operations.archive.keeper_answer import ArchiveAnswer
    from p2pqwen.operations.archive.watch_record import last_round, watch_words

    running = found.node
    notes = [
        "no node is running; `p2pqwen seed` starts one"
        if running is None
        else f"node {running.pid} listens on {running.listen}"
        if running.listen
        else f"node {running.pid} accepts nobody: it seeds through a proxy, to peers that it connects to"
    ]
    if (every := app.config.watch.rounds_every) is not None:
        notes.append(watch_words(last_round(store), every, node_runs=running is not None))
    if (archive := ArchiveAnswer.of(StewardStore(store))) is not None:
        notes.append(archive.words)
    states = UpstreamStore(store).states()
    gone = Counter(row.id.repo.kind.origin for row in found.rows if states.get(row.id) is Upstream.GONE)
    for origin, count in sorted(gone.items()):
        notes.append(f"{count} of these snapshots are gone from {origin.words}; `p2pqwen upstream show` says which")
    return notes
