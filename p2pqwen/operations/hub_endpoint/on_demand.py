"""Download files while they are read: one download for each snapshot, shared by all readers.

The pieces just ahead of a reader are requested first, then the rest of what it wants, then the rest of the file.
Several readers of a file share what arrives. A file that is read as a whole is downloaded completely, compared with the
manifest and kept, as by a fetch; of a file that is read in parts, only those parts are downloaded. If small files are
read one after another, the next ones are requested ahead (`files_ahead`).

Content that is elsewhere on this disk is read there, with each piece checked, and is not downloaded (`from_disk`).

The download holds the snapshot's lock. While another fetch holds it, readers get what that fetch writes to the disk.
"""

from __future__ import annotations

import glob
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from p2pqwen.containment import as_error, each, warn
from p2pqwen.errors import DiskError, NetworkError, P2pqwenError
from p2pqwen.events import Notice, Report
from p2pqwen.library import durable
from p2pqwen.library.durable import LockHeldError
from p2pqwen.library.space import allocated
from p2pqwen.library.verified import Verified
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.operations.engine import DownloadedTorrent, DownloadEngine, WebSeeds
from p2pqwen.operations.fetch.context import FetchContext, FetchOptions
from p2pqwen.operations.fetch.peers import PeerBook
from p2pqwen.operations.fetch.plan import TorrentPlan
from p2pqwen.operations.fetch.reach import relay_of, session_settings, without_inside_trackers
from p2pqwen.operations.fetch.wanted_files import make_empty_files
from p2pqwen.operations.hub_endpoint.arriving import ArrivingFile, StreamReading
from p2pqwen.operations.hub_endpoint.completion import Completion, difference_from
from p2pqwen.operations.hub_endpoint.files_ahead import FilesAhead
from p2pqwen.operations.hub_endpoint.from_disk import FromDisk
from p2pqwen.operations.hub_endpoint.reading import PieceFile
from p2pqwen.operations.preserve.reuse import remove_links
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.urgency import Urgency
from p2pqwen.swarm.writable import prove_writable
from p2pqwen.torrent.chosen_files import MAX_STORED, MAX_STORED_BYTES
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.webseed.policy import SwarmView, WebSeedDecision

IDLE = 8.0
"""Seconds that a download stays without readers, so that the next file finds its peers connected."""
AHEAD = 32 << 20
"""Bytes that are requested ahead of a reader."""
_LEAST_AHEAD = 4  # pieces
_PUMP = 0.05
_DISK = 0.003  # before looking again in its file for a piece that has arrived
_BATCH = 0.01  # hundreds of pieces arrive each second, and each round slows the threads that download them
_PATIENCE = 1.0
_LOOK_EVERY = 0.25
_FOLLOW_EVERY = 0.1
_STOP_SECONDS = 8.0
_SETTLE_SECONDS = 4.0
_CHECK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class BringOptions:
    """How files are downloaded. `timeout`: seconds without a byte before readers get an error.

    `abandoned`: what happens with a file that was being read as a whole and has no readers left.
    """

    fetch: FetchOptions
    timeout: float = 60.0
    idle: float = IDLE
    abandoned: Literal["finish", "stop"] = "finish"


Count = Callable[[SnapshotId, int, int], None]
"""Receives a snapshot and the payload bytes that its download sent and received."""


class OnDemand:
    """Downloads files of snapshots for one endpoint; thread-safe.

    `context` is called when a download starts, and returns where it reads and writes; may raise `P2pqwenError`.
    """

    def __init__(
        self, context: Callable[[], FetchContext], options: BringOptions, count: Count, report: Report
    ) -> None:
        self._context, self._options, self._count, self._report = context, options, count, report
        self._downloads: dict[SnapshotId, SnapshotDownload] = {}
        self._lock = threading.Lock()
        self._closed = False

    def open(self, plan: TorrentPlan, path: RepoPath, wanted: range) -> StreamReading:
        """Start to download a file, or join its download; raises `DiskError`, `NetworkError`, `P2pqwenError`."""
        while True:
            with self._lock:
                if self._closed:
                    raise NetworkError("the endpoint is stopping")
                download = self._downloads.get(plan.snapshot)
                if download is None:
                    download = SnapshotDownload(plan, self._context(), self._options, self._count, self._report)
                    self._downloads[plan.snapshot] = download
                    download.start()
                asked = download.ask(path, wanted)
            if asked is not None:
                return asked.result()
            download.join()  # it was just ending; the next one continues
            with self._lock:
                if self._downloads.get(plan.snapshot) is download:
                    del self._downloads[plan.snapshot]

    def close(self) -> None:
        """Stop every download within seconds, so that the next one can continue."""
        with self._lock:
            self._closed = True
            running = list(self._downloads.values())
        for one in running:
            one.stop()
        until = time.monotonic() + _STOP_SECONDS
        for one in running:
            one.join(max(0.0, until - time.monotonic()))


@dataclass(frozen=True, slots=True)
class _Ask:
    path: RepoPath
    wanted: range
    answer: Future[StreamReading]


class SnapshotDownload:
    """The download of one snapshot, on its own thread, until it has had no readers for a while."""

    def __init__(
        self, plan: TorrentPlan, context: FetchContext, options: BringOptions, count: Count, report: Report
    ) -> None:
        self._plan, self._context, self._options = plan, context, options
        self._count, self._report = count, report
        self._library = context.sources.library
        self._asks: queue.SimpleQueue[_Ask] = queue.SimpleQueue()
        self._open = True
        self._gate = threading.Lock()
        self._stopping = threading.Event()
        self._settled_by = float("inf")  # deadline for files that are nearly done
        self._swarm: Swarm | None = None
        self._folder = Path()
        self._chosen: tuple[str, ...] = ()
        self._may_mark = True
        self._files: dict[RepoPath, ArrivingFile] = {}
        self._busy: dict[RepoPath, ArrivingFile] = {}  # the files among these that may need work
        self._from_disk = FromDisk(plan, context, self._require_going_on, report)
        self._begun: list[int] = []  # files that readers started to read whole since the last requests ahead
        self._nobody: NetworkError | None = None
        self._called = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"bring {plan.snapshot.short}", daemon=True)
        self._hasher = ThreadPoolExecutor(1, "bring-hash")

    @property
    def _metainfo(self) -> Metainfo:
        return self._plan.metainfo

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; may be called from any thread."""
        self._settled_by = min(self._settled_by, time.monotonic() + _SETTLE_SECONDS)
        self._stopping.set()
        self._called.set()
        self._wake()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the end."""
        self._thread.join(seconds)

    def ask(self, path: RepoPath, wanted: range) -> Future[StreamReading] | None:
        """Request a file; None if the download has just ended. May be called from any thread."""
        answer: Future[StreamReading] = Future()
        with self._gate:
            if not self._open:
                return None
            self._asks.put(_Ask(path, wanted, answer))
        if not self._called.is_set():  # otherwise it is about to look
            self._called.set()
            self._wake()
        return answer

    @cached_property
    def _indexes(self) -> dict[RepoPath, int]:
        return {file.path: number for number, file in enumerate(self._metainfo.files)}

    @cached_property
    def _rows(self) -> dict[RepoPath, FileRow]:
        manifest = self._plan.manifest
        return {} if manifest is None else {row.path: row for row in manifest.files}

    def _wake(self) -> None:
        swarm = self._swarm
        if swarm is not None:
            swarm.wake()

    def _run(self) -> None:
        error: P2pqwenError = NetworkError("the endpoint is stopping")
        try:
            self._bring()
        except Exception as problem:  # noqa: BLE001 - the readers get the error, and a bug of ours stops nothing else
            error = as_error(problem)
            self._report(Notice("warning", f"{self._plan.snapshot}: {error.message}"))
        finally:
            with self._gate:
                self._open = False
            for file in self._files.values():
                file.fail(error, for_good=True)
            self._files.clear()  # each is then closed with its last reader
            self._busy.clear()
            with suppress(queue.Empty):
                while True:
                    self._asks.get_nowait().answer.set_exception(error)
            self._hasher.shutdown(wait=False, cancel_futures=True)

    def _bring(self) -> None:
        if not self._metainfo.has_all_layers:
            raise NetworkError(f"no peer sent the piece hashes of {self._plan.snapshot}")
        with ExitStack() as stack:
            if not self._locked(stack):
                return
            options, context = self._options.fetch, self._context
            self._plan = _with_leads(self._plan, options, context, self._report)
            done = self._begin()
            book = PeerBook(options, context)
            peers = book.named(self._plan)
            settings = session_settings(self._plan.leads, peers, options, context)
            relayed = stack.enter_context(relay_of(self._plan, options, context, self._report))
            swarm = stack.enter_context(Swarm(settings, report=self._report))
            self._swarm = swarm
            try:
                self._with_session(swarm, relayed, book, peers, done)
            finally:
                self._swarm = None

    def _locked(self, stack: ExitStack) -> bool:
        """Take the snapshot's lock; while another fetch holds it, serve what that one writes. False: stopped."""
        deadline = time.monotonic() + self._options.timeout
        while not self._stopping.is_set():
            try:
                stack.enter_context(durable.lock(self._library.lock_path(self._plan.snapshot)))
            except LockHeldError:
                self._folder = self._library.folder(self._plan.snapshot)
                self._admit_all(lambda _: None)
                answered = [file.answer(lambda _: True) for file in self._files.values()]
                if any(answered) or not any(file.waiting for file in self._files.values()):
                    deadline = time.monotonic() + self._options.timeout
                if time.monotonic() > deadline:
                    raise
                time.sleep(_FOLLOW_EVERY)
            else:
                return True
        return False

    def _begin(self) -> frozenset[RepoPath]:
        """Make the folder, and return the files that are already verified; raises as `Library.begin` does."""
        metainfo, snapshot = self._metainfo, self._plan.snapshot
        held = self._library.get(snapshot)
        if held is not None:
            held.require_torrent(metainfo)
            self._chosen = held.selected or ()
            # A snapshot that is whole, or will be, stays so: only the missing file is added.
            self._may_mark = held.selected is not None
        self._folder = self._library.make_folder(snapshot, [file.path for file in metainfo.files], lambda _: 0)
        with durable.disk_errors(f"write in {self._folder}"):
            remove_links(self._folder, metainfo)
        known = self._library.verified.of(snapshot)
        if known is None or known.infohash != metainfo.infohash.v2:
            return frozenset()
        looks = {path: Verified(known.infohash, {path: look}) for path, look in known.looks.items()}
        return frozenset(path for path, one in looks.items() if one.same_content(self._folder))

    def _with_session(
        self, swarm: Swarm, relayed: WebSeeds | None, book: PeerBook, peers: list[Endpoint], done: frozenset[RepoPath]
    ) -> None:
        metainfo, plan = self._metainfo, self._plan
        missing = frozenset(file.path for file in metainfo.files if file.path not in done)
        torrent = swarm.add_download(
            metainfo,
            prove_writable(metainfo, self._folder.parent, missing),
            trackers=plan.leads.trackers,
            held=True,
        )
        session = _Session(swarm, torrent, relayed, self._options, self._report)
        completion = Completion(torrent, self._difference, self._hasher)
        try:
            self._look_at_disk(session)
            for index, file in enumerate(metainfo.layout.files):
                if file.path in missing:
                    torrent.want(metainfo.layout.pieces(index), Urgency.NEVER)
            known = (*peers, *book.remembered(plan), *book.followers(plan))
            if not known and relayed is None and not swarm.looks_for_peers:
                self._nobody = NetworkError(
                    f"there is nobody to ask for {plan.snapshot}", hint="name a peer: --peer HOST:PORT"
                )
                self._give_up_what_must_be_brought(self._nobody)
            session.peers = tuple(dict.fromkeys(known))
            if any(not one.from_disk for one in self._active()):
                session.call_peers()
            torrent.in_order(wanted=True)
            for arriving in self._active():
                if not arriving.from_disk:
                    self._urge(arriving, session)  # a torrent with no wanted pieces does not connect to peers
            torrent.start()
            self._loop(session, completion, FilesAhead(metainfo.layout, missing))
        finally:
            self._settle(session, completion)
            book.remember(plan, [one for one in torrent.met if not session.is_relay(one)])
            moved = torrent.progress()
            torrent.leave()
            torrent.release()
            self._end_taking()
            self._count(plan.snapshot, moved.uploaded, moved.received)
            self._finish(done)

    def _give_up_what_must_be_brought(self, error: NetworkError) -> None:
        """Continue with what this disk has; raises `error` if it has nothing."""
        for file in [one for one in self._files.values() if not one.from_disk]:
            file.fail(error, for_good=True)
            self._forget(file)
        if not self._files:
            raise error

    def _forget(self, file: ArrivingFile) -> None:
        del self._files[file.path]
        self._busy.pop(file.path, None)

    def _look_at_disk(self, session: _Session) -> None:
        """Wait until libtorrent has checked the disk, and serve verified pieces meanwhile."""
        torrent, checked = session.torrent, 0.0
        deadline = time.monotonic() + _CHECK_SECONDS
        while not torrent.checked and torrent.error is None and not self._stopping.is_set():
            session.swarm.pump(_PUMP)
            self._admit_all(self._require_room)
            for file in self._active():
                file.answer(lambda _: True)
            if (now := torrent.progress().checked) > checked:
                checked, deadline = now, time.monotonic() + _CHECK_SECONDS
            if time.monotonic() > deadline:
                raise NetworkError("libtorrent did not begin in time")

    def _loop(self, session: _Session, completion: Completion, ahead: FilesAhead) -> None:
        torrent = session.torrent
        idle_since = time.monotonic()
        while not self._stopping.is_set():
            began = time.monotonic()
            self._admit_all(self._require_room)
            active = self._active()
            waits_for_disk = False
            for file in active:
                waits_for_disk |= self._serve(file, session, completion)
            self._ask_ahead(session, ahead)
            completion.step(self._failed)
            if torrent.error is not None:
                raise torrent.error
            session.look(active)
            if active or not self._asks.empty():
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > self._options.idle and self._shut():
                return
            session.swarm.pump(_DISK if waits_for_disk else _PUMP)
            self._called.wait(max(0.0, began + _BATCH - time.monotonic()))
            self._called.clear()

    def _ask_ahead(self, session: _Session, ahead: FilesAhead) -> None:
        """Request the files that will probably be read next, if there is room for them."""
        begun, self._begun = self._begun, []
        layout = self._metainfo.layout
        indexes = [one for index in begun for one in ahead.after(index) if layout.files[one].path not in self._files]
        if not indexes:
            return
        with suppress(DiskError):
            self._library.require_room(self._folder, sum(layout.files[one].size for one in indexes))
            pieces = (piece for one in indexes for piece in layout.pieces(one))
            session.torrent.want(_without(pieces, session.torrent.have), Urgency.SOON)

    def _settle(self, session: _Session, completion: Completion) -> None:
        """Finish the files whose pieces have all arrived, so that the next download need not read them again."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        for file in self._files.values():
            if not file.from_disk:
                completion.look_at(file)
        while session.torrent.error is None and time.monotonic() < deadline:
            taking = [self._take(file) for file in self._files.values() if file.from_disk]
            completion.step(self._failed, at_once=True)
            if not any(taking) and not completion.pending:
                return
            session.swarm.pump(_PUMP)

    def _shut(self) -> bool:
        """Stop taking requests, unless one is waiting; tell whether it stopped."""
        with self._gate:
            self._open = not self._asks.empty()
            return not self._open

    def _active(self) -> list[ArrivingFile]:
        """Return the files that need work; others only become active through a request."""
        self._busy = {path: file for path, file in self._busy.items() if file.active}
        return list(self._busy.values())

    def _serve(self, file: ArrivingFile, session: _Session, completion: Completion) -> bool:
        """Serve what has arrived of a file and request more; tell whether a reader waits for the disk."""
        if file.from_disk:
            self._serve_from_disk(file)
            return False
        if file.here and not file.readers:
            return False
        have = session.torrent.have

        def is_here(piece: int) -> bool:
            return bool(have[piece])

        file.answer(is_here)
        file.look_ahead(is_here)
        self._urge(file, session)
        session.call_peers()
        completion.look_at(file)
        return file.waits_for_the_disk(is_here)

    def _serve_from_disk(self, file: ArrivingFile) -> None:
        """Serve the good pieces of a file that is elsewhere; a bad file is downloaded at the next request."""
        file.answer(lambda _: True)
        if file.misses_what_is_waited_for():
            file.fail(self._from_disk.refuse(file.path), for_good=True)
            self._forget(file)
            return
        file.look_ahead(lambda _: True)
        if file.whole and not file.readers and self._options.abandoned == "stop" and file.taking is None:
            file.whole = file.done
        self._take(file)

    def _take(self, file: ArrivingFile) -> bool:
        """Put a file that is read as a whole in place, in the background; tell whether this still runs."""
        if file.taking is None:
            if file.whole and not file.done and file.failure is None:
                file.taking = self._hasher.submit(self._from_disk.put_in_place, file.path, self._folder)
        elif file.taking.done():
            problem, file.taking = file.taking.exception(), None
            file.whole = file.done = problem is None
            if problem is not None and not self._stopping.is_set():
                self._report(Notice("warning", f"{self._plan.snapshot}: {file.path} is read elsewhere: {problem}"))
        return file.taking is not None

    def _require_going_on(self) -> None:
        if time.monotonic() > self._settled_by:
            raise NetworkError("the endpoint is stopping")

    def _end_taking(self) -> None:
        """Wait for the files that are being put in place: the lock is released after that."""
        taking = [one for one in self._files.values() if one.taking is not None]
        wait([one.taking for one in taking if one.taking is not None])
        for file in taking:
            self._take(file)

    def _urge(self, file: ArrivingFile, session: _Session) -> None:
        """Tell the session which pieces of a file are wanted, and which at once."""
        if file.whole and not file.readers and self._options.abandoned == "stop" and not file.done:
            file.whole = False
        readers = list(file.readers)
        if file.whole is not file.wanted:
            file.wanted = file.whole
            missing = _without(file.numbers, session.torrent.have)
            session.torrent.want(missing, Urgency.LATER if file.whole else Urgency.NEVER)
            for reading in readers:  # raise the urgency of the pieces ahead of each again
                reading.urged, reading.next = 0, -1
        for reading in readers:
            session.hurry(reading)

    def _difference(self, file: ArrivingFile) -> Exception | None:
        return difference_from(self._metainfo, self._rows.get(file.path), file)

    def _failed(self, problem: Exception) -> P2pqwenError:
        error = as_error(problem)
        self._report(Notice("warning", f"{self._plan.snapshot}: {error.message}"))
        return error

    def _admit_all(self, require_room: Callable[[ArrivingFile], None]) -> None:
        """Take the waiting requests; each is answered at once, with a reading or an error."""
        with suppress(queue.Empty):
            while True:
                ask = self._asks.get_nowait()
                try:
                    ask.answer.set_result(self._admit(ask, require_room))
                except Exception as error:  # noqa: BLE001 - the caller gets the error
                    ask.answer.set_exception(as_error(error))

    def _admit(self, ask: _Ask, require_room: Callable[[ArrivingFile], None]) -> StreamReading:
        file = self._files.get(ask.path)
        if file is None:
            file = self._arriving(ask.path)
        if file.failure is not None:
            raise file.failure
        reading = file.read(ask.wanted)
        try:
            if not file.done:
                before, file.whole = file.whole, file.whole or reading.wants_all
                try:
                    require_room(file)
                except BaseException:
                    file.whole = before
                    raise
        except BaseException:
            reading.close()
            raise
        self._files[ask.path] = self._busy[ask.path] = file
        if file.whole and not (file.done or file.from_disk):
            self._begun.append(file.index)
        return reading

    def _arriving(self, path: RepoPath) -> ArrivingFile:
        metainfo = self._metainfo
        index = self._indexes[path]
        first = metainfo.layout.pieces(index).start
        elsewhere = self._from_disk.find(index, self._folder)
        if elsewhere is not None:
            return ArrivingFile(elsewhere, index, first, self._wake, from_disk=True)
        if self._nobody is not None:
            raise self._nobody
        return ArrivingFile(PieceFile(metainfo, index, self._folder, quick=True), index, first, self._wake)

    def _require_room(self, file: ArrivingFile) -> None:
        """Raise `DiskError` if a file does not fit together with everything else that is being downloaded."""
        coming = [one for one in self._busy.values() if one.whole and not (one.here or one.done) and one is not file]
        missing = sum(self._lacking(one) for one in coming)
        if not file.from_disk:
            missing += self._lacking(file) if file.whole else sum(len(reading.wanted) for reading in file.readers)
            self._library.require_room(self._folder, missing)
        if not self._files and self._may_mark:
            globs = tuple(dict.fromkeys((*self._chosen, glob.escape(file.path.text))))
            self._library.begin(self._plan.snapshot, self._plan.torrent, globs)

    def _lacking(self, file: ArrivingFile) -> int:
        """Return the bytes that a whole file will still take."""
        return 0 if file.from_disk else max(0, file.pieces.size - allocated(self._folder / file.path.text))

    def _finish(self, before: frozenset[RepoPath]) -> None:
        """Record what is now here and verified: the whole snapshot, or a part of it."""
        metainfo, snapshot = self._metainfo, self._plan.snapshot
        here = before | {path for path, file in self._files.items() if file.done}
        if not here or (here == before and not self._files):
            return
        whole = here >= {file.path for file in metainfo.files if file.size}
        if whole:
            make_empty_files(self._folder, metainfo, None)
            here = frozenset(file.path for file in metainfo.files)
        verified = Verified.now(metainfo.infohash.v2, self._folder, sorted(here))
        globs = None if whole else tuple(glob.escape(path.text) for path in sorted(here))
        storable = globs is None or (len(globs) <= MAX_STORED and sum(map(len, globs)) <= MAX_STORED_BYTES)
        if not storable or not (whole or self._may_mark):
            self._library.verified.keep(snapshot, verified)  # the files are served; the snapshot stays unfinished
            return
        held = self._library.finish(snapshot, self._plan.torrent, globs, verified)
        self._report(Notice("info", f"{snapshot}: {held.state.value}, {len(here)} of {len(metainfo.files)} files"))


class _Session:
    """A torrent in a libtorrent session, steered by readers and web seeds."""

    def __init__(
        self,
        swarm: DownloadEngine,
        torrent: DownloadedTorrent,
        relayed: WebSeeds | None,
        options: BringOptions,
        report: Report,
    ) -> None:
        self.swarm, self.torrent = swarm, torrent
        self.peers: tuple[Endpoint, ...] = ()
        self._relayed, self._options, self._report = relayed, options, report
        now = time.monotonic()
        self._web_seeds = WebSeedDecision.first(options.fetch.use_web_seeds, now)
        self._web_seeds_in = False
        self._next_look = now
        self._moved: tuple[int, float] = (-1, now)

    def call_peers(self) -> None:
        """Connect to the known peers, once: libtorrent drops peers that are added while nothing is wanted."""
        peers, self.peers = self.peers, ()
        each(peers, self.torrent.connect, failed=warn(self._report))

    def is_relay(self, peer: Endpoint) -> bool:
        """Tell whether a peer is our own relay of web seeds."""
        urls = () if self._relayed is None else self._relayed.urls
        return any(f"//{peer.host}:{peer.port}/" in url for url in urls)

    def ahead_of(self, reading: StreamReading) -> range:
        """Return the torrent's pieces to request ahead of a reader, including the current one."""
        pieces, first = reading.file.pieces, reading.file.first
        length = pieces.piece_length
        at = pieces.verified_to(reading.at) // length
        last = (reading.wanted.stop - 1) // length + 1
        return range(first + at, first + max(at, min(at + max(_LEAST_AHEAD, AHEAD // length), last)))

    def hurry(self, reading: StreamReading) -> None:
        """Request the pieces just ahead of a reader first."""
        have, ahead = self.torrent.have, self.ahead_of(reading)
        if not ahead:
            return
        at = ahead.start
        if at >= reading.urged:
            reading.urged = at + max(1, AHEAD // reading.file.pieces.piece_length // 4)
            self.torrent.want(_without(ahead[1:], have), Urgency.SOON)
        if have[at]:
            return
        now = time.monotonic()
        if at != reading.next:
            reading.next, reading.next_since = at, now
            if reading.wants_all:
                self.torrent.want([at], Urgency.NEXT)
        # A reader of the whole file mostly has to wait for the pieces before this one anyway.
        if at != reading.hasty and (not reading.wants_all or now - reading.next_since > _PATIENCE):
            reading.hasty = at  # one at a time: two urgent pieces would each arrive at half the speed
            self.torrent.want([at], Urgency.NOW)

    def look(self, files: Iterable[ArrivingFile]) -> None:
        """Manage web seeds, and fail readers that wait too long; downloads without readers are given up too."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY
        progress = self.torrent.progress()
        for notice in self._relayed.take_notices() if self._relayed is not None else ():
            self._report(notice)
        files = list(files)
        # Nobody waits for files requested ahead, so they cannot time out.
        lacks = (file.waiting or (file.whole and not (file.here or file.from_disk)) for file in files)
        idle = not any(lacks)
        if progress.received != self._moved[0] or idle:
            self._moved = progress.received, now
        elif now - self._moved[1] > self._options.timeout:
            error = NetworkError(f"nothing arrived for {self._options.timeout:g} s", got=f"{progress.peers} peers")
            for file in files:
                file.whole = file.done
                file.fail(error)
            self._moved = progress.received, now
        if self._relayed is not None:
            self._decide(self._relayed, now)

    def _decide(self, relayed: WebSeeds, now: float) -> None:
        progress = self.torrent.progress()
        view = SwarmView(
            peers=progress.peers,
            rate=progress.peer_rate,
            can_find_peers=self.swarm.looks_for_peers or bool(self._options.fetch.peers),
            all_offered=self.torrent.all_offered() if progress.peers else False,
            limit=self.swarm.download_limit,
        )
        self._web_seeds = self._web_seeds.next(view, now)
        if self._web_seeds.in_use != self._web_seeds_in:
            self._web_seeds_in = self._web_seeds.in_use
            self.torrent.set_web_seeds(relayed.urls if self._web_seeds_in else ())


def _without(pieces: Iterable[int], have: bytearray) -> list[int]:
    return [piece for piece in pieces if not have[piece]]


def _with_leads(plan: TorrentPlan, options: FetchOptions, context: FetchContext, report: Report) -> TorrentPlan:
    return replace(plan, leads=without_inside_trackers(plan.leads, options, context, report))
