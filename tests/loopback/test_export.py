"""`export`: plain files outside the library, with pad files for clients that want them, as Transmission does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from p2pqwen.torrent import bencode
from p2pqwen.torrent.metainfo import parse_metainfo
from tests.support.command import CommandLine
from tests.support.models import small_model
from tests.support.other_clients import transmission
from tests.support.swarm import COMMIT, REPO, preserve
from tests.support.waiting import wait_until

FILES = small_model(1_300_000)


@pytest.fixture(scope="module")
def keeper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keeper")
    user = CommandLine(folder)
    preserve(user, folder / "model", FILES)
    return user


@pytest.fixture
def user(keeper, tmp_path):
    """Somebody with a library of his own that may be spoilt."""
    copy = CommandLine(tmp_path / "user")
    shutil.copytree(keeper.home, copy.home)
    assert copy.ok("verify", REPO)["ok"]
    return copy


def held(user):
    return user.home / "library" / REPO / COMMIT


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def looks(folder):
    found = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    return {path: (look.st_ino, look.st_size, look.st_mtime_ns, look.st_nlink) for path, look in found.items()}


def test_plain_files_and_the_torrent_stand_beside_one_another(user, tmp_path):
    before = looks(held(user))
    done = user.ok("export", REPO, tmp_path / "out")
    folder = tmp_path / "out" / COMMIT
    assert (done["path"], done["torrent"]) == (str(folder), f"{folder}.torrent")
    assert content(folder) == FILES
    assert (done["files"], done["size"], done["pads"]) == (len(FILES), sum(map(len, FILES.values())), 0)
    assert done["bytes_linked"] + done["bytes_copied"] == done["size"]
    assert Path(done["torrent"]).read_bytes() == Path(f"{held(user)}.torrent").read_bytes()
    assert not any(path.samefile(held(user) / path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert looks(held(user)) == before
    assert [one["state"] for one in user.ok("list")["snapshots"]] == ["complete"]


def test_pads_are_sparse_and_of_every_length_that_the_torrent_names(user, tmp_path):
    done = user.ok("export", REPO, tmp_path / "out", "--with-pads")
    metainfo = parse_metainfo(Path(done["torrent"]).read_bytes())
    lengths = {metainfo.layout.pad_after(index) for index in range(len(metainfo.files))} - {0}
    pads = {path.name: path for path in (Path(done["path"]) / ".pad").iterdir()}
    assert set(pads) == set(map(str, lengths))
    assert done["pads"] == len(lengths)
    for name, path in pads.items():
        assert path.stat().st_size == int(name)
        assert path.stat().st_blocks == 0
        assert not any(path.read_bytes())


def test_pads_of_one_length_are_said_to_be_too_much_for_transmission(user, tmp_path):
    """Two files of one size have two pads of one name; 4.1.4 answers "unrecognized info"."""
    assert "Transmission 4.1 refuses" not in user.run("export", REPO, tmp_path / "out", "--with-pads").stderr
    twins = {"a.json": b"[1]", "b.json": b"[2]", "c.txt": b"the last has no pad"}
    preserve(user, tmp_path / "twins", twins, commit="b" * 40)
    ended = user.run("export", f"{REPO}@{'b' * 40}", tmp_path / "twins-out", "--with-pads", "--json")
    assert (ended.code, ended.json["pads"]) == (0, 1)
    assert "Transmission 4.1 refuses" in ended.stderr


def test_hard_links_only_where_they_are_asked_for(user, tmp_path):
    done = user.ok("export", REPO, tmp_path / "out", "--hard-links")
    ours, theirs = held(user) / "model.safetensors", Path(done["path"]) / "model.safetensors"
    if done["bytes_linked"] and theirs.stat().st_nlink == 1:
        pytest.skip("this disk has reflinks")
    assert ours.samefile(theirs)
    assert user.ok("fetch", f"{REPO}@{COMMIT}", "--no-hf-cache")["unchanged"] is True  # no reading for a second name


def test_what_is_there_stays_and_what_is_missing_is_added(user, tmp_path):
    first = user.ok("export", REPO, tmp_path / "out")
    before = looks(Path(first["path"]))
    again = user.ok("export", REPO, tmp_path / "out", "--with-pads")
    assert (again["bytes_kept"], again["bytes_copied"], again["bytes_linked"]) == (first["size"], 0, 0)
    after = looks(Path(first["path"]))
    assert all(after[path] == look for path, look in before.items() if path != Path(first["path"]))
    (Path(first["path"]) / "config.json").unlink()
    assert user.ok("export", REPO, tmp_path / "out")["bytes_kept"] == first["size"] - len(FILES["config.json"])
    assert {**content(Path(first["path"])), **FILES} == content(Path(first["path"]))


@pytest.mark.parametrize("other", ["file", "link", "folder", "pad", "torrent"])
def test_nothing_else_is_overwritten(user, tmp_path, other):
    out = tmp_path / "out"
    place = out / COMMIT / "config.json"
    place.parent.mkdir(parents=True)
    mine = tmp_path / "mine.json"
    mine.write_text("mine")
    if other == "file":
        place.write_text("mine")
    elif other == "link":
        place.symlink_to(mine)
    elif other == "folder":
        place.mkdir()
    elif other == "pad":
        metainfo = parse_metainfo(Path(f"{held(user)}.torrent").read_bytes())
        place = out / COMMIT / ".pad" / str(metainfo.layout.pad_after(0))
        place.parent.mkdir()
        place.write_text("mine")
    else:
        place = out / f"{COMMIT}.torrent"
        place.write_text("mine")
    before = looks(place)
    ended = user.run("export", REPO, out, "--with-pads", "--json")
    assert ended.code in {1, 3}
    assert str(place) in ended.stderr
    assert looks(place) == before
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("where", ["library", "snapshot", "home", "cache", "link"])
def test_a_folder_of_ours_is_no_place_for_it(user, tmp_path, where):
    user.cache.mkdir(parents=True, exist_ok=True)
    (tmp_path / "link").symlink_to(user.home / "library")
    places = {"library": user.home / "library" / "x", "snapshot": held(user), "home": user.home, "cache": user.cache}
    before = looks(user.home / "library")
    ended = user.run("export", REPO, places.get(where, tmp_path / "link"))
    assert (ended.code, "inside the library" in ended.stderr) == (2, True)
    assert looks(user.home / "library") == before


def test_damaged_and_unfinished_snapshots_are_not_exported(user, tmp_path):
    weights = held(user) / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[5] ^= 1
    weights.write_bytes(data)
    ended = user.run("export", REPO, tmp_path / "out")
    assert (ended.code, "--repair" in ended.stderr) == (3, True)
    assert not (tmp_path / "out").exists()
    assert user.run("export", "Qwen/Nothing", tmp_path / "out").code == 4


def v1_half(torrent: bytes) -> bytes:
    """The same files, pads and pieces for programs that read v1 alone."""
    top = bencode.decode_dict(torrent, max_bytes=len(torrent))
    info = {key: value for key, value in top[b"info"].items() if key not in {b"file tree", b"meta version"}}
    return bencode.encode({b"info": info})


def test_transmission_pointed_at_an_export_finds_all_of_it_and_renames_nothing(user, tmp_path):
    done = user.ok("export", REPO, tmp_path / "out", "--with-pads")
    folder = Path(done["path"])
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    with transmission(tmp_path / "out", tmp_path / "profile") as client:
        torrent = tmp_path / "added.torrent"
        torrent.write_bytes(Path(done["torrent"]).read_bytes())
        if client.version.startswith(("2.", "3.")):  # these read no hybrid
            torrent.write_bytes(v1_half(torrent.read_bytes()))
        assert client.add(torrent) == "success"
        wait_until(lambda: client.progress == 1, 90, "Transmission has found everything")
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*")} == names
    assert {name: data for name, data in content(folder).items() if not name.startswith(".pad/")} == FILES


def test_the_doctor_sees_that_another_client_was_pointed_at_the_library(user):
    def found():
        return [one for one in user.run("doctor", "--json").json["findings"] if one["check"] == "clients"]

    assert found() == []
    (held(user) / "config.json").rename(held(user) / "config.json.part")
    (one,) = found()
    assert (one["ok"], "config.json.part" in one["detail"], "export" in one["advice"]) == (False, True, True)
    (held(user) / "config.json.part").rename(held(user) / "config.json")
    (held(user) / ".pad").mkdir()
    (one,) = found()
    assert (one["ok"], ".pad" in one["detail"]) == (False, True)
