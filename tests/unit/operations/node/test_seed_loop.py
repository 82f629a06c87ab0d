"""A node's own loop, with an engine in memory: what it loads and when, what it serves, and what it says of itself."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import pairwise

import pytest

from p2pqwen.errors import DiskError, P2pqwenError
from p2pqwen.events import Happened, Notice
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library
from p2pqwen.library.verified import Verified, VerifiedFiles
from p2pqwen.operations.node.limits import share_upload
from p2pqwen.operations.node.seed import (
    ANNOUNCED_AT_ONCE,
    DHT_NODES_EVERY,
    LIBRARY_EVERY,
    LOADING,
    MAX_CHECKING,
    PUMP,
    STATS_EVERY,
    Publishers,
    SeedLoop,
    Services,
)
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.chosen_files import choose_files
from p2pqwen.values.digest import CommitId
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.support.engine import MemoryEngine, MemoryNetwork
from tests.support.models import noise
from tests.support.swarm import LISTENING, REPO, SWITCHED_OFF, make_snapshot

TRACKERS = (("http://127.0.0.1:9/announce",),)
TURN = 2 * PUMP


def commit(number: int) -> str:
    return f"{number:040x}"


def identity(number: int) -> SnapshotId:
    return SnapshotId(RepoId(REPO), CommitId.parse(commit(number)))


class Web:
    """An HTTP server that keeps what it was told."""

    host, port = "127.0.0.1", 8080

    def __init__(self):
        self.bytes_sent, self.rates, self.offered, self.counts, self.complete = 0, [], {}, {}, []

    def offer(self, offer):
        self.offered[offer.snapshot] = offer

    def offers_complete(self):
        self.complete.append(set(self.offered))

    def withdraw(self, snapshot):
        self.offered.pop(snapshot, None)

    def sent(self, snapshot):
        return self.counts.get(snapshot, 0)

    def set_rate(self, rate):
        self.rates.append(rate)


class Supervising:
    """What the loop asks of a supervisor; `on_tick` is the test's."""

    def __init__(self, on_tick=lambda: None):
        self.said, self.ticks, self.on_tick = [], 0, on_tick
        self.watch = self

    def of(self, snapshots):
        return {}

    def start(self, node):
        self.said.append("start")

    def tick(self):
        self.ticks += 1
        self.on_tick()

    def stop(self):
        self.said.append("stop")

    def shown(self, rows):
        return [replace(row, priority="high") for row in rows]

    def disk_failed(self, held, error):
        self.said.append(f"{held.id}: {error.message}")


class Node:
    """A home, a library and the loop over them."""

    def __init__(self, folder, *, web=None, services=None, settings=LISTENING):
        self.network = MemoryNetwork()
        self.engine = MemoryEngine(self.network)
        self.home = Home(folder)
        self.library = Library(self.home)
        self.verified = VerifiedFiles(self.home)
        self.events = []
        self.web = web
        self.loop = SeedLoop(
            self.library, self.home, settings, self.engine, web, services or Services(), self._report, self.clock
        )

    @property
    def clock(self):
        return self.network.clock

    def _report(self, event):
        self.events.append((round(self.clock.elapsed, 3), event))

    def hold(self, number, files=None, *, verified=True):
        """Put a snapshot into the library."""
        files = {"config.json": b"{}\n", "model.bin": noise(2_000 + number, "w")} if files is None else files
        snapshot = make_snapshot(self.library.root / REPO, files, commit(number))
        torrent = CheckedTorrent.of(replace(snapshot.metainfo, trackers=TRACKERS))
        paths = [file.path for file in snapshot.metainfo.files] if verified else []
        now = Verified.now(snapshot.metainfo.infohash.v2, snapshot.folder, paths)
        self.library.finish(identity(number), torrent, None, now)
        if not verified:
            self.verified.forget(identity(number))
        return snapshot

    def hold_part(self, number, *globs, files):
        """Put the files of a snapshot into the library that the globs match."""
        snapshot = make_snapshot(self.library.root / REPO, files, commit(number))
        chosen = choose_files(snapshot.metainfo, globs)
        for name in files:
            if RepoPath(name) not in chosen:
                (snapshot.folder / name).unlink(missing_ok=True)
        now = Verified.now(snapshot.metainfo.infohash.v2, snapshot.folder, chosen)
        self.library.finish(identity(number), CheckedTorrent.of(snapshot.metainfo), globs, now)
        return snapshot

    def verify(self, snapshot, number):
        files = [file.path for file in snapshot.metainfo.files]
        self.verified.record(identity(number), snapshot.metainfo.infohash.v2, snapshot.folder, files)

    def run(self, seconds, control=None):
        """Let the loop run for so long."""
        end = self.clock.elapsed + seconds
        self.loop.run(lambda: self.clock.elapsed >= end, control or nullcontext())

    def said(self, *names, number=None):
        """The events of these names, with the moments they were told at."""
        return [
            (moment, event.event)
            for moment, event in self.events
            if isinstance(event, Happened)
            and event.event in names
            and (number is None or event.facts.get("commit") == commit(number))
        ]

    def warnings(self):
        return [event.text for _, event in self.events if isinstance(event, Notice)]

    def torrent(self, number):
        """The newest torrent of a snapshot in the engine."""
        found = [one for one in self.engine.torrents if one.metainfo.name == commit(number)]
        return found[-1] if found else None

    def state(self, number):
        return next((row.state for row in self.loop.rows() if row.id == identity(number)), None)


def spoil(snapshot, name="model.bin"):
    path = snapshot.folder / name
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def test_what_was_verified_is_served_at_once_and_what_was_not_is_read_first(tmp_path):
    node = Node(tmp_path)
    known, fresh = node.hold(1), node.hold(2, verified=False)
    node.engine.reads = fresh.size / 3.0
    node.run(5.0)
    assert node.said("checking", "seeding", number=1) == [(PUMP, "seeding")]
    (_, _), (seeding, _) = node.said("checking", "seeding", number=2)
    assert 3.0 <= seeding <= 3.0 + TURN
    assert node.torrent(1).trusted
    assert not node.torrent(2).trusted
    for number, snapshot in ((1, known), (2, fresh)):
        assert (node.torrent(number).shared, node.state(number)) == (True, "seeding")
        assert node.verified.unchanged(
            identity(number), snapshot.metainfo.infohash.v2, snapshot.folder, [one.path for one in known.metainfo.files]
        )


def test_of_a_partial_snapshot_the_files_that_were_chosen_are_served(tmp_path):
    node = Node(tmp_path, web=Web())
    files = {"a.gguf": noise(3_000, "a"), "b.gguf": noise(5_000, "b"), "config.json": b"{}"}
    node.hold_part(1, "a.*", "*.json", files=files)
    node.run(3.0)
    assert node.said("seeding", "damaged", number=1) == [(PUMP, "seeding")]
    assert node.torrent(1).shared
    assert set(node.web.offered[identity(1)].sizes) == {"a.gguf", "config.json"}
    (row,) = node.loop.rows()
    assert (row.progress, row.held_bytes, row.size, row.is_whole) == (1.0, 3_002, 8_002, False)
    node.hold_part(1, "*", files=files)
    node.run(3.0)
    assert [name for _, name in node.said("changed", "seeding", number=1)] == ["seeding", "changed", "seeding"]
    assert set(node.web.offered[identity(1)].sizes) == set(files)


def test_the_web_server_learns_once_that_the_library_has_been_loaded(tmp_path):
    node = Node(tmp_path, web=Web())
    for number in range(3):
        node.hold(number)
    node.run(2 * LIBRARY_EVERY)
    assert node.web.complete == [{identity(number) for number in range(3)}]


@pytest.mark.parametrize("asked", [True, False])
def test_trackers_are_asked_where_the_user_lets_them(tmp_path, asked):
    node = Node(tmp_path, settings=replace(LISTENING, choices=replace(SWITCHED_OFF, trackers=asked)))
    node.hold(1)
    node.run(1.0)
    assert node.torrent(1).trackers == (TRACKERS if asked else ())


def test_everything_served_is_announced_again_a_few_at_a_time(tmp_path):
    node = Node(tmp_path)
    count = 5 * ANNOUNCED_AT_ONCE
    for number in range(count + 1):
        node.hold(number)
    node.clock.at(20.0, lambda: node.loop.hold(identity(count), paused=True, upload_slots=-1))
    node.clock.at(21.0, node.loop.announce_again)
    node.run(21.0 + TURN)
    assert 0 < sum(node.torrent(number).announced for number in range(count)) < count
    node.run(5.0)
    assert [node.torrent(number).announced for number in range(count + 1)] == [*[1] * count, 0]


def test_the_library_is_followed(tmp_path):
    node = Node(tmp_path)
    node.hold(1)
    node.clock.at(3.0, lambda: node.hold(2))
    node.clock.at(6.0, lambda: node.library.remove(node.library.get(identity(1))))
    node.run(10.0)
    ((added, _),) = node.said("seeding", number=2)
    ((removed, _),) = node.said("removed", number=1)
    assert 3.0 <= added <= 3.0 + LIBRARY_EVERY + TURN
    assert 6.0 <= removed <= 6.0 + LIBRARY_EVERY + TURN
    assert node.torrent(1) is None
    assert [row.id for row in node.loop.rows()] == [identity(2)]


def test_the_library_is_looked_at_in_the_same_turn_when_somebody_says_that_it_changed(tmp_path):
    supervisor = Supervising()
    node = Node(tmp_path, services=Services(supervisor=supervisor))

    def arrive():
        node.hold(1)
        supervisor.on_tick = node.loop.library_changed

    node.clock.at(0.5, arrive)
    node.run(1.5)
    assert node.said("seeding", number=1) == [(0.5 + PUMP, "seeding")]


def test_a_damaged_one_serves_its_good_pieces_and_is_loaded_again_once_it_is_mended(tmp_path):
    node = Node(tmp_path, web=Web())
    snapshot = node.hold(1, verified=False)
    spoil(snapshot)

    def mend():
        spoil(snapshot)
        node.verify(snapshot, 1)

    node.clock.at(5.0, mend)
    node.run(4.0)
    assert [name for _, name in node.said("checking", "damaged", "seeding")] == ["checking", "damaged"]
    assert node.warnings() == [f"{identity(1)}: 1 of 2 pieces are damaged; `p2pqwen verify {identity(1)} --repair`"]
    assert node.torrent(1).shared
    assert node.web.offered == {}  # over HTTP nobody can be told which pieces are good
    assert next(iter(node.loop.rows())).progress == 0.5
    node.run(6.0)
    assert [name for _, name in node.said("mended", "seeding")] == ["mended", "seeding"]
    assert (node.torrent(1).trusted, node.state(1)) == (True, "seeding")
    assert list(node.web.offered) == [identity(1)]


def test_nothing_is_served_where_every_piece_is_bad(tmp_path):
    node = Node(tmp_path)
    snapshot = node.hold(1, verified=False)
    spoil(snapshot)
    spoil(snapshot, "config.json")
    node.run(3.0)
    assert node.said("damaged")
    assert not node.torrent(1).shared


def test_a_piece_that_turns_out_bad_when_it_is_asked_for_makes_it_damaged(tmp_path):
    node = Node(tmp_path, web=Web())
    snapshot = node.hold(1)
    node.clock.at(2.0, lambda: spoil(snapshot))
    node.clock.at(4.0, lambda: node.torrent(1).give(1))
    node.run(3.0)
    assert (node.state(1), list(node.web.offered)) == ("seeding", [identity(1)])
    node.run(2.0)
    assert (node.state(1), list(node.web.offered)) == ("damaged", [])
    assert node.verified.stamp(identity(1)) == 0


def test_an_empty_file_that_is_missing_is_seen_by_no_hash_and_leaves_it_out(tmp_path):
    node = Node(tmp_path)
    snapshot = node.hold(1, {"empty.txt": b"", "model.bin": noise(2_000, "w")}, verified=False)
    (snapshot.folder / "empty.txt").unlink()
    node.run(3.0)
    ((_, event),) = [one for one in node.events if isinstance(one[1], Happened) and one[1].event == "skipped"]
    assert "empty.txt" in event.facts["reason"]
    assert (node.state(1), node.torrent(1)) == ("skipped", None)


def test_what_the_engine_does_not_take_is_left_out_until_it_changes(tmp_path):
    node = Node(tmp_path)
    node.hold(1)
    node.engine.refuses[commit(1)] = P2pqwenError("libtorrent refused the torrent")
    node.run(6.0)
    assert node.warnings() == [f"{identity(1)} is not seeded: libtorrent refused the torrent"]
    assert node.state(1) == "skipped"
    node.engine.refuses.clear()
    node.run(4.0)
    assert node.state(1) == "skipped"  # nothing has changed about it
    node.hold(1)
    node.run(3.0)
    assert node.state(1) == "seeding"


def test_a_torrent_that_stops_is_left_out_and_its_reason_is_told(tmp_path):
    node = Node(tmp_path)
    node.hold(1)
    node.hold(2)
    node.clock.at(2.0, lambda: setattr(node.torrent(1), "error", DiskError("cannot read model.bin")))
    node.run(8.0)
    assert len(node.said("skipped", number=1)) == 1
    assert (node.state(1), node.state(2)) == ("skipped", "seeding")
    assert node.verified.stamp(identity(1)) == 0


def twin(number: int, org: str = "Other") -> SnapshotId:
    """The same commit in another repository."""
    return SnapshotId(RepoId(f"{org}/{REPO.partition('/')[2]}"), CommitId.parse(commit(number)))


def hold_twin(node, number, org="Other", *, verified=True, only=None):
    """Hold what `Node.hold` holds, or a part of it, under another name."""
    files = {"config.json": b"{}\n", "model.bin": noise(2_000 + number, "w")}
    name = twin(number, org)
    made = make_snapshot(node.library.root / str(name.repo), files, commit(number))
    chosen = choose_files(made.metainfo, only) if only else [file.path for file in made.metainfo.files]
    now = Verified.now(made.metainfo.infohash.v2, made.folder, chosen)
    node.library.finish(name, CheckedTorrent.of(replace(made.metainfo, trackers=TRACKERS)), only, now)
    if not verified:
        node.verified.forget(name)
    return made


def rows(node):
    return {str(row.id.repo).partition("/")[0]: row for row in node.loop.rows()}


def test_two_names_of_one_commit_are_one_torrent_that_serves_both(tmp_path):
    node = Node(tmp_path, web=Web())
    node.hold(1)
    hold_twin(node, 1)
    node.web.counts = {identity(1): 30, twin(1): 20}
    node.run(3.0)
    assert len(node.engine.torrents) == 1
    assert node.said("skipped") == []
    assert {name: (row.state, row.progress) for name, row in rows(node).items()} == {
        "Other": ("seeding", 1.0),
        "Qwen": ("seeding", 1.0),
    }
    by = [one[1].facts.get("served_by") for one in node.events if getattr(one[1], "event", "") == "seeding"]
    assert by == [None, str(twin(1))]  # the first by name is loaded
    assert any("is the same torrent as" in text for text in node.warnings())
    assert set(node.web.offered) == {identity(1), twin(1)}  # each under its own address


@pytest.mark.parametrize("how", ["removed", "let go", "twin removed", "damaged torrent", "moved"])
def test_when_one_of_two_names_goes_the_other_is_served(tmp_path, how):
    node = Node(tmp_path, web=Web())
    first = hold_twin(node, 1)  # by name
    node.hold(1)
    gone, stays = (identity(1), twin(1)) if how == "twin removed" else (twin(1), identity(1))

    def go():
        if how in {"removed", "twin removed"}:
            node.library.remove(node.library.get(gone))
        elif how == "let go":
            node.loop.let_go(gone)
            node.library.remove(node.library.get(gone))
        elif how == "moved":
            shutil.rmtree(first.folder)
            node.library.get(gone).torrent_path.unlink()
        else:
            node.torrent(1).error = DiskError("cannot read model.bin")

    node.clock.at(2.0, go)
    node.run(6.0)
    found = {row.id: row.state for row in node.loop.rows()}
    assert found.pop(stays) == "seeding"
    assert found == ({gone: "skipped"} if how == "damaged torrent" else {})
    assert set(node.web.offered) == {stays}
    (served,) = [one for one in node.engine.torrents if one.shared]
    assert served.folder == node.library.folder(stays)


def test_a_disk_that_gives_an_error_is_told_of(tmp_path):
    supervisor = Supervising()
    node = Node(tmp_path, services=Services(supervisor=supervisor))
    node.hold(1)

    def fail():
        node.torrent(1).error = DiskError("cannot read model.bin")

    node.clock.at(2.0, fail)
    node.run(4.0)
    assert f"{identity(1)}: cannot read model.bin" in supervisor.said


def test_what_is_paused_under_one_name_is_served_under_the_other(tmp_path):
    node = Node(tmp_path, web=Web())
    node.hold(1)
    hold_twin(node, 1)
    node.clock.at(2.0, lambda: node.loop.hold(twin(1), paused=True, upload_slots=2))
    node.run(3.0)
    assert (node.torrent(1).paused, set(node.web.offered)) == (False, {identity(1)})
    node.clock.at(node.clock.elapsed + 1, lambda: node.loop.hold(identity(1), paused=True, upload_slots=2))
    node.run(2.0)
    assert (node.torrent(1).paused, set(node.web.offered)) == (True, set())


def test_of_two_names_the_one_with_more_of_it_serves(tmp_path):
    node = Node(tmp_path)
    hold_twin(node, 1, only=("config.json",))
    node.hold(1)
    node.run(4.0)
    assert {row.state for row in node.loop.rows()} == {"seeding"}
    (served,) = node.engine.torrents
    assert served.folder == node.library.folder(identity(1))


def test_a_twin_whose_files_changed_says_so_until_they_are_verified(tmp_path):
    node = Node(tmp_path)
    hold_twin(node, 1)
    snapshot = node.hold(1, verified=False)
    node.run(3.0)
    assert node.state(1) == "changed"
    node.verify(snapshot, 1)
    node.run(3.0)
    assert node.state(1) == "seeding"


def test_few_are_read_at_once_and_they_hold_up_nobody(tmp_path):
    node = Node(tmp_path)
    sizes = [node.hold(number, verified=False).size for number in range(1, 6)]
    node.hold(9)
    node.engine.reads = max(sizes) / 2.5
    most = 0

    def count():
        nonlocal most
        most = max(most, sum(not torrent.checked for torrent in node.engine.torrents))
        node.clock.at(node.clock.elapsed + 0.1, count)

    node.clock.at(0.1, count)
    node.run(20.0)
    assert most == MAX_CHECKING
    assert node.said("seeding", number=9)[0][0] <= TURN
    assert [node.state(number) for number in range(1, 6)] == ["seeding"] * 5


def test_many_are_loaded_a_moment_at_a_time(tmp_path):
    node = Node(tmp_path)
    for number in range(10):
        node.hold(number)
    node.engine.adding = LOADING / 2
    loading = []

    def look():
        loading.append((len(node.engine.torrents), node.loop.loading))
        node.clock.at(node.clock.elapsed + LOADING, look)

    assert node.loop.loading
    node.clock.at(LOADING, look)
    node.run(3.0)
    counts = [count for count, _ in loading]
    assert counts == sorted(counts)
    assert len(set(counts)) >= 4  # peers and commands had their turn in between
    assert loading[0][1]
    assert not node.loop.loading
    assert len(node.engine.torrents) == 10


def test_one_that_is_held_is_served_to_nobody_and_stays_so_when_it_is_loaded_again(tmp_path):
    node = Node(tmp_path, web=Web())
    node.hold(1)
    node.hold(2)
    node.loop.hold(identity(1), paused=True, upload_slots=2)
    node.run(1.0)
    assert (node.torrent(1).paused, node.torrent(1).slots) == (True, 2)
    assert node.said("paused", "seeding", number=1) == [(PUMP, "paused")]
    assert list(node.web.offered) == [identity(2)]
    node.loop.read_again(identity(1))
    node.run(4.0)
    assert node.said("rotten", number=1)
    assert node.torrent(1).paused
    node.loop.hold(identity(1), paused=False, upload_slots=-1)
    assert (node.torrent(1).paused, node.torrent(1).slots) == (False, -1)
    assert set(node.web.offered) == {identity(1), identity(2)}


def test_holding_everything_does_not_lift_what_is_held_otherwise(tmp_path):
    node = Node(tmp_path)
    node.hold(1)
    node.hold(2)
    node.run(1.0)
    node.loop.hold(identity(1), paused=True, upload_slots=-1)
    node.loop.hold_all(paused=True)
    assert [node.torrent(number).paused for number in (1, 2)] == [True, True]
    node.loop.hold_all(paused=False)
    assert [node.torrent(number).paused for number in (1, 2)] == [True, False]


def test_what_is_let_go_comes_back_if_the_library_still_shows_it(tmp_path):
    node = Node(tmp_path)
    node.hold(1)
    node.run(1.0)
    node.loop.let_go(identity(1))
    assert node.torrent(1) is None
    node.run(3.0)
    assert [name for _, name in node.said("seeding", "removed")] == ["seeding", "removed", "seeding"]


def test_peers_and_http_share_the_upload_as_they_use_it(tmp_path):
    node = Node(tmp_path, web=Web(), settings=replace(LISTENING, choices=SWITCHED_OFF.limited(upload=1_000_000)))
    node.hold(1)

    def send():
        node.web.bytes_sent += 80_000
        node.clock.at(node.clock.elapsed + 0.1, send)

    node.clock.at(0.05, send)
    node.run(5.0)
    of_peers, of_web = share_upload(1_000_000, peers=0, web=800_000)
    assert node.web.rates[-1] == of_web
    assert node.engine.rates[-1][0] == pytest.approx(of_peers, rel=0.2)
    node.loop.set_rates(upload=0, download=5)
    assert node.engine.rates[-1] == (0, 5)
    assert node.web.rates[-1] == 0


def test_without_http_the_rates_are_those_of_peers(tmp_path):
    node = Node(tmp_path)
    node.loop.set_rates(upload=7, download=9)
    assert node.engine.rates == [(7, 9)]


def test_bytes_sent_over_http_count_from_when_it_was_loaded(tmp_path):
    node = Node(tmp_path, web=Web())
    node.hold(1)
    node.web.counts[identity(1)] = 500
    node.run(1.0)
    node.web.counts[identity(1)] = 800
    node.torrent(1).uploaded = 11
    assert next(iter(node.loop.rows())).uploaded == 311


def test_it_writes_how_it_stands_and_tells_figures_now_and_then(tmp_path):
    supervisor = Supervising()
    node = Node(tmp_path, services=Services(supervisor=supervisor))
    node.hold(1)
    node.run(2 * STATS_EVERY + 1.0)
    (row,) = json.loads(node.home.node_state.read_text())["snapshots"]
    assert (row["commit"], row["state"], row["priority"]) == (commit(1), "seeding", "high")
    moments = [moment for moment, _ in node.said("stats")]
    assert len(moments) == 3
    assert all(later - earlier >= STATS_EVERY for earlier, later in pairwise(moments))


def test_each_address_is_told_once_whenever_it_comes(tmp_path):
    node = Node(tmp_path)
    node.clock.at(2.0, lambda: node.engine.listening.append(Endpoint("::1", 7)))
    node.run(4.0)
    told = [(event.facts["host"], event.facts["port"]) for _, event in node.events if event.event == "listening"]
    assert told == [("127.0.0.1", 40_000), ("::1", 7)]


def test_the_supervisor_has_every_turn_and_is_stopped_before_what_only_has_to_end(tmp_path):
    supervisor = Supervising()
    node = Node(tmp_path, services=Services(supervisor=supervisor))

    @contextmanager
    def control():
        supervisor.said.append("control")
        yield
        supervisor.said.append("control ends")

    node.run(5.0, control())
    assert supervisor.said[:4] == ["start", "control", "stop", "control ends"]
    assert 5.0 / PUMP - 1 <= supervisor.ticks <= 5.0 / PUMP + 2


def test_a_supervisor_that_fails_ends_the_node_after_it_was_stopped(tmp_path):
    def fail():
        raise DiskError("the disk is full")

    supervisor = Supervising(fail)
    node = Node(tmp_path, services=Services(supervisor=supervisor))
    with pytest.raises(DiskError):
        node.run(5.0)
    assert supervisor.said[:2] == ["start", "stop"]


def test_a_turn_that_is_woken_comes_at_once(tmp_path):
    supervisor = Supervising()
    node = Node(tmp_path, services=Services(supervisor=supervisor))
    supervisor.on_tick = lambda: node.loop.wake() if supervisor.ticks <= 5 else None
    node.run(3 * PUMP)
    assert supervisor.ticks == 5 + 3


class Bundles:
    uploaded, upload_rate = 4_000, 0

    def __init__(self):
        self.held = []

    def tick(self, engine):
        return [Happened("bundle", {})] if not self.held else []

    def hold_all(self, *, paused):
        self.held.append(paused)


class Sync:
    def __init__(self):
        self.said, self.known = [], []

    def start(self):
        self.said.append("start")

    def stop(self):
        self.said.append("stop")

    def soon(self):
        self.said.append("soon")

    def know(self, nodes, port):
        self.known.append((nodes, port))


def test_publishers_are_looked_after_and_learn_of_dht_nodes(tmp_path):
    bundles, sync = Bundles(), Sync()
    node = Node(tmp_path, services=Services(publishers=Publishers(bundles, sync)))
    node.engine.listening = [Endpoint("0.0.0.0", 6881)]
    node.engine._nodes = [Endpoint("127.0.0.3", 5)]
    node.clock.at(1.0, lambda: node.loop.hold_all(paused=True))
    node.run(3 * DHT_NODES_EVERY)
    assert (sync.said[0], sync.said[-1], "soon" in sync.said) == ("start", "stop", True)
    assert bundles.held == [True]
    assert node.loop.uploaded_besides == 4_000
    assert set(sync.known) == {((Endpoint("127.0.0.3", 5), Endpoint("127.0.0.1", 6881)), 6881)}
    assert len(sync.known) == 3


def test_what_a_node_says_of_itself_is_written_again_only_where_it_has_changed(tmp_path):
    node = Node(tmp_path)
    node.hold(1)
    written = []

    def look():
        written.append(node.home.node_state.stat().st_ino)  # each writing is a new file

    for moment in (2.0, 5.0, 11.0):
        node.clock.at(moment, look)
    node.clock.at(6.0, lambda: setattr(node.torrent(1), "uploaded", 3))
    node.run(12.0)
    first, second, third = written
    assert first == second != third


def test_the_rows_of_a_node_where_nothing_moves_are_the_same_object(tmp_path):
    node = Node(tmp_path)
    node.hold(1)
    node.hold(2)
    seen = []
    for moment in (2.0, 3.0):
        node.clock.at(moment, lambda: seen.append(node.loop.rows()))
    node.clock.at(3.5, lambda: setattr(node.torrent(2), "uploaded", 3))
    node.clock.at(4.0, lambda: seen.append(node.loop.rows()))
    node.run(5.0)
    before, same, after = seen
    assert same is before
    assert (after[0] is before[0], after[1].uploaded) == (True, 3)
