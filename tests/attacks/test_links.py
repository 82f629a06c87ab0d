"""A stranger's bytes and the files that are here: no inode with a second name is ever written to from the network."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import try_to_load_from_cache

from p2pqwen.app import App
from p2pqwen.config.load import load
from p2pqwen.errors import DiskError, NetworkError, VerificationError
from p2pqwen.events import Notice
from p2pqwen.hub.cache import HubCache
from p2pqwen.index.acceptance import Position, TrustedState, accept
from p2pqwen.index.bundle import bundle_name
from p2pqwen.index.document import INDEX_FILE
from p2pqwen.index.pointer import Pointer
from p2pqwen.index.standing import Standing
from p2pqwen.library import durable
from p2pqwen.library.bundles import BundleStore
from p2pqwen.library.home import Home as P2pqwenHome
from p2pqwen.library.verified import Look
from p2pqwen.operations.indexes.bundle import BundleNetwork, fetch_index, fetch_torrents, make_bundle
from p2pqwen.operations.preserve.reuse import HeldFile, share
from p2pqwen.swarm.session import Swarm
from p2pqwen.swarm.writable import WritableFiles, prove_writable
from p2pqwen.torrent.info import build_info
from p2pqwen.torrent.magnet import Magnet
from p2pqwen.torrent.metainfo import metainfo_from_info
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath
from tests.simulators.sample import REPO as SAMPLE
from tests.simulators.sample import write_sample
from tests.strategies import hash_payload
from tests.support.command import CommandLine
from tests.support.forged import LIES, approved_by_pieces, forged, honest, looks_of, spoilt
from tests.support.models import small_model, write_folder
from tests.support.other_user import ALICE, needs_root
from tests.support.processes import p2pqwen, running
from tests.support.publishing import NOW, Publisher, make_entry
from tests.support.swarm import ALONE, LISTENING, QUIET, make_snapshot, pump_until, serving
from tests.support.web_seeds import PlainServer, served
from tests.unit.hub.test_cache import COMMIT as LAID
from tests.unit.hub.test_cache import FOLDER, lay

REPO = "Qwen/Tiny"
GENUINE, OTHER = "a1" * 20, "b2" * 20
FILES = small_model(700_000)
EVIL = spoilt(FILES, "model.safetensors", "config.json")
WEIGHTS = "model.safetensors"


class Home:
    """A user whose folder, library and Hugging Face cache share every byte: one inode with three names each."""

    def __init__(self, folder: Path) -> None:
        self.folder = write_folder(folder / "models" / "tiny", FILES)
        self.user = CommandLine(folder / "user")
        options = ("--repo", REPO, "--commit", GENUINE, "--hard-links")
        done = self.user.ok("preserve", "--from", self.folder, *options)
        self.held, self.torrent = Path(done["path"]), Path(done["torrent"])
        self.user.ok("fetch", self.torrent, "--trust-unverified")  # it is the user's own
        assert (self.held / WEIGHTS).stat().st_nlink == 3
        self.before = self.looks()

    def looks(self) -> dict[str, dict[str, tuple[bytes, int, int, int, int]]]:
        places = {"folder": self.folder, "library": self.held, "cache": self.user.cache / "models--Qwen--Tiny"}
        found = {name: looks_of(place) for name, place in places.items()}
        found["torrent"] = {"": (self.torrent.read_bytes(), 0, 0, 0, 0)}
        return found

    def state(self, commit: str = GENUINE) -> str | None:
        listed = self.user.ok("list")["snapshots"]
        return next((one["state"] for one in listed if one["commit"] == commit), None)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize(
    "commit", [pytest.param(OTHER, id="58-another-commit"), pytest.param(GENUINE, id="59-its-own-commit")]
)
def test_one_hash_approves_and_another_writes(home: Home, commit: str, lie: str) -> None:
    """One magnet with a source and a web seed, and no peer: its manifest describes what is held, its pieces do not."""
    metainfo = forged(FILES, EVIL, REPO, commit, lie=lie)
    payload = served(approved_by_pieces(FILES, EVIL, lie), metainfo)
    with PlainServer(payload) as server:
        server.files["x.torrent"] = metainfo.encode()
        size = metainfo.layout.total_size
        magnet = Magnet.of(metainfo.infohash, f"{REPO}@{commit}", size, web_seeds=(server.url,))
        options = ("--only-web-seeds", "--web-seed", server.url, "--timeout", "4")
        ended = home.user.run("fetch", f"{magnet}&xs={server.url}x.torrent", *options)
    assert ended.code in {3, 5}, ended
    assert home.looks() == home.before
    assert home.state() == "complete"
    assert home.user.ok("verify", f"{REPO}@{GENUINE}")["ok"]
    assert home.state(OTHER) in {None, "incomplete"}


@pytest.mark.parametrize("state", ["complete", "partial", "incomplete"])
def test_59_another_torrent_of_a_held_commit_does_not_touch_it(tmp_path: Path, state: str) -> None:
    """Its metadata comes from a peer, so that nobody knows which commit it is of before a session is open."""
    user, folder = CommandLine(tmp_path / "user"), tmp_path / "held"
    torrent = tmp_path / "genuine.torrent"
    genuine = make_snapshot(tmp_path / "seed", FILES, GENUINE)
    genuine.write_torrent(torrent)
    evil = make_snapshot(tmp_path / "evil", EVIL, GENUINE)
    include = () if state == "complete" else ("--include", "*.safetensors")
    with _seed(tmp_path / "seeder", genuine.folder, GENUINE) as port:
        options = ("--peer", f"127.0.0.1:{port}", *QUIET, "--no-web-seeds", "--no-hf-cache", "--timeout", "20")
        user.ok("fetch", torrent, *options, *include)
    if state == "incomplete":
        assert user.run("fetch", torrent, *QUIET, "--no-web-seeds", "--no-hf-cache", "--timeout", "1").code == 5
    (held,) = user.ok("list")["snapshots"]
    assert held["state"] == state
    folder = Path(held["path"])
    before = {name: look[0] for name, look in looks_of(folder).items()}
    with _seed(tmp_path / "stranger", evil.folder, GENUINE) as port:
        magnet = f"magnet:?xt=urn:btmh:1220{evil.metainfo.infohash.v2}&dn={REPO}@{GENUINE}"
        options = ("--peer", f"127.0.0.1:{port}", *QUIET, "--no-web-seeds", "--no-hf-cache", "--timeout", "20")
        ended = user.run("fetch", magnet, *options)
    assert (ended.code, "from another torrent" in ended.stderr) == (3, True), ended
    assert {name: look[0] for name, look in looks_of(folder).items()} == before
    assert user.ok("list")["snapshots"] == [held]


def _seed(folder: Path, source: Path, commit: str):
    import contextlib

    @contextlib.contextmanager
    def seeding():
        keeper = CommandLine(folder)
        keeper.ok("preserve", "--from", source, "--repo", REPO, "--commit", commit)
        command = p2pqwen("seed", "--listen", "127.0.0.1:0", *QUIET, "--json")
        with running(command, keeper.environment) as process:
            port = process.json_line(30, containing='"listening"')["port"]
            process.line(30, containing='"seeding"')
            yield port

    return seeding()


@pytest.mark.parametrize("which", ["v1", "v2"])
def test_60_a_bundle_that_names_files_of_the_held_one(tmp_path: Path, which: str) -> None:
    """A stranger's pointer: the bundle has the v2 roots, or the v1 pieces, of what is held; its peer sends rubbish."""
    from tests.simulators.peer import Content, PeerNetwork

    store, publisher = BundleStore(P2pqwenHome(tmp_path / "home")), Publisher()
    entries = sorted([make_entry(number) for number in range(2)], key=lambda one: one.id)
    data = publisher.publish(entries)
    site = write_folder(tmp_path / "site", {INDEX_FILE: data, **{one.torrent: data * 2 for one in entries}})
    held, metainfo = make_bundle(store, accept(data, TrustedState(publisher.id), NOW), site)
    before = looks_of(held.folder)
    payload = {file.path: held.path(file.path).read_bytes() for file in metainfo.files}
    rubbish = {path: bytes(byte ^ 0x55 for byte in one) for path, one in payload.items()}
    true, false = hash_payload(payload, metainfo.layout), hash_payload(rubbish, metainfo.layout)
    first, second = (true, false) if which == "v1" else (false, true)
    hashes = {path: replace(first[path], pieces=second[path].pieces) for path in payload}
    lying = metainfo_from_info(build_info(bundle_name(Position(0, 9)), metainfo.layout, hashes))
    pointer = Pointer.to_bundle(lying.infohash, Position(0, 9), Sha256.of(b"any"))
    with PeerNetwork() as network:
        peer = network.peer(Content.of(lying, {path.text: one for path, one in rubbish.items()}))
        asked = BundleNetwork(ALONE, peers=(peer.endpoint,), seconds=2.0)
        with pytest.raises((NetworkError, VerificationError)):
            fetch_index(store, publisher.id, pointer, asked)
        assert peer.seen.handshakes
        stranger = replace(held, position=Position(0, 9), infohash=lying.infohash.v1)
        stranger = replace(stranger, save_path=held.save_path.with_name(str(lying.infohash.v1)))
        stranger.folder.mkdir(parents=True, exist_ok=True)
        store.enter(stranger, lying)  # as if its index had been accepted all the same
        with pytest.raises((NetworkError, VerificationError)):
            fetch_torrents(store, stranger, [RepoPath(one.torrent) for one in entries], asked)
    assert looks_of(held.folder) == before


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("how", ["linked by hand", "symlink", "symlinked folder"])
def test_61_a_file_of_others_in_the_snapshots_own_folder(tmp_path: Path, how: str, lie: str) -> None:
    """The user's own file stands where the stranger's is to go, by whatever road it came there."""
    mine = write_folder(tmp_path / "mine", FILES)
    user = CommandLine(tmp_path / "user")
    metainfo = forged(FILES, EVIL, REPO, OTHER, lie=lie)
    torrent = tmp_path / "x.torrent"
    torrent.write_bytes(metainfo.encode())
    folder = user.home / "library" / REPO / OTHER
    folder.mkdir(parents=True)
    if how == "linked by hand":
        for name in (WEIGHTS, "config.json"):
            os.link(mine / name, folder / name)
    elif how == "symlink":
        (folder / WEIGHTS).symlink_to(mine / WEIGHTS)
    else:
        (folder / "model").symlink_to(mine / "model")
    before = {name: look[0] for name, look in looks_of(mine).items()}
    with PlainServer(served(approved_by_pieces(FILES, EVIL, lie), metainfo)) as server:
        options = ("--only-web-seeds", "--web-seed", server.url, "--timeout", "4", "--no-hf-cache")
        ended = user.run("fetch", torrent, *options)
    assert ended.code in {3, 5}, ended
    assert {name: look[0] for name, look in looks_of(mine).items()} == before
    assert [one["state"] for one in user.ok("list")["snapshots"]] in ([], ["incomplete"])


@pytest.mark.parametrize("how", ["symlinked folder", "symlink", "symlink to nothing", "symlinked empty file"])
def test_106_an_import_into_a_folder_with_links_of_the_users(tmp_path: Path, how: str) -> None:
    """An unfinished fetch, in whose folder the user has put links, is gone on with by an import."""
    user, metainfo = CommandLine(tmp_path / "user"), honest(FILES, REPO, OTHER)
    torrent = tmp_path / "x.torrent"
    torrent.write_bytes(metainfo.encode())
    payload = {name: data for name, data in served(FILES, metainfo).items() if "config.json" not in name}
    with PlainServer(payload) as server:
        options = ("--only-web-seeds", "--web-seed", server.url, "--timeout", "4", "--no-hf-cache")
        assert user.run("fetch", torrent, *options).code == 5
    folder = user.home / "library" / REPO / OTHER
    mine = write_folder(tmp_path / "mine", {"model/notes.txt": b"my own notes", "empty.txt": b"", WEIGHTS: b"mine"})
    if how == "symlinked folder":
        shutil.rmtree(folder / "model")
        (folder / "model").symlink_to(mine / "model")
    else:
        name = "empty.txt" if "empty" in how else WEIGHTS
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(mine / ("nothing" if "nothing" in how else name))
    before = looks_of(mine)
    source = write_folder(tmp_path / "source" / "Tiny", FILES)
    (done,) = user.ok("library", "import", source, "--no-hf-cache")["imported"]
    assert done["state"] == "complete"
    assert looks_of(mine) == before
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    assert {name: look[0] for name, look in looks_of(folder).items()} == FILES


def test_107_the_library_by_another_name_is_no_place_to_import_from(tmp_path: Path) -> None:
    """A snapshot that is being fetched would give a file a second name while its peers write to it."""
    user = CommandLine(tmp_path / "user")
    write_folder(user.home / "library" / REPO / GENUINE, FILES)  # on its way: no torrent says what it is
    (tmp_path / "alias").symlink_to(user.home / "library")
    torrent = tmp_path / "x.torrent"
    torrent.write_bytes(honest(FILES, REPO, OTHER).encode())
    before = looks_of(user.home / "library" / REPO / GENUINE)
    for place in (tmp_path / "alias", user.home / "library" / REPO, user.home / "library" / REPO / GENUINE):
        ended = user.run("library", "import", place, "--no-hf-cache", "--hard-links", "--torrent", torrent, "--json")
        assert (ended.code, ended.json["imported"]) == (0, []), ended
    assert looks_of(user.home / "library" / REPO / GENUINE) == before


@pytest.mark.parametrize("trusted", [False, True])
def test_62_a_seed_with_wrong_bytes_is_served_as_it_is_and_never_mended_in_place(tmp_path: Path, trusted: bool) -> None:
    """Its peer has the right pieces and wants the others: an ordinary download would take them at once."""
    good = make_snapshot(tmp_path / "good", FILES)
    bad = make_snapshot(tmp_path / "bad", FILES)
    (bad.folder / WEIGHTS).write_bytes(EVIL[WEIGHTS])
    os.link(bad.folder / WEIGHTS, tmp_path / "second name")
    write_folder(tmp_path / "reader" / good.metainfo.name, {WEIGHTS: FILES[WEIGHTS]})
    with Swarm(LISTENING) as node, Swarm(ALONE) as reader:
        torrent = node.add_seed(bad.metainfo, bad.save_path, trusted=trusted)
        if not trusted:
            pump_until(lambda: torrent.checked, node, what="the check")
        torrent.share(())
        writable = prove_writable(good.metainfo, tmp_path / "reader")
        theirs = reader.add_download(good.metainfo, writable, held=True)
        pump_until(lambda: theirs.checked, reader, what="the reader has what is wrong in the seed")
        theirs.connect(node.listening[0])
        theirs.start()
        pump_until(lambda: theirs.finished, node, reader, what="the reader has the rest, from the seed")
        until = time.monotonic() + 2.0
        pump_until(lambda: time.monotonic() > until, node, reader, what="some time")
        assert torrent.progress(fresh=True).received == 0
    assert (tmp_path / "second name").read_bytes() == EVIL[WEIGHTS]
    assert (bad.folder / WEIGHTS).samefile(tmp_path / "second name")


def test_63_only_files_proven_to_be_ones_own_can_be_handed_over(tmp_path: Path) -> None:
    metainfo = honest(FILES, REPO, OTHER)
    folder = tmp_path / "save" / OTHER
    other = tmp_path / "other"
    other.write_bytes(b"x")
    spoil = {
        "a second name": lambda: os.link(other, folder / WEIGHTS),
        "a symlink": lambda: (folder / WEIGHTS).symlink_to(other),
        "a symlink to nowhere": lambda: (folder / WEIGHTS).symlink_to(tmp_path / "nowhere"),
        "a symlinked folder": lambda: (folder / "model").symlink_to(tmp_path),
        "a pipe": lambda: os.mkfifo(folder / WEIGHTS),
        "a folder": (folder / WEIGHTS).mkdir,
        "a file for a folder": lambda: (folder / "model").write_bytes(b""),
    }
    for how, make in spoil.items():
        folder.mkdir(parents=True)
        make()
        with pytest.raises(DiskError, match="is not written to"):
            prove_writable(metainfo, tmp_path / "save")
        assert prove_writable(metainfo, tmp_path / "save", [RepoPath("config.json")]).files, how
        shutil.rmtree(tmp_path / "save")
    (tmp_path / "save").symlink_to(tmp_path)  # where a library is, its user says
    proven = prove_writable(metainfo, tmp_path / "save")
    assert proven.files == {file.path for file in metainfo.files}
    with pytest.raises(TypeError):
        WritableFiles(metainfo.infohash, tmp_path, frozenset(), None)
    with Swarm(ALONE) as swarm, pytest.raises(ValueError, match="another torrent"):
        swarm.add_download(honest(FILES, REPO, GENUINE), proven)


def test_63_libtorrent_is_not_told_where_the_other_files_are(tmp_path: Path) -> None:
    """Whatever it does with files nobody wants: it has no path to them, though resume data says they are whole."""
    from p2pqwen.swarm.resume_data import Resume

    snapshot = make_snapshot(tmp_path / "good", FILES)
    folder = shutil.copytree(snapshot.folder, tmp_path / "save" / snapshot.metainfo.name)
    with Swarm(ALONE) as swarm:
        writable = prove_writable(snapshot.metainfo, tmp_path / "save")
        torrent = swarm.add_download(snapshot.metainfo, writable, held=True)
        pump_until(lambda: torrent.checked, swarm, what="the check")
        torrent.request_resume()
        pump_until(lambda: torrent.resume_answers, swarm, what="resume data")
        assert swarm.release(torrent)
    resume = torrent.resume
    assert resume is not None
    os.link(folder / WEIGHTS, tmp_path / "second name")
    (folder / "config.json").unlink()
    before = looks_of(folder)
    with serving(snapshot) as (seed, address), Swarm(ALONE) as swarm:
        writable = prove_writable(snapshot.metainfo, tmp_path / "save", [RepoPath("config.json")])
        torrent = swarm.add_download(snapshot.metainfo, writable, resume=Resume(resume))
        torrent.connect(address)
        pump_until(lambda: torrent.finished or torrent.error, seed, swarm, what="the one file that is wanted")
        assert torrent.error is None
        weights = next(index for index, file in enumerate(snapshot.metainfo.files) if file.path.text == WEIGHTS)
        assert not any(torrent.have[piece] for piece in snapshot.metainfo.layout.pieces(weights))
        assert swarm.release(torrent)
    after = looks_of(folder)
    assert after.pop("config.json")[0] == FILES["config.json"]
    assert after == before


def test_64_a_file_gets_no_second_name_while_somebody_may_be_writing_to_it(home: Home, tmp_path: Path) -> None:
    app = App(load(home.user.environment))
    (held,) = app.library.all()
    source = HeldFile(held.id, RepoPath(WEIGHTS), held.folder / WEIGHTS)
    look = Look.of(source.path)
    (tmp_path / "out").mkdir()
    shared = share(source, tmp_path / "out" / "1", app.library, look=look)
    assert shared is not None
    assert shared.certain
    with durable.lock(app.library.lock_path(held.id)):  # a repair holds it for as long as libtorrent is at work
        shared = share(source, tmp_path / "out" / "2", app.library, look=look)
        assert shared is not None
        assert not shared.certain
        assert not (tmp_path / "out" / "2").samefile(source.path)
    app.library.begin(held.id, held.torrent(), None)
    assert share(source, tmp_path / "out" / "3", app.library, look=look) is None
    assert share(HeldFile(held.id, source.name, source.path), tmp_path / "out" / "4", app.library) is None


def test_64_a_file_that_changed_since_it_was_read_is_fetched_after_all(tmp_path: Path, monkeypatch) -> None:
    """Right when it was read, wrong when it is to be shared: it is refused then, and comes from the swarm."""
    from p2pqwen.operations.preserve import reuse

    user = CommandLine(tmp_path / "user")
    source = write_folder(tmp_path / "src", FILES)
    done = user.ok("preserve", "--from", source, "--repo", REPO, "--commit", GENUINE)
    newer = {**FILES, "config.json": b'{"model_type": "qwen3", "version": 2}\n'}
    torrent = make_snapshot(tmp_path / "newer", newer, OTHER).write_torrent(tmp_path / "newer.torrent")
    weights = Path(done["path"]) / WEIGHTS
    real = reuse.take

    def late(*given):
        if weights.read_bytes() != EVIL[WEIGHTS]:
            weights.write_bytes(EVIL[WEIGHTS])
        return real(*given)

    monkeypatch.setattr("p2pqwen.operations.fetch.make.take", late)
    with _seed(tmp_path / "seeder", tmp_path / "newer" / OTHER, OTHER) as port:
        options = ("--peer", f"127.0.0.1:{port}", *QUIET, "--no-web-seeds", "--no-hf-cache", "--timeout", "20")
        fetched = user.ok("fetch", torrent, *options)
    assert {name: look[0] for name, look in looks_of(Path(fetched["path"])).items()} == newer
    assert weights.read_bytes() == EVIL[WEIGHTS]
    states = {one["commit"]: one["state"] for one in user.ok("list")["snapshots"]}
    assert states == {GENUINE: "changed", OTHER: "complete"}


@pytest.mark.parametrize("way", ["preserve", "import", "fetch"])
def test_65_bytes_that_changed_are_not_called_complete(tmp_path: Path, way: str) -> None:
    user = CommandLine(tmp_path / "user")
    source = write_folder(tmp_path / "src" / OTHER, FILES)
    snapshot = make_snapshot(tmp_path / "seed", FILES, OTHER)
    torrent = snapshot.write_torrent(tmp_path / "x.torrent")
    if way == "preserve":
        user.ok("preserve", "--from", source, "--repo", REPO, "--commit", OTHER)
    elif way == "import":
        user.ok("library", "import", source, "--torrent", torrent, "--no-hf-cache")
    else:
        with _seed(tmp_path / "seeder", source, OTHER) as port:
            options = ("--peer", f"127.0.0.1:{port}", *QUIET, "--no-web-seeds", "--timeout", "20")
            user.ok("fetch", torrent, *options)
    (listed,) = user.ok("list")["snapshots"]
    assert listed["state"] == "complete"
    weights = Path(listed["path"]) / WEIGHTS
    before = weights.stat()
    for change in (lambda: weights.write_bytes(EVIL[WEIGHTS]), lambda: os.truncate(weights, 10), weights.unlink):
        change()
        assert user.ok("list")["snapshots"][0]["state"] == "changed"
        (row,) = user.ok("status")["snapshots"]
        assert (row["state"], row["health"]) == ("changed", "changed")
        assert "to be verified again" in user.run("list").stdout
    assert user.run("verify", REPO).code == 3
    assert user.ok("list")["snapshots"][0]["state"] == "changed"
    weights.write_bytes(FILES[WEIGHTS])  # right again, and nobody has seen that
    assert user.ok("list")["snapshots"][0]["state"] == "changed"
    assert user.ok("verify", REPO)["ok"]
    assert user.ok("list")["snapshots"][0]["state"] == "complete"
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert user.ok("list")["snapshots"][0]["state"] == "changed"
    assert user.ok("library", "scrub", "--all")["scrubbed"][0]["bad"] == []
    assert user.ok("list")["snapshots"][0]["state"] == "complete"


@pytest.mark.parametrize("changed", [True, False], ids=["110-other-bytes", "110-another-time"])
def test_what_changed_is_read_before_nothing_is_said_to_be_to_do(tmp_path: Path, changed: bool) -> None:
    """`preserve` of one and of many, from the Hub or a folder, and `library import`, of a snapshot that is held."""
    from tests.simulators.hub import HubSimulator

    with HubSimulator() as hub:
        source = write_folder(tmp_path / "source" / "Tiny", FILES)
        commit = str(hub.add(REPO, source))
        user = CommandLine(tmp_path / "user", hub.endpoint)
        done = user.ok("preserve", REPO)
        weights = Path(done["path"]) / WEIGHTS
        weights.write_bytes((EVIL if changed else FILES)[WEIGHTS])
        torrent = shutil.copy(done["torrent"], tmp_path)
        for words in (
            ("preserve", REPO),
            ("preserve", "--org", "Qwen"),
            ("preserve", "--from", source, "--repo", REPO, "--commit", commit),
            ("library", "import", source, "--torrent", torrent, "--no-hf-cache"),
        ):
            ended = user.run(*words)
            said = ended.stdout + ended.stderr
            assert (f"damaged: {WEIGHTS}" in said) is changed, ended
            assert (ended.code == 0) is not changed or words[0] == "library", ended
        assert user.ok("list")["snapshots"][0]["state"] == ("changed" if changed else "complete")


def test_65_a_second_name_is_no_change(home: Home, tmp_path: Path) -> None:
    os.link(home.held / WEIGHTS, tmp_path / "mine")
    subprocess.run(["chmod", "600", home.held / WEIGHTS], check=True)
    assert home.state() == "complete"


def test_66_what_is_the_users_stays_as_it_is(tmp_path: Path) -> None:
    """Preserved from, imported from, and laid into: content, link counts, modes and times are those of before."""
    user = CommandLine(tmp_path / "user")
    folder = write_folder(tmp_path / "mine", FILES)
    (folder / WEIGHTS).chmod(0o640)
    os.link(folder / "config.json", tmp_path / "second name")
    before = looks_of(folder)
    done = user.ok("preserve", "--from", folder, "--repo", REPO, "--commit", GENUINE)
    assert looks_of(folder) == before
    user.ok("fetch", done["torrent"], "--trust-unverified")
    cached = looks_of(user.cache / "models--Qwen--Tiny" / "blobs")
    other = CommandLine(tmp_path / "other", HF_HUB_CACHE=str(user.cache))
    torrent = shutil.copy(done["torrent"], tmp_path / "x.torrent")
    other.ok("library", "import", folder, "--torrent", torrent)
    assert looks_of(folder) == before
    assert looks_of(user.cache / "models--Qwen--Tiny" / "blobs") == cached
    other.ok("remove", REPO, "--yes")
    other.ok("library", "import", "--torrent", torrent)  # from the cache this time
    other.ok("fetch", torrent)
    assert looks_of(user.cache / "models--Qwen--Tiny" / "blobs") == cached


def test_65_a_node_reads_what_changed_under_it_before_it_serves_it_again(tmp_path: Path, monkeypatch) -> None:
    from p2pqwen.operations.node import seed as seeding

    user = CommandLine(tmp_path / "user")
    source = write_folder(tmp_path / "src", FILES)
    done = user.ok("preserve", "--from", source, "--repo", REPO, "--commit", OTHER)
    weights = Path(done["path"]) / WEIGHTS
    monkeypatch.setattr(seeding, "LOOKS_EVERY", 0.1)
    app, told = App(load(user.environment)), []
    ends = time.monotonic() + 60

    look = seeding.SeedLoop._look_at_files

    def changed_then_looked_at(loop: seeding.SeedLoop) -> None:
        # Not while libtorrent is still loading the torrent: then it reads the file again before the node looks.
        if "seeding" in told and not changed and all(one.torrent.checked for one in loop._seeds.values()):
            changed.append(weights.write_bytes(EVIL[WEIGHTS]))
        look(loop)

    changed: list[int] = []
    monkeypatch.setattr(seeding.SeedLoop, "_look_at_files", changed_then_looked_at)

    def report(event: object) -> None:
        told.append(getattr(event, "event", ""))

    seeding.seed(
        app.library,
        app.home,
        LISTENING,
        report=report,
        stopping=lambda: "damaged" in told or time.monotonic() > ends,
    )
    events = [event for event in told if event in {"seeding", "changed", "checking", "damaged"}]
    assert events == ["seeding", "changed", "checking", "damaged"]
    assert user.ok("list")["snapshots"][0]["state"] == "changed"


class Cached:
    """A user whose Hugging Face cache alone has the model: the library gave it up."""

    def __init__(self, folder: Path) -> None:
        self.user = CommandLine(folder / "user")
        source = write_folder(folder / "src", FILES)
        torrent = self.user.ok("preserve", "--from", source, "--repo", REPO, "--commit", GENUINE)["torrent"]
        self.torrent = Path(shutil.copy(torrent, folder / "genuine.torrent"))
        self.cache = Path(self.user.ok("fetch", torrent, "--trust-unverified")["hf_cache"])
        self.user.ok("remove", f"{REPO}@{GENUINE}", "--yes")
        self.before = looks_of(self.user.cache)

    def nothing_changed(self) -> bool:
        return looks_of(self.user.cache) == self.before


@pytest.fixture
def cached(tmp_path: Path) -> Cached:
    return Cached(tmp_path)


@pytest.mark.parametrize("lie", LIES)
def test_119_a_manifest_names_what_the_cache_has_and_the_pieces_are_others(cached: Cached, lie: str) -> None:
    metainfo = forged(FILES, EVIL, REPO, OTHER, lie=lie)
    torrent = cached.user.home.parent / "forged.torrent"
    torrent.write_bytes(metainfo.encode())
    ended = cached.user.run("fetch", torrent, *QUIET, "--no-web-seeds", "--timeout", "2")
    assert ended.code in {3, 5}, ended
    assert cached.nothing_changed()
    assert cached.user.ok("list")["snapshots"][0]["state"] == "incomplete"


def test_119_what_is_taken_from_the_cache_is_a_copy(cached: Cached) -> None:
    done = cached.user.ok("fetch", cached.torrent, *QUIET, "--no-web-seeds", "--timeout", "5")
    assert done["bytes_reused"] == sum(map(len, FILES.values()))
    assert cached.nothing_changed()  # link counts too
    with (Path(done["path"]) / WEIGHTS).open("r+b") as file:
        file.write(b"whatever is written in the library")
    assert cached.nothing_changed()


@pytest.mark.parametrize("when", ["before the copy", "while it is copied"])
def test_120_a_file_of_the_cache_that_changes_after_it_was_read(cached: Cached, monkeypatch, when: str) -> None:
    """Another program writes into the blob, and puts size and times back: the copy is read, whatever the look says."""
    from p2pqwen.operations.preserve import reuse

    blob = (cached.cache / WEIGHTS).resolve()
    real = reuse.place

    def late(source: Path, target: Path, **choices: bool):
        times = blob.stat()
        if source == blob and when == "before the copy":
            blob.write_bytes(EVIL[WEIGHTS])
        placed = real(source, target, **choices)
        if source == blob and when == "while it is copied":
            with target.open("r+b") as file:
                file.seek(300_000)
                file.write(EVIL[WEIGHTS][300_000:300_100])
        os.utime(blob, ns=(times.st_atime_ns, times.st_mtime_ns))
        return placed

    monkeypatch.setattr(reuse, "place", late)
    ended = cached.user.run("fetch", cached.torrent, *QUIET, "--no-web-seeds", "--timeout", "2")
    assert ended.code == 5, ended
    monkeypatch.setattr(reuse, "place", real)
    (listed,) = cached.user.ok("list")["snapshots"]
    assert listed["state"] == "incomplete"
    assert (
        not (Path(listed["path"]) / WEIGHTS).exists() or (Path(listed["path"]) / WEIGHTS).read_bytes() != EVIL[WEIGHTS]
    )


def test_121_a_link_in_the_cache_that_leads_to_a_file_of_the_users(cached: Cached, tmp_path: Path) -> None:
    """Its content is what the torrent says, so it may be read; it is copied all the same."""
    own = tmp_path / "own.safetensors"
    own.write_bytes(FILES[WEIGHTS])
    blob = (cached.cache / WEIGHTS).resolve()
    blob.unlink()
    blob.symlink_to(own)
    before = own.stat()
    done = cached.user.ok("fetch", cached.torrent, *QUIET, "--no-web-seeds", "--timeout", "5")
    assert (Path(done["path"]) / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    assert not (Path(done["path"]) / WEIGHTS).is_symlink()
    assert (own.stat().st_nlink, own.stat().st_mtime_ns, own.stat().st_ino) == (1, before.st_mtime_ns, before.st_ino)


class Shared:
    """A Hugging Face cache in which somebody places a link to a folder of the user's."""

    def __init__(self, folder: Path) -> None:
        self.payload = write_sample(folder / "payload")
        self.cache = HubCache(folder / "hub")
        self.repository = self.cache.root / FOLDER
        self.precious = folder / "precious"
        for name in ("config.json", "README.md", "main", f"{LAID}.json", "model/notes é.txt"):
            (self.precious / name).parent.mkdir(parents=True, exist_ok=True)
            (self.precious / name).write_text(f"the user's own {name}")
        (self.precious / "tokenizer.json").touch()
        self.before = self.look()

    def look(self) -> tuple[object, ...]:
        folders = sorted(path.relative_to(self.precious) for path in self.precious.rglob("*") if path.is_dir())
        return looks_of(self.precious), folders, self.precious.stat().st_mtime_ns

    def place_link(self, name: str) -> Path:
        link = self.cache.root / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(self.precious)
        return link

    def lay(self, standing: Standing = Standing.PROVEN, *, ref: str | None = "main") -> list[str]:
        said: list[str] = []
        report = lambda event: said.append(event.text) if isinstance(event, Notice) else None  # noqa: E731
        lay(self.cache, self.payload, standing, ref=ref, report=report)
        return said


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return Shared(tmp_path)


@pytest.mark.parametrize("standing", Standing)
@pytest.mark.parametrize(
    "name",
    [
        f"snapshots/{LAID}", "snapshots", f"snapshots/{LAID}/model", "blobs", "trees", "refs", f".no_exist/{LAID}",
        ".no_exist", "refs/p2pqwen",
    ],
)  # fmt: skip
def test_122_a_link_in_the_cache_leads_nowhere(shared: Shared, name: str, standing: Standing) -> None:
    link = shared.place_link(f"{FOLDER}/{name}")
    contradicts = name == f".no_exist/{LAID}" and standing is not Standing.PROVEN  # the link has a config.json
    if contradicts or name not in {".no_exist", f".no_exist/{LAID}", "refs/p2pqwen"}:
        with pytest.raises(DiskError) as refused:
            shared.lay(standing)
        assert str(link) in refused.value.message
        assert "remove the link" in (refused.value.hint or "")
        assert [path for path in shared.cache.root.rglob("*") if path.is_file() or path.is_symlink()] == [link]
    else:
        written = standing is Standing.PROVEN or name != ".no_exist"
        assert (str(link) in " ".join(shared.lay(standing))) is written
    assert link.readlink() == shared.precious
    assert shared.look() == shared.before


@pytest.mark.parametrize("full", [True, False], ids=["not empty", "a link"])
def test_122_no_marker_is_removed_but_an_empty_file(shared: Shared, full: bool) -> None:
    marker = shared.repository / ".no_exist" / LAID / "config.json"
    marker.parent.mkdir(parents=True)
    marker.write_text("not a marker") if full else marker.symlink_to(shared.precious / "tokenizer.json")
    assert f"{marker} stays" in " ".join(shared.lay())
    assert os.path.lexists(marker)
    assert shared.look() == shared.before


@needs_root
@pytest.mark.parametrize("name", [FOLDER, ".locks"])
@pytest.mark.parametrize("own", [True, False], ids=["the user's own", "another member's"])
def test_122_a_folder_on_another_disk_is_the_users_choice_alone(shared: Shared, name: str, own: bool) -> None:
    link = shared.place_link(name)
    if own:
        (shared.precious / "refs").mkdir()
        assert shared.lay() == []
        return
    os.lchown(link, ALICE.uid, ALICE.uid)
    with pytest.raises(DiskError, match=str(link)):
        shared.lay()
    assert shared.look() == shared.before


def test_122_a_lock_that_is_a_link(shared: Shared) -> None:
    locks = shared.cache.root / ".locks" / FOLDER
    locks.parent.mkdir(parents=True)
    locks.symlink_to(shared.precious)
    with pytest.raises(DiskError, match=str(locks)):
        shared.lay()
    assert shared.look() == shared.before


@pytest.mark.parametrize("standing", Standing)
def test_123_markers_hide_no_file_that_the_cache_shows(shared: Shared, standing: Standing) -> None:
    """The cache is of a huggingface_hub that kept no list of a commit's files."""
    snapshot = shared.repository / "snapshots" / LAID
    snapshot.mkdir(parents=True)
    (shared.repository / "blobs").mkdir()
    (shared.repository / "blobs" / "aa").write_text('{"temperature": 0}')
    names = ("generation_config.json", "tokenizer.json")
    for name in names:
        (snapshot / name).symlink_to("../../blobs/aa")
    shared.lay(standing)
    found = [try_to_load_from_cache(SAMPLE, name, shared.cache.root) for name in names]
    assert found == [str(snapshot / name) for name in names]
    assert (shared.repository / ".no_exist").exists() is (standing is Standing.PROVEN)
