"""What operations ask of a swarm engine and of the clock, so that they run without libtorrent and without waiting.

`swarm.session.Swarm` is the engine, and the module `time` is the clock; mypy holds both to what stands here. An engine
belongs to one thread: what it says of a torrent changes while `pump` runs, and only then. `wake` alone may be called
from any thread.
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
    """Time that only runs forward, in seconds; the module `time` is one."""

    def monotonic(self) -> float:
        """Return the seconds since some moment that stays the same."""

    def sleep(self, seconds: float, /) -> None:
        """Let `seconds` pass."""


class Torrent(Protocol):
    """A torrent in an engine, as both a seed and a download see it."""

    @property
    def have(self) -> bytearray:
        """One byte for each piece, 1 once its hash was checked; the bytes may still be on their way to the disk."""

    @property
    def error(self) -> P2pqwenError | None:
        """What stopped it."""

    @property
    def checked(self) -> bool:
        """Whether all that was on the disk when it was added has been looked at."""

    def progress(self, *, fresh: bool = False) -> TorrentProgress:
        """Return the state of this moment; of a seed as last told, unless it must be `fresh`."""

    def sync_pieces(self) -> None:
        """Take `have` from the engine itself: news of single pieces may have been dropped."""

    def leave(self) -> None:
        """Take it out of its engine; its files stay. Once more is fine."""


class SeededTorrent(Torrent, Protocol):
    """A torrent that is served and never written to."""

    def share(self, trackers: Sequence[Sequence[str]]) -> None:
        """Announce it and serve it, once its data was checked."""

    def pause(self) -> None:
        """Stop talking to anybody about it."""

    def announce(self) -> None:
        """Tell trackers and the DHT of it again, soon."""

    def set_upload_slots(self, slots: int) -> None:
        """Serve at most `slots` peers at once, -1 for no limit of its own."""


class DownloadedTorrent(Torrent, Protocol):
    """A torrent that is being fetched."""

    @property
    def finished(self) -> bool:
        """Whether it was said to have every wanted piece."""

    @property
    def failed_pieces(self) -> int:
        """How many pieces arrived with a wrong hash."""

    @property
    def met(self) -> Mapping[Endpoint, None]:
        """Whom it was ever connected to, web seeds too."""

    @property
    def flushes(self) -> int:
        """How often everything was written out on request."""

    @property
    def resume(self) -> bytes | None:
        """The newest resume data."""

    @property
    def resume_answers(self) -> int:
        """How many requests for resume data were answered, well or badly."""

    def release(self) -> bool:
        """Take it out and wait until its files are let go of; whether that was so within seconds."""

    def connect(self, peer: Endpoint) -> None:
        """Connect to a peer and keep trying; raises `NetworkError` for a name without an address."""

    def start(self) -> None:
        """Go on with what was held."""

    def in_order(self, *, wanted: bool) -> None:
        """Ask for pieces in order, or the rarest first."""

    def want(self, pieces: Iterable[int], urgency: Urgency) -> None:
        """Fetch these pieces sooner than others, or not at all, until told otherwise."""

    def set_web_seeds(self, urls: Sequence[str]) -> None:
        """Use exactly these BEP 19 base URLs from now on."""

    def all_offered(self) -> bool:
        """Tell whether connected peers, web seeds not counted, have every piece that is missing."""

    def request_flush(self) -> None:
        """Have everything written to the files."""

    def request_resume(self) -> None:
        """Ask for resume data of what is on disk."""


class Engine(Protocol):
    """What drives torrents."""

    def pump(self, seconds: float) -> None:
        """Wait up to `seconds` for news, and take it in."""


class SeedEngine(Engine, Protocol):
    """The engine of a node that seeds."""

    @property
    def listening(self) -> Sequence[Endpoint]:
        """Where it accepts peers; more may come."""

    @property
    def reach(self) -> Reach:
        """What is known of how the world reaches it."""

    def dht_nodes(self) -> Sequence[Endpoint]:
        """Return the nodes of its DHT routing tables."""

    def add_seed(
        self, metainfo: Metainfo, save_path: Path, *, files: Collection[RepoPath] | None = None, trusted: bool = False
    ) -> SeededTorrent:
        """Load what stands in `save_path/<name>/`, quietly: `SeededTorrent.share` announces it.

        `files`: only these are there. Without `trusted` every piece is read first. Raises `P2pqwenError` for a torrent
        it does not take.
        """

    def set_rates(self, *, upload: int, download: int) -> None:
        """Hold it to these rates from now on, in bytes a second; 0 for no limit."""

    def wake(self) -> None:
        """Have `pump` return at once; from any thread."""


class DownloadEngine(Engine, Protocol):
    """The engine of one fetch."""

    @property
    def looks_for_peers(self) -> bool:
        """Whether it finds peers nobody named."""

    @property
    def download_limit(self) -> int:
        """The user's limit in bytes a second, 0 for none."""

    def admit(self, only: Collection[Endpoint], banned: Iterable[str]) -> None:
        """Speak to nobody among `banned` (addresses) from now on, and to nobody but `only`; empty: to everybody."""

    def add_download(
        self,
        metainfo: Metainfo,
        writable: WritableFiles,
        *,
        trackers: Sequence[Sequence[str]] = (),
        resume: Resume | None = None,
        held: bool = False,
    ) -> DownloadedTorrent:
        """Fetch the `writable` files of a torrent, checking first what is there of them; `held`: no more than that.

        Raises `P2pqwenError` for a torrent it does not take.
        """


class WebSeeds(Protocol):
    """The web seeds of one download, behind whatever relays them."""

    @property
    def urls(self) -> Sequence[str]:
        """The URLs for `DownloadedTorrent.set_web_seeds`."""

    @property
    def accounts(self) -> Sequence[Account]:
        """What each of them gave so far."""

    def keep(self, gained: Iterable[tuple[int, int, int]]) -> int:
        """Book the pieces that a download gained, each a file, its piece and the bytes of it.

        Returns how many of those bytes web seeds gave.
        """

    def outlook(self) -> Outlook:
        """Return whether any of them should still be waited for."""

    def take_notices(self) -> Sequence[Notice]:
        """Return what there is to tell a person since the last call."""


class WebServer(Protocol):
    """Serves snapshots over HTTP; called from any thread."""

    host: str
    port: int

    @property
    def bytes_sent(self) -> int:
        """Bytes of everything, since the start."""

    def offer(self, offer: Offer) -> None:
        """Serve a snapshot from now on."""

    def offers_complete(self) -> None:
        """Answer from now on that what is not offered is not found; until then clients wait for that answer."""

    def withdraw(self, snapshot: SnapshotId) -> None:
        """Serve it no longer."""

    def sent(self, snapshot: SnapshotId) -> int:
        """Return how many bytes of a snapshot were sent since the start."""

    def set_rate(self, rate: int) -> None:
        """Send at most `rate` bytes a second from now on, 0 for no limit."""
