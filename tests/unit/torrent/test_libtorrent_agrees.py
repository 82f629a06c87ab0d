"""libtorrent as the oracle: it loads what we make, names it the same, and checks files on disk against it."""

from pathlib import Path

import libtorrent as lt
import pytest
from hypothesis import HealthCheck, given, settings

from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.merkle import BLOCK_SIZE
from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo
from p2pqwen.torrent.snapshot_torrent import build_metainfo, check_recipe
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId
from tests.strategies import content, hash_payload, lay_out, manifest_of, payloads
from tests.support.waiting import wait_until

SNAPSHOT = SnapshotId.parse("Qwen/Qwen3-0.6B@" + "ab" * 20)
PIECE = 2 * BLOCK_SIZE
RECIPE_PIECE = 256 * 1024


def made(payload: dict[RepoPath, bytes], piece_length: int) -> Metainfo:
    layout = lay_out(payload, piece_length)
    return build_metainfo(manifest_of(payload, SNAPSHOT), layout, hash_payload(payload, layout))


def check_that_libtorrent_loads(torrent: Metainfo) -> None:
    loaded = lt.load_torrent_buffer(torrent.encode())
    assert str(loaded.info_hashes.v1) == str(torrent.infohash.v1)
    assert str(loaded.info_hashes.v2) == str(torrent.infohash.v2)
    files = loaded.ti.layout()
    payload = [
        index for index in range(files.num_files()) if not files.file_flags(index) & lt.file_storage.flag_pad_file
    ]
    assert [(files.file_path(index), files.file_size(index)) for index in payload] == [
        (f"{torrent.name}/{file.path}", file.size) for file in torrent.files
    ]
    assert loaded.ti.piece_length() == torrent.piece_length
    assert loaded.ti.num_pieces() == torrent.layout.piece_count


def write(payload: dict[RepoPath, bytes], folder: Path) -> None:
    for path, data in payload.items():
        target = folder / path.text
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def libtorrents_own(layout: Layout, folder: Path) -> dict[bytes, object]:
    """Have libtorrent make a hybrid of `folder`, its canonical order without a pad at the end."""
    entries = [lt.create_file_entry(f"{folder.name}/{file.path}", file.size) for file in layout.files]
    flags = int(lt.create_torrent.canonical_files_no_tail_padding)
    maker = lt.create_torrent(entries, layout.piece_length, flags)
    lt.set_piece_hashes(maker, str(folder.parent))
    return maker.generate()


def libtorrent_orders_rightly(payload: dict[RepoPath, bytes]) -> bool:
    """Tell whether libtorrent 2.1.1's own hybrid of these files is a right one, so that ours must be the same.

    It sorts whole paths, and it puts an empty file before the pad of the file ahead.
    """
    return all(payload.values()) and sorted(payload) == sorted(payload, key=lambda path: path.text.encode())


@settings(max_examples=150)
@given(payloads(PIECE))
def test_libtorrent_loads_every_torrent(payload):
    torrent = made(payload, PIECE)
    check_that_libtorrent_loads(torrent)
    assert parse_metainfo(torrent.encode()) == torrent


@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
@given(payloads(PIECE, empty=False).filter(libtorrent_orders_rightly))
def test_libtorrent_makes_the_same_info_dictionary(tmp_path_factory, payload):
    folder = tmp_path_factory.mktemp("payload") / str(SNAPSHOT.commit)
    write(payload, folder)
    torrent = made(payload, PIECE)
    theirs = libtorrents_own(torrent.layout, folder)
    assert lt.bencode(theirs[b"info"]) == torrent.info
    assert theirs[b"piece layers"] == {root.raw: layer for root, layer in torrent.piece_layers.items()}


def sized(*sizes: int) -> dict[str, int]:
    return {f"file-{number}.bin": size for number, size in enumerate(sizes)}


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({"model.safetensors": 1}, id="a single file of one byte"),
        pytest.param({"model.safetensors": 5 * RECIPE_PIECE + 77}, id="a single file"),
        pytest.param({"sub/model.safetensors": RECIPE_PIECE}, id="a single file in a folder"),
        pytest.param({"model.safetensors": 70_000, "model/config.json": 100_001}, id="a file beside its folder"),
        pytest.param(sized(*(n * BLOCK_SIZE + off for n in (1, 2) for off in (-1, 0, 1))), id="around blocks"),
        pytest.param(sized(*(n * RECIPE_PIECE + off for n in (1, 2, 3) for off in (-1, 0, 1))), id="around pieces"),
        pytest.param({"a": 1, "b": 0, "c": 2, "d": 0, "e": 0}, id="empty files after others"),
        pytest.param({"a": 0, "b": RECIPE_PIECE, "c": 0}, id="empty files that need no pad"),
        pytest.param({"模型/配置.json": 10, "modèle.bin": 20, "🜁": 30}, id="names that are not ASCII"),
        pytest.param({"/".join("abcdefgh" * 4): 7, "a/z": 8}, id="deep folders"),
    ],
)
def test_named_cases_by_the_recipe(tmp_path, sizes):
    payload = {RepoPath(path): content(size, number) for number, (path, size) in enumerate(sizes.items())}
    torrent = made(payload, RECIPE_PIECE)
    check_recipe(torrent)
    check_that_libtorrent_loads(torrent)
    if libtorrent_orders_rightly(payload):
        write(payload, tmp_path / torrent.name)
        assert lt.bencode(libtorrents_own(torrent.layout, tmp_path / torrent.name)[b"info"]) == torrent.info


@pytest.mark.slow
def test_ten_thousand_small_files(tmp_path):
    payload = {RepoPath(f"{n % 100:02}/{n:05}.txt"): b"%d" % n for n in range(10_000)}
    torrent = made(payload, RECIPE_PIECE)
    assert len(torrent.files) == torrent.layout.piece_count == 10_000
    check_that_libtorrent_loads(torrent)
    assert parse_metainfo(torrent.encode()) == torrent
    write(payload, tmp_path / torrent.name)
    assert lt.bencode(libtorrents_own(torrent.layout, tmp_path / torrent.name)[b"info"]) == torrent.info


@pytest.fixture
def session():
    quiet = dict.fromkeys(("enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp"), False)
    mask = lt.alert.category_t.status_notification
    session = lt.session({**quiet, "listen_interfaces": "127.0.0.1:0", "alert_mask": mask})
    yield session
    session.pause()


def checked_by_libtorrent(session: lt.session, torrent: Metainfo, folder: Path) -> lt.torrent_status:
    """Have libtorrent hash the files in `folder` against the torrent and say what it found."""
    parameters = lt.load_torrent_buffer(torrent.encode())
    parameters.save_path = str(folder)
    parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    parameters.flags |= lt.torrent_flags.upload_mode
    handle = session.add_torrent(parameters)
    wait_until(lambda: checked(session), 30, "libtorrent to look at the files")
    handle.force_recheck()
    wait_until(lambda: checked(session), 30, "libtorrent to hash the files")
    status = handle.status()
    session.remove_torrent(handle)
    return status


def checked(session: lt.session) -> bool:
    return any(isinstance(alert, lt.torrent_checked_alert) for alert in session.pop_alerts())


CHECKED = {
    RepoPath("README.md"): content(1234, 0),
    RepoPath("empty.txt"): b"",
    RepoPath("model/config.json"): content(RECIPE_PIECE, 1),
    RepoPath("model-00001.safetensors"): content(5 * RECIPE_PIECE + 77, 2),
    RepoPath("model.safetensors"): content(RECIPE_PIECE - 1, 3),
    RepoPath("z/é.txt"): content(BLOCK_SIZE + 1, 4),
}


def test_libtorrent_finds_the_files_on_disk_right(tmp_path, session):
    torrent = made(CHECKED, RECIPE_PIECE)
    write(CHECKED, tmp_path / torrent.name)
    status = checked_by_libtorrent(session, torrent, tmp_path)
    assert not status.errc.value()
    assert status.is_seeding
    assert status.total_wanted_done == torrent.layout.total_size


def test_libtorrent_finds_a_changed_byte(tmp_path, session):
    torrent = made(CHECKED, RECIPE_PIECE)
    shard = RepoPath("model-00001.safetensors")
    write({**CHECKED, shard: CHECKED[shard][:-1] + b"?"}, tmp_path / torrent.name)
    status = checked_by_libtorrent(session, torrent, tmp_path)
    assert [index for index, there in enumerate(status.pieces) if not there] == [
        torrent.layout.pieces([file.path for file in torrent.files].index(shard))[-1]
    ]
