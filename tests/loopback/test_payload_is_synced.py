"""Before a torrent says "complete", every payload file and every folder around it is on the disk, by whatever road."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pqwen.library import durable
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.preserved import in_cache

REPO = "Qwen/Tiny"
FILES = {**small_model(300_000), "deep/er/notes.txt": b"in folders of its own\n"}
OFFLINE = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")


class Recorder:
    """What is synced, by inode, and at each durable torrent what of its payload was not."""

    def __init__(self, monkeypatch) -> None:
        self.synced: dict[int, int] = {}
        self.torrents: list[tuple[str, list[str]]] = []
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._syncing(getattr(os, name)))
        monkeypatch.setattr(durable, "write", self._writing(durable.write))

    def _syncing(self, real):
        def call(descriptor):
            number = os.fstat(descriptor).st_ino
            self.synced[number] = self.synced.get(number, 0) + 1
            return real(descriptor)

        return call

    def _writing(self, real):
        def call(path: Path, data: bytes, **options):
            folder = path.with_suffix("")
            if path.suffix == ".torrent" and folder.is_dir() and not path.with_suffix(".partial").exists():
                lacking = [one for one in (folder, *folder.rglob("*")) if one.stat().st_ino not in self.synced]
                self.torrents.append((path.name, [str(one.relative_to(folder)) for one in lacking]))
            return real(path, data, **options)

        return call


@pytest.fixture
def world(tmp_path):
    with HubSimulator() as hub:
        source = write_folder(tmp_path / "src", FILES)
        yield hub, source, str(hub.add(REPO, source)), CommandLine(tmp_path / "user", hub.endpoint)


def from_the_hub(hub, source, commit, user, tmp_path):
    return ("preserve", REPO)


def from_the_cache(hub, source, commit, user, tmp_path):
    in_cache(user, FILES, commit)
    return ("preserve", REPO)


def from_a_folder(hub, source, commit, user, tmp_path):
    return ("preserve", "--from", source, "--repo", REPO, "--commit", commit)


def by_rebuild(hub, source, commit, user, tmp_path):
    other = CommandLine(tmp_path / "other", hub.endpoint).ok("preserve", REPO)
    magnet = f"magnet:?xt=urn:btmh:1220{other['infohash_v2']}&dn={REPO}@{commit}"
    return ("fetch", magnet, *OFFLINE, "--no-hf-cache", "--timeout", "5")


def by_import(hub, source, commit, user, tmp_path):
    other = CommandLine(tmp_path / "other", hub.endpoint).ok("preserve", REPO)
    return ("library", "import", source, "--no-hf-cache", "--torrent", other["torrent"])


ROADS = [from_the_hub, from_the_cache, from_a_folder, by_rebuild, by_import]


@pytest.mark.parametrize("road", ROADS)
def test_payload_first(world, tmp_path, monkeypatch, road):
    hub, source, commit, user = world
    words = road(hub, source, commit, user, tmp_path)
    recorder = Recorder(monkeypatch)
    user.ok(*words)
    folder = user.home / "library" / REPO / commit
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == FILES.keys()
    assert recorder.torrents == [(f"{commit}.torrent", [])]
    assert user.ok("list")["snapshots"][0]["state"] == "complete"
    # Once is enough: it is what takes time on a slow disk.
    assert {recorder.synced[path.stat().st_ino] for path in folder.rglob("*") if path.is_file()} == {1}


def test_a_fetch_does_too(world, tmp_path, monkeypatch):
    hub, _, commit, user = world
    other = CommandLine(tmp_path / "other", hub.endpoint).ok("preserve", REPO)
    recorder = Recorder(monkeypatch)
    finishing = []
    real = durable.sync_tree
    monkeypatch.setattr(durable, "sync_tree", lambda folder: (real(folder), finishing.append(folder)))
    user.ok("fetch", other["torrent"], *OFFLINE, "--only-web-seeds", "--no-hf-cache", "--timeout", "20")
    folder = user.home / "library" / REPO / commit
    assert finishing == [folder]
    assert all(path.stat().st_ino in recorder.synced for path in (folder, *folder.rglob("*")))
