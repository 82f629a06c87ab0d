"""The libtorrent session: its life, its torrents, its alerts.

One thread uses it. `pump` waits for alerts, copies what they say into our own values (an alert is gone after the next
`pop_alerts`) and returns. Between two calls none of our values changes.
"""

from __future__ import annotations

import ctypes
import socket
import tempfile
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast
from urllib.parse import urlsplit

import libtorrent as lt

from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Notice, Report, ignore
from p2pqwen.swarm import alerts, dht_state, params
from p2pqwen.swarm.address_filter import address_filter
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.outgoing_only import stop_listening
from p2pqwen.swarm.progress import Phase
from p2pqwen.swarm.reach import Reach
from p2pqwen.swarm.resume_data import Resume
from p2pqwen.swarm.settings import SwarmSettings, alert_mask, dht_pack, settings_pack, transport_pack
from p2pqwen.swarm.torrent import SwarmTorrent
from p2pqwen.swarm.transport import (
    LONELY_SECONDS,
    LONELY_SECONDS_OF_ONE,
    LONGEST_LONELY_SECONDS,
    LONGEST_OF_A_FETCH,
    TransportPolicy,
)
from p2pqwen.swarm.writable import WritableFiles
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.digest import Sha1, Sha256
from p2pqwen.values.named_hosts import Guard
from p2pqwen.values.printable_text import printable
from p2pqwen.values.repo_path import RepoPath

if TYPE_CHECKING:
    from p2pqwen.net.socks_gateway import SocksGateway

_LISTEN_SECONDS = 5.0
_PORT_TRIES = 8
_POLICY_EVERY = 1.0
_DHT_AGAIN = 15.0  # a download without a peer searches the DHT again; libtorrent itself waits 15 minutes
_TRACKERS_AGAIN, _TRACKERS_RARELY = 20.0, 900.0  # and asks its trackers, after twice as long each time
_COUNT_EVERY = 10.0
_HEAR_EVERY = 3.0
# How long a peer that was just heard of is called whenever uTP is on: it may be calling us as well.
_CALL_SECONDS = 180.0
_MAX_CALLING = 20
_LEAVE_SECONDS = 3.0  # for libtorrent to release a removed torrent; as a rule it does at once


class Swarm:
    """A running session; use it as a context manager.

    Raises `P2pqwenError` on entry if a seeding session cannot listen where it was told to.
    """

    def __init__(
        self,
        settings: SwarmSettings,
        *,
        report: Report = ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = _with_port(settings)
        self._report = report
        self._clock = clock
        self._torrents: dict[lt.torrent_handle, SwarmTorrent] = {}
        self._leaving: list[lt.torrent_handle] = []
        self._session: lt.session | None = None
        self._gateway: SocksGateway | None = None
        self._longest = LONGEST_LONELY_SECONDS if settings.seeds else LONGEST_OF_A_FETCH
        self._transport = TransportPolicy(clock(), longest=self._longest)
        self._restricted = False
        self._next_policy = clock() + _POLICY_EVERY
        self._next_dht = clock() + _DHT_AGAIN
        self._trackers_again = _TRACKERS_RARELY if settings.seeds else _TRACKERS_AGAIN
        self._next_trackers = clock() + self._trackers_again
        self._next_hear = 0.0
        self._most: weakref.WeakKeyDictionary[SwarmTorrent, int] = weakref.WeakKeyDictionary()
        self._calling: dict[SwarmTorrent, float] = {}
        self._next_count = clock()
        self._dht_pack = dht_pack(nodes=0)
        self._said: set[tuple[str, str]] = set()
        self._news = alerts.SessionNews()
        self._empty: tempfile.TemporaryDirectory[str] | None = None
        self._numbers = 0
        self.listening: list[Endpoint] = []

    def __enter__(self) -> Self:
        if (proxy := self._settings.proxy) is not None:
            from p2pqwen.net.socks_gateway import SocksGateway  # noqa: PLC0415 - few go through a proxy

            peers = [(one.host, one.port) for one in self._settings.named_peers]
            self._gateway = SocksGateway(proxy, Guard(self._settings.named), peers=peers).__enter__()
            try:
                self._open()
            except BaseException:
                self._close_gateway()
                raise
            return self
        # If any port will do, libtorrent may take one for TCP that is no longer free for UDP.
        any_port = all(one.port == 0 for one in self._settings.listen_on)
        for left in reversed(range(_PORT_TRIES if any_port else 1)):
            self._open()
            if self._await_sockets(last=not left):
                break
            self.close()
        return self

    def _open(self) -> None:
        downloads = not self._settings.seeds  # a seed hears of its peers only to tell WebRTC from other transports
        mask = alert_mask(pieces=downloads, connections=downloads or self._settings.webtorrent)
        pack = cast("lt.settings_pack", {**settings_pack(self._settings, self._gateway), "alert_mask": mask})
        self.listening.clear()
        self._session = lt.session(pack)
        self._session.set_ip_filter(address_filter(self._settings))
        _limit_local_peers_too(self._session)
        self.add_dht_nodes(self._settings.dht_nodes)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the swarm: drop peers, tell trackers, finish writes in progress.

        If libtorrent has lost one of its jobs, its threads stay idle until the program ends.
        """
        if self._session is None:
            return
        self._torrents.clear()
        session, self._session = self._session, None
        session.pause()
        leaving, self._leaving = self._leaving, []
        if not _all_gone(leaving, _LEAVE_SECONDS):
            self._report(Notice("info", "libtorrent did not release a torrent; abandoning its session"))
            _keep_for_ever(session)
        del session  # the destructor waits for the disk and at most `stop_tracker_timeout` for trackers
        self._close_gateway()
        if self._empty is not None:
            self._empty.cleanup()
            self._empty = None

    def _close_gateway(self) -> None:
        if self._gateway is not None:
            gateway, self._gateway = self._gateway, None
            gateway.__exit__(None, None, None)

    def admit(self, only: Collection[Endpoint], banned: Iterable[str]) -> None:
        """From now on, connect to no address in `banned`, and only to `only`; if `only` is empty, to every other."""
        self._live.set_ip_filter(address_filter(self._settings, banned, only={one.host for one in only}))
        if only or self._restricted:  # what TCP failed to reach were other peers
            self._transport = TransportPolicy(
                self._clock(), LONELY_SECONDS_OF_ONE if only else LONELY_SECONDS, self._longest
            )
            self._live.apply_settings(cast("lt.settings_pack", transport_pack(self._settings, utp=False)))
        self._restricted = bool(only)

    def add_dht_nodes(self, nodes: Iterable[Endpoint]) -> None:
        """Give the session's DHT these nodes, by address."""
        for node in dict.fromkeys(nodes) if self._settings.choices.dht else ():
            self._live.add_dht_node((node.host, node.port))

    def dht_nodes(self) -> list[Endpoint]:
        """Return the nodes in the session's DHT routing tables."""
        kind = lt.save_state_flags_t.save_dht_state
        return dht_state.nodes_of(lt.write_session_params_buf(self._live.session_state(kind), kind))

    @property
    def reach(self) -> Reach:
        """What is known of how others can reach this session."""
        known = self._news.reach
        return replace(known, dht_nodes=(known.dht_nodes or 0) if self._settings.choices.dht else None)

    @property
    def looks_for_peers(self) -> bool:
        """Whether it finds peers that the user did not name."""
        return self._settings.choices.finds_peers

    @property
    def tries_utp(self) -> bool:
        """Whether it currently tries peers over uTP."""
        return self._transport.utp

    @property
    def download_limit(self) -> int:
        """The user's limit in bytes a second, 0 for none."""
        return self._settings.choices.download_limit

    def add_download(
        self,
        metainfo: Metainfo,
        writable: WritableFiles,
        *,
        web_seeds: Sequence[str] = (),
        trackers: Sequence[Sequence[str]] = (),
        resume: Resume | None = None,
        held: bool = False,
    ) -> SwarmTorrent:
        """Fetch the `writable` files of a torrent, after a check of what is there; `held`: only check for now.

        libtorrent does not learn the paths of the torrent's other files. `SwarmTorrent.start` continues a held torrent,
        and at once calls the peers it was told of before. Raises `VerificationError` if libtorrent would write other
        files than the torrent names.
        """
        if writable.infohash != metainfo.infohash:
            raise ValueError("these files were checked for another torrent")
        given = params.of_metainfo(metainfo, writable.save_path)
        self._lead_to(web_seeds)
        given.url_seeds = list(web_seeds)
        params.set_trackers(given, [self._settings.usable_trackers(tier) for tier in trackers])
        if resume is not None:
            params.apply_resume(given, resume)
        params.hide_others(given, metainfo, writable.files)
        given.flags |= lt.torrent_flags.override_web_seeds
        if held:
            given.flags |= lt.torrent_flags.stop_when_ready
        return self._add(given, metainfo.layout.piece_count)

    def add_seed(
        self, metainfo: Metainfo, save_path: Path, *, files: Collection[RepoPath] | None = None, trusted: bool = False
    ) -> SwarmTorrent:
        """Load a snapshot quietly, to be served and never written to; `SwarmTorrent.share` announces it.

        `files`: only these are there; libtorrent does not learn the paths of the others. Without `trusted`, every piece
        is read first. With it, the files were verified and have not changed since: each piece of a whole snapshot is
        then checked when it is first requested.
        """
        given = params.of_metainfo(metainfo, save_path)
        flags = lt.torrent_flags
        given.flags |= flags.upload_mode | flags.disable_dht | flags.disable_lsd | flags.disable_pex
        have = params.pieces_of(metainfo, files)
        # An empty file has no piece: if it were not among the files, libtorrent would create it.
        if files is None or {file.path for file in metainfo.files} <= set(files):
            given.flags |= flags.seed_mode | flags.paused if trusted else flags.stop_when_ready
        else:
            # seed_mode ends if a file has priority 0, so the verified pieces are given as if from resume data.
            given.have_pieces = [bool(one) for one in have] if trusted else []
            params.hide_others(given, metainfo, files or ())
            given.flags |= flags.paused if trusted else flags.stop_when_ready
        torrent = self._add(given, metainfo.layout.piece_count)
        if trusted:
            torrent.have[:] = have
        return torrent

    def add_magnet(
        self,
        v1: Sha1 | None,
        v2: Sha256 | None,
        *,
        trackers: Sequence[str] = (),
        held: bool = False,
    ) -> SwarmTorrent:
        """Ask peers for an info dictionary; nothing is downloaded or written, whatever it says.

        Its save path is a new, empty folder. `held`: wait for `SwarmTorrent.start`, as in `add_download`.
        """
        given = params.of_infohash(v1, v2, self._nowhere())
        if held:
            given.flags |= lt.torrent_flags.paused
        params.set_trackers(given, [self._settings.usable_trackers(trackers)])
        return self._add(given, 0)

    def release(self, torrent: SwarmTorrent) -> bool:
        """Remove a torrent and wait until libtorrent has released its files; return whether it did within 3 seconds."""
        self.remove(torrent)
        return _all_gone([torrent.handle], _LEAVE_SECONDS)

    def remove(self, torrent: SwarmTorrent) -> None:
        """Remove a torrent; its files stay."""
        if self._torrents.pop(torrent.handle, None) is not None and torrent.handle.is_valid():
            self._live.remove_torrent(torrent.handle)
            self._leaving = [one for one in (*self._leaving, torrent.handle) if one.is_valid()]

    def set_rates(self, *, upload: int, download: int) -> None:
        """Limit the session to these rates from now on, in bytes a second; 0 for no limit."""
        self._live.apply_settings({"upload_rate_limit": upload, "download_rate_limit": download})

    def wake(self) -> None:
        """Make `pump` return at once; callable from any thread."""
        session = self._session
        if session is not None:
            session.post_torrent_updates(0)  # always answered by an alert

    def pump(self, seconds: float) -> None:
        """Wait up to `seconds` for alerts, and process them."""
        self._live.wait_for_alert(max(0, round(seconds * 1000)))
        for alert in self._live.pop_alerts():
            alerts.take(alert, self._news, self._torrents)
        self._pass_on()
        if self._clock() >= self._next_policy:
            self._next_policy = self._clock() + _POLICY_EVERY
            if self._settings.seeds:
                # Reports only what changed: asking 1,000 idle seeds every second costs a tenth of a core.
                self._live.post_torrent_updates(0)
                if self._clock() >= self._next_count:
                    self._next_count = self._clock() + _COUNT_EVERY
                    self._live.post_session_stats()
                self._suit_the_dht()
            self._look_after_peers()

    def _lead_to(self, web_seeds: Iterable[str]) -> None:
        """Let the gateway connect directly to the server of these web seeds, which is our own relay on this machine."""
        if self._gateway is not None:
            for url in web_seeds:
                parts = urlsplit(url)
                self._gateway.lead_directly((parts.hostname or "", parts.port or 0))

    def _nowhere(self) -> Path:
        """Return an empty folder that stays empty and is removed with the session."""
        if self._empty is None:
            self._empty = tempfile.TemporaryDirectory(prefix="p2pqwen-metadata-", ignore_cleanup_errors=True)
        self._numbers += 1
        folder = Path(self._empty.name) / str(self._numbers)
        folder.mkdir()
        return folder

    @property
    def _live(self) -> lt.session:
        if self._session is None:
            raise RuntimeError("the session is used outside its `with` block")
        return self._session

    def _add(self, given: lt.add_torrent_params, piece_count: int) -> SwarmTorrent:
        try:
            handle = self._live.add_torrent(given)
        except RuntimeError as error:
            raise P2pqwenError("libtorrent refused the torrent", got=str(error)) from error
        torrent = SwarmTorrent(
            handle,
            piece_count,
            followed=self._settings.seeds,
            trackers=self._settings.usable_trackers,
            address_of=self._settings.address_of,
            lead_to=self._lead_to,
            leave=self.remove,
            release=self.release,
        )
        self._torrents[handle] = torrent
        return torrent

    def _await_sockets(self, *, last: bool) -> bool:
        """Wait until it listens. If it does not, return False, or raise `P2pqwenError` if this was the `last` try."""
        self._news.listen_errors.clear()
        self._news.port_taken = False
        self._live.is_listening()  # answered once every socket was tried, when the alerts are there
        deadline = self._clock() + _LISTEN_SECONDS
        answers = len(self._settings.listen_on)  # TCP only; UDP takes the same port
        while len(self.listening) + len(self._news.listen_errors) < answers and self._clock() < deadline:
            self.pump(0.05)
            if self.listening and not self._settings.accepts_peers:
                break  # the others are closed as they come
        if self._news.port_taken and not last:
            return False  # one address would have no UDP: neither DHT nor trackers work over it
        if not self._settings.accepts_peers or self.listening:
            return True
        if last:
            self.close()
            raise P2pqwenError(
                f"cannot listen on {self._settings.listen}",
                got=self._news.listen_errors[0] if self._news.listen_errors else "no answer from the system",
                hint="another program may have the port: choose one with --listen HOST:PORT",
            )
        return False

    def _suit_the_dht(self) -> None:
        pack = dht_pack(nodes=self.reach.dht_nodes or 0)
        if pack != self._dht_pack:
            self._dht_pack = pack
            self._live.apply_settings(cast("lt.settings_pack", pack))

    def _look_after_peers(self) -> None:
        searching = [one for one in self._torrents.values() if self._is_searching(one)]
        self._reach_out(searching)
        if not self._settings.accepts_peers:  # no peer can call this session, so it must look for new ones
            self._look_for_more(searching)

    def _reach_out(self, searching: Sequence[SwarmTorrent]) -> None:
        """Try the known peers, over the transport that is on now."""
        now = self._clock()
        unreached = {one: count for one in searching if (count := one.unreached())}
        for torrent in [one for one, until in self._calling.items() if one not in unreached or until <= now]:
            del self._calling[torrent]
            torrent.forget_heard()
        room = _MAX_CALLING - len(self._calling)
        news = [one for one, count in unreached.items() if count > self._most.get(one, 0)][:room]
        self._most |= {one: unreached[one] for one in news}
        self._calling |= dict.fromkeys(news, now + _CALL_SECONDS)
        before = self._transport.utp
        utp = self._transport.decide(now, lonely=bool(unreached), news=bool(news))
        if utp != before:
            self._live.apply_settings(cast("lt.settings_pack", transport_pack(self._settings, utp=utp)))
        if utp and now >= self._next_hear:
            self._next_hear = now + _HEAR_EVERY
            for torrent in self._calling:
                torrent.request_peers()
        for torrent in searching:
            torrent.reconnect(utp=utp, heard=utp and torrent in self._calling)

    def _look_for_more(self, searching: Sequence[SwarmTorrent]) -> None:
        """Ask the DHT and trackers again for downloads without peers."""
        now = self._clock()
        in_dht = self._settings.choices.dht and now >= self._next_dht
        at_trackers = self._settings.choices.trackers and now >= self._next_trackers
        alone = [one for one in searching if one.progress().peers == 0] if in_dht or at_trackers else []
        if in_dht:
            self._next_dht = now + _DHT_AGAIN
            for torrent in alone:
                torrent.look_in_dht()
        if at_trackers:
            self._trackers_again = min(2 * self._trackers_again, _TRACKERS_RARELY)
            self._next_trackers = now + self._trackers_again
            for torrent in alone:
                torrent.ask_trackers()

    def _is_searching(self, torrent: SwarmTorrent) -> bool:
        return self._settings.seeds or torrent.progress().phase in {Phase.METADATA, Phase.DOWNLOADING}

    def _pass_on(self) -> None:
        """Act on the alerts: close sockets that must not listen, report each complaint once."""
        news = self._news
        fresh, news.listening[:] = news.listening[:], []
        if fresh and not self._settings.accepts_peers:
            stop_listening(fresh, self._report)
        self.listening += fresh
        complaints, news.complaints[:] = news.complaints[:], []
        for kind, url, reason in complaints:
            if (kind, url) not in self._said and not self._restricted:  # otherwise our own filter blocks trackers too
                self._said.add((kind, url))
                self._report(Notice("info", f"{kind} {printable(url, limit=200)}: {printable(reason, limit=200)}"))
        if news.dropped:
            news.dropped = False
            for torrent in self._torrents.values():
                if torrent.checked:
                    torrent.sync_pieces()


def _with_port(settings: SwarmSettings) -> SwarmSettings:
    """Choose the port ourselves if any will do: libtorrent would take a different one on each interface."""
    listen = settings.listen
    if listen is None or listen.port or listen.is_loopback or not settings.accepts_peers:
        return settings
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((listen.host, 0))
        except OSError as error:
            raise P2pqwenError(f"cannot listen on {listen}", got=error.strerror or str(error)) from error
        return replace(settings, listen=Endpoint(listen.host, probe.getsockname()[1]))


def _all_gone(torrents: Collection[lt.torrent_handle], seconds: float) -> bool:
    """Wait until libtorrent has released removed torrents; return whether it did in time."""
    deadline = time.monotonic() + seconds
    while any(one.is_valid() for one in torrents):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _keep_for_ever(session: lt.session) -> None:
    """Make a session outlive Python.

    If libtorrent 2.1.1 loses a disk job, it never releases the torrent. The session's destructor then waits for ever
    and holds the interpreter lock: no signal and no other thread would run again.
    """
    session.apply_settings({"enable_dht": False, "enable_lsd": False, "listen_interfaces": ""})
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


def _limit_local_peers_too(session: lt.session) -> None:
    """Apply the session's rate limits to peers on this machine and network as well."""
    everybody = lt.ip_filter()
    everybody.add_rule("0.0.0.0", "255.255.255.255", 1 << session.global_peer_class_id)  # noqa: S104 - a range
    everybody.add_rule("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1 << session.global_peer_class_id)
    session.set_peer_class_filter(everybody)
