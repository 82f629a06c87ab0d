"""A fetch that is killed, interrupted, lied to, or out of room: never a wrong "complete", and nothing good is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from p2pqwen.manifest.manifest import parse_manifest
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.torrent.metainfo import parse_metainfo
from p2pqwen.values.digest import Sha256
from tests.support.command import CommandLine
from tests.support.faults.judge import missing_bytes
from tests.support.models import noise, small_model
from tests.support.processes import p2pqwen, running
from tests.support.snapshots import sign_torrent
from tests.support.swarm import COMMIT, QUIET, REPO, preserve, seeding
from tests.support.waiting import wait_until

FILES = small_model(6_000_000)
SIZE = sum(map(len, FILES.values()))
WEIGHTS = "model.safetensors"


class Keeper:
    """Somebody who holds a snapshot."""

    def __init__(self, folder: Path) -> None:
        self.user = CommandLine(folder / "keeper")
        self.preserved = preserve(self.user, folder / "model", FILES)
        self.torrent = Path(self.preserved["torrent"])
        self.folder = Path(self.preserved["path"])
        self.id = self.user.ok("keys", "init", "--name", "Keepers", "--no-passphrase")["publisher"]
        self.site = folder / "site"
        self.user.ok("publish", "--out", self.site, "--no-check", "--yes")


@pytest.fixture(scope="module")
def keeper(tmp_path_factory):
    return Keeper(tmp_path_factory.mktemp("keeper"))


@pytest.fixture(scope="module")
def fast(keeper):
    with seeding(keeper.user) as (_, peer):
        yield peer


@pytest.fixture(scope="module")
def slow(keeper, tmp_path_factory):
    """The same at a megabyte a second, so that a fetch can be met in its middle."""
    other = CommandLine(tmp_path_factory.mktemp("slow"))
    shutil.copytree(keeper.user.home / "library", other.home / "library")
    with seeding(other, "--upload-limit", "1MB/s") as (_, peer):
        yield peer


@pytest.fixture
def user(tmp_path):
    return CommandLine(tmp_path / "user")


def options(peer, *more):
    return ("--peer", peer, *QUIET, "--no-web-seeds", "--timeout", "30", *more)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def folder_of(user):
    return user.home / "library" / REPO / COMMIT


def on_disk(user):
    path = folder_of(user) / WEIGHTS
    return path.stat().st_blocks * 512 if path.exists() else 0


def state_of(user):
    return [one["state"] for one in user.ok("list")["snapshots"]]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_ended_fetch_goes_on_where_it_was(keeper, fast, slow, user, end):
    with running(p2pqwen("fetch", keeper.torrent, *options(slow)), user.environment) as process:
        wait_until(lambda: on_disk(user) > 1_500_000, 60, "a part of the weights is on the disk")
        process.send_signal(end)
        code = process.wait(20)
    assert code == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: -15}[end]
    assert state_of(user) == ["incomplete"]
    assert user.run("verify", REPO).code == 3
    missing = sum(missing_bytes(parse_metainfo(keeper.torrent.read_bytes()), folder_of(user)).values())
    assert missing < SIZE - 500_000
    done = user.ok("fetch", keeper.torrent, *options(fast))
    assert content(Path(done["path"])) == FILES
    assert 0 < done["bytes_from_peers"] <= missing  # not a piece that was here is fetched again
    assert state_of(user) == ["complete"]


def test_a_magnet_fetch_that_was_killed_needs_no_peer_for_its_metadata(keeper, fast, slow, user):
    magnet = keeper.preserved["magnet"]
    with running(p2pqwen("fetch", magnet, *options(slow)), user.environment) as process:
        wait_until(lambda: on_disk(user) > 1_500_000, 60, "a part of the weights is on the disk")
        process.kill()
    assert state_of(user) == ["incomplete"]  # the peer gave the piece layers as well
    lonely = user.run("fetch", magnet, *QUIET, "--no-web-seeds", "--timeout", "2")
    assert lonely.code == 5
    assert "nothing arrived" in lonely.stderr  # it did not ask for metadata
    done = user.ok("fetch", magnet, *options(fast))
    assert content(Path(done["path"])) == FILES
    assert 0 < done["bytes_from_peers"] < SIZE - 500_000


def test_damaged_resume_data_costs_a_reading_and_nothing_else(keeper, fast, slow, user):
    with running(p2pqwen("fetch", keeper.torrent, *options(slow)), user.environment) as process:
        wait_until(lambda: on_disk(user) > 1_500_000, 60, "a part of the weights is on the disk")
        process.send_signal(signal.SIGINT)
        process.wait(20)
    (resume,) = (user.home / "resume").glob("*.resume")
    data = bytearray(resume.read_bytes())
    data[len(data) // 2] ^= 1
    resume.write_bytes(data)
    ended = user.run("fetch", keeper.torrent, *options(fast), "--json")
    assert "resume data is damaged" in ended.stderr
    assert ended.json["bytes_from_peers"] < SIZE - 500_000
    assert content(folder_of(user)) == FILES


def test_fewer_files_than_were_begun_is_said_and_the_rest_goes_on_where_it_was(keeper, fast, slow, user):
    with running(p2pqwen("fetch", keeper.torrent, *options(slow)), user.environment) as process:
        wait_until(lambda: on_disk(user) > 1_500_000, 60, "a part of the weights is on the disk")
        process.send_signal(signal.SIGINT)
        process.wait(20)
    first = user.run("fetch", keeper.torrent, "--include", "config.json", *options(fast))
    assert first.code == 0, first.stderr
    said = f"warning: {REPO}@{COMMIT} was being fetched whole; from now on only the chosen files are wanted"
    assert first.stderr.count(said) == 1, first.stderr
    assert state_of(user) == ["partial"]
    again = user.run("fetch", keeper.torrent, "--include", "config.json", *options(fast))
    assert "was being fetched whole" not in again.stderr
    done = user.ok("fetch", keeper.torrent, *options(fast))
    assert content(Path(done["path"])) == FILES
    assert 0 < done["bytes_from_peers"] < SIZE - 500_000


def test_bytes_that_changed_under_a_resume_are_found_and_fetched_again(keeper, fast, slow, user):
    with running(p2pqwen("fetch", keeper.torrent, *options(slow)), user.environment) as process:
        wait_until(lambda: on_disk(user) > 1_500_000, 60, "a part of the weights is on the disk")
        process.send_signal(signal.SIGINT)
        process.wait(20)
    with (folder_of(user) / WEIGHTS).open("r+b") as file:
        file.seek(100_000)
        file.write(b"not what was fetched")
    done = user.ok("fetch", keeper.torrent, *options(fast))
    assert content(Path(done["path"])) == FILES
    assert user.ok("verify", REPO)["ok"] is True


def test_a_damaged_snapshot_is_mended_and_the_cache_is_not_written_to(keeper, fast, user):
    user.ok("trust", "add", keeper.id, "--index", keeper.site)
    done = user.ok("fetch", keeper.torrent, *options(fast))
    weights = Path(done["path"]) / WEIGHTS
    blob = (Path(done["hf_cache"]) / WEIGHTS).resolve()
    assert weights.samefile(blob)
    with weights.open("r+b") as file:
        file.seek(2_000_000)
        file.write(b"rot")
    rotten = blob.read_bytes()
    inode = blob.stat().st_ino
    ended = user.run("fetch", keeper.torrent, *options(fast, "--no-hf-cache"), "--json")
    assert ended.code == 0
    assert "is damaged, fetching it again" in ended.stderr
    assert weights.read_bytes() == FILES[WEIGHTS]
    assert 0 < ended.json["bytes_from_peers"] < 1_000_000
    assert (blob.read_bytes(), blob.stat().st_ino) == (rotten, inode)  # nobody wrote through the second name
    again = user.ok("fetch", keeper.torrent)
    assert (Path(again["hf_cache"]) / WEIGHTS).read_bytes() == FILES[WEIGHTS]


def test_a_seed_with_wrong_bytes_gives_nothing(keeper, user, tmp_path):
    """A peer that claims to have everything and sends rubbish: libtorrent in seed mode believes its files."""
    rubbish = tmp_path / "rubbish"
    shutil.copytree(keeper.folder, rubbish / COMMIT)
    (rubbish / COMMIT / WEIGHTS).write_bytes(noise(len(FILES[WEIGHTS]), "rubbish"))
    script = (
        "import sys, libtorrent as lt\n"
        "s = lt.session({'listen_interfaces': '127.0.0.1:0', 'enable_dht': False, 'enable_lsd': False,"
        " 'enable_upnp': False, 'enable_natpmp': False, 'disable_hash_checks': True})\n"
        "p = lt.load_torrent_file(sys.argv[1]); p.save_path = sys.argv[2]; p.flags |= lt.torrent_flags.seed_mode\n"
        "h = s.add_torrent(p)\n"
        "print(s.listen_port(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with running([sys.executable, "-c", script, keeper.torrent, rubbish]) as liar:
        peer = f"127.0.0.1:{liar.line(20).strip()}"
        ended = user.run("fetch", keeper.torrent, *options(peer)[:-1], "5")
    assert ended.code == 5
    assert "damaged" in ended.stderr
    assert state_of(user) == ["incomplete"]
    assert not user.cache.exists()


def with_manifest(torrent, change):
    """The same torrent, unsigned, with another manifest: the bytes fit its hashes, but not what is said of them."""
    metainfo = parse_metainfo(torrent.read_bytes())
    manifest = parse_manifest(metainfo.manifest)
    rows = tuple(change(row) for row in manifest.files)
    return replace(metainfo, manifest=replace(manifest, files=rows).encode(), signatures={})


def lie_about(path):
    def change(row):
        return replace(row, sha256=Sha256(b"\7" * 32)) if row.path.text == path else row

    return change


@pytest.mark.parametrize("path", ["config.json", "empty.txt"])
def test_a_manifest_that_lies_is_refused_and_nothing_is_complete(keeper, fast, user, tmp_path, path):
    forged = tmp_path / "forged.torrent"
    forged.write_bytes(with_manifest(keeper.torrent, lie_about(path)).encode())
    ended = user.run("fetch", forged, *options(fast))
    assert ended.code == 3
    assert f"the SHA-256 of {path}" in ended.stderr
    assert "expected " + "07" * 32 in ended.stderr
    assert state_of(user) == ["incomplete"]
    assert not user.cache.exists()


def test_an_invalid_signature_by_a_trusted_key_is_refused_before_anything_is_fetched(keeper, user, tmp_path):
    user.ok("trust", "add", keeper.id, "--index", keeper.site)
    metainfo = parse_metainfo((keeper.site / REPO / f"{COMMIT}.torrent").read_bytes())
    (label, good), *_ = metainfo.signatures.items()
    other = sign_torrent(metainfo, PrivateKey.generate(), label).signatures[label]
    for wrong in (replace(good, signature=bytes(64)), replace(good, signature=other.signature)):
        path = tmp_path / "wrong.torrent"
        path.write_bytes(replace(metainfo, signatures={label: wrong}).encode())
        ended = user.run("fetch", path, *QUIET, "--timeout", "2")
        assert ended.code == 3
        assert "invalid signature" in ended.stderr
    assert user.ok("list")["snapshots"] == []


def test_two_fetches_of_one_snapshot_do_not_mix(keeper, fast, slow, user):
    with running(p2pqwen("fetch", keeper.torrent, *options(slow)), user.environment) as process:
        wait_until(lambda: on_disk(user) > 0, 60, "the first fetch is under way")
        second = user.run("fetch", keeper.torrent, *options(fast))
        assert second.code == 1
        assert f"in use by process {process.pid}" in second.stderr
        assert process.wait(60) == 0
    assert content(folder_of(user)) == FILES


def test_a_disk_that_takes_no_more_is_a_disk_error_and_nothing_is_lost(keeper, fast, user):
    """A limit on the size of files stands in for a full disk: writes fail in the same way, for anybody."""
    command = ["prlimit", f"--fsize={2_000_000}", *p2pqwen("fetch", keeper.torrent, *options(fast))]
    with running(command, user.environment) as process:
        code = process.wait(60)
    assert code == 6, process.stderr
    assert "cannot read or write" in process.stderr
    assert state_of(user) == ["incomplete"]
    done = user.ok("fetch", keeper.torrent, *options(fast))
    assert content(Path(done["path"])) == FILES


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_disk_without_room_is_refused_before_the_download(keeper, fast, user, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", small], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this machine does not let root mount")
    try:
        ended = user.run("fetch", keeper.torrent, *options(fast), P2PQWEN_HOME=str(small))
        assert ended.code == 6
        assert "not enough room" in ended.stderr
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_symlink_in_the_library_is_not_followed(keeper, fast, user, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    target = folder_of(user) / WEIGHTS
    target.parent.mkdir(parents=True)
    target.symlink_to(victim)
    user.ok("fetch", keeper.torrent, *options(fast))
    assert victim.read_bytes() == b"precious"
    assert content(folder_of(user)) == FILES
