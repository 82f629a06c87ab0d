"""`p2pqwen adopt` and `rebalance`: what this node should hold with N bytes, and changing it as swarms change."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2pqwen.cli.health import look_now
from p2pqwen.cli.network_options import NoDht, NoLsd, NoTrackers, NoUpnp
from p2pqwen.cli.options import JsonFlag
from p2pqwen.cli.output import Output, fail_for
from p2pqwen.errors import NotFoundError, P2pqwenError, UsageError
from p2pqwen.values.byte_size import format_size, parse_size
from p2pqwen.values.plural import plural

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.library.state_store import StateStore
    from p2pqwen.operations.archive.adopt import Adoption
    from p2pqwen.operations.archive.health import HealthRow
    from p2pqwen.operations.archive.rebalance import Exchanged
    from p2pqwen.operations.fetch.request import FetchRequest
    from p2pqwen.operations.node.fetch_batch import Brought
    from p2pqwen.server.client import ControlClient
    from p2pqwen.stewardship.allocation import Decision
    from p2pqwen.stewardship.rebalance import Rebalance
    from p2pqwen.values.snapshot_id import SnapshotId

Prefer = Annotated[
    list[str] | None, typer.Option("--prefer", metavar="GLOB…", help="Take these first: ORG/MODEL or a model's name.")
]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", metavar="GLOB…", help="Never take these.")]
Peer = Annotated[list[str] | None, typer.Option("--peer", metavar="HOST:PORT…", help="Connect straight to this peer.")]
NoWebSeeds = Annotated[bool, typer.Option("--no-web-seeds", help="Fetch from peers alone.")]
Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Give a fetch up when nothing arrived for so long.")
]
Look = Annotated[
    float,
    typer.Option(
        "--look-seconds", min=0, metavar="SECONDS", help="Look at swarms for at most so long first (0: not at all)."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(short_help="Fetch what the archive needs most, within a budget.")(adopt)
    app.command(short_help="Give up well-kept snapshots for endangered ones.")(rebalance)


@dataclass(frozen=True, slots=True)
class Network:
    """How fetches reach others, as the options say."""

    peers: tuple[str, ...]
    web_seeds: bool
    timeout: float | None
    dht: bool
    lsd: bool
    upnp: bool
    trackers: bool

    def request(self, app: App, snapshot: SnapshotId) -> FetchRequest:
        """Return a fetch into the library alone."""
        from p2pqwen.operations.fetch.context import DEFAULT_TIMEOUT
        from p2pqwen.operations.fetch.request import FetchRequest

        known = app.config.network
        return FetchRequest(
            str(snapshot),
            peers=self.peers,
            use_web_seeds=known.web_seeds if self.web_seeds else "never",
            timeout=DEFAULT_TIMEOUT if self.timeout is None else self.timeout,
            dht=known.dht and self.dht,
            lsd=known.lsd and self.lsd,
            upnp=known.upnp and self.upnp,
            trackers=known.trackers and self.trackers,
            upload_limit=known.upload_limit,
            download_limit=known.download_limit,
        )


def adopt(
    budget: Annotated[
        str, typer.Option(metavar="SIZE", help="What this node may hold in all, what is here included: 2TB.")
    ],
    prefer: Prefer = None,
    exclude: Exclude = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and do nothing.")] = False,
    look: Look = 20.0,
    peer: Peer = None,
    no_web_seeds: NoWebSeeds = False,
    timeout: Timeout = None,
    no_dht: NoDht = False,
    no_lsd: NoLsd = False,
    no_upnp: NoUpnp = False,
    no_trackers: NoTrackers = False,
    json_output: JsonFlag = False,
) -> None:
    """Choose what the archive needs most of what trusted indexes list, and fetch it; a running node then seeds it.

    Neediest first; near-ties fall differently at each app, always the same way at this one. Every snapshot is told
    why it was chosen or not. It stays within the budget and leaves the disks' reserves free.
    """
    from p2pqwen.assembly import looking
    from p2pqwen.cli.health import open_here
    from p2pqwen.library.steward_store import StewardStore
    from p2pqwen.operations.archive.adopt import Wishes, plan_adoption

    size = parse_size(budget)
    network = Network(
        tuple(peer or ()), not no_web_seeds, timeout, not no_dht, not no_lsd, not no_upnp, not no_trackers
    )
    with Output(as_json=json_output) as out:
        app = open_here()
        with app.state_store(out.report) as store:
            _look(app, store, network, out, look)
            wishes = Wishes(tuple(prefer or ()), tuple(exclude or ()))
            now_is = looking.situation(app, store, out.report)
            if not any(row.swarm.listed for row in now_is.rows):
                raise NotFoundError("no trusted index lists anything", hint="see `p2pqwen trust add`")
            plan = plan_adoption(now_is, wishes, size)
            if not dry_run:
                StewardStore(store).set_budget(size)
            done = [] if dry_run else _bring(app, network, [one.snapshot for one in plan.chosen], out)
        out.result(_adopted_fields(plan, done, dry_run=dry_run), list(_adopted_lines(plan, done, dry_run=dry_run)))
    _exit([one.error for one in done])


def rebalance(
    budget: Annotated[
        str | None, typer.Option(metavar="SIZE", help="What this node may hold in all (default: as last adopted with).")
    ] = None,
    prefer: Prefer = None,
    exclude: Exclude = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    look: Look = 60.0,
    peer: Peer = None,
    no_web_seeds: NoWebSeeds = False,
    timeout: Timeout = None,
    no_dht: NoDht = False,
    no_lsd: NoLsd = False,
    no_upnp: NoUpnp = False,
    no_trackers: NoTrackers = False,
    json_output: JsonFlag = False,
) -> None:
    """Give up well-kept snapshots for endangered ones, a few at a time.

    Never one that is pinned, or of which no more than eight copies would be left, or that came within a month; and only
    one holder in ten gives a snapshot up in any four weeks, so that not everybody acts on the same surplus.
    """
    from p2pqwen.assembly import looking
    from p2pqwen.cli.health import open_here
    from p2pqwen.library.steward_store import StewardStore
    from p2pqwen.operations.archive.adopt import Wishes
    from p2pqwen.operations.archive.rebalance import carry_out, plan_rebalance

    network = Network(
        tuple(peer or ()), not no_web_seeds, timeout, not no_dht, not no_lsd, not no_upnp, not no_trackers
    )
    with Output(as_json=json_output) as out:
        app = open_here()
        with app.state_store(out.report) as store:
            _look(app, store, network, out, look)
            now_is = looking.situation(app, store, out.report)
            known = StewardStore(store).budget()
            size = parse_size(budget) if budget is not None else now_is.used if known is None else known
            wishes = Wishes(tuple(prefer or ()), tuple(exclude or ()))
            plan = plan_rebalance(now_is, wishes, size, looking.pinned(store))
            done: list[Exchanged] = []
            if plan.exchanges and not dry_run:
                _ask(plan, out, yes=yes)
                done = carry_out(
                    plan.exchanges,
                    _Executor(app, store, network, out),
                    node=now_is.node,
                    pinned=lambda: looking.pinned(store),
                    clock=lambda: datetime.now(UTC),
                    report=out.report,
                )
        out.result(
            _changed_fields(plan, done, size, dry_run=dry_run), list(_changed_lines(plan, done, dry_run=dry_run))
        )
    _exit([one.error for one in done])


@dataclass(slots=True)
class _Executor:
    """Carries a rebalance out by the running app, or in this process."""

    app: App
    store: StateStore
    network: Network
    out: Output

    def look(self, snapshots: Collection[SnapshotId]) -> Sequence[HealthRow]:
        from p2pqwen.assembly import looking

        _look(self.app, self.store, self.network, self.out, 20.0, only=snapshots)
        rows = looking.situation(self.app, self.store, self.out.report).rows
        return [row for row in rows if row.swarm.snapshot in snapshots]

    def bring(self, snapshot: SnapshotId) -> None:
        for one in _bring(self.app, self.network, [snapshot], self.out):
            if one.error is not None:
                raise one.error

    def remove(self, snapshot: SnapshotId) -> None:
        running = self.app.running()
        if running is not None:
            running.call("POST", "/v1/snapshots/remove", {"target": str(snapshot)})
        else:
            self.app.snapshot_calls(self.store).remove({"target": str(snapshot)})
        self.out.note(f"given up: {snapshot}")

    def room(self) -> int:
        return max((folder.room for folder in self.app.library.folders), default=0)


def _look(
    app: App,
    store: StateStore,
    network: Network,
    out: Output,
    seconds: float,
    *,
    only: Collection[SnapshotId] | None = None,
) -> None:
    """Look at swarms before deciding about them."""
    from p2pqwen.assembly import looking
    from p2pqwen.library.health_store import HealthStore

    if seconds > 0:
        swarms = [one for one in looking.swarms(app) if only is None or one.snapshot in only]
        ways = looking.ways(app, dht=network.dht, trackers=network.trackers, web_seeds=network.web_seeds)
        look_now(app, swarms, HealthStore(store), ways, out, seconds=seconds, again=True)


def _bring(app: App, network: Network, snapshots: Sequence[SnapshotId], out: Output) -> list[Brought]:
    from p2pqwen.assembly import fetching
    from p2pqwen.operations.node.fetch_batch import bring_by_node, fetch_batch_here

    def request(snapshot: SnapshotId) -> FetchRequest:
        return network.request(app, snapshot)

    running: ControlClient | None = app.running() if snapshots else None
    if running is None:
        return fetch_batch_here(snapshots, request, partial(fetching.fetch_here, app), out.report)
    try:
        return bring_by_node(snapshots, request, running, out.report)
    except KeyboardInterrupt:
        out.note("the node goes on fetching: `p2pqwen status` shows how far")
        raise


def _ask(plan: Rebalance, out: Output, *, yes: bool) -> None:
    if yes or not plan.give:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"nobody to ask whether to give up {plural(len(plan.give), 'snapshot')}", hint="say --yes, or --dry-run"
        )
    for line in _plan_lines(plan):
        out.note(line)
    if not out.confirm(f"Give up {plural(len(plan.give), 'snapshot')} for {len(plan.take)}?"):
        raise P2pqwenError("nothing was changed: it was not confirmed")


def _exit(errors: Sequence[P2pqwenError | None]) -> None:
    fail_for([error for error in errors if error is not None], len(errors))


def _adopted_fields(plan: Adoption, done: Sequence[Brought], *, dry_run: bool) -> dict[str, Any]:
    from p2pqwen.operations.archive.adopt import decision_fields

    allocation = plan.allocation
    return {
        "chosen": [decision_fields(one) | {"disk": one.disk} for one in plan.chosen],
        "bytes": allocation.size,
        "budget": allocation.budget,
        "used": allocation.used,
        "others": [decision_fields(one) for one in (*plan.held, *allocation.others)],
        "fetched": [_named(one.snapshot) for one in done if one.error is None],
        "failed": [_named(one.snapshot) | {"reason": one.error.message} for one in done if one.error is not None],
        "dry_run": dry_run,
    }


def _adopted_lines(plan: Adoption, done: Sequence[Brought], *, dry_run: bool) -> Iterator[str]:
    allocation = plan.allocation
    for one in plan.chosen:
        yield f"take    {_line(one)}"
    for one in (*plan.held, *allocation.others):
        yield f"not     {_line(one)}"
    yield (
        f"{len(plan.chosen)} chosen, {format_size(allocation.size)}; with {format_size(allocation.used)} held that is "
        f"{format_size(allocation.size + allocation.used)} of {format_size(allocation.budget)}"
    )
    if dry_run:
        yield "nothing was done (--dry-run)"
    elif plan.chosen:
        failed = sum(one.error is not None for one in done)
        yield f"{len(done) - failed} fetched and verified, {failed} failed"


def _changed_fields(plan: Rebalance, done: Sequence[Exchanged], budget: int, *, dry_run: bool) -> dict[str, Any]:
    from p2pqwen.operations.archive.adopt import decision_fields

    return {
        "take": [decision_fields(one) for one in plan.take],
        "give": [decision_fields(one) for one in plan.give],
        "kept": [decision_fields(one) for one in plan.kept],
        "taken": [_named(one.plan.take.snapshot) for one in done if one.taken],
        "given": [_named(gone) for one in done for gone in one.given],
        "failed": [
            _named(one.plan.take.snapshot) | {"reason": one.error.message} for one in done if one.error is not None
        ],
        "budget": budget,
        "dry_run": dry_run,
    }


def _changed_lines(plan: Rebalance, done: Sequence[Exchanged], *, dry_run: bool) -> Iterator[str]:
    yield from _plan_lines(plan)
    for one in plan.kept:
        yield f"keep    {_line(one)}"
    if not plan.exchanges:
        yield "nothing to change"
    elif dry_run:
        yield "nothing was done (--dry-run)"
    else:
        failed = sum(one.error is not None for one in done)
        given = sum(len(one.given) for one in done)
        yield f"{sum(one.taken for one in done)} taken, {given} given up, {failed} failed"


def _plan_lines(plan: Rebalance) -> Iterator[str]:
    for exchange in plan.exchanges:
        yield f"take    {_line(exchange.take)}"
        for one in exchange.give:
            yield f"give up {_line(one)}"


def _line(one: Decision) -> str:
    return f"{one.snapshot}  {format_size(one.size)}  {one.reason}"


def _named(snapshot: SnapshotId) -> dict[str, str]:
    return {"repo": str(snapshot.repo), "commit": str(snapshot.commit)}
