"""Attack 101: what other users of the machine may look at. A home is its owner's, whatever the umask and its age."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2pqwen.errors import DiskError
from p2pqwen.library import durable
from p2pqwen.library.event_log import EventLog
from p2pqwen.library.home import Home
from p2pqwen.library.known_peers import KnownPeers
from p2pqwen.library.state_store import StateStore
from p2pqwen.server import address
from p2pqwen.server.control import ControlServer
from p2pqwen.server.control_client import ControlClient
from tests.support.command import CommandLine
from tests.support.nodes import quiet_config, seeding
from tests.support.preserved import Preserver, small_model
from tests.support.snapshots import hold
from tests.support.swarm import QUIET


@dataclass(frozen=True)
class Pid:
    pid: int


OTHERS = 0o077


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def open_ones(home: Path) -> dict[str, str]:
    """What others may do with anything of a home but its payload."""
    found = {}
    for path in (home, *home.rglob("*")):
        if not path.is_symlink() and (path == home or path.relative_to(home).parts[0] != "library"):
            mode = stat.S_IMODE(path.lstat().st_mode)
            if mode & OTHERS:
                found[str(path.relative_to(home))] = oct(mode)
    return found


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_101_no_umask_matters(tmp_path, mask):
    home = Home(tmp_path / "home")
    with umask(mask):
        with durable.lock(home.locks / "one.lock"):
            durable.write(home.trust / "a" / "b.json", b"{}")
        with StateStore(home.state) as store:
            store.put("a", 1)
            assert (home.root / "state.sqlite-wal").exists()
            beside = {path.name for path in home.root.glob("state.sqlite*")}
            assert open_ones(home.root) == {}, beside
        with EventLog(home.log) as log:
            log.write("a", {})
        KnownPeers(home.known_peers).remember_peers(bytes(20), [("192.0.2.1", 1)])
    assert open_ones(home.root) == {}
    for path in home.root.rglob("*"):  # and not less than their owner needs
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700


def test_101_everything_a_home_holds_after_a_day_of_work(tmp_path):
    with umask(0o000):
        preserver = Preserver(tmp_path)
        preserver.preserve(small_model())
        user = preserver.trusted_by("user")
        quiet_config(user)
        (user.home / "config.toml").chmod(0o600)
        with seeding(preserver.user) as (_, port):
            user.ok("fetch", "Qwen/Tiny", "--peer", f"127.0.0.1:{port}", "--no-web-seeds", *QUIET, "--hf-cache")
        user.ok("library", "scrub", "--all")
        with seeding(user):
            user.ok("status")
            assert open_ones(user.home) == {}
        assert open_ones(user.home) == {}
        assert open_ones(preserver.user.home) == {}
        assert all(path.stat().st_mode & 0o004 for path in preserver.site.rglob("*.torrent")), "a site is for everybody"
        cached = [path for path in user.cache.rglob("*") if path.is_file()]
        assert cached
        assert all(path.stat().st_mode & 0o004 for path in cached), "the cache is as huggingface_hub would have made it"


def test_101_a_home_of_an_older_version_is_closed_at_the_next_start(tmp_path):
    user = CommandLine(tmp_path)
    home = Home(user.home)
    held = hold(home)
    for folder in (home.locks, home.log, home.trust / ("0" * 64), home.keys / "torrents"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("secret")
    home.known_peers.write_text("{}")
    outside, shared = tmp_path / "outside", tmp_path / "shared"
    outside.write_text("not ours")
    shared.write_text("with a name elsewhere")
    (home.root / "link").symlink_to(outside)
    os.link(shared, home.root / "shared")
    for path in (home.root, *home.root.rglob("*"), outside, shared):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    user.ok("list")
    assert open_ones(user.home).keys() == {"shared"}
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700
    untouched = [outside, shared, held.torrent_path, *(one for one in held.folder.rglob("*") if one.is_file())]
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in untouched} == {"0o644"}


@pytest.mark.parametrize("name", ["keys", "library", "trust", "log"])
def test_113_a_folder_with_a_name_like_ours_makes_no_home(tmp_path, name):
    place = tmp_path / "somewhere"
    (place / name).mkdir(parents=True)
    (place / name / "notes.txt").write_text("")
    user = CommandLine(tmp_path, P2PQWEN_HOME=str(place))
    for path in (place, *place.rglob("*")):
        path.chmod(0o755)
    user.ok("list")
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in (place, place / name, place / name / "notes.txt")} == {
        "0o755"
    }


@pytest.mark.parametrize("others", ["a folder", "sticky", "home directory"])
def test_113_what_else_lives_in_a_home_keeps_its_modes(tmp_path, others, monkeypatch):
    place = tmp_path / "shared"
    home = Home(place)
    place.mkdir()
    with StateStore(home.state) as store:
        store.put("a", 1)
    home.state.chmod(0o644)
    (home.log / "node").mkdir(parents=True)
    home.log.chmod(0o755)
    mine = place / "notes.txt"
    mine.write_text("")
    mine.chmod(0o644)
    place.chmod(0o1755 if others == "sticky" else 0o755)
    if others == "a folder":
        (place / "photos").mkdir()
        (place / "photos").chmod(0o755)
    if others == "home directory":
        monkeypatch.setenv("HOME", str(place))
    before = stat.S_IMODE(place.stat().st_mode)
    user = CommandLine(tmp_path, P2PQWEN_HOME=str(place))
    found = {one["check"]: one for one in user.run("doctor", "--json").json["findings"]}["permissions"]
    assert stat.S_IMODE(place.stat().st_mode) == before
    assert stat.S_IMODE(mine.stat().st_mode) == 0o644
    assert stat.S_IMODE(home.state.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.log.stat().st_mode) == 0o700
    assert not (place / "photos").exists() or stat.S_IMODE((place / "photos").stat().st_mode) == 0o755
    assert not found["ok"]
    assert "a folder of its own" in found["advice"]


def test_a_folder_that_is_no_home_is_left_as_it_is(tmp_path):
    place = tmp_path / "somewhere"
    place.mkdir(mode=0o755)
    (place / "notes.txt").write_text("")
    assert not Home(place).close_to_others()
    assert not Home(tmp_path / "nothing").close_to_others()
    assert stat.S_IMODE(place.stat().st_mode) == 0o755


def test_doctor_tells_of_a_home_that_cannot_be_closed(tmp_path, monkeypatch):
    user = CommandLine(tmp_path)
    hold(Home(user.home))
    user.home.chmod(0o755)
    monkeypatch.setattr(Home, "close_to_others", lambda _: False)
    found = {one["check"]: one for one in user.run("doctor", "--json").json["findings"]}["permissions"]
    assert not found["ok"]
    assert "chmod 700" in found["advice"]


def test_a_log_that_was_open_is_closed_when_it_is_gone_on_with(tmp_path):
    complaints: list[str] = []
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "node.jsonl").write_text("{}\n")
    (folder / "node.jsonl").chmod(0o644)
    with EventLog(folder, complain=complaints.append) as log:
        log.write("a", {})
    assert stat.S_IMODE((folder / "node.jsonl").stat().st_mode) == 0o600
    assert len((folder / "node.jsonl").read_text().splitlines()) == 2
    assert not complaints


@pytest.mark.parametrize("says", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_modes_and_sockets_can_hold_a_home(tmp_path, monkeypatch, says):
    def refuse(*_arguments, **_more):
        raise OSError(says, os.strerror(says))

    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(stat, "S_IMODE", lambda _: 0o755)
    home = Home(tmp_path / "home")
    with durable.lock(home.locks / "one.lock"):
        durable.write(home.trust / "a" / "b.json", b"{}")
    with StateStore(home.state) as store:
        store.put("a", 1)
    with monkeypatch.context() as without_sockets:
        without_sockets.setattr(address, "short_path", refuse)
        with ControlServer(home.root, {"GET /v1/node": lambda _: Pid(1)}, {}):
            assert ControlClient(home.root).call(Pid, "GET", "/v1/node") == Pid(1)


def test_a_mode_that_fails_otherwise_is_an_error(tmp_path, monkeypatch):
    def refuse(*_arguments, **_more):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(stat, "S_IMODE", lambda _: 0o755)
    with pytest.raises(DiskError):
        durable.write(tmp_path / "a" / "b.json", b"{}")
