"""Is it the genuine snapshot? A pointer in place of the weights, a forgery that is held, what a publisher signs."""

from __future__ import annotations

import pytest

from p2pqwen.library.home import Home
from p2pqwen.manifest.lfs_pointer import pointer_bytes
from p2pqwen.values.digest import Sha256
from tests.support.command import CommandLine
from tests.support.models import write_folder
from tests.support.snapshots import FILES, hold, make_snapshot
from tests.support.web_seeds import PlainServer

REPO = "Qwen/Tiny"
WEIGHTS = "model.safetensors"
POINTER = pointer_bytes(Sha256.of(FILES[WEIGHTS]), len(FILES[WEIGHTS]))
SWAPPED = {**FILES, WEIGHTS: POINTER}
OFFLINE = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")


@pytest.fixture
def user(tmp_path):
    return CommandLine(tmp_path)


# 76: weights swapped for their pointer. The manifest is proven: the tree of the commit holds that very blob.


def is_told(ended):
    assert ended.code == 3, ended
    assert f"{WEIGHTS}" in ended.stderr
    assert f"an LFS pointer to {len(FILES[WEIGHTS])} bytes" in ended.stderr + ended.stdout


def test_76_verify_refuses_it(user):
    hold(Home(user.home), SWAPPED)
    ended = user.run("verify", REPO, "--json")
    assert (ended.code, ended.json["ok"]) == (3, False)
    (bad,) = ended.json["bad"]
    assert (bad["path"], bad["expected"]) == (WEIGHTS, "the file itself")
    assert bad["got"].startswith("an LFS pointer to 70000 bytes with SHA-256 ")


def test_76_a_scrub_finds_it(user):
    hold(Home(user.home), SWAPPED)
    ended = user.run("library", "scrub", "--all", "--json")
    assert ended.code == 3, ended
    (one,) = ended.json["scrubbed"]
    assert [(bad["path"], bad["pieces"]) for bad in one["bad"]] == [(WEIGHTS, [])]
    assert "LFS pointer" in one["bad"][0]["got"]


def test_76_a_fetch_refuses_it(user, tmp_path):
    metainfo = make_snapshot(SWAPPED)
    torrent = tmp_path / "swapped.torrent"
    torrent.write_bytes(metainfo.encode())
    with PlainServer({f"{metainfo.commit}/{name}": data for name, data in SWAPPED.items()}) as server:
        words = ("--web-seed", server.url, "--only-web-seeds", *OFFLINE, "--timeout", "20", "--repo", REPO)
        is_told(user.run("fetch", torrent, *words))
    assert [one["state"] for one in user.ok("list")["snapshots"]] in ([], ["incomplete"])
    assert not list(user.cache.rglob(WEIGHTS))


def test_76_an_import_refuses_it(user, tmp_path):
    torrent = tmp_path / "swapped.torrent"
    torrent.write_bytes(make_snapshot(SWAPPED).encode())
    folder = write_folder(tmp_path / "Tiny", SWAPPED)
    ended = user.run("library", "import", folder, "--no-hf-cache", "--torrent", torrent, "--json")
    (one,) = ended.json["imported"]
    assert ended.code == 3
    assert one["state"] == "incomplete"
    assert [(bad["path"], bad["expected"]) for bad in one["bad"]] == [(WEIGHTS, "the file itself")]


def test_76_a_web_seed_that_serves_it_is_told(user, tmp_path):
    metainfo = make_snapshot(SWAPPED)
    torrent = tmp_path / "swapped.torrent"
    torrent.write_bytes(metainfo.encode())
    with PlainServer({f"{metainfo.commit}/{name}": data for name, data in SWAPPED.items()}) as server:
        ended = user.run("webseed", "check", torrent, "--web-seed", server.url, "--json")
    (base,) = ended.json["bases"]
    assert (base["ok"], base["files_bad"]) == (False, 1)
    assert f"{WEIGHTS}: as the torrent says, an LFS pointer" in base["reason"]


# 77: not in the one form that our own pointers have, but git-lfs reads it.


@pytest.mark.parametrize(
    "pointer",
    [
        pytest.param(POINTER.replace(b"\n", b"\r\n"), id="77-CRLF"),
        pytest.param(POINTER[:-1], id="77-no-last-newline"),
        pytest.param(POINTER + b"\n", id="77-a-blank-last-line"),
        pytest.param(POINTER.replace(b"git-lfs.github.com", b"hawser.github.com"), id="77-hawser"),
        pytest.param(POINTER.replace(b"https://git-lfs.github.com/spec/v1", b"http://git-media.io/v/2"), id="77-media"),
        pytest.param(POINTER.replace(b"oid", b"ext-0-x sha256:0\noid"), id="77-extension"),
        pytest.param(POINTER.ljust(1024), id="77-padded"),
    ],
)
def test_a_pointer_in_another_form(user, pointer):
    hold(Home(user.home), {**FILES, WEIGHTS: pointer})
    ended = user.run("verify", REPO, "--json")
    assert (ended.code, [bad["path"] for bad in ended.json["bad"]]) == (3, [WEIGHTS])


def test_77_what_only_looks_like_one_is_a_file(user):
    """A text about pointers, and an LFS file that looks like one, which its own pointer names."""
    hold(Home(user.home), {**FILES, "notes.txt": POINTER + b"is what a pointer looks like\n"})
    assert user.ok("verify", REPO)["ok"]
