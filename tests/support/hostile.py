"""Fetches from peers that lie, stall and send garbage, with and without an honest seed beside them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo
from tests.simulators.peer import Behaviour, Content, PeerNetwork, PeerSimulator, addresses
from tests.support.command import CommandLine
from tests.support.models import small_model
from tests.support.swarm import QUIET, preserve
from tests.support.warm import run_warm

AT_ONCE = 8  # they mostly wait


@dataclass(frozen=True, slots=True)
class Met:
    """The outcome of a fetch: the command's exit code and time, the files on disk, and what the peer saw."""

    name: str
    code: int
    seconds: float
    stderr: str
    user: CommandLine
    peers: tuple[PeerSimulator, ...]


class Strangers:
    """A torrent, its magnet, and peers of every kind that claim to have it, each at its own address."""

    def __init__(self, folder: Path, network: PeerNetwork, files: Mapping[str, bytes] | None = None) -> None:
        self.files = small_model(2_000_000) if files is None else files
        self.folder, self.network = folder, network
        keeper = CommandLine(folder / "keeper")
        done = preserve(keeper, folder / "model", self.files)
        self.torrent, self.magnet = Path(done["torrent"]), str(done["magnet"])
        self.metainfo: Metainfo = parse_metainfo(self.torrent.read_bytes())
        self.content = Content.of(self.metainfo, self.files)
        self._addresses = addresses()
        self._users = itertools.count()

    def peer(self, behaviour: Behaviour | None = None) -> PeerSimulator:
        return self.network.peer(self.content, behaviour, next(self._addresses))

    def meet(
        self,
        name: str,
        peers: Sequence[PeerSimulator],
        *,
        beside: Sequence[str] = (),
        magnet: bool = False,
        timeout: float,
    ) -> Met:
        """Fetch as a new user from these peers, and from those `beside` them (HOST:PORT)."""
        user = CommandLine(self.folder / "users" / str(next(self._users)))
        named = [word for peer in (*(peer.endpoint for peer in peers), *beside) for word in ("--peer", str(peer))]
        target = self.magnet if magnet else self.torrent
        started = time.monotonic()
        ended = run_warm(user, "fetch", target, *named, *QUIET, "--no-web-seeds", "--timeout", f"{timeout:g}")
        return Met(name, ended.code, time.monotonic() - started, ended.stderr, user, tuple(peers))

    def on_disk(self, user: CommandLine) -> dict[str, bytes]:
        """The files of the snapshot in a user's library."""
        folder = user.home / "library" / "Qwen" / "Tiny" / self.metainfo.name
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def meet_each(
        self, group: Mapping[str, Behaviour], *, beside: Sequence[str] = (), magnet: bool = False, timeout: float
    ) -> Iterator[Met]:
        """Fetch from each behaviour of a group, a few fetches at once."""

        def one(name: str) -> Met:
            return self.meet(name, [self.peer(group[name])], beside=beside, magnet=magnet, timeout=timeout)

        with ThreadPoolExecutor(AT_ONCE if beside else 2 * AT_ONCE) as pool:
            yield from pool.map(one, group)
