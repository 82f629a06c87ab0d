"""Download a torrent from peers and web seeds together, hashing as bytes arrive, resumable at any moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from p2pqwen.errors import NetworkError, P2pqwenError
from p2pqwen.events import Notice, Progress, Report
from p2pqwen.library import durable
from p2pqwen.library.hashing import FileDigests
from p2pqwen.library.trailing import GrowingFile, TrailingHasher
from p2pqwen.operations.engine import Clock, DownloadedTorrent, DownloadEngine, WebSeeds
from p2pqwen.operations.verify.recover_pieces import pieces_on_disk
from p2pqwen.portable.files import prefix_of
from p2pqwen.swarm.endpoint import Endpoint, is_address
from p2pqwen.swarm.peer_isolation import PeerIsolation, TryOverError
from p2pqwen.swarm.problems import ContradictionError
from p2pqwen.swarm.progress import Phase, TorrentProgress
from p2pqwen.swarm.resume_data import MAX_RESUME_BYTES, Resume, unwrap, wrap
from p2pqwen.swarm.writable import prove_writable
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.plural import plural
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.webseed.policy import SwarmView, WebSeedDecision, WebSeedUse
from p2pqwen.webseed.source_stats import Outlook

PUMP = 0.1  # seconds
_BATCH = 0.02
_LOOK_EVERY = 0.25
_SAVE_EVERY = 30.0
_SAVE_SECONDS = 5.0
_FLUSH_SECONDS = 120.0
_FAULTS_TOLD = 3
_WEB_SEED_GRACE = 5.0
_BLOCK = 16 * 1024
_SLOW_SECONDS, _SLOW_RATE = 30.0, 50_000
_OFFER_EVERY = 2.0  # counting what many peers offer takes time


@dataclass(frozen=True, slots=True)
class PeerCandidates:
    """Possible peers: `named` by a user or link, `remembered` from earlier fetches, and a publisher's `followers`."""

    named: Sequence[Endpoint] = ()
    remembered: Sequence[Endpoint] = ()
    followers: Sequence[Endpoint] = ()


@dataclass(frozen=True, slots=True)
class DownloadJob:
    """What to download and whom to ask. `files` None: all; no file may be a hard link.

    `timeout`: seconds without any progress before the download fails. `met` receives the peers that were connected.
    """

    torrent: CheckedTorrent
    save_path: Path
    files: Collection[RepoPath] | None
    trackers: Sequence[Sequence[str]]
    peers: PeerCandidates
    relayed: WebSeeds | None
    web_seed_use: WebSeedUse
    resume_file: Path
    timeout: float
    met: Callable[[Sequence[Endpoint]], None] = lambda _: None

    @property
    def metainfo(self) -> Metainfo:
        """The torrent's metainfo."""
        return self.torrent.metainfo

    @property
    def lfs(self) -> frozenset[RepoPath]:
        """The files for which git holds a pointer, so their own git blob ids are not needed."""
        rows = () if self.torrent.manifest is None else self.torrent.manifest.files
        return frozenset(row.path for row in rows if row.lfs)

    @property
    def needs_hashes(self) -> bool:
        """Whether the torrent's own hashes must be computed too, because nothing else can verify the files."""
        return self.torrent.manifest is None or not self.metainfo.has_all_layers

    @property
    def wanted(self) -> list[RepoPath]:
        """The wanted files, in order."""
        return [file.path for file in self.metainfo.layout.files if self.files is None or file.path in self.files]


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What was downloaded: digests of every wanted file that was read whole, and bytes by source.

    `released`: libtorrent has closed the files, so hard links to them are safe.
    """

    digests: Mapping[RepoPath, FileDigests]
    bytes_from_peers: int
    bytes_from_web_seeds: int
    released: bool = True

    def after(self, earlier: Downloaded) -> Downloaded:
        """Return the sum with an earlier try."""
        return replace(
            self,
            bytes_from_peers=self.bytes_from_peers + earlier.bytes_from_peers,
            bytes_from_web_seeds=self.bytes_from_web_seeds + earlier.bytes_from_web_seeds,
            released=self.released and earlier.released,
        )


class Stall:
    """Watches for progress: the highest figure seen must rise within `seconds`.

    Time in which a server asked us to wait does not count, up to twice `seconds`: the Hub's quotas last 5 minutes.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._best: tuple[int, float] = (-1, -1.0)
        self._since = self._looked = clock()
        self._excused = 0.0

    def look(self, *figure: float, waiting: bool = False) -> bool:
        """Record the current figures; tell whether nothing has risen for too long."""
        now, before = self._clock(), self._looked
        self._looked = now
        best = (int(figure[0]), float(figure[1]) if len(figure) > 1 else 0.0)
        if best > self._best:
            self._best = best
            self._since, self._excused = now, 0.0
        elif waiting:
            self._excused = min(self._excused + now - before, 2 * self._seconds)
        return now - self._since - self._excused >= self._seconds


class Trial:
    """Watches one try: it is idle after `seconds` without a block, or if it is too slow while other peers wait."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall, self._clock = Stall(seconds, clock), clock
        self._since, self._before = clock(), 0

    def is_idle(self, figure: int, *, others: bool) -> bool:
        """Record the current byte count; tell whether the try is idle."""
        if self._stall.look(figure // _BLOCK):  # single bytes may trickle in for hours
            return True
        now = self._clock()
        if now - self._since < _SLOW_SECONDS:
            return False
        slow = figure - self._before < _SLOW_SECONDS * _SLOW_RATE
        self._since, self._before = now, figure
        return others and slow


def download(swarm: DownloadEngine, job: DownloadJob, report: Report, clock: Clock = time) -> Downloaded:
    """Fetch until every wanted file is complete, written out and hashed.

    Raises `NetworkError` after `job.timeout` seconds without progress, `DiskError`, `VerificationError` for a torrent
    whose v1 and v2 hashes contradict each other. Fetched data and resume data stay for the next try.
    """
    return _Download(swarm, job, report, clock).run()


class _Download:
    """A download and its tries: one, unless peers that send bad data make it start again (`PeerIsolation`)."""

    def __init__(self, swarm: DownloadEngine, job: DownloadJob, report: Report, clock: Clock) -> None:
        self._swarm, self._job, self._report, self._clock = swarm, job, report, clock
        self._stall = Stall(job.timeout, clock.monotonic)
        self._isolation = PeerIsolation(job.timeout, singly=not job.metainfo.has_all_layers)
        self._isolation.begin(_addresses([*job.peers.named, *job.peers.remembered]))
        self._admit()
        self._met: dict[Endpoint, None] = {}
        self._had: bytes | None = None
        self._web_seeds = WebSeedDecision.first(job.web_seed_use, self._clock.monotonic())
        self._begin()

    def run(self) -> Downloaded:
        while True:
            try:
                return self._try()
            except TryOverError as over:
                self._judge(over)
                self._begin()

    def _begin(self) -> None:
        self._torrent = self._add()
        self._web_seeds_in = False
        self._offered = (0.0, False)
        self._saved = self._clock.monotonic()
        self._in_order: bool | None = None
        self._failed_told = 0
        self._checking = False
        self._trial: Trial | None = None
        self._at_first = 0

    def _judge(self, over: TryOverError) -> None:
        """Choose which peers to try next."""
        trials, torrent = self._isolation, self._torrent
        suspect, before = trials.only, len(trials.banned)
        gained = self._trial is not None and sum(torrent.have) > self._at_first
        peers = self._job.peers
        trials.next(over, [*_addresses(peers.named), *self._met, *_addresses(peers.remembered)], gained=gained)
        if suspect is not None and len(trials.banned) > before:
            self._report(Notice("warning", f"{suspect} sends wrong data and is banned"))
        elif suspect is None and trials.only is not None:
            self._report(Notice("warning", "pieces arrive damaged: testing peers one by one"))
        self._admit()

    def _admit(self) -> None:
        """Admit only the peer whose turn it is, and our own relay, which sends only checked data."""
        trials = self._isolation
        only = [] if trials.only is None else [trials.only, *self._relay]
        self._swarm.admit(only, trials.banned)

    @property
    def _relay(self) -> set[Endpoint]:
        urls = () if self._job.relayed is None else self._job.relayed.urls
        return {Endpoint(parts.hostname or "", parts.port or 0) for parts in map(urlsplit, urls)}

    def _try(self) -> Downloaded:
        torrent, only = self._torrent, self._isolation.only
        try:
            self._wait(lambda: torrent.checked)
            here = bytes(torrent.have)
            if self._had is None:
                self._had = here
            self._at_first = sum(here)
            self._trial = Trial(self._isolation.trial_seconds, self._clock.monotonic)
            # Connect to the known peers first. Do not start before `here` was recorded: pieces that arrive with the
            # start would count as already present.
            peers = self._job.peers
            known = dict.fromkeys((*peers.named, *peers.remembered, *peers.followers))
            for peer in known if only is None else (only,):
                self._connect(peer)
            torrent.start()
            with TrailingHasher(self._growing(), torrent.have) as hasher:
                self._wait(lambda: torrent.progress().phase is Phase.FINISHED, hasher)
                self._flush()
                torrent.sync_pieces()
                hasher.written()
                digests = self._finish_hashing(hasher)
        except BaseException:
            self._save_resume(wait=True)
            raise
        finally:
            self._met.update((peer, None) for peer in self._peers_met())
            self._job.met([peer for peer in self._met if peer.host not in self._isolation.banned])
            torrent.leave()
            self._tell_of_web_seeds()
        return Downloaded(digests, *self._account(self._had), torrent.release())

    def _peers_met(self) -> list[Endpoint]:
        """Return the peers that this try was connected to, without our own relay."""
        relay = self._relay
        return [one for one in self._torrent.met if one not in relay]

    def _add(self) -> DownloadedTorrent:
        job = self._job
        resume = None
        if job.resume_file.is_file():
            resume = unwrap(durable.read(job.resume_file, max_bytes=MAX_RESUME_BYTES))
            if resume is None:
                self._report(Notice("warning", "the resume data is damaged; reading the files on disk again"))
        return self._swarm.add_download(
            job.metainfo,
            prove_writable(job.metainfo, job.save_path, job.files),
            trackers=job.trackers,
            resume=None if resume is None else Resume(resume, self._recover, with_blocks=self._had is None),
            held=True,
        )

    def _recover(self, known: bytes) -> Iterator[int]:
        """Find pieces that an earlier try received after its last resume data, before it was killed."""
        job, read = self._job, 0
        total = job.metainfo.layout.total_size

        def on_bytes(count: int) -> None:
            nonlocal read
            read += count
            self._report(Progress("check", read, total))

        folder = job.save_path / job.metainfo.name
        return pieces_on_disk(job.metainfo, folder, known, files=job.files, on_bytes=on_bytes)

    def _connect(self, peer: Endpoint) -> None:
        try:
            self._torrent.connect(peer)
        except NetworkError as error:
            self._report(Notice("warning", error.message))

    def _wait(self, done: Callable[[], bool], hasher: TrailingHasher | None = None) -> None:
        """Pump until `done`, and do all other checks every `_LOOK_EVERY` seconds.

        A fast download has hundreds of alerts a second, and every query interrupts libtorrent's network thread. So
        alerts are taken in batches, and libtorrent is queried a few times a second.
        """
        next_ask = next_look = 0.0
        while True:
            self._swarm.pump(PUMP)
            if hasher is not None:
                hasher.arrived()
            self._raise_error()
            now = self._clock.monotonic()
            if now >= next_ask or self._torrent.finished:
                next_ask = now + PUMP
                if done():
                    return
            if now >= next_look:
                next_look = now + _LOOK_EVERY
                self._look()
            self._clock.sleep(_BATCH)

    def _look(self) -> None:
        progress = self._torrent.progress()
        self._tell(progress)
        # Bad pieces come and go: only a new maximum counts as progress.
        outlook = relayed.outlook() if (relayed := self._job.relayed) is not None else Outlook()
        if self._stall.look(progress.done, progress.checked, waiting=outlook.asked_to_wait > 0):
            raise self._stalled(progress)
        self._look_at_damage(progress)
        self._give_up_on_web_seeds(progress, outlook)
        self._decide_on_web_seeds(progress)
        # In order, hashing can follow closely and web seeds read sequentially; but other downloaders need rare pieces.
        in_order = progress.seeds == progress.peers
        if in_order != self._in_order and progress.phase is Phase.DOWNLOADING:
            self._in_order = in_order
            self._torrent.in_order(wanted=in_order)
        if self._torrent.failed_pieces > self._failed_told:
            self._failed_told = self._torrent.failed_pieces
            self._report(Notice("warning", f"{plural(self._failed_told, 'piece')} arrived damaged, discarded"))
        if self._clock.monotonic() - self._saved >= _SAVE_EVERY:
            self._save_resume(wait=False)

    def _look_at_damage(self, progress: TorrentProgress) -> None:
        """End the try when damage prevents progress, or a trial has shown enough."""
        if self._trial is None or progress.phase is not Phase.DOWNLOADING:
            return
        # With all peers, blocks of bad pieces come and go. With a single peer, bytes of web seeds must not count for
        # it.
        figure = progress.done if self._isolation.only is None else progress.received_from_peers
        idle, failed = self._trial.is_idle(figure, others=self._isolation.others_wait), self._torrent.failed_pieces > 0
        if self._isolation.is_over(idle=idle, failed=failed, pieces=sum(self._torrent.have) - self._at_first):
            raise TryOverError(bad=failed and self._isolation.only is not None)

    def _tell_of_web_seeds(self) -> None:
        for notice in self._job.relayed.take_notices() if self._job.relayed is not None else ():
            self._report(notice)

    def _tell(self, progress: TorrentProgress) -> None:
        self._tell_of_web_seeds()
        if progress.phase is Phase.CHECKING:
            if progress.checked:  # with nothing on disk nothing is read, and a bar would stay at 0
                self._report(Progress("check", round(progress.total * progress.checked), progress.total))
                self._checking = True
            return
        if self._checking:
            self._checking = False
            self._report(Progress("check", progress.total, progress.total))
        sources = [plural(progress.peers, "peer")]
        if progress.web_seeds:
            sources.append("web seeds")
        facts = {
            "peers": progress.peers,
            "seeds": progress.seeds,
            "download_rate": progress.download_rate,
            "upload_rate": progress.upload_rate,
            "received": progress.received,
            "uploaded": progress.uploaded,
        }
        self._report(Progress("download", progress.done, progress.total, " and ".join(sources), facts=facts))

    def _stalled(self, progress: TorrentProgress) -> P2pqwenError:
        bad = f", {self._torrent.failed_pieces} pieces arrived damaged" if self._torrent.failed_pieces else ""
        return NetworkError(
            f"nothing arrived for {self._job.timeout:g} s",
            expected="a peer or web seed that has the rest",
            got=f"{plural(progress.peers, 'peer')}, {plural(progress.seeds, 'seed')}, "
            f"{progress.done} of {progress.total} bytes{bad}{self._last_faults()}",
            hint="partial data is kept: run the same command again to resume, or name a peer with --peer",
        )

    def _last_faults(self) -> str:
        accounts = self._job.relayed.accounts if self._job.relayed is not None and self._web_seeds_in else ()
        silent = [one for one in accounts if one.requests and (one.last_fault or not one.bytes_received)]
        said = [f"; web seed {one.url}: {one.last_fault or 'no answer'}" for one in silent]
        return "".join(said[:_FAULTS_TOLD])

    def _decide_on_web_seeds(self, progress: TorrentProgress) -> None:
        relayed = self._job.relayed
        if relayed is None or progress.phase is not Phase.DOWNLOADING:
            return
        if self._isolation.only is not None and not self._isolation.singly:
            return
        now = self._clock.monotonic()
        if now - self._offered[0] >= _OFFER_EVERY:
            self._offered = (now, self._torrent.all_offered())
        view = SwarmView(
            peers=progress.peers,
            rate=progress.peer_rate,
            can_find_peers=self._swarm.looks_for_peers or bool(self._job.peers.named),
            all_offered=self._offered[1],
            limit=self._swarm.download_limit,
        )
        self._web_seeds = self._web_seeds.next(view, now)
        if self._web_seeds.in_use != self._web_seeds_in:
            self._web_seeds_in = self._web_seeds.in_use
            self._torrent.set_web_seeds(relayed.urls if self._web_seeds_in else ())
            doing = "joining" if self._web_seeds_in else "stepping back"
            self._report(Notice("info", f"web seeds are {doing}: {self._web_seeds.reason}"))

    def _give_up_on_web_seeds(self, progress: TorrentProgress, outlook: Outlook) -> None:
        """Fail before the timeout if only web seeds may be asked and none of them can help any more."""
        if (
            self._swarm.looks_for_peers
            or self._job.peers.named
            or progress.peers
            or progress.phase is not Phase.DOWNLOADING
        ):
            return
        if outlook.hopeless and outlook.idle_seconds >= _WEB_SEED_GRACE:
            reasons = "; ".join(f"{name}: {', '.join(why)}" for name, why in list(outlook.hopeless.items())[:3])
            raise NetworkError("no web seed has the rest", got=reasons)

    def _raise_error(self) -> None:
        error = self._torrent.error
        if isinstance(error, ContradictionError):
            raise TryOverError(bad=True, cause=error)
        if error is not None:
            raise error

    def _flush(self) -> None:
        before = self._torrent.flushes
        self._torrent.request_flush()
        deadline = self._clock.monotonic() + _FLUSH_SECONDS
        while self._torrent.flushes == before:
            self._swarm.pump(PUMP)
            self._raise_error()
            if self._clock.monotonic() > deadline:
                raise P2pqwenError(f"the disk needed more than {_FLUSH_SECONDS:.0f} s to write the received data")

    def _finish_hashing(self, hasher: TrailingHasher) -> Mapping[RepoPath, FileDigests]:
        wanted = set(self._job.wanted)
        total = sum(file.size for file in self._job.metainfo.layout.files if file.path in wanted)
        self._report(Progress("download", total, total))
        digests = hasher.results(lambda: self._report(Progress("verify", hasher.bytes_hashed, total)))
        self._report(Progress("verify", total, total))
        return digests

    def _growing(self) -> list[GrowingFile]:
        job, layout = self._job, self._job.metainfo.layout
        lfs, needs_hashes = job.lfs, job.needs_hashes
        root = prefix_of(job.save_path / job.metainfo.name)
        chosen = None if job.files is None else frozenset(job.files)
        return [
            GrowingFile(
                path=file.path,
                location=root + file.path.text,
                size=file.size,
                pieces=layout.pieces(index),
                piece_length=layout.piece_length,
                git_blob=file.path not in lfs,
                hashes=needs_hashes,
                padded=layout.pad_after(index) > 0,
            )
            for index, file in enumerate(layout.files)
            if chosen is None or file.path in chosen
        ]

    def _save_resume(self, *, wait: bool) -> None:
        self._saved = self._clock.monotonic()
        torrent = self._torrent
        if torrent.resume is not None:
            durable.write(self._job.resume_file, wrap(torrent.resume))
        if torrent.error is not None or not torrent.checked:
            return
        before = torrent.resume_answers
        torrent.request_resume()
        if not wait:
            return  # written with the next one, or at the end
        deadline = self._clock.monotonic() + _SAVE_SECONDS
        while torrent.resume_answers == before and self._clock.monotonic() < deadline:
            self._swarm.pump(PUMP)
        if torrent.resume is not None:
            durable.write(self._job.resume_file, wrap(torrent.resume))

    def _account(self, had: bytes) -> tuple[int, int]:
        """Return how many missing bytes came from peers, and how many from web seeds.

        Padding and duplicates do not count. A piece that both the relay and a peer sent counts for the relay, so the
        sum agrees with the figures of each web seed.
        """
        gained = list(_gained(self._job.metainfo.layout, self._torrent.have, had))
        total = sum(size for _, _, size in gained)
        from_web = 0 if self._job.relayed is None else self._job.relayed.keep(gained)
        if not from_web and not self._met:
            return 0, 0  # the missing pieces were on the disk already
        return total - from_web, from_web


def _gained(layout: Layout, have: bytes | bytearray, had: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the pieces gained: the file's index, the piece's number in it, and its payload bytes."""
    for index, file in enumerate(layout.files):
        for number, piece in enumerate(layout.pieces(index)):
            if have[piece] and not had[piece]:
                yield index, number, min(layout.piece_length, file.size - number * layout.piece_length)


def _addresses(peers: Sequence[Endpoint]) -> list[Endpoint]:
    return [peer for peer in peers if is_address(peer.host)]
