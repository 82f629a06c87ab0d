"""`p2pqwen seed`: the node, in the foreground."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

from p2pqwen.cli import exit_codes
from p2pqwen.cli.exit_codes import leave_at_once
from p2pqwen.cli.network_options import SwitchedOff, UploadLimit, network_choices, network_switches
from p2pqwen.cli.options import JsonFlag, QuietFlag
from p2pqwen.cli.output import Output, can_redraw
from p2pqwen.cli.stopping import stop_on_signals
from p2pqwen.values.byte_size import parse_size

if TYPE_CHECKING:
    from p2pqwen.app import App
    from p2pqwen.events import Report
    from p2pqwen.library.event_log import EventLog
    from p2pqwen.library.state_store import StateStore
    from p2pqwen.operations.control.status import Status
    from p2pqwen.webseed.file_server import FileServer


_IN_THE_TABLE = frozenset({"checking", "seeding", "stats"})
"""Events that get no line, because the live status shows them."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(seed)


@network_switches()
def seed(
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Address to accept peers on (default 0.0.0.0:6881; port 0: any free one)."
        ),
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Serve the library over HTTP too, as a web seed (port 0: any free one)."
        ),
    ] = None,
    hub: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Stand in the Hub's place here too, as `p2pqwen hub` does."),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve /metrics for Prometheus on this loopback address.")
    ] = None,
    dashboard: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Serve a page that shows the node on this loopback address; `dashboard` opens it."
        ),
    ] = None,
    upload_limit: UploadLimit = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Adopt what the archive needs most, by itself, up to this much in all, such as 2TB."
        ),
    ] = None,
    off: SwitchedOff = (),
    daemon: Annotated[
        bool,
        typer.Option("--daemon", help="Start it in the background and return once it runs, or if it does already."),
    ] = False,
    quiet: QuietFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Serve every verified file of the library, partial snapshots included, until it is stopped (Ctrl-C or SIGTERM).

    With --budget it also keeps fetching what the archive needs most.
    With --http, http://HOST:PORT/ORG/MODEL/ is a web seed (BEP 19) of each snapshot.
    On a terminal `p2pqwen status` is shown below, refreshed every second; elsewhere a line for each event.
    With --json one JSON event per line: listening, proxied, http, hub, dashboard, checking, seeding, paused, damaged,
    mended, skipped, removed, standing, bundle, index, pointer, stats, stopped; of [watch] in config.toml: watch
    started, watch done, watch failed, watch cut off, gone, back; with --budget, or [archive] in config.toml: adopting,
    adopted, adopt failed, given up, archive waits, archive rests; of the machine: woke, network, disk full, disk has
    room; of [alerts]: alert.
    """
    from p2pqwen.app import open_app
    from p2pqwen.assembly import fetching, hub_serving, serving
    from p2pqwen.operations.node.seed import Services
    from p2pqwen.operations.node.seed import seed as seed_library
    from p2pqwen.swarm.endpoint import Endpoint

    if daemon:
        given = {"--listen": listen, "--http": http, "--metrics": metrics, "--hub": hub}
        given |= {"--dashboard": dashboard, "--upload-limit": upload_limit, "--budget": budget}
        _start_daemon(given, off, quiet=quiet, json_output=json_output)
        return
    stop = stop_on_signals()
    with Output(as_json=json_output, quiet=quiet) as out:
        app = open_app()
        endpoint = Endpoint.parse(listen or app.config.network.listen, allow_port_zero=True)
        choices = network_choices(app, off, upload_limit=upload_limit)
        settings = fetching.swarm_settings(app, choices, listen=endpoint)
        with _log(app, out) as log, app.state_store(out.report) as store, _view(app, store, out) as show:
            report = _into(log, show)
            supervisor = serving.make_supervisor(app, store, settings, report)
            watch = serving.hub_watch(app, supervisor, store, report)
            size = None if budget is None else parse_size(budget)
            keeper = serving.archive_keeper(app, supervisor, store, settings, report, budget=size)
            health = serving.health_watch(app, supervisor, store, settings, report)
            publishers = serving.seeded_publishers(app, settings, report)
            alerts = serving.alert_watch(app, supervisor, store, report)
            page_on = _loopback("--dashboard", dashboard, 9470)
            pictures = None if page_on is None else serving.dashboard(app, supervisor, store, alerts)
            control = serving.control(
                app,
                supervisor,
                store,
                report,
                metrics_on=_loopback("--metrics", metrics, 9469),
                dashboard_on=page_on,
                dashboard=pictures,
                alerts=alerts,
            )
            wishes = hub_serving.configured(app, choices, listen=hub)
            place = contextlib.nullcontext() if wishes is None else hub_serving.hub_endpoint(app, store, wishes, report)
            seed_library(
                app.library,
                app.home,
                settings,
                web=_web_seed(http, choices.upload_limit),
                services=Services(supervisor, publishers),
                control=_together(
                    supervisor.watch,
                    pictures or contextlib.nullcontext(),
                    control,
                    watch,
                    health,
                    alerts,
                    place,
                    keeper or contextlib.nullcontext(),
                ),
                report=report,
                stopping=stop.is_set,
            )
    services = (supervisor, publishers.sync, watch, health, alerts, supervisor.watch, keeper)
    if any(one is not None and one.busy for one in services):
        leave_at_once(exit_codes.DONE)


def _start_daemon(given: Mapping[str, str | None], off: SwitchedOff, *, quiet: bool, json_output: bool) -> None:
    from p2pqwen.app import open_app
    from p2pqwen.operations.control.daemon import start_daemon

    options = [text for name, value in given.items() if value is not None for text in (name, value)]
    with Output(as_json=json_output, quiet=quiet) as out:
        app = open_app()
        answer = start_daemon([*options, *(f"--no-{switch}" for switch in off)], app.home, app.running)
        verb = "started" if answer.started else "runs already"
        out.result(answer, [f"node {answer.pid} {verb}; `kill {answer.pid}` stops it, `p2pqwen status` shows it"])


@contextlib.contextmanager
def _together(*services: AbstractContextManager[object]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for service in services:
            stack.enter_context(service)
        yield


def _log(app: App, out: Output) -> EventLog:
    from p2pqwen.library.event_log import EventLog

    return EventLog(app.home.log, complain=out.warn)


@contextlib.contextmanager
def _view(app: App, store: StateStore, out: Output) -> Iterator[Report]:
    """Yield the report that shows events: as lines, or on a terminal as the live status with lines for the rest."""
    from p2pqwen.assembly.home_status import home_status
    from p2pqwen.cli.status import notes_of
    from p2pqwen.cli.status_table import StatusBelow
    from p2pqwen.events import Event, Happened, Progress, ignore

    if out.as_json or out.quiet or not can_redraw(sys.stdout):
        yield out.report
        return

    def report(event: Event) -> None:
        if not isinstance(event, Progress) and not (isinstance(event, Happened) and event.event in _IN_THE_TABLE):
            out.report(event)
        if isinstance(event, Happened) and event.event == "listening":  # otherwise another node may be shown
            below.start()

    def notes(found: Status) -> list[str]:
        return ["the node is starting"] if found.node is None else notes_of(app, store, found)

    with StatusBelow(lambda: home_status(app, store, ignore), notes) as below:
        yield report


def _into(log: EventLog, show: Report) -> Report:
    """Report to the log and to the terminal, from any thread."""
    from p2pqwen.events import Event, Happened, Notice

    one_at_a_time = threading.Lock()

    def report(event: Event) -> None:
        with one_at_a_time:
            if isinstance(event, Happened):
                log.write(event.event, event.facts)
            elif isinstance(event, Notice):
                log.write(event.level, {"text": event.text})
            show(event)

    return report


def _loopback(option: str, text: str | None, usual: int) -> tuple[str, int] | None:
    """Parse an address of this machine; raises `UsageError` for any other."""
    from p2pqwen.errors import UsageError
    from p2pqwen.swarm.endpoint import Endpoint

    if text is None:
        return None
    endpoint = Endpoint.parse(text, allow_port_zero=True).resolve()
    if not endpoint.is_loopback:
        raise UsageError(option, expected=f"an address of this machine, such as 127.0.0.1:{usual}", got=text)
    return endpoint.host, endpoint.port


def _web_seed(http: str | None, rate: int) -> FileServer | None:
    from p2pqwen.swarm.endpoint import Endpoint
    from p2pqwen.webseed.file_server import FileServer, ServerLimits

    if http is None:
        return None
    endpoint = Endpoint.parse(http, allow_port_zero=True)
    return FileServer(endpoint.host, endpoint.port, ServerLimits(rate=rate))
