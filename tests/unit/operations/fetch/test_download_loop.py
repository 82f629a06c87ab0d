"""The loop of a download, with an engine in memory: when it gives up, whom it asks, what it saves and what it tells."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from p2pqwen.errors import DiskError, NetworkError, P2pqwenError, VerificationError
from p2pqwen.events import Notice, Progress
from p2pqwen.operations.fetch.download import DownloadJob, PeerCandidates, download
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.swarm.peer_isolation import TRIAL_SECONDS
from p2pqwen.swarm.problems import ContradictionError
from p2pqwen.swarm.resume_data import unwrap, wrap
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.metainfo import Metainfo, metainfo_from_info
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.webseed.policy import DWELL, LONELY, PATIENT, WebSeedUse
from p2pqwen.webseed.source_stats import Account, Outlook
from tests.support.engine import MemoryEngine, MemoryNetwork
from tests.support.models import noise
from tests.support.swarm import make_snapshot

PIECES = 6  # each a file of its own, for pieces have 256 KiB at the least
SIZE = 20_000
FILES = {f"part-{number}.bin": noise(SIZE, str(number)) for number in range(PIECES)}
LARGE = 600_000  # of several pieces
LAYERED = {"model.bin": noise(LARGE, "large")}
ALICE, BOB, CAROL = (Endpoint(f"127.0.0.{number}", 7000) for number in (11, 12, 13))
URL = "http://127.0.0.1:1/a/0/"
TIMEOUT = 20.0
LOOK = 1.0  # seconds that may pass until something is noticed


@dataclass
class WebSeeds:
    """Web seeds of the memory's network."""

    network: MemoryNetwork
    metainfo: Metainfo
    urls: tuple[str, ...] = (URL,)
    accounts: tuple[Account, ...] = ()
    now: Outlook = field(default_factory=Outlook)
    notices: list[Notice] = field(default_factory=list)

    def keep(self, gained) -> int:
        layout, gave = self.metainfo.layout, set().union(*(one.gave for one in self.network.web.values()))
        return sum(size for file, number, size in gained if layout.pieces(file)[number] in gave)

    def outlook(self) -> Outlook:
        return self.now

    def take_notices(self) -> list[Notice]:
        taken, self.notices = self.notices, []
        return taken


def without_layers(metainfo):
    """The torrent as a magnet brings it."""
    return CheckedTorrent.of(metainfo_from_info(metainfo.info))


class Fetching:
    """A snapshot, a network and an engine, and a job to run on them."""

    def __init__(self, folder, files=FILES, **engine: Any):
        self.folder = folder
        self.snapshot = make_snapshot(folder / "seed", files)
        self.network = MemoryNetwork()
        self.clock = self.network.clock
        self.engine = MemoryEngine(self.network, **engine)
        self.web = WebSeeds(self.network, self.snapshot.metainfo)
        self.events, self.met = [], []
        self.resume_file = folder / "resume"
        self.on_event = lambda event: None

    def peer(self, endpoint, **behaviour):
        return self.network.peer(endpoint, self.snapshot.metainfo, self.snapshot.folder, **behaviour)

    def web_seed(self, **behaviour):
        return self.network.web_seed(URL, self.snapshot.metainfo, self.snapshot.folder, **behaviour)

    def run(self, *peers, remembered=(), followers=(), **options):
        job = DownloadJob(
            torrent=CheckedTorrent.of(self.snapshot.metainfo),
            save_path=self.folder / "fetched",
            files=None,
            trackers=(),
            peers=PeerCandidates(peers, remembered, followers),
            relayed=None,
            web_seed_use=WebSeedUse.NEVER,
            resume_file=self.resume_file,
            timeout=TIMEOUT,
            met=lambda peers: self.met.append(list(peers)),
        )
        return download(self.engine, replace(job, **options), self._report, self.clock)

    def with_web_seeds(self, *peers, use=WebSeedUse.AUTO, **options):
        return self.run(*peers, relayed=self.web, web_seed_use=use, **options)

    def _report(self, event):
        self.events.append((self.clock.elapsed, event))
        self.on_event(event)

    def notices(self):
        return [(moment, event.text) for moment, event in self.events if isinstance(event, Notice)]

    def saved(self):
        """The pieces that the resume data names."""
        return [piece for piece, here in enumerate(json.loads(unwrap(self.resume_file.read_bytes()))) if here]

    @property
    def torrent(self):
        return self.engine.added[-1]

    def right(self):
        folder = self.folder / "fetched" / self.snapshot.metainfo.name
        return all((folder / name).read_bytes() == content for name, content in self.snapshot.files.items())


def test_it_brings_every_file_and_says_whom_it_came_from(tmp_path):
    fetching = Fetching(tmp_path, {**FILES, "empty.txt": b""})
    fetching.peer(ALICE)
    done = fetching.run(ALICE)
    assert fetching.right()
    assert {path.text: digests.sha256.raw for path, digests in done.digests.items()} == {
        name: hashlib.sha256(content).digest() for name, content in fetching.snapshot.files.items()
    }
    assert (done.bytes_from_peers, done.bytes_from_web_seeds) == (PIECES * SIZE, 0)
    assert fetching.met == [[ALICE]]
    assert fetching.engine.torrents == {}
    assert fetching.clock.elapsed < 5
    stages = [event.stage for _, event in fetching.events if isinstance(event, Progress)]
    assert stages == sorted(stages)  # downloading, then verifying
    assert fetching.events[-1][1] == Progress("verify", PIECES * SIZE, PIECES * SIZE)


def test_only_what_is_wanted_is_fetched_and_hashed(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.peer(ALICE)
    done = fetching.run(ALICE, files={RepoPath("part-3.bin")})
    assert [path.text for path in done.digests] == ["part-3.bin"]
    assert done.bytes_from_peers == SIZE


def test_nobody_there_ends_it_after_the_timeout(tmp_path):
    fetching = Fetching(tmp_path)
    with pytest.raises(NetworkError) as caught:
        fetching.run(ALICE)
    assert TIMEOUT <= fetching.clock.elapsed < TIMEOUT + LOOK
    assert caught.value.message.startswith("nothing arrived for 20 s")
    assert f"0 peers, 0 seeds, 0 of {PIECES * SIZE} bytes" in str(caught.value.got)
    assert fetching.engine.torrents == {}


def test_the_timeout_counts_from_what_came_last(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.peer(ALICE, rate=SIZE // 10, stops_after=3 * SIZE)  # 30 s for half of it
    with pytest.raises(NetworkError) as caught:
        fetching.run(ALICE)
    assert 30 + TIMEOUT <= fetching.clock.elapsed < 30 + TIMEOUT + 2 * LOOK
    assert f"{3 * SIZE} of {PIECES * SIZE} bytes" in str(caught.value.got)
    assert fetching.saved() == [0, 1, 2]


def test_the_next_try_goes_on_where_the_last_one_ended(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.peer(ALICE, stops_after=3 * SIZE)
    with pytest.raises(NetworkError):
        fetching.run(ALICE)
    giver = fetching.peer(ALICE)
    done = fetching.run(ALICE)
    assert fetching.right()
    assert (giver.given, done.bytes_from_peers) == (3 * SIZE, 3 * SIZE)


def test_what_arrived_after_the_last_resume_data_is_found_on_the_disk(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.peer(ALICE, stops_after=3 * SIZE)
    with pytest.raises(NetworkError):
        fetching.run(ALICE)
    only_first = json.dumps([1] + [0] * (PIECES - 1)).encode()
    fetching.resume_file.write_bytes(wrap(only_first))
    giver = fetching.peer(ALICE)
    fetching.run(ALICE)
    assert giver.given == 3 * SIZE
    assert Progress("check", 2 * SIZE, PIECES * SIZE) in [event for _, event in fetching.events]


def test_damaged_resume_data_costs_a_reading_and_nothing_else(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.peer(ALICE, stops_after=3 * SIZE)
    with pytest.raises(NetworkError):
        fetching.run(ALICE)
    data = bytearray(fetching.resume_file.read_bytes())
    data[-1] ^= 1
    fetching.resume_file.write_bytes(data)
    giver = fetching.peer(ALICE)
    fetching.run(ALICE)
    assert [text for _, text in fetching.notices()] == ["the resume data is damaged; reading the files on disk again"]
    assert giver.given == 3 * SIZE


def test_what_is_here_is_read_and_not_counted_as_fetched(tmp_path):
    fetching = Fetching(tmp_path)
    make_snapshot(tmp_path / "fetched", FILES)
    fetching.engine.reads = PIECES * SIZE / 2
    done = fetching.run()
    assert (done.bytes_from_peers, done.bytes_from_web_seeds) == (0, 0)
    checks = [event.done for _, event in fetching.events if isinstance(event, Progress) and event.stage == "check"]
    assert checks == sorted(checks)
    assert len(checks) > 2


def test_resume_data_is_saved_now_and_then_for_a_power_cut(tmp_path):
    class PowerCutError(Exception):
        pass

    fetching = Fetching(tmp_path)
    fetching.peer(ALICE, rate=SIZE // 25)
    left = []
    fetching.clock.at(85.0, lambda: left.append(fetching.saved()))

    def cut(_event):
        if left:
            raise PowerCutError

    fetching.on_event = cut
    with pytest.raises(PowerCutError):
        fetching.run(ALICE)
    assert left == [[0]]  # asked for after 30 s, written with the next one after 60 s


def test_whatever_stops_it_leaves_resume_data_and_an_empty_engine(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.peer(ALICE, rate=SIZE)

    def interrupt(event):
        if isinstance(event, Progress) and event.done >= 2 * SIZE:
            raise KeyboardInterrupt

    fetching.on_event = interrupt
    with pytest.raises(KeyboardInterrupt):
        fetching.run(ALICE)
    assert fetching.saved() == [0, 1]
    assert fetching.engine.torrents == {}


def test_a_disk_that_hangs_holds_up_the_end_for_a_few_seconds_only(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.engine.disk_hangs = True
    with pytest.raises(NetworkError):
        fetching.run(ALICE)
    assert TIMEOUT + 5 <= fetching.clock.elapsed < TIMEOUT + 5 + LOOK


def test_a_disk_that_never_writes_is_an_error(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.peer(ALICE)
    fetching.engine.disk_hangs = True
    with pytest.raises(P2pqwenError, match="the disk needed more than 120 s"):
        fetching.run(ALICE)
    assert 120 <= fetching.clock.elapsed < 120 + 5 + 2 * LOOK


def test_an_error_of_the_disk_is_raised_as_it_is(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.peer(ALICE, rate=SIZE)
    error = DiskError("cannot read or write part-2.bin")
    fetching.clock.at(2.0, lambda: setattr(fetching.torrent, "error", error))
    with pytest.raises(DiskError) as caught:
        fetching.run(ALICE)
    assert caught.value is error
    assert fetching.clock.elapsed < 2.0 + LOOK
    assert fetching.engine.torrents == {}


@pytest.mark.parametrize(
    ("use", "peers", "rate", "joins", "reason"),
    [
        (WebSeedUse.ALWAYS, (ALICE,), SIZE, 0.0, "web seeds are always used"),
        (WebSeedUse.AUTO, (), SIZE, 0.0, "there is no way to find peers"),
        (WebSeedUse.AUTO, (BOB,), SIZE, LONELY, "there are no peers"),
        (WebSeedUse.AUTO, (ALICE,), SIZE // 20, PATIENT, "peers are slow"),
    ],
)
def test_web_seeds_join_when_they_are_needed(tmp_path, use, peers, rate, joins, reason):
    fetching = Fetching(tmp_path)
    fetching.peer(ALICE, rate=rate)
    fetching.web_seed(rate=SIZE)
    done = fetching.with_web_seeds(*peers, use=use)
    (moment, text), *_ = fetching.notices()
    assert text == f"web seeds are joining: {reason}"
    assert joins <= moment < joins + LOOK
    assert done.bytes_from_web_seeds > 0
    assert done.bytes_from_peers + done.bytes_from_web_seeds == PIECES * SIZE


def test_web_seeds_join_for_what_nobody_offers(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.peer(ALICE, pieces=frozenset(range(4)))
    fetching.web_seed()
    done = fetching.with_web_seeds(ALICE)
    assert [text for _, text in fetching.notices()] == ["web seeds are joining: no peer has all that is missing"]
    assert (done.bytes_from_peers, done.bytes_from_web_seeds) == (4 * SIZE, 2 * SIZE)


def test_web_seeds_that_are_never_used_are_never_asked(tmp_path):
    fetching = Fetching(tmp_path)
    giver = fetching.web_seed()
    with pytest.raises(NetworkError):
        fetching.with_web_seeds(BOB, use=WebSeedUse.NEVER)
    assert giver.given == 0
    assert fetching.torrent.urls == ()


def test_web_seeds_step_back_when_peers_are_fast(tmp_path):
    files = {f"part-{number}.bin": noise(2_000_000, str(number)) for number in range(1)}
    fetching = Fetching(tmp_path, files, download_limit=20_000)
    alice = fetching.peer(ALICE, rate=1)
    fetching.web_seed(rate=2_000)
    fetching.clock.at(60.0, lambda: setattr(alice, "rate", 20_000))
    fetching.with_web_seeds(ALICE, timeout=600.0)
    (joined, _), (stepped_back, text) = fetching.notices()
    assert text == "web seeds are stepping back: peers have everything and are fast"
    assert stepped_back - joined >= DWELL
    assert fetching.torrent.urls == ()


def test_time_a_server_asks_for_is_not_counted(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.web.now = Outlook(asked_to_wait=300.0)
    with pytest.raises(NetworkError):
        fetching.with_web_seeds(BOB)
    assert 3 * TIMEOUT <= fetching.clock.elapsed < 3 * TIMEOUT + 2 * LOOK


def test_hopeless_web_seeds_are_not_waited_for(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.web.now = Outlook({"part-0.bin": ("404", "refused")}, idle_seconds=9.0)
    fetching.web.notices = [Notice("warning", "web seed: 404")]
    with pytest.raises(NetworkError, match="no web seed has the rest") as caught:
        fetching.with_web_seeds()
    assert caught.value.got == "part-0.bin: 404, refused"
    assert fetching.clock.elapsed < LOOK
    assert "web seed: 404" in [text for _, text in fetching.notices()]


def test_the_error_names_what_web_seeds_said_last(tmp_path):
    fetching = Fetching(tmp_path)
    silent = Account(URL, "flag", requests=2)
    refused = Account("http://127.0.0.1:2/", "flag", requests=1, last_fault="HTTP 403")
    fetching.web.accounts = (silent, refused)
    with pytest.raises(NetworkError) as caught:
        fetching.with_web_seeds(BOB)
    assert f"web seed {URL}: no answer; web seed http://127.0.0.1:2/: HTTP 403" in str(caught.value.got)


def test_pieces_come_in_order_from_seeds_alone_and_rarest_first_from_others(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.peer(ALICE, rate=SIZE // 4)
    fetching.peer(BOB, rate=1, pieces=frozenset({0}))
    found = []
    fetching.clock.at(2.0, lambda: found.append(fetching.torrent.sequential))
    fetching.clock.at(3.0, lambda: fetching.network.remove(BOB))
    fetching.clock.at(5.0, lambda: found.append(fetching.torrent.sequential))
    fetching.run(ALICE, BOB)
    assert found == [False, True]


def test_damaged_pieces_are_told_of_and_come_from_somebody_else(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.peer(ALICE, wrong=frozenset({2}), rate=SIZE)
    fetching.peer(BOB, rate=SIZE)
    fetching.run(ALICE, BOB)
    assert fetching.right()
    assert "1 piece arrived damaged, discarded" in [text for _, text in fetching.notices()]


def test_where_nobody_knows_who_lies_peers_are_tried_one_by_one(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.engine.bans = False  # as where two peers gave blocks of each bad piece
    fetching.peer(ALICE, wrong=frozenset(range(PIECES)), rate=2 * SIZE)
    fetching.peer(BOB, rate=2 * SIZE, pieces=frozenset())
    fetching.clock.at(8.0, lambda: fetching.peer(BOB, rate=2 * SIZE))
    fetching.run(ALICE, BOB, timeout=60.0)
    assert fetching.right()
    said = [text for _, text in fetching.notices()]
    assert "pieces arrive damaged: testing peers one by one" in said
    assert f"{ALICE} sends wrong data and is banned" in said
    assert next(moment for moment, text in fetching.notices() if "one by one" in text) >= TRIAL_SECONDS
    assert (frozenset(), frozenset({ALICE.host})) in fetching.engine.admitted or (
        frozenset({BOB.host}),
        frozenset({ALICE.host}),
    ) in fetching.engine.admitted
    assert fetching.met[-1] == [BOB]


def test_hashes_that_seem_to_contradict_each_other_are_a_liars_doing_until_nobody_is_left(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.engine.contradiction = ContradictionError("the v1 and v2 hashes contradict each other")
    fetching.peer(ALICE, wrong=frozenset({0}), rate=SIZE)
    fetching.peer(BOB, rate=SIZE)
    fetching.run(ALICE, BOB, timeout=60.0)
    assert fetching.right()
    assert fetching.met[-1] == [BOB]


def test_a_torrent_that_really_contradicts_itself_is_refused(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.engine.contradiction = ContradictionError("the v1 and v2 hashes contradict each other")
    for peer in (ALICE, BOB):
        fetching.peer(peer, wrong=frozenset(range(PIECES)), rate=SIZE)
    with pytest.raises(VerificationError):
        fetching.run(ALICE, BOB, timeout=60.0)
    assert fetching.clock.elapsed < 60.0


def test_without_piece_layers_one_peer_at_a_time_is_asked_from_the_start(tmp_path):
    fetching = Fetching(tmp_path, LAYERED)
    for peer in (ALICE, BOB, CAROL):
        fetching.peer(peer, rate=10 * LARGE)
    fetching.run(ALICE, remembered=(BOB,), followers=(CAROL,), torrent=without_layers(fetching.snapshot.metainfo))
    assert fetching.right()
    assert fetching.engine.admitted == [(frozenset({ALICE.host}), frozenset())]
    assert fetching.met == [[ALICE]]


def test_a_peer_that_gives_nothing_loses_its_turn(tmp_path):
    fetching = Fetching(tmp_path, LAYERED)
    fetching.peer(ALICE, rate=0)
    fetching.peer(BOB, rate=10 * LARGE)
    fetching.run(ALICE, BOB, torrent=without_layers(fetching.snapshot.metainfo))
    assert fetching.right()
    assert [only for only, _ in fetching.engine.admitted] == [{ALICE.host}, {BOB.host}]
    assert fetching.clock.elapsed < 2 * TRIAL_SECONDS


def test_remembered_peers_and_followers_are_called_as_well(tmp_path):
    fetching = Fetching(tmp_path)
    fetching.peer(BOB, pieces=frozenset({0, 1, 2}))
    fetching.peer(CAROL, pieces=frozenset({3, 4, 5}))
    fetching.run(remembered=(BOB,), followers=(CAROL,))
    assert fetching.right()
    assert set(fetching.met[-1]) == {BOB, CAROL}
