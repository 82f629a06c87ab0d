"""What `operations.engine` says of an engine holds for the real session, over loopback, and for the one in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.progress import Phase
from p2pqwen.swarm.resume_data import Resume
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.torrent import TorrentGoneError
from p2pqwen.swarm.urgency import Urgency
from p2pqwen.swarm.writable import prove_writable
from p2pqwen.values.repo_path import RepoPath
from tests.support.engine import MemoryEngine, MemoryNetwork
from tests.support.models import noise
from tests.support.swarm import ALONE, LISTENING, Snapshot, make_snapshot

SHORT = 0.02  # seconds of a turn
SECONDS = 30.0


@dataclass(frozen=True)
class Pair:
    """One engine that seeds and one that downloads; they reach each other."""

    seeder: Any
    fetcher: Any
    clock: Callable[[], float]

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = self.clock() + SECONDS
        while not (found := condition()):
            self.seeder.pump(SHORT)
            self.fetcher.pump(SHORT)
            assert self.clock() < deadline, what
        return found

    def seed(self, snapshot: Snapshot, **options: Any) -> Any:
        """Serve a snapshot."""
        torrent = self.seeder.add_seed(snapshot.metainfo, snapshot.save_path, **options)
        if not options:
            self.until(lambda: torrent.checked, "the files are checked")
        torrent.share(())
        return torrent

    def fetch(self, snapshot: Snapshot, folder, files: Collection[RepoPath] | None = None, **options: Any) -> Any:
        """Fetch it from the seeder."""
        writable = prove_writable(snapshot.metainfo, folder, files)
        torrent = self.fetcher.add_download(snapshot.metainfo, writable, held=True, **options)
        self.until(lambda: torrent.checked, "what is there is checked")
        torrent.connect(self.seeder.listening[0])
        torrent.start()
        return torrent


@contextmanager
def in_memory() -> Iterator[Pair]:
    network = MemoryNetwork()
    yield Pair(MemoryEngine(network), MemoryEngine(network), network.clock.monotonic)


@contextmanager
def over_loopback() -> Iterator[Pair]:
    import time

    with Swarm(LISTENING) as seeder, Swarm(ALONE) as fetcher:
        yield Pair(seeder, fetcher, time.monotonic)


@pytest.fixture(params=[in_memory, over_loopback], ids=["in memory", "over loopback"])
def pair(request) -> Iterator[Pair]:
    with request.param() as made:
        yield made


@pytest.fixture
def snapshot(tmp_path) -> Snapshot:
    files = {"config.json": b"{}\n", "empty.txt": b"", "model.safetensors": noise(600_000, "w"), "x": noise(9_000, "x")}
    return make_snapshot(tmp_path / "seed", files)


def pieces_of(snapshot: Snapshot, name: str) -> range:
    layout = snapshot.metainfo.layout
    return next(layout.pieces(index) for index, file in enumerate(layout.files) if file.path.text == name)


def harm(snapshot: Snapshot, name: str = "x") -> int:
    """Change a byte of a file; the piece it is in."""
    path = snapshot.folder / name
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    return pieces_of(snapshot, name)[0]


def test_a_seed_is_read_before_it_is_believed(pair, snapshot):
    bad = harm(snapshot)
    torrent = pair.seeder.add_seed(snapshot.metainfo, snapshot.save_path)
    assert not any(torrent.have)
    pair.until(lambda: torrent.checked, "the files are checked")
    torrent.sync_pieces()
    assert [piece for piece, here in enumerate(torrent.have) if not here] == [bad]
    assert torrent.error is None


def test_a_trusted_seed_is_believed_until_a_bad_piece_is_asked_for(pair, snapshot, tmp_path):
    bad = harm(snapshot)
    torrent = pair.seed(snapshot, trusted=True)
    assert all(torrent.have)
    download = pair.fetch(snapshot, tmp_path / "fetched")
    pair.until(lambda: torrent.have.count(0), "the bad piece is seen")
    pair.until(lambda: torrent.progress(fresh=True).phase is not Phase.CHECKING, "everything was read again")
    torrent.sync_pieces()
    assert [piece for piece, here in enumerate(torrent.have) if not here] == [bad]
    assert not download.have[bad]


@pytest.mark.parametrize("trusted", [True, False])
def test_the_files_that_are_there_are_served_and_no_others_made(pair, snapshot, tmp_path, trusted):
    (snapshot.folder / "model.safetensors").unlink()
    (snapshot.folder / "empty.txt").unlink()
    there = [RepoPath("config.json"), RepoPath("x")]
    torrent = pair.seeder.add_seed(snapshot.metainfo, snapshot.save_path, files=there, trusted=trusted)
    pair.until(lambda: torrent.checked, "the files are checked")
    torrent.sync_pieces()
    held = {piece for name in ("config.json", "x") for piece in pieces_of(snapshot, name)}
    assert {piece for piece, here in enumerate(torrent.have) if here} == held
    torrent.share(())
    download = pair.fetch(snapshot, tmp_path / "fetched")
    pair.until(lambda: download.have.count(1) == len(held), "what is there is fetched")
    assert torrent.error is None
    assert {path.name for path in snapshot.folder.iterdir()} == {"config.json", "x"}


def test_an_empty_file_that_was_not_chosen_is_not_made(pair, snapshot):
    (snapshot.folder / "empty.txt").unlink()
    there = [file.path for file in snapshot.metainfo.files if file.size]
    torrent = pair.seeder.add_seed(snapshot.metainfo, snapshot.save_path, files=there, trusted=True)
    pair.until(lambda: torrent.checked, "the files are loaded")
    torrent.share(())
    for _ in range(20):
        pair.seeder.pump(SHORT)
    assert not (snapshot.folder / "empty.txt").exists()


def test_a_download_brings_every_byte_and_counts_it_for_peers(pair, snapshot, tmp_path):
    torrent = pair.seed(snapshot)
    download = pair.fetch(snapshot, tmp_path / "fetched")
    pair.until(lambda: download.finished, "it finishes")
    before = download.flushes
    download.request_flush()
    pair.until(lambda: download.flushes > before, "everything is written")
    download.sync_pieces()
    pair.until(lambda: download.progress().received >= snapshot.size, "it is counted")
    pair.until(lambda: torrent.progress(fresh=True).uploaded >= snapshot.size, "it is counted on the other side")
    done = download.progress()
    assert (done.phase, done.total, done.done) == (Phase.FINISHED, snapshot.size, snapshot.size)
    assert (done.received_from_peers, done.received_from_web_seeds) == (done.received, 0)
    assert all(download.have)
    assert download.failed_pieces == 0
    assert list(download.met) == [pair.seeder.listening[0]]
    for name, content in snapshot.files.items():
        assert (tmp_path / "fetched" / snapshot.metainfo.name / name).read_bytes() == content


def test_only_wanted_files_are_fetched(pair, snapshot, tmp_path):
    pair.seed(snapshot)
    download = pair.fetch(snapshot, tmp_path / "fetched", files={RepoPath("x")})
    pair.until(lambda: download.finished, "it finishes")
    assert [piece for piece, here in enumerate(download.have) if here] == list(pieces_of(snapshot, "x"))
    assert download.progress().total == 9_000


def test_what_is_held_gets_nothing_before_it_starts(pair, snapshot, tmp_path):
    pair.seed(snapshot)
    held = pair.fetcher.add_download(snapshot.metainfo, prove_writable(snapshot.metainfo, tmp_path / "held"), held=True)
    held.connect(pair.seeder.listening[0])
    pair.until(lambda: held.checked, "what is there is checked")
    for _ in range(10):
        pair.until(lambda: True, "a turn")
        pair.fetcher.pump(SHORT)
        pair.seeder.pump(SHORT)
    assert not any(held.have)
    held.start()
    pair.until(lambda: held.finished, "it finishes")


def test_resume_data_says_what_is_there_and_the_salvage_what_came_after(pair, snapshot, tmp_path):
    pair.seed(snapshot)
    last, small = pieces_of(snapshot, "x")[0], RepoPath("x")
    first = pair.fetch(snapshot, tmp_path / "fetched", files={RepoPath("config.json")})
    pair.until(lambda: first.finished, "it finishes")
    flushes, answers = first.flushes, first.resume_answers
    first.request_flush()  # resume data names what is on the disk
    pair.until(lambda: first.flushes > flushes, "everything is written")
    first.request_resume()
    pair.until(lambda: first.resume_answers > answers, "resume data")
    assert first.resume is not None
    first.leave()
    (tmp_path / "fetched" / snapshot.metainfo.name / small.text).write_bytes(snapshot.files[small.text])
    asked = []

    def salvage(known):
        asked.append(bytes(known))
        return [last]

    torrent = pair.fetcher.add_download(
        snapshot.metainfo,
        prove_writable(snapshot.metainfo, tmp_path / "fetched"),
        resume=Resume(first.resume, salvage),
        held=True,
    )
    pair.until(lambda: torrent.checked, "what is there is checked")
    torrent.sync_pieces()
    here = pieces_of(snapshot, "config.json")[0]
    assert [piece for piece, have in enumerate(torrent.have) if have] == sorted([here, last])
    assert asked
    assert asked[0][here]
    assert not asked[0][last]


def test_a_paused_seed_gives_nothing_until_it_is_shared_again(pair, snapshot, tmp_path):
    torrent = pair.seed(snapshot)
    torrent.pause()
    pair.until(lambda: torrent.progress(fresh=True).paused, "the pause")
    download = pair.fetch(snapshot, tmp_path / "fetched")
    for _ in range(10):
        pair.seeder.pump(SHORT)
        pair.fetcher.pump(SHORT)
    assert not any(download.have)
    torrent.share(())
    download.connect(pair.seeder.listening[0])
    pair.until(lambda: download.finished, "it finishes")


def test_nobody_is_spoken_to_who_is_not_admitted(pair, snapshot, tmp_path):
    pair.seed(snapshot)
    address = pair.seeder.listening[0]
    pair.fetcher.admit([Endpoint("127.9.9.9", 1)], ())
    download = pair.fetch(snapshot, tmp_path / "fetched")
    for _ in range(10):
        pair.seeder.pump(SHORT)
        pair.fetcher.pump(SHORT)
    assert not any(download.have)
    pair.fetcher.admit((), [address.host])
    download.connect(address)
    for _ in range(10):
        pair.seeder.pump(SHORT)
        pair.fetcher.pump(SHORT)
    assert not any(download.have)
    pair.fetcher.admit((), ())
    download.connect(address)
    pair.until(lambda: download.finished, "it finishes")


def test_who_has_everything_offers_everything(pair, snapshot, tmp_path):
    pair.seed(snapshot)
    pair.seeder.set_rates(upload=1_000, download=0)
    download = pair.fetch(snapshot, tmp_path / "fetched")
    assert not download.all_offered()
    pair.until(lambda: download.progress().seeds == 1, "the seed is met")
    assert download.all_offered()
    pair.seeder.set_rates(upload=0, download=0)
    pair.until(lambda: download.finished, "it finishes")


def test_what_left_answers_no_more_and_its_files_stay(pair, snapshot):
    torrent = pair.seed(snapshot)
    torrent.leave()
    torrent.leave()
    pair.until(lambda: gone(torrent), "it is gone")
    assert (snapshot.folder / "x").read_bytes() == snapshot.files["x"]
    again = pair.seeder.add_seed(snapshot.metainfo, snapshot.save_path)
    pair.until(lambda: again.checked, "it may come again")


def gone(torrent) -> bool:
    try:
        torrent.progress(fresh=True)
    except TorrentGoneError:
        return True
    return False


def test_a_turn_ends_at_once_when_somebody_wakes_it(pair):
    started = pair.clock()
    for _ in range(20):
        pair.seeder.pump(0.0)  # what is left to say of its start
    waker = threading.Thread(target=pair.seeder.wake)
    waker.start()
    waker.join()
    pair.seeder.pump(600.0)
    assert pair.clock() - started < 600.0


def test_pieces_that_are_not_wanted_do_not_come_until_they_are(pair, tmp_path):
    snapshot = make_snapshot(tmp_path / "seed", {"a.bin": noise(900_000, "a"), "b.bin": noise(900_000, "b")})
    pair.seed(snapshot)
    layout = snapshot.metainfo.layout
    first, second = layout.pieces(0), layout.pieces(1)
    torrent = pair.fetcher.add_download(
        snapshot.metainfo, prove_writable(snapshot.metainfo, tmp_path / "to"), held=True
    )
    pair.until(lambda: torrent.checked, "what is there is checked")
    torrent.want([*first, *second], Urgency.NEVER)
    torrent.want(second[1:2], Urgency.NOW)
    torrent.connect(pair.seeder.listening[0])
    torrent.start()
    pair.until(lambda: torrent.have[second[1]], "the piece that is wanted")
    assert [piece for piece, here in enumerate(torrent.have) if here] == [second[1]]
    torrent.want(first, Urgency.LATER)
    pair.until(lambda: all(torrent.have[piece] for piece in first), "the file that is wanted since")
    assert not torrent.have[second[0]]
    torrent.want([], Urgency.NEXT)
    torrent.want(second[:1], Urgency.NEXT)
    pair.until(lambda: torrent.have[second[0]], "the piece that is wanted next")
