"""Keep the indexes and bundles of publishers available, even after their hosts or the publishers are gone.

Every hour, for the node's own publisher and each that it follows: 1. mirrors, the DHT and peers are asked for a newer
index, and the stored one is verified again if that was last done a month ago; 2. the whole bundle of the accepted index
is fetched, and the node then seeds it; 3. the signed pointers are put into the DHT again, before its nodes drop them,
and the bundle is announced there, because libtorrent makes a torrent's first announcement late if a node has many. None
of this needs the publisher's keys, and a failed step stops no other. Publishers are handled concurrently. A bundle that
does not arrive within `BUNDLE_SECONDS` is resumed in the next round, so that it does not delay another publisher's
pointers.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Happened, Notice, Report
from p2pqwen.index.acceptance import Accepted
from p2pqwen.library.bundles import BundleStore
from p2pqwen.library.pointer_store import PointerStore
from p2pqwen.library.trust_store import TrustedPublisher, TrustStore
from p2pqwen.loop_thread import run_now
from p2pqwen.operations.background import BackgroundThread
from p2pqwen.operations.indexes.bundle_route import BundleRoute
from p2pqwen.operations.indexes.dht_access import DhtAccess
from p2pqwen.operations.indexes.pointer import Refreshed, pointer_address, refresh
from p2pqwen.operations.indexes.update import update
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.values.digest import Sha256

REFRESH_SECONDS = 3600
"""BEP 44: nodes keep an item for two hours, and items are put again every hour."""
FIRST_SECONDS = 3.0
"""Delay after the start, in which the session's DHT finds its first nodes."""
RETRY_SECONDS = 60.0
"""Delay after a round that left something out of the DHT; doubled until it is an hour."""
MAX_BUNDLE = 1 << 30
"""Size of the largest bundle, in bytes, that is fetched whole."""
BUNDLE_SECONDS = 900.0
"""For a publisher's bundle in one round; what has arrived is kept."""
_AT_ONCE = 6

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Done:
    """The outcome for one publisher: whether there was an index, and whether its pointers are in the DHT now."""

    had_index: bool = True
    stands: bool = True


@dataclass(slots=True)
class PublisherSync:
    """A thread that looks after publishers while a node runs.

    `own` returns the index that this home published last, None if it publishes nothing. `routes` opens a route to
    bundles, given a function that tells whether to stop; `every` is in seconds. `port` is where the node accepts peers.
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
    _background: BackgroundThread = field(init=False)

    def __post_init__(self) -> None:
        self._background = BackgroundThread("publishers", self._run, idle=False, report=self.report)

    def start(self) -> None:
        """Start the thread."""
        self._background.start()

    def stop(self) -> None:
        """Stop, without waiting for hosts that do not answer."""
        self._background.stop()

    @property
    def busy(self) -> bool:
        """Whether it still waits for an answer after `stop`."""
        return self._background.busy

    def soon(self) -> None:
        """Begin the next round now, because a bundle is not announced yet."""
        self._background.wake()

    def know(self, nodes: tuple[Endpoint, ...], port: int | None) -> None:
        """Take the DHT nodes that the node's session knows, the best to begin a lookup with, and its port."""
        self.nodes, self.port = nodes, port

    def look_after_all(self) -> bool:
        """Do one round; tell whether everything to be put is in the DHT now."""
        own = self._try("own publisher", self.own)
        followed = self.trust.ids()
        calls = [partial(self._follow, one, own) for one in followed]
        if own is not None and own.publisher not in followed:
            calls.insert(0, partial(self._refresh, own))
        done = _side_by_side([partial(self._try, "publisher", call) for call in calls])
        if not any(one is not None and one.had_index for one in done):
            self._meet_nodes()
        return all(one is not None and one.stands for one in done)

    def _run(self) -> None:
        wait, retry = self.first, min(RETRY_SECONDS, self.every)
        while not self._background.wait(wait):
            if self.look_after_all():
                wait, retry = self.every, min(RETRY_SECONDS, self.every)
            else:
                wait, retry = retry, min(2 * retry, self.every)

    def _follow(self, publisher: Sha256, own: Accepted | None) -> Done:
        """Fetch a followed publisher's newest index and its bundle, and put its pointers again."""
        now = datetime.now(UTC)
        held = self.trust.get(publisher, now=now, report=self.report)
        updated = self._try(
            f"index of {held.name or publisher}",
            lambda: update(self.trust, held, now=now, route=self._route(), report=self.report),
        )
        self._try(
            f"stored index of {held.name or publisher}",
            lambda: self.trust.verify_again(publisher, now=now, report=self.report),
        )
        latest = held if updated is None else updated.publisher
        if latest.accepted is None:
            return Done(had_index=False, stands=updated is not None)
        if updated is not None and updated.changed:
            self.report(Happened("index", _facts(latest.accepted)))
        self._bring_bundle(latest)
        # If this home follows itself, the index that it published last counts.
        return self._refresh(own if own is not None and own.publisher == publisher else latest.accepted)

    def _bring_bundle(self, publisher: TrustedPublisher) -> None:
        accepted = publisher.accepted
        if accepted is None or self._background.is_stopping():
            return
        # Without the DHT only a bundle that is known already can be completed.
        if self.access is not None or self.bundles.get(publisher.publisher, accepted.position) is not None:
            ends = time.monotonic() + BUNDLE_SECONDS
            route = self._route(lambda: time.monotonic() > ends)
            self._try(f"bundle of {publisher.name}", lambda: route.complete(publisher, max_bytes=MAX_BUNDLE))

    def _refresh(self, accepted: Accepted) -> Done:
        access, publisher = self._access(), accepted.publisher
        if self._background.is_stopping() or access is None:
            return Done()
        address = pointer_address(accepted.document.dht, accepted.roots)
        if address is None and not self.pointers.items(publisher):
            return Done()  # a publisher without a pointer

        held = self.bundles.newest(publisher)

        async def run() -> Refreshed:
            async with access.open() as dht:
                if held is not None and self.port is not None:
                    await dht.announce(held.infohash, self.port)
                return await refresh(dht, self.pointers, publisher, accepted.roots, address)

        done = self._try("DHT pointer", lambda: run_now(run()))
        if done is None:
            return Done(stands=False)
        facts = {"items": done.items, "nodes": done.nodes, "boards": done.boards}
        self.report(Happened("pointer", {**_facts(accepted), **facts}))
        return Done(stands=done.items > 0)

    def _meet_nodes(self) -> None:
        """Keep the list of known DHT nodes fresh, in case every bootstrap host disappears."""
        access = self._access()
        if access is None:
            return

        async def run() -> None:
            async with access.open() as dht:
                await dht.find_nodes(secrets.token_bytes(20))

        self._try("DHT", lambda: run_now(run()))

    def _access(self) -> DhtAccess | None:
        return None if self.access is None else self.access.by(self.nodes)

    def _route(self, is_over: Callable[[], bool] = lambda: False) -> BundleRoute:
        route = self.routes(lambda: self._background.is_stopping() or is_over())
        route.dht = self._access()
        return route

    def _try(self, what: str, call: Callable[[], Result]) -> Result | None:
        """Return what `call` returns, or report its failure and go on."""
        try:
            return call()
        except P2pqwenError as error:
            self.report(Notice("info", f"{what}: {error.message}"))
        except Exception as error:  # noqa: BLE001 - it concerns this publisher alone
            self.report(Notice("warning", f"{what}: {type(error).__name__}: {error}"))
        return None


def _side_by_side(calls: Sequence[Callable[[], Done | None]]) -> list[Done | None]:
    """Make all calls, a few at once, on threads that end with the program."""
    done: list[Done | None] = [None] * len(calls)
    numbers = iter(range(len(calls)))

    def work() -> None:
        for number in numbers:
            done[number] = calls[number]()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(_AT_ONCE, len(calls)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def _facts(accepted: Accepted) -> dict[str, str | int | float | bool | None]:
    position = accepted.position
    return {"publisher": str(accepted.publisher), "epoch": position.epoch, "version": position.version}
