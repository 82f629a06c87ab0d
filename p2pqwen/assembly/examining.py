"""Gathers what `doctor` examines from an app."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from p2pqwen.app import App
from p2pqwen.errors import DiskError, P2pqwenError
from p2pqwen.events import Report
from p2pqwen.operations.control.doctor import DoctorContext, RunningNode
from p2pqwen.operations.control.routes import NetworkAnswer, NodeAnswer
from p2pqwen.operations.node.limits import Limits
from p2pqwen.operations.node.preferences import Choices
from p2pqwen.operations.verify.scrub_record import ScrubRecord, scrub_records
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.values.proxy import Proxies
from p2pqwen.values.snapshot_id import OriginName

_DOCTOR_SECONDS = 8.0


def doctor_context(app: App, report: Report) -> DoctorContext:
    """Gather what `doctor` looks at."""
    now = datetime.now(UTC)
    scrubs: Mapping[str, ScrubRecord] = {}
    limits, uploaded = Limits(), 0
    problem: P2pqwenError | None = None
    try:
        with app.state_store(report) as store:
            scrubs, choices = scrub_records(store), Choices(store)
            limits, uploaded = choices.limits(), choices.month(now.astimezone()).uploaded
    except DiskError as error:  # such as a full disk, which `doctor` must then report
        problem = error
    access = app.dht()
    return DoctorContext(
        home=app.home,
        library=app.library,
        node=running_node(app),
        listen=Endpoint.parse(app.config.network.listen, allow_port_zero=True),
        dht=None if access is None else replace(access, seconds=_DOCTOR_SECONDS),
        hub_endpoint=app.config.hub.endpoint,
        hub_time=lambda: app.hub.time(),  # noqa: PLW0108 - huggingface_hub is slow to import, so only on demand
        xet_storage=lambda snapshot: app.hub.xet_storage(snapshot),  # noqa: PLW0108
        publishers=app.trust.publishers(now=now, report=report),
        publishes=app.keys.exists,
        scrubs=scrubs,
        now=lambda: datetime.now(UTC),
        limits=limits,
        uploaded_this_month=uploaded,
        state_problem=problem,
        proxies=Proxies.of(os.environ),
        bittorrent_proxy=app.config.network.bittorrent_proxy,
        hub_cache=app.config.hub.cache,
        modelscope=app.ask_modelscope if _uses_modelscope(app) else None,
    )


def _uses_modelscope(app: App) -> bool:
    watched = any(one.kind.origin is OriginName.MODELSCOPE for one in app.config.watch.orgs)
    return watched or app.config.origin == "auto"


def running_node(app: App) -> RunningNode | None:
    """Return what `doctor` needs of the running node, None if none runs."""
    client = app.running()
    if client is None:
        return None
    said = client.call(NetworkAnswer, "GET", "/v1/network")
    started = datetime.fromtimestamp(said.started, UTC)
    return RunningNode(client.call(NodeAnswer, "GET", "/v1/node").pid, said.listen, started, said.reach)
