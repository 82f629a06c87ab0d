"""One torrent in the session: what we may ask of it, in our own types. No libtorrent value leaves this package."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import libtorrent as lt

from p2pqwen.errors import P2pqwenError
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.ledger import Connection, Ledger
from p2pqwen.swarm.progress import Phase, TorrentProgress
from p2pqwen.swarm.urgency import Urgency

_PHASES = {
    lt.torrent_status.states.checking_files: Phase.CHECKING,
    lt.torrent_status.states.checking_resume_data: Phase.CHECKING,
    lt.torrent_status.states.downloading_metadata: Phase.METADATA,
    lt.torrent_status.states.downloading: Phase.DOWNLOADING,
    lt.torrent_status.states.finished: Phase.FINISHED,
    lt.torrent_status.states.seeding: Phase.FINISHED,
}
# `connect_peer`: flags say what to assume of a peer we know nothing more about. libtorrent drops a peer after 3
# failures, but each mention by a tracker takes one failure back; so peers that the user names come "from a tracker".
_TCP_ONLY = 0
_ANY_TRANSPORT = 0x01 | 0x04 | 0x08  # encryption, uTP, hole punching
_SOURCE = lt.peer_info.tracker
_MAX_MET = 200
_MAX_HEARD = 50
_BLOCKS_TOO = lt.status_flags_t.query_accurate_download_counters  # a piece of 16 MiB takes a while
_UTP = 1 << 17  # peer_info::utp_socket in libtorrent's peer_info.hpp, which its Python module lacks
_UNFINISHED_HANDSHAKE = lt.peer_info.handshake | lt.peer_info.connecting


_PRIORITIES = {Urgency.NEVER: 0, Urgency.LATER: 2, Urgency.SOON: 6, Urgency.NEXT: 7, Urgency.NOW: 7}
_DEADLINE_STEP = 50  # milliseconds between pieces that a reader will reach next


class TorrentGoneError(P2pqwenError):
    """The torrent has left the session."""


class SwarmTorrent:
    """A torrent of the session. Its fields change while `Swarm.pump` runs, and only then.

    `have`: one byte for each piece, 1 once its hash was checked; the bytes may not be on the disk yet. `finished`:
    libtorrent reported that it has every wanted piece. `resume`: the newest resume data, not wrapped yet. `flushes`:
    how often everything was written out on request. `met`: what a download connected to, web seeds included; a seed
    leaves as soon as it has nothing more to give. `torrent_file`: the .torrent, once it was requested and all its piece
    layers are known. `followed`: the session reports each change of status, and `progress` uses the last report; else
    `progress` asks libtorrent. `trackers`: leaves out trackers that may not be asked. `address_of`: finds a peer's
    address. `lead_to`: gets web seeds before they are used.
    """

    def __init__(
        self,
        handle: lt.torrent_handle,
        piece_count: int,
        *,
        followed: bool = False,
        trackers: Callable[[Iterable[str]], tuple[str, ...]] = tuple,
        address_of: Callable[[Endpoint], Endpoint] = Endpoint.resolve,
        lead_to: Callable[[Iterable[str]], object] = lambda _: None,
        leave: Callable[[SwarmTorrent], object] = lambda _: None,
        release: Callable[[SwarmTorrent], bool] = lambda _: True,
    ) -> None:
        self._handle = handle
        self._usable_trackers = trackers
        self._address_of, self._lead_to = address_of, lead_to
        self._leave, self._release = leave, release
        self._followed = followed
        self._status: lt.torrent_status | None = None
        # The state of `_status` with no connections: it does not change until the next report.
        self._quiet: TorrentProgress | None = None
        self._ledger = Ledger()
        self._told: list[Endpoint] = []
        self._heard: list[Endpoint] = []
        self._calls: Counter[Endpoint] = Counter()
        self._resumes_due = 0
        self._uploaded = (0, 0)  # until the counter was last reset, and since
        self.have = bytearray(piece_count)
        self.error: P2pqwenError | None = None
        self.checked = False
        self.finished = False
        self.resume: bytes | None = None
        self.resume_answers = 0
        self.flushes = 0
        self.failed_pieces = 0
        self.metadata: bytes | None = None
        self.torrent_file: bytes | None = None
        self.met: dict[Endpoint, None] = {}
        self._over_webrtc: dict[Endpoint, None] = {}

    def connect(self, peer: Endpoint) -> None:
        """Connect to a peer and keep trying; raises `NetworkError` for a name without an address."""
        self._told.append(self._address_of(peer))
        self.reconnect(utp=False)

    def reconnect(self, *, utp: bool, heard: bool = False) -> None:
        """Try the peers we were told of again, if they are not connected; with `utp`, by turns over uTP and TCP.

        `heard`: also those that libtorrent heard of. It tries uTP once with each and never again, but 2 peers behind
        NATs meet only while both call.
        """
        peers = dict.fromkeys([*self._told, *(self._heard if heard else ())])
        if not peers:
            return
        with _alive():
            connected = {Endpoint(*peer.ip) for peer in self._handle.get_peer_info()}  # or about to be
            for peer in peers.keys() - connected:
                self._calls[peer] += 1
                # libtorrent falls back to TCP if uTP failed, unless it is told again that the peer speaks uTP.
                flags = _ANY_TRANSPORT if utp and self._calls[peer] % 2 else _TCP_ONLY
                self._handle.connect_peer((peer.host, peer.port), _SOURCE, flags)

    def hear(self, peers: Iterable[tuple[str, int]]) -> None:
        """Take the peers that libtorrent knows; those that have just failed are missing there, so earlier ones stay."""
        fresh = (Endpoint(*peer) for peer in islice(peers, _MAX_HEARD))
        self._heard = list(dict.fromkeys([*fresh, *self._heard]))[:_MAX_HEARD]

    def forget_heard(self) -> None:
        """Stop calling the peers that it heard of."""
        self._heard = []

    def peers(self) -> list[Endpoint]:
        """Return the peers it is connected to."""
        with _alive():
            found = self._handle.get_peer_info()
        return [Endpoint(*peer.ip) for peer in found if _is_peer(peer) and not peer.flags & _UNFINISHED_HANDSHAKE]

    def meet(self, peer: Endpoint, *, webrtc: bool = False) -> None:
        """Record a connection that was made, or is about to be."""
        self._over_webrtc.pop(peer, None)
        if webrtc:
            self._over_webrtc[peer] = None
            if len(self._over_webrtc) > _MAX_MET:
                del self._over_webrtc[next(iter(self._over_webrtc))]
        if len(self.met) < _MAX_MET:
            self.met[peer] = None

    def progress(self, *, fresh: bool = False) -> TorrentProgress:
        """Return the current state; of a followed torrent, as last reported, unless it must be `fresh`."""
        if self._quiet is not None and not fresh:
            return self._quiet
        with _alive():
            told = self._status if self._followed and not fresh else None
            status = self._handle.status(_BLOCKS_TOO) if told is None else told
            peers = self._handle.get_peer_info() if status.num_peers or status.num_connections else []
        self._ledger.look(_connections(peers))
        before, last = self._uploaded
        if status.total_payload_upload < last:  # it was paused and resumed
            before += last
        self._uploaded = (before, status.total_payload_upload)
        from_peers, from_web = self._ledger.split(status.total_payload_download)
        connected = [peer for peer in peers if not peer.flags & _UNFINISHED_HANDSHAKE]
        people = [peer for peer in connected if _is_peer(peer)]
        now = TorrentProgress(
            phase=_PHASES.get(status.state, Phase.CHECKING),
            total=status.total_wanted,
            done=status.total_wanted_done,
            checked=status.progress,
            peers=len(people),
            seeds=sum(bool(peer.flags & lt.peer_info.seed) for peer in people),
            web_seeds=len(connected) - len(people),
            known=max(0, status.list_peers - len(people)),
            download_rate=status.download_payload_rate,
            peer_rate=sum(peer.payload_down_speed for peer in people),
            upload_rate=status.upload_payload_rate,
            received=status.total_payload_download,
            received_from_peers=from_peers,
            received_from_web_seeds=from_web,
            uploaded=sum(self._uploaded),
            failed=status.total_failed_bytes,
            paused=bool(status.flags & lt.torrent_flags.paused),
            utp_peers=sum(bool(peer.flags & _UTP) for peer in people),
            webrtc_peers=sum(Endpoint(*peer.ip) in self._over_webrtc for peer in people) if self._over_webrtc else 0,
        )
        if told is not None and not status.num_connections:
            self._quiet = now
        return now

    def unreached(self) -> int:
        """Return how many known peers are not connected; 0 if it needs none, since connected ones deliver."""
        if self._followed and self._status is not None and not self._status.list_peers:
            return 0
        progress = self.progress()
        nobody_gives = progress.phase is Phase.DOWNLOADING and progress.peer_rate == 0
        return progress.known if progress.peers == 0 or nobody_gives else 0

    def note(self, status: lt.torrent_status) -> None:
        """Take a status that the session reported."""
        self._status, self._quiet = status, None

    def mark(self, piece: int, *, have: bool) -> None:
        """Record one piece."""
        if piece < len(self.have):
            self.have[piece] = have

    def all_offered(self) -> bool:
        """Tell whether the connected peers, without web seeds, have every missing piece."""
        with _alive():
            people = [peer for peer in self._handle.get_peer_info() if _is_peer(peer)]
        if any(peer.flags & lt.peer_info.seed for peer in people):
            return True
        found = int.from_bytes(self.have)  # one byte for each piece: joining peers is one operation on a large integer
        for peer in people:
            found |= int.from_bytes(bytes(peer.pieces))
        return found == int.from_bytes(b"\1" * len(self.have))

    def sync_pieces(self) -> None:
        """Copy the list of pieces from libtorrent; alerts may have been dropped."""
        if not self.have:
            return
        with _alive():
            pieces = self._handle.status(lt.status_flags_t.query_pieces).pieces
        self.have[:] = bytes(pieces)

    def in_order(self, *, wanted: bool) -> None:
        """Request pieces in order, or the rarest first."""
        with _alive():
            if wanted:
                self._handle.set_flags(lt.torrent_flags.sequential_download)
            else:
                self._handle.unset_flags(lt.torrent_flags.sequential_download)

    def want(self, pieces: Iterable[int], urgency: Urgency) -> None:
        """Set how soon to fetch these pieces, or not at all; for a download, until called again.

        `Urgency.NOW` requests them from the fastest peers, and again from others if they are late. libtorrent then
        cancels every request for other pieces, which on a fast line costs more than it gains.
        """
        wanted = list(pieces)
        if not wanted:
            return
        with _alive():
            self._handle.prioritize_pieces([(piece, _PRIORITIES[urgency]) for piece in wanted])
            if urgency is Urgency.NOW:
                for number, piece in enumerate(wanted):
                    self._handle.set_piece_deadline(piece, number * _DEADLINE_STEP)
        if urgency is not Urgency.NEVER:
            self.finished = False

    def set_web_seeds(self, urls: Sequence[str]) -> None:
        """Use exactly these BEP 19 base URLs from now on."""
        self._lead_to(urls)
        with _alive():
            before = set(self._handle.url_seeds())
            for url in before - set(urls):
                self._handle.remove_url_seed(url)
            for url in urls:
                if url not in before:
                    self._handle.add_url_seed(url)

    def start(self) -> None:
        """Continue a held torrent: a download once its data is checked.

        libtorrent calls the peers it knows at once, and those it hears of later in its next second.
        """
        with _alive():
            self._handle.unset_flags(lt.torrent_flags.stop_when_ready)
            self._handle.resume()

    def pause(self) -> None:
        """Stop all communication about this torrent."""
        with _alive():
            self._handle.pause()

    def set_upload_slots(self, slots: int) -> None:
        """Serve at most `slots` peers at once; -1 for no limit of its own."""
        with _alive():
            self._handle.set_max_uploads(slots)

    def share(self, trackers: Sequence[Sequence[str]]) -> None:
        """Announce and serve a torrent that was added quietly and whose data was checked."""
        tiers = [self._usable_trackers(urls) for urls in trackers]
        with _alive():
            self._handle.replace_trackers([_tracker(url, tier) for tier, urls in enumerate(tiers) for url in urls])
            quiet = lt.torrent_flags.disable_dht | lt.torrent_flags.disable_lsd | lt.torrent_flags.disable_pex
            self._handle.unset_flags(quiet | lt.torrent_flags.stop_when_ready)
            self._handle.resume()

    def look_in_dht(self) -> None:
        """Look for peers in the DHT now."""
        with _alive():
            self._handle.force_dht_announce()

    def ask_trackers(self) -> None:
        """Ask its trackers for peers now, or as soon as their `min interval` allows."""
        with _alive():
            self._handle.force_reannounce()

    def announce(self) -> None:
        """Announce it to trackers and the DHT again, as soon as they allow."""
        self.ask_trackers()
        self.look_in_dht()

    def leave(self) -> None:
        """Remove it from the session; its files stay. May be called again."""
        self._leave(self)

    def release(self) -> bool:
        """Remove it and wait until libtorrent has released its files; return whether it did within 3 seconds."""
        return self._release(self)

    def request_flush(self) -> None:
        """Request that everything is written to the files; `flushes` counts the answers."""
        with _alive():
            self._handle.flush_cache()

    def request_resume(self) -> None:
        """Request resume data for what is on disk; `resume_answers` counts the answers, good or bad."""
        self._resumes_due += 1
        with _alive():
            self._handle.save_resume_data(lt.save_resume_flags_t.flush_disk_cache)

    def answer(self, resume: Callable[[], bytes] | None) -> None:
        """Take an answer to `request_resume`, None for a refusal; other answers come from the other requests."""
        if self._resumes_due:
            self._resumes_due -= 1
            self.resume_answers += 1
            self.resume = self.resume if resume is None else resume()

    def request_peers(self) -> None:
        """Request the peers that libtorrent knows, for `reconnect`."""
        with _alive():
            self._handle.save_resume_data(0)

    def request_torrent_file(self) -> None:
        """Request `torrent_file`."""
        with _alive():
            self._handle.save_resume_data(lt.save_resume_flags_t.save_info_dict)

    def traffic(self) -> int:
        """Return the bytes received from peers, protocol overhead included."""
        with _alive():
            return self._handle.status(0).total_download

    @property
    def handle(self) -> lt.torrent_handle:
        """The libtorrent handle, for this package only."""
        return self._handle


@contextlib.contextmanager
def _alive() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # "invalid torrent handle used"
        raise TorrentGoneError("the torrent has left the session", got=str(error)) from error


def _tracker(url: str, tier: int) -> lt.announce_entry:
    entry = lt.announce_entry(url)
    entry.tier = tier
    return entry


def _is_peer(peer: lt.peer_info) -> bool:
    return bool(peer.connection_type == lt.peer_info.standard_bittorrent)


def _connections(peers: Sequence[lt.peer_info]) -> Iterator[Connection]:
    for peer in peers:
        yield Connection((peer.ip, peer.local_endpoint), not _is_peer(peer), peer.total_download)
