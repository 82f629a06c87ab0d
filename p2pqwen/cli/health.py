"""`p2pqwen health`: the health of each swarm, most endangered first."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli import names
from p2pqwen.cli.network_options import SwitchedOff, network_choices, network_switches
from p2pqwen.cli.options import JsonFlag, QuietFlag
from p2pqwen.cli.output import Output

if TYPE_CHECKING:
    from p2pqwen.operations.archive.watched import HealthRow


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(health)


@network_switches("dht", "trackers")
def health(
    target: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REPO[@COMMIT]",
            autocompletion=names.listed,
            help="Only these (default: all held or listed snapshots).",
        ),
    ] = None,
    look: Annotated[
        bool,
        typer.Option("--look/--no-look", help="Ask trackers, DHT and web seeds first, or show the last known state."),
    ] = True,
    again: Annotated[bool, typer.Option("--again", help="Ask again about swarms checked within the hour.")] = False,
    seconds: Annotated[
        float,
        typer.Option(
            "--look-seconds", min=1, metavar="SECONDS", help="Ask for at most SECONDS; the longest unseen first."
        ),
    ] = 30.0,
    off: SwitchedOff = (),
    no_web_seeds: Annotated[bool, typer.Option("--no-web-seeds", help="Do not ask web seeds.")] = False,
    quiet: QuietFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Show how many copies of each snapshot others hold, who says so, when a complete one was last seen, and the trend.

    This node is never counted. No source counts a whole swarm: ~ marks estimates, and every figure is a lower bound.
    `unknown` means that no one has looked, or no one answered: neither danger nor safety is known. A running node
    checks in the background; without one, this command does. `webseed check` reads more of web seeds than this.
    """
    from p2pqwen.app import open_app
    from p2pqwen.assembly import archiving, looking, planning
    from p2pqwen.library.health_store import HealthStore
    from p2pqwen.library.upstream_store import UpstreamStore
    from p2pqwen.operations.archive.health import HealthAnswer, SwarmAnswer, by_danger, named
    from p2pqwen.operations.archive.watched import health_rows
    from p2pqwen.operations.indexes.listed_standing import standing_here

    with Output(as_json=json_output, quiet=quiet) as out:
        app = open_app()
        swarms = named(planning.swarms(app), target or ())
        with app.state_store(out.report) as store:
            known = HealthStore(store)
            if look:
                probes = looking.probes(app, network_choices(app, off), web_seeds=not no_web_seeds)
                probes = replace(probes, web_again=timedelta(0)) if again else probes
                archiving.look(app, swarms, known, probes, out.report, seconds=seconds, again=again)
            now = datetime.now(UTC)
            rows = by_danger(health_rows(swarms, known.all(), UpstreamStore(store).states(), now), now)
            stood = app.standings(store).of(one.held for one in swarms if one.held is not None)
            voices = app.vouchers.voices()
            standings = {
                one.snapshot: standing_here(one.snapshot, one.infohash, stood.get(one.snapshot), voices)[0]
                for one in swarms
            }
        shown = (SwarmAnswer.of(row, standings[row.swarm.snapshot], now) for row in rows)
        places = [line for row in rows for line in _places(row)] if target else []
        out.result(HealthAnswer(tuple(shown)), [*_table(rows, now, looked=look), *places])


def _table(rows: list[HealthRow], now: datetime, *, looked: bool) -> list[str]:
    """Return the rows in words; `looked`: this command has asked, so silence means that no one answered."""
    from p2pqwen.cli.table import columns, table_lines
    from p2pqwen.values.byte_size import format_size

    if not rows:
        return ["nothing is held and no trusted index lists anything; see `p2pqwen trust add`"]
    heads = ("danger", "snapshot", "size", "seeds", "peers", "complete seen", "web", "origin", "trend", "seen by")
    table = []
    for row in rows:
        health, snapshot = row.health, row.swarm.snapshot
        guess = "~" if health.estimated else ""
        web = "-" if row.record.web is None else f"{row.record.web.ok} of {row.record.web.asked}"
        table.append(
            (
                "withdrawn" if row.swarm.withdrawn else row.danger(now).value,
                f"{snapshot.short}{'' if row.swarm.held is None else ' *'}",
                format_size(row.swarm.size),
                "-" if health.seeds is None else f"{guess}{health.seeds}",
                "-" if health.peers is None else f"{guess}{health.peers}",
                _age(health.last_complete_seen, now),
                web,
                f"{snapshot.repo.kind.origin.label} {health.upstream}",
                health.trend.value,
                _seen_by(row, now, looked=looked),
            )
        )
    lines = table_lines(heads, table, columns(), title=1)
    held = ["* held"] if any(row.swarm.held is not None for row in rows) else []
    said = [f"{row.swarm.snapshot} is {one}" for row in rows for one in row.swarm.withdrawn]
    guessed = ["~ an estimate"] if any(row.health.estimated for row in rows) else []
    return lines + ([", ".join(held + guessed)] if held or guessed else []) + said


def _places(row: HealthRow) -> list[str]:
    """Return a line for each web seed of a swarm, if they were asked."""
    places = () if row.record.web is None else row.record.web.places
    return [f"web seed {'works' if right else 'fails'}: {url}  {row.swarm.snapshot.short}" for url, right in places]


def _seen_by(row: HealthRow, now: datetime, *, looked: bool) -> str:
    """Return the sources of what is known of a swarm, and when they were last asked."""
    if not row.record.sightings:
        return "no one answered" if looked else "no one yet"
    sources = ", ".join(sorted(one.source.words for one in row.record.sightings))
    return f"{sources} {_age(row.health.looked, now)}"


def _age(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "never"
    minutes = max(0.0, (now - moment).total_seconds() / 60)
    if minutes < 60:
        return f"{minutes:.0f} min ago"
    return f"{minutes / 60:.0f} h ago" if minutes < 48 * 60 else f"{minutes / 1440:.0f} days ago"
