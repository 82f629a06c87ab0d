"""Random sequences of everything that puts files in place, with the worst possible swarm.

An engine replaces libtorrent. At every opportunity, it writes garbage into every file that it may write, and only then
bytes that match the pieces, if there are any. It does within milliseconds whatever an attacker can do through
libtorrent. Each sequence has a home, the user's own folders and a Hugging Face cache on a small disk. After each step,
every file that was there before must have the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from unittest import mock

from p2pqwen.errors import P2pqwenError
from p2pqwen.hub.cache import HubCache
from p2pqwen.hub.hub_site import HubSite
from p2pqwen.index.acceptance import Position, TrustedState, accept
from p2pqwen.index.bundle import bundle_name
from p2pqwen.index.document import INDEX_FILE
from p2pqwen.index.pointer import Pointer
from p2pqwen.library.bundles import BundleStore, HeldBundle
from p2pqwen.library.hashing import hash_file
from p2pqwen.library.home import Home
from p2pqwen.library.known_peers import KnownPeers
from p2pqwen.library.snapshots import HeldSnapshot, Library, State
from p2pqwen.library.state_store import StateStore
from p2pqwen.operations.fetch.context import FetchContext, FetchOptions
from p2pqwen.operations.fetch.import_folder import ImportContext, import_models
from p2pqwen.operations.fetch.plan import Sources
from p2pqwen.operations.fetch.repair import repair
from p2pqwen.operations.fetch.run import fetch
from p2pqwen.operations.fetch.target import TorrentTarget
from p2pqwen.operations.indexes.bundle import BundleNetwork, fetch_index, fetch_torrents, make_bundle
from p2pqwen.operations.preserve.from_folder import preserve_folder
from p2pqwen.operations.verify.file_check import bad_pieces
from p2pqwen.operations.verify.scrub import Scrubber
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.progress import Phase, TorrentProgress
from p2pqwen.swarm.writable import WritableFiles
from p2pqwen.torrent.info import build_info
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.metainfo import Metainfo, metainfo_from_info
from p2pqwen.values.digest import CommitId, Sha1, Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.webseed.policy import WebSeedUse
from tests.strategies import hash_payload
from tests.support.forged import LIES, forged, honest, spoilt
from tests.support.models import ATTRIBUTES, README, noise, write_folder
from tests.support.publishing import NOW, Publisher, make_entry
from tests.support.swarm import ALONE, seeding_thread

Files = Mapping[str, bytes]
WEIGHTS = noise(400_000, "weights")  # 2 pieces of recipe 1

MODELS: Mapping[SnapshotId, Files] = {
    SnapshotId.parse("Qwen/One@" + "a1" * 20): {
        ".gitattributes": ATTRIBUTES,
        "README.md": README,
        "config.json": noise(900, "first"),
        "empty.txt": b"",
        "model.bin": WEIGHTS,
    },
    SnapshotId.parse("Qwen/One@" + "b2" * 20): {
        ".gitattributes": ATTRIBUTES,
        "README.md": README,
        "config.json": noise(900, "second"),
        "model.bin": WEIGHTS,
    },
    SnapshotId.parse("Qwen/Two@" + "c3" * 20): {
        ".gitattributes": ATTRIBUTES,
        "README.md": README * 2,
        "other.bin": noise(20_000, "other"),
        "weights/model.bin": WEIGHTS,
    },
}


@dataclass(frozen=True, slots=True)
class Torrent:
    """A torrent, its manifest's files, and the files that match its pieces, None if v1 and v2 contradict."""

    id: SnapshotId
    metainfo: Metainfo
    truth: Files | None
    approved: Files | None


def all_torrents() -> list[Torrent]:
    """Return an honest torrent for each model, and every kind of lie about it, under its own commit and another."""
    found = []
    for snapshot, files in MODELS.items():
        whole = honest(files, snapshot.repo.text, str(snapshot.commit))
        found.append(Torrent(snapshot, whole, files, files))
        evil = spoilt(files, *(name for name in files if name.endswith((".bin", ".json"))))
        for number, lie in enumerate(LIES):
            for commit in (str(snapshot.commit), f"{snapshot.commit}"[:38] + f"e{number}"):
                metainfo = forged(files, evil, snapshot.repo.text, commit, lie=lie)
                approved = evil if lie == "manifest" else None
                found.append(Torrent(SnapshotId(snapshot.repo, CommitId.parse(commit)), metainfo, None, approved))
    return found


TORRENTS = all_torrents()
HONEST = {one.id: one for one in TORRENTS if one.truth is not None}
APPROVED = {one.metainfo.infohash.v2: one.approved for one in TORRENTS}


class KilledError(BaseException):
    """Simulates the death of the process."""


class Engine:
    """Replaces a libtorrent session; `approved` has, by v2 infohash, the files that finish a torrent."""

    looks_for_peers = False
    download_limit = 0
    tries_utp = False

    def __init__(
        self, approved: Mapping[Sha256, Files | None], infos: Mapping[Sha1, bytes], dice: random.Random
    ) -> None:
        self.approved, self.infos, self.dice = approved, infos, dice
        self.torrents: list[EngineTorrent] = []
        self._turns = dice.randrange(1, 6) if dice.random() < 0.15 else -1  # until the process is killed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.torrents.clear()

    def admit(self, *_: object) -> None:
        pass

    def dht_nodes(self) -> list[Endpoint]:
        return []

    def add_download(self, metainfo: Metainfo, writable: WritableFiles, **_: object) -> EngineTorrent:
        assert isinstance(writable, WritableFiles)
        assert writable.infohash == metainfo.infohash
        torrent = EngineTorrent(metainfo, writable, self.approved.get(metainfo.infohash.v2), self)
        self.torrents.append(torrent)
        torrent.scribble()
        return torrent

    def add_magnet(self, v1: Sha1 | None, v2: Sha256 | None, **_: object) -> EngineTorrent:
        torrent = EngineTorrent(None, None, None, self)
        torrent.metadata = None if v1 is None else self.infos.get(v1)
        return torrent

    def pump(self, _: float) -> None:
        for torrent in self.torrents:
            torrent.turn()
        self._turns -= 1
        if self._turns == 0:
            raise KilledError

    def remove(self, torrent: EngineTorrent) -> None:
        if torrent in self.torrents:
            self.torrents.remove(torrent)

    def release(self, torrent: EngineTorrent) -> bool:
        self.remove(torrent)
        return self.dice.random() < 0.9


class EngineTorrent:
    """One torrent of an `Engine`, with the interface of `SwarmTorrent`."""

    def __init__(
        self, metainfo: Metainfo | None, writable: WritableFiles | None, approved: Files | None, engine: Engine
    ) -> None:
        self.metainfo, self.writable, self._approved = metainfo, writable, approved
        self._engine, self._dice = engine, engine.dice
        self.have = bytearray(0 if metainfo is None else metainfo.layout.piece_count)
        self.checked, self.finished, self._started = True, False, False
        self.error: P2pqwenError | None = None
        self.resume: bytes | None = None
        self.resume_answers = self.flushes = self.failed_pieces = 0
        self.metadata: bytes | None = None
        self.met: dict[Endpoint, None] = {}
        for path in () if writable is None else writable.files:
            self._check(path)

    def _check(self, path: RepoPath) -> None:
        """Find the pieces that are there, which libtorrent does not overwrite."""
        assert self.metainfo is not None
        index = next(number for number, file in enumerate(self.metainfo.files) if file.path == path)
        layout, location = self.metainfo.layout, self._location(path)
        if location.is_file() and location.stat().st_size == layout.files[index].size:
            padded = layout.pad_after(index) > 0
            digests = hash_file(location, piece_length=layout.piece_length, padded=padded, git_blob=False)
            for piece in set(layout.pieces(index)) - set(bad_pieces(self.metainfo, index, digests)):
                self.have[piece] = True

    def _location(self, path: RepoPath) -> Path:
        assert self.metainfo is not None
        assert self.writable is not None
        return self.writable.save_path / self.metainfo.name / path.text

    def leave(self) -> None:
        self._engine.remove(self)

    def release(self) -> bool:
        return self._engine.release(self)

    def connect(self, _: Endpoint) -> None:
        pass

    def start(self) -> None:
        self._started = True

    def turn(self) -> None:
        """Write garbage, and if it was started, the bytes that match the pieces."""
        if self.finished or self.writable is None:
            return
        self.scribble()
        if self._started and self._approved is not None and self.metainfo is not None:
            for index, file in enumerate(self.metainfo.files):
                if file.path in self.writable.files:
                    self._write(index, self._approved[file.path.text])
                    for piece in self.metainfo.layout.pieces(index):
                        self.have[piece] = True
            self.finished = True

    def scribble(self) -> None:
        """Write garbage into every missing piece of the files that may be written."""
        for index, file in enumerate(() if self.metainfo is None else self.metainfo.files):
            if self.writable is not None and file.path in self.writable.files and file.size:
                self._write(index, self._dice.randbytes(64) * (file.size // 64 + 1))

    def _write(self, index: int, data: bytes) -> None:
        assert self.metainfo is not None
        layout, file = self.metainfo.layout, self.metainfo.files[index]
        location, pieces, length = self._location(file.path), layout.pieces(index), layout.piece_length
        location.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(location, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as opened:
            for number, piece in enumerate(pieces):
                if not self.have[piece]:
                    opened.seek(number * length)
                    opened.write(data[number * length : min(file.size, (number + 1) * length)])

    def progress(self, *, fresh: bool = False) -> TorrentProgress:
        phase = Phase.FINISHED if self.finished else Phase.DOWNLOADING
        done = int(self.finished)  # nothing else matters here
        return TorrentProgress(phase, 1, done, 1.0, 0, 0, 0, 0, 0, 0, 0, done, done, 0, 0, 0)

    def request_flush(self) -> None:
        self.flushes += 1

    def request_resume(self) -> None:
        self.resume_answers += 1

    def peers(self) -> list[Endpoint]:
        return []

    def traffic(self) -> int:
        return 0

    def all_offered(self) -> bool:
        return True

    def in_order(self, *, wanted: bool) -> None:
        pass

    def set_web_seeds(self, _: object) -> None:
        pass

    def sync_pieces(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class LinksPlan:
    """One numbered sequence. `real`: with libtorrent itself, and peers; `hard_links`: with that option."""

    number: int
    disk: str
    hard_links: bool
    real: bool

    @classmethod
    def of(cls, number: int) -> LinksPlan:
        dice = random.Random(f"links {number}")
        return cls(number, ("ext4", "tmpfs")[number % 2], dice.random() < 0.5, number % 100 == 99)


@dataclass(frozen=True, slots=True)
class LinksOutcome:
    """The problems of a sequence, and its steps."""

    plan: LinksPlan
    steps: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file's state at one moment."""

    data: bytes
    inode: int
    links: int
    mode: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> Self:
        stat = path.stat()
        return cls(path.read_bytes(), stat.st_ino, stat.st_nlink, stat.st_mode, stat.st_mtime_ns)


@dataclass
class Sequence:
    """A user's folders on a disk, and the steps of one plan."""

    plan: LinksPlan
    root: Path
    peer: Endpoint | None = None
    steps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(f"links {self.plan.number} steps")
        self.home = Home(self.root / "home")
        self.library = Library(self.home, reserve=0)
        self.cache = HubCache(self.root / "cache")
        self.mine = self.root / "mine"
        for snapshot, files in MODELS.items():
            write_folder(self.mine / str(snapshot.commit), files)
        self.torrents = self.root / "torrents"
        self.torrents.mkdir(parents=True)
        self.store = BundleStore(self.home)
        self.rotten: dict[int, bytes] = {}  # inodes that the disk silently corrupted
        self.bundle: tuple[HeldBundle, Metainfo] | None = None
        self.publisher = Publisher()
        self.infos: dict[Sha1, bytes] = {}
        self.approved = dict(APPROVED)
        self.version = 1
        self._unfinished: set[str] = set()
        self._spoilt: int | None = None

    def run(self, steps: int) -> LinksOutcome:
        problems: list[str] = []
        with self._engine():
            for _ in range(steps):
                name, work, touched = self._choose()
                self.steps.append(name)
                before, right = self._look(), self._right()
                self._unfinished = {str(one.id.commit) for one in self.library.all() if one.state is not State.COMPLETE}
                try:
                    work()
                except KilledError:
                    self.steps[-1] += ", killed"
                except P2pqwenError as error:
                    self.steps[-1] += f": {type(error).__name__}"
                problems += self._problems(before, right, touched)
                if problems:
                    break
        return LinksOutcome(self.plan, tuple(self.steps), tuple(problems))

    # Steps

    def _choose(self) -> tuple[str, Callable[[], object], SnapshotId | None]:
        dice = self.dice
        torrent = dice.choice(TORRENTS) if dice.random() < 0.6 else dice.choice(list(HONEST.values()))
        held = self.library.all()
        one = dice.choice(held) if held else None
        lies = "" if torrent.truth is not None else " (a lie)"
        steps: list[tuple[str, Callable[[], object], SnapshotId | None]] = [
            (f"fetch {torrent.id}{lies}", lambda: self._fetch(torrent), torrent.id),
            (f"fetch {torrent.id}{lies}", lambda: self._fetch(torrent), torrent.id),
            (f"import {torrent.id}{lies}", lambda: self._import(torrent), torrent.id),
        ]
        model = dice.choice(list(MODELS))
        steps.append((f"preserve {model}", lambda: self._preserve(model), model))
        steps.append(("bundle", self._honest_bundle, None))
        steps.append(("lying bundle", self._lying_bundle, None))
        if one is not None:
            steps += [
                (f"repair {one.id}", lambda: self._repair(one), one.id),
                (f"scrub {one.id}", lambda: self._scrub(one), None),
                (f"remove {one.id}", lambda: self.library.remove(one), one.id),
                (f"spoil {one.id}", lambda: self._spoil(one), None),
            ]
        return dice.choice(steps)

    def _fetch(self, torrent: Torrent) -> None:
        path = self.torrents / f"{torrent.metainfo.infohash.v2}.torrent"
        path.write_bytes(torrent.metainfo.encode())
        fetch(TorrentTarget(str(path)), self._options(), self._context(), self._report())

    def _options(self) -> FetchOptions:
        return FetchOptions(
            peers=() if self.peer is None else (self.peer,),
            use_web_seeds=WebSeedUse.NEVER,
            include=("*.bin", "*/*.bin") if self.dice.random() < 0.2 else None,
            timeout=0.01 if self.peer is None else 3.0,
            into_hub_cache=self.dice.random() < 0.7,
        )

    def _context(self) -> FetchContext:
        return FetchContext(
            home=self.home,
            sources=Sources(self.library, (), (), None),
            hub_cache=self.cache,
            site=HubSite("http://127.0.0.1:9", None),
            network=ALONE,
            known=KnownPeers(self.home.known_peers),
        )

    def _import(self, torrent: Torrent) -> None:
        path = self.torrents / f"{torrent.metainfo.infohash.v2}.torrent"
        path.write_bytes(torrent.metainfo.encode())
        context = ImportContext(self.library, self.cache, (), (path,), hard_links=self.plan.hard_links)
        import_models([self.mine], hub_cache=self.dice.random() < 0.5, context=context, report=self._report())

    def _preserve(self, model: SnapshotId) -> None:
        preserve_folder(
            self.mine / str(model.commit),
            model,
            git=None,
            library=self.library,
            site=HubSite("https://huggingface.co"),
            hard_links=self.plan.hard_links,
            report=self._report(),
        )

    def _repair(self, held: HeldSnapshot) -> None:
        repair(held, self._options(), self._context(), self._report())

    def _scrub(self, held: HeldSnapshot) -> None:
        with StateStore(self.home.root / "state.sqlite") as store:
            from datetime import timedelta

            Scrubber(self.library, self.library.verified, store, timedelta(days=30)).scrub(held)

    def _spoil(self, held: HeldSnapshot) -> None:
        """Have a user write into a file, or the disk silently change a byte; that also affects its hard links."""
        files = [path for path in held.folder.rglob("*") if path.is_file() and path.stat().st_size]
        if not files:
            return
        path = self.dice.choice(files)
        if path.stat().st_nlink > 1 and self.plan.hard_links:
            return  # the user's own file
        before = path.stat()
        data = bytearray(path.read_bytes())
        data[self.dice.randrange(len(data))] ^= 0x40
        with path.open("r+b") as file:
            file.write(data)
        if self.dice.random() < 0.5:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            self.rotten[before.st_ino] = bytes(data)
        else:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_003))
        self._spoilt = before.st_ino

    def _honest_bundle(self) -> None:
        site = self.root / "site"
        shutil.rmtree(site, ignore_errors=True)
        entries = sorted([make_entry(number) for number in range(self.version + 1)], key=lambda one: one.id)
        data = self.publisher.publish(entries)
        for entry in entries:
            (site / entry.torrent).parent.mkdir(parents=True, exist_ok=True)
            (site / entry.torrent).write_bytes(noise(3_000, entry.torrent))
        (site / INDEX_FILE).write_bytes(data)
        self.version += 1
        self.bundle = make_bundle(self.store, accept(data, TrustedState(self.publisher.id), NOW), site)

    def _lying_bundle(self) -> None:
        """Follow a pointer to a bundle with the held one's v2 roots and other v1 pieces, or the reverse."""
        if self.bundle is None or not self.bundle[0].info_path.exists():
            return
        held, metainfo = self.bundle
        payload = {file.path: held.path(file.path).read_bytes() for file in metainfo.files}
        position = Position(held.position.epoch, held.position.version + self.dice.randrange(1, 4))
        layout = Layout.of((path, len(data)) for path, data in payload.items())
        true = hash_payload(payload, layout)
        false = hash_payload({path: bytes(byte ^ 0x55 for byte in data) for path, data in payload.items()}, layout)
        from dataclasses import replace

        first, second = (true, false) if self.dice.random() < 0.5 else (false, true)
        hashes = {path: replace(first[path], pieces=second[path].pieces) for path in payload}
        lying = metainfo_from_info(build_info(bundle_name(position), layout, hashes))
        self.infos[lying.infohash.v1] = lying.info
        if self.dice.random() < 0.7:  # it finishes, with the held bytes
            self.approved[lying.infohash.v2] = {path.text: data for path, data in payload.items()}
        pointer = Pointer.to_bundle(lying.infohash, position, Sha256.of(b"any"))
        network = BundleNetwork(ALONE, seconds=0.05, stopping=lambda: True)
        try:
            found = fetch_index(self.store, held.publisher, pointer, network)
        except P2pqwenError:
            found = None
        if found is not None and self.dice.random() < 0.5:  # as if its index had been accepted
            self.store.enter(found.held, found.metainfo)
            fetch_torrents(self.store, found.held, [file.path for file in lying.files], network)

    def _report(self) -> Callable[[object], None]:
        """Return a receiver of events, which may simulate a kill."""
        left = self.dice.randrange(1, 12) if self.dice.random() < 0.2 else -1

        def report(_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KilledError

        return report

    @contextlib.contextmanager
    def _engine(self) -> Iterator[None]:
        def make(*_: object, **__: object) -> Engine:
            return Engine(self.approved, self.infos, self.dice)

        with contextlib.ExitStack() as stack:
            # Other tests simulate power cuts; here syncing would only take time.
            stack.enter_context(mock.patch("os.fsync", return_value=None))
            stack.enter_context(mock.patch("os.fdatasync", return_value=None))
            if not self.plan.real:
                for name in ("fetch.run.Swarm", "indexes.bundle.Swarm"):
                    stack.enter_context(mock.patch(f"p2pqwen.operations.{name}", make))
                for name in ("_BATCH", "PUMP", "_LOOK_EVERY"):
                    stack.enter_context(mock.patch(f"p2pqwen.operations.fetch.download.{name}", 0.0))
            yield

    # Judging

    def _look(self) -> dict[Path, _Seen]:
        found = {}
        for place in (self.mine, self.library.root, self.cache.root, self.home.bundles):
            for path in place.rglob("*"):
                if path.is_file() and not path.is_symlink() and ".staging" not in path.parts:
                    found[path] = _Seen.of(path)
        return found

    def _right(self) -> set[Path]:
        """Return the files that must not change: the correct ones of held snapshots."""
        found = set()
        for held in self.library.all():
            truth = MODELS.get(held.id)
            for name, data in truth.items() if truth is not None and held.state is not State.INCOMPLETE else ():
                path = held.folder / name
                if path.is_file() and path.read_bytes() == data:
                    found.add(path)
        return found

    def _problems(self, before: Mapping[Path, _Seen], right: set[Path], touched: SnapshotId | None) -> Iterator[str]:
        step, now = self.steps[-1], self._look()
        spoilt_inode = self._spoilt if step.startswith("spoil") else None
        for path, was in before.items():
            if was.inode == spoilt_inode:
                continue
            yield from self._changed(step, path, was, now.get(path), right, touched)
        for held in self.library.all():
            yield from self._wrongly_complete(step, held)

    def _changed(
        self, step: str, path: Path, was: _Seen, now: _Seen | None, right: set[Path], touched: SnapshotId | None
    ) -> Iterator[str]:
        where = str(path.relative_to(self.root))
        differs = now is None or now.data != was.data
        if path.is_relative_to(self.mine):
            yield from self._of_the_user(step, where, was, now)
        elif path.is_relative_to(self.cache.root):
            if differs and path.parent.name in {"blobs", "refs"} and not self._was_rotten(path, was):
                yield f"{step}: {where} in the Hugging Face cache is not what it was"
        elif path.is_relative_to(self.home.bundles):
            if now is not None and differs and self._is_of_a_held_bundle(path):
                yield f"{step}: {where} of a bundle is not what it was"
        elif differs and not self._may_change(step, path, right, touched):
            yield f"{step}: {where} in the library is not what it was"

    def _of_the_user(self, step: str, where: str, was: _Seen, now: _Seen | None) -> Iterator[str]:
        if now is None or (now.data, now.mode, now.modified) != (was.data, was.mode, was.modified):
            yield f"{step}: the user's {where} is not what it was"
        elif not self.plan.hard_links and now.links != was.links:
            yield f"{step}: the user's {where} has {now.links} names, and had {was.links}"

    @staticmethod
    def _was_rotten(path: Path, was: _Seen) -> bool:
        return path.parent.name == "blobs" and not _is_named_after(path.name, was.data)

    def _may_change(self, step: str, path: Path, right: set[Path], touched: SnapshotId | None) -> bool:
        """Tell whether a step may change a file: one of the step's snapshot that was neither held nor right before."""
        commits = set() if touched is None else {str(touched.commit)}
        if step.startswith("import"):  # it continues all unfinished snapshots
            commits |= self._unfinished
        mine = any(commit in str(path) for commit in commits)
        return mine and (path not in right or step.startswith("remove"))

    def _is_of_a_held_bundle(self, path: Path) -> bool:
        if self.bundle is None:
            return False
        return path.is_relative_to(self.bundle[0].save_path)

    def _wrongly_complete(self, step: str, held: HeldSnapshot) -> Iterator[str]:
        metainfo = held.metainfo()
        state = self.library.state(held, metainfo.infohash.v2, metainfo.layout.total_size)
        if state not in {State.COMPLETE, State.PARTIAL}:
            return
        honest_one = HONEST.get(held.id)
        if honest_one is None or metainfo.infohash != honest_one.metainfo.infohash:
            yield f"{step}: {held.id} is {state}, and its torrent contradicts itself"
            return
        for name, data in MODELS[held.id].items():
            path = held.folder / name
            if not held.wants(RepoPath(name)):
                continue
            if not path.is_file():
                yield f"{step}: {held.id} is {state}, and lacks {name}"
            elif (got := path.read_bytes()) != data and self.rotten.get(path.stat().st_ino) != got:
                yield f"{step}: {held.id} is {state}, and {name} is wrong"


def _is_named_after(name: str, data: bytes) -> bool:
    from p2pqwen.manifest.git_object import blob_oid

    return name in {str(Sha256.of(data)), str(blob_oid(data))}


STEPS = 10


@dataclass
class LinksRuns:
    """Runs sequences on disks, one at a time; the first that uses libtorrent starts its peers."""

    disks: Mapping[str, Path]
    stack: contextlib.ExitStack
    _peer: Endpoint | None = None

    def run(self, plan: LinksPlan) -> LinksOutcome:
        root = self.disks[plan.disk] / "links"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        try:
            return Sequence(plan, root, self._peers() if plan.real else None).run(STEPS)
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def _peers(self) -> Endpoint:
        if self._peer is None:
            self._peer = self.stack.enter_context(seeding_thread(_seeds(self.disks["tmpfs"] / "peers")))
        return self._peer


def _seeds(folder: Path) -> Iterator[tuple[Metainfo, Path]]:
    """Yield every torrent whose v1 and v2 pieces agree, lies included, with the folder of its files."""
    for number, one in enumerate(TORRENTS):
        if one.approved is not None:
            write_folder(folder / str(number) / one.metainfo.name, one.approved)
            yield one.metainfo, folder / str(number)
