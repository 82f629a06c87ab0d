"""What operations need of a swarm engine and of a clock, so that they run without libtorrent and without waiting.

`swarm.session.Swarm` is the engine, and the module `time` is the clock; mypy checks both against these protocols. An
engine belongs to one thread: what it says of a torrent changes only while `pump` runs. Only `wake` may be called from
any thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from p2pqwen.errors import P2pqwenError
from p2pqwen.events import Notice
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.progress import TorrentProgress
from p2pqwen.swarm.reach import Reach
from p2pqwen.swarm.resume_data import Resume
from p2pqwen.swarm.urgency import Urgency
from p2pqwen.swarm.writable import WritableFiles
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.webseed.offered_file import Offer
from p2pqwen.webseed.source_stats import Account, Outlook


class Clock(Protocol):
    """Monotonic time, in seconds; the module `time` is one."""

    def monotonic(self) -> float:
        """Return the seconds since a fixed moment."""

    def sleep(self, seconds: float, /) -> None:
        """Wait for `seconds`."""


class Torrent(Protocol):
    """A torrent in an engine, as both a seed and a download see it."""

    @property
    def have(self) -> bytearray:
        """One byte for each piece, 1 once its hash was checked; its data may not be on disk yet."""

    @property
    def error(self) -> P2pqwenError | None:
        """What stopped it."""

    @property
    def checked(self) -> bool:
        """Whether everything that was on disk when it was added has been checked."""

    def progress(self, *, fresh: bool = False) -> TorrentProgress:
        """Return the current state; for a seed the last reported one, unless `fresh`."""

    def sync_pieces(self) -> None:
        """Read `have` from the engine itself: alerts about single pieces may have been dropped."""

    def leave(self) -> None:
        """Remove it from its engine; its files stay. May be called twice."""


class SeededTorrent(Torrent, Protocol):
    """A torrent that is served and never written to."""

    def share(self, trackers: Sequence[Sequence[str]]) -> None:
        """Announce it and serve it, once its data was checked."""

    def pause(self) -> None:
        """Stop announcing and serving it."""

    def announce(self) -> None:
        """Announce it to trackers and the DHT again, soon."""

    def set_upload_slots(self, slots: int) -> None:
        """Serve at most `slots` peers at once, -1 for no limit on this torrent."""


class DownloadedTorrent(Torrent, Protocol):
    """A torrent that is being fetched."""

    @property
    def finished(self) -> bool:
        """Whether the engine reported that it has every wanted piece."""

    @property
    def failed_pieces(self) -> int:
        """How many pieces arrived with a wrong hash."""

    @property
    def met(self) -> Mapping[Endpoint, None]:
        """The peers and web seeds that it was ever connected to."""

    @property
    def flushes(self) -> int:
        """How often everything was flushed on request."""

    @property
    def resume(self) -> bytes | None:
        """The newest resume data."""

    @property
    def resume_answers(self) -> int:
        """How many requests for resume data were answered, successfully or not."""

    def release(self) -> bool:
        """Remove it and wait until its files are closed; tell whether that happened within seconds."""

    def connect(self, peer: Endpoint) -> None:
        """Connect to a peer and keep trying; raises `NetworkError` for a name without an address."""

    def start(self) -> None:
        """Start a download that was added with `held`."""

    def in_order(self, *, wanted: bool) -> None:
        """Request pieces in order, or the rarest first."""

    def want(self, pieces: Iterable[int], urgency: Urgency) -> None:
        """Set the urgency of these pieces: sooner than others, or not at all."""

    def set_web_seeds(self, urls: Sequence[str]) -> None:
        """Use exactly these BEP 19 base URLs from now on."""

    def all_offered(self) -> bool:
        """Tell whether connected peers, web seeds not counted, have every piece that is missing."""

    def request_flush(self) -> None:
        """Ask the engine to write everything to the files."""

    def request_resume(self) -> None:
        """Ask for resume data of what is on disk."""


class Engine(Protocol):
    """What drives torrents."""

    def pump(self, seconds: float) -> None:
        """Wait up to `seconds` for events and process them."""


class SeedEngine(Engine, Protocol):
    """The engine of a node that seeds."""

    @property
    def listening(self) -> Sequence[Endpoint]:
        """Where it accepts peers; more addresses may follow."""

    @property
    def reach(self) -> Reach:
        """What is known about its reachability from outside."""

    def dht_nodes(self) -> Sequence[Endpoint]:
        """Return the nodes of its DHT routing tables."""

    def add_seed(
        self, metainfo: Metainfo, save_path: Path, *, files: Collection[RepoPath] | None = None, trusted: bool = False
    ) -> SeededTorrent:
        """Load the files in `save_path/<name>/` without announcing them: `SeededTorrent.share` does that.

        `files`: only these are present. Without `trusted`, every piece is read first. Raises `P2pqwenError` for a
        torrent that it does not accept.
        """

    def set_rates(self, *, upload: int, download: int) -> None:
        """Set its rate limits, in bytes a second; 0 for no limit."""

    def wake(self) -> None:
        """Make `pump` return at once; may be called from any thread."""


class DownloadEngine(Engine, Protocol):
    """The engine of one fetch."""

    @property
    def looks_for_peers(self) -> bool:
        """Whether it looks for peers that the user did not name."""

    @property
    def download_limit(self) -> int:
        """The user's limit in bytes a second, 0 for none."""

    def admit(self, only: Collection[Endpoint], banned: Iterable[str]) -> None:
        """Connect to no address in `banned` from now on, and only to those in `only`; empty: to all."""

    def add_download(
        self,
        metainfo: Metainfo,
        writable: WritableFiles,
        *,
        trackers: Sequence[Sequence[str]] = (),
        resume: Resume | None = None,
        held: bool = False,
    ) -> DownloadedTorrent:
        """Fetch the `writable` files of a torrent after checking what exists of them; `held`: only check.

        Raises `P2pqwenError` for a torrent that it does not accept.
        """


class WebSeeds(Protocol):
    """The web seeds of one download, behind their relay."""

    @property
    def urls(self) -> Sequence[str]:
        """The URLs for `DownloadedTorrent.set_web_seeds`."""

    @property
    def accounts(self) -> Sequence[Account]:
        """What each web seed has delivered so far."""

    def keep(self, gained: Iterable[tuple[int, int, int]]) -> int:
        """Record the pieces that a download gained, each a (file, piece, bytes).

        Returns how many of those bytes came from web seeds.
        """

    def outlook(self) -> Outlook:
        """Return whether any web seed is still worth waiting for."""

    def take_notices(self) -> Sequence[Notice]:
        """Return the notices since the last call."""


class WebServer(Protocol):
    """Serves snapshots over HTTP; called from any thread."""

    host: str
    port: int

    @property
    def bytes_sent(self) -> int:
        """All bytes sent since the start."""

    def offer(self, offer: Offer) -> None:
        """Serve a snapshot from now on."""

    def offers_complete(self) -> None:
        """Answer from now on that what is not offered is not found; until then clients wait for that answer."""

    def withdraw(self, snapshot: SnapshotId) -> None:
        """Stop serving a snapshot."""

    def sent(self, snapshot: SnapshotId) -> int:
        """Return how many bytes of a snapshot were sent since the start."""

    def set_rate(self, rate: int) -> None:
        """Send at most `rate` bytes a second from now on, 0 for no limit."""
