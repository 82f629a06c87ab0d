"""What a node does for publishers, its own and those it follows, so that they outlive their hosts and themselves.

Every hour, for each: 1. mirrors, the DHT and peers are asked for a newer index; 2. the whole bundle of the accepted one
is brought, which the node then seeds; 3. the signed pointers are put into the DHT again, before its nodes drop them,
and the bundle is announced there: libtorrent comes to a torrent's first announcement late where a node has many.
None of it needs the publisher's keys, and no step that fails keeps another from being done.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from p2pqwen.containment import each, first_of, warn
from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Happened, Notice, Report
from p2pqwen.index.acceptance import Accepted
from p2pqwen.library.bundles import BundleStore
from p2pqwen.library.pointer_store import PointerStore
from p2pqwen.library.trust_store import TrustedPublisher, TrustStore
from p2pqwen.operations.bundle_route import BundleRoute
from p2pqwen.operations.dht_access import DhtAccess
from p2pqwen.operations.pointer import Refreshed, pointer_address, refresh
from p2pqwen.operations.update import Asked, update_all
from p2pqwen.swarm.endpoint import Endpoint

REFRESH_SECONDS = 3600
"""BEP 44: nodes keep an item for two hours, and items are put again every hour."""
FIRST_SECONDS = 3.0
"""After the start; the session's DHT has found its first nodes by then."""
RETRY_SECONDS = 60.0
"""After a round in which nothing stood in the DHT at its end; doubled until it is an hour."""
MAX_BUNDLE = 1 << 30
"""Bytes of a bundle that is brought whole."""
STOP_SECONDS = 5.0

Result = TypeVar("Result")


@dataclass(slots=True)
class PublisherCare:
    """A thread that looks after publishers while a node runs.

    `own` is the index this home published last, None if it is no publisher's. `routes` opens a way to bundles and is
    told whether to stop; `every` is in seconds. `port` is where the node accepts peers.
    """

    trust: TrustStore
    own: Callable[[], Accepted | None]
    bundles: BundleStore
    pointers: PointerStore
    routes: Callable[[Callable[[], bool]], BundleRoute]
    access: DhtAccess | None
    report: Report
    every: float = REFRESH_SECONDS
    first: float = FIRST_SECONDS
    nodes: tuple[Endpoint, ...] = ()
    port: int | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _wake: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="publishers", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, without waiting for whoever does not answer."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    @property
    def busy(self) -> bool:
        """Whether it still waits for somebody after `stop`."""
        return self._thread is not None and self._thread.is_alive()

    def soon(self) -> None:
        """Begin the next round now: there is a bundle that nobody can have found yet."""
        self._wake.set()

    def know(self, nodes: tuple[Endpoint, ...], port: int | None) -> None:
        """Take the DHT nodes that the node's session knows, the best to begin a lookup with, and its port."""
        self.nodes, self.port = nodes, port

    def look_after_all(self) -> bool:
        """Do one round; tell whether whatever there is to put stands in the DHT now."""
        own = self._try("own publisher", self.own)
        cared = {one.publisher: one for one in (*self._follow(), *([own] if own is not None else []))}
        if not cared:
            self._meet_nodes()
        done = each(cared.values(), self._refresh, failed=warn(self.report, lambda one: f"publisher {one.publisher}"))
        return all(done) and len(done) == len(cared)

    def _run(self) -> None:
        wait, retry = self.first, min(RETRY_SECONDS, self.every)
        while True:
            self._wake.wait(wait)
            self._wake.clear()
            if self._stop.is_set():
                return
            if self._try("publishers", self.look_after_all):
                wait, retry = self.every, min(RETRY_SECONDS, self.every)
            else:
                wait, retry = retry, min(2 * retry, self.every)

    def _follow(self) -> list[Accepted]:
        """Bring every followed publisher's newest index and its bundle; return the accepted ones."""
        now = datetime.now(UTC)
        wanted = [Asked(one, self._route()) for one in self.trust.publishers(now=now, report=self.report)]
        before = {one.publisher.publisher: one.publisher.accepted for one in wanted}
        self._try("indexes", lambda: update_all(self.trust, wanted, now=now, report=self.report))
        # Read again: what could be brought is stored, whatever became of the rest.
        publishers = self.trust.publishers(now=now, report=self.report)
        each(publishers, lambda one: self._follow_one(one, before.get(one.publisher)), failed=warn(self.report, _name))
        return [one.accepted for one in publishers if one.accepted is not None]

    def _follow_one(self, publisher: TrustedPublisher, before: Accepted | None) -> None:
        accepted = publisher.accepted
        if accepted is not None and (before is None or before.digest != accepted.digest):
            self.report(Happened("index", _facts(accepted)))
        self._bring_bundle(publisher)

    def _bring_bundle(self, publisher: TrustedPublisher) -> None:
        accepted = publisher.accepted
        if accepted is None or self._stop.is_set():
            return
        # Without the DHT only a bundle that is known already can be completed.
        if self.access is not None or self.bundles.get(publisher.publisher, accepted.position) is not None:
            what = f"bundle of {publisher.name}"
            self._try(what, lambda: self._route().complete(publisher, max_bytes=MAX_BUNDLE))

    def _refresh(self, accepted: Accepted) -> bool:
        access, publisher = self._access(), accepted.publisher
        if self._stop.is_set() or access is None:
            return True
        address = pointer_address(accepted.document.dht, accepted.roots)
        if address is None and not self.pointers.items(publisher):
            return True  # a publisher without a pointer

        held = self.bundles.newest(publisher)

        async def run() -> Refreshed:
            async with access.open() as dht:
                if held is not None and self.port is not None:
                    await dht.announce(held.infohash, self.port)
                return await refresh(dht, self.pointers, publisher, accepted.roots, address)

        done = self._try("DHT pointer", lambda: asyncio.run(run()))
        if done is None:
            return False
        facts = {"items": done.items, "nodes": done.nodes, "boards": done.boards}
        self.report(Happened("pointer", {**_facts(accepted), **facts}))
        return done.items > 0

    def _meet_nodes(self) -> None:
        """Keep knowing nodes of the DHT, for the day on which every bootstrap host is gone."""
        access = self._access()
        if access is None:
            return

        async def run() -> None:
            async with access.open() as dht:
                await dht.find_nodes(secrets.token_bytes(20))

        self._try("DHT", lambda: asyncio.run(run()))

    def _access(self) -> DhtAccess | None:
        return None if self.access is None else self.access.by(self.nodes)

    def _route(self) -> BundleRoute:
        route = self.routes(self._stop.is_set)
        route.dht = self._access()
        return route

    def _try(self, what: str, call: Callable[[], Result]) -> Result | None:
        """Do something, or tell what went wrong and go on."""

        def tell(_: str, error: P2pqwenError) -> None:
            self.report(Notice("info", f"{what}: {error.message}"))

        return first_of([what], lambda _: call(), failed=tell)


def _name(publisher: TrustedPublisher) -> str:
    return publisher.name or f"publisher {publisher.publisher}"


def _facts(accepted: Accepted) -> dict[str, str | int | float | bool | None]:
    position = accepted.position
    return {"publisher": str(accepted.publisher), "epoch": position.epoch, "version": position.version}
