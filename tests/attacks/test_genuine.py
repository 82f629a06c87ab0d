"""Is it the genuine snapshot? A pointer in place of the weights, a forgery that is held, what a publisher signs."""

from __future__ import annotations

import pytest

from p2pqwen.library.home import Home
from p2pqwen.manifest.lfs_pointer import pointer_bytes
from p2pqwen.values.digest import Sha256
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.processes import p2pqwen, running
from tests.support.snapshots import FILES, hold, make_snapshot
from tests.support.waiting import wait_until
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


# 78 to 80: what is held under a genuine name is not taken for the genuine snapshot.

MODEL = small_model(200_000)
FORGERIES = {
    "a plain file": {**MODEL, "config.json": MODEL["config.json"].replace(b"qwen3", b"qwen4")},
    "LFS": {**MODEL, WEIGHTS: bytes([MODEL[WEIGHTS][0] ^ 1]) + MODEL[WEIGHTS][1:]},
    "a file more": {**MODEL, "run.py": b"import os\n"},
    "a file less": {name: data for name, data in MODEL.items() if name != "config.json"},
    "another size": {**MODEL, "README.md": MODEL["README.md"] + b"x"},
}
DIFFERENT = {
    "a plain file": ("config.json", "git blob id"),
    "LFS": (WEIGHTS, "SHA-256"),
    "a file more": ("run.py", "file not in the list"),
    "a file less": ("config.json", "file in the list"),
    "another size": ("README.md", "size"),
}


@pytest.fixture
def hub():
    with HubSimulator() as simulator:
        yield simulator


@pytest.fixture
def online(tmp_path, hub):
    return CommandLine(tmp_path / "online", hub.endpoint)


def forge(user, hub, tmp_path, files, repo=REPO):
    """A snapshot under the name of what the Hub has, with files of somebody's own, unproven."""
    commit = hub.add(repo, write_folder(tmp_path / "genuine" / repo, MODEL))
    folder = write_folder(tmp_path / "forged" / repo, files)
    user.ok("preserve", "--from", folder, "--repo", repo, "--commit", str(commit))
    return f"{repo}@{commit}"


@pytest.mark.parametrize("kind", FORGERIES, ids=lambda kind: f"78-{kind.replace(' ', '-')}")
def test_a_forgery_that_is_held_is_not_preserved_already(online, hub, tmp_path, kind):
    name = forge(online, hub, tmp_path, FORGERIES[kind])
    path, what = DIFFERENT[kind]
    hub.log.clear()
    ended = online.run("preserve", REPO, "--json")
    error = ended.json["error"]
    assert (ended.code, error["what"]) == (
        3,
        f"{name} is held, but {hub.endpoint} has other files under that name: {path}",
    )
    assert error["expected"].startswith(what)
    assert f"p2pqwen remove {name}" in error["hint"]
    assert hub.count(kind="tree") == 1  # one listing, and no file of it
    assert not hub.calls(kind="cdn") + hub.calls(kind="resolve")
    online.ok("remove", name, "--yes")
    assert online.ok("preserve", REPO)["provenance"] == "proven"


def test_78_what_is_held_as_the_hub_lists_it_becomes_proven(online, hub, tmp_path):
    name = forge(online, hub, tmp_path, MODEL)
    hub.git = "off"
    before = online.ok("preserve", REPO)
    assert (before["unchanged"], before["provenance"]) == (True, "unproven")
    hub.git = "on"
    after = online.ok("preserve", REPO)
    assert (after["unchanged"], after["provenance"]) == (True, "proven")
    assert after["infohash_v2"] == before["infohash_v2"]
    assert not hub.calls(kind="cdn") + hub.calls(kind="resolve")
    fresh = CommandLine(tmp_path / "fresh", hub.endpoint).ok("preserve", REPO)
    assert fresh["manifest_sha256"] == after["manifest_sha256"]  # as if it had been proven from the start
    assert online.ok("verify", name)["provenance"] == "proven"
    hub.log.clear()
    assert online.ok("preserve", REPO)["provenance"] == "proven"
    assert not hub.calls(kind="git")


def test_78_a_folder_that_is_not_what_is_held_is_told_too(online, hub, tmp_path):
    name = forge(online, hub, tmp_path, MODEL)
    repo, commit = name.split("@")
    words = ("--repo", repo, "--commit", commit)
    changed = write_folder(tmp_path / "changed", FORGERIES["LFS"])
    ended = online.run("preserve", "--from", changed, *words)
    assert ended.code == 3
    assert f"{changed} has other files under that name: {WEIGHTS}" in ended.stderr
    assert online.ok("preserve", "--from", write_folder(tmp_path / "same", MODEL), *words)["unchanged"]
    git = ("--git", f"{hub.endpoint}/{repo}")
    proven = online.ok("preserve", "--from", tmp_path / "same", *words, *git)
    assert (proven["unchanged"], proven["provenance"]) == (True, "proven")


def test_79_among_many_it_fails_and_stops_nothing(online, hub, tmp_path):
    forged = forge(online, hub, tmp_path, FORGERIES["LFS"])
    unproven = forge(online, hub, tmp_path, MODEL, "Qwen/Unproven")
    hub.add("Qwen/New", write_folder(tmp_path / "new", MODEL))
    ended = online.run("preserve", "--org", "Qwen", "--json")
    done = ended.json
    assert ended.code == 3
    assert [row["repo"] for row in done["preserved"]] == ["Qwen/New"]
    assert [row["repo"] for row in done["unchanged"]] == ["Qwen/Unproven"]
    (failed,) = done["failed"]
    assert (f"{failed['repo']}@{failed['commit']}", WEIGHTS in failed["reason"]) == (forged, True)
    assert online.ok("verify", unproven)["provenance"] == "proven"


def test_79_the_watch_of_a_node_tells_it(online, hub, tmp_path):
    forge(online, hub, tmp_path, FORGERIES["LFS"])
    hub.add("Qwen/New", write_folder(tmp_path / "new", MODEL))
    (online.home / "config.toml").write_text(
        '[network]\ndht = false\nlsd = false\nupnp = false\ntrackers = false\n[watch]\norgs = ["Qwen"]\nevery = "1h"\n'
    )
    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", "--json"), online.environment):
        wait_until(lambda: (online.ok("status")["watch"] or {}).get("ended"), 60, "a round")
        watch = online.ok("status")["watch"]
    assert (watch["preserved"], watch["failed"]) == (1, 1)
    assert WEIGHTS in watch["failures"][0]["reason"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda path: path.unlink(), "missing", id="80-missing"),
        pytest.param(lambda path: path.write_bytes(b"short"), "5 bytes", id="80-short"),
        pytest.param(lambda path: (path.unlink(), path.symlink_to("/etc/hostname")), "missing", id="80-a-link"),
        pytest.param(
            lambda path: path.parent.with_suffix(".torrent").open("ab").write(b"x"), "torrent", id="80-torrent"
        ),
    ],
)
def test_what_is_damaged_is_not_preserved_already(online, hub, tmp_path, spoil, words):
    commit = hub.add(REPO, write_folder(tmp_path / "src", MODEL))
    online.ok("preserve", REPO)
    spoil(online.home / "library" / REPO / str(commit) / WEIGHTS)
    for options in ((), ("--org", "Qwen")):
        ended = online.run("preserve", *(options or (REPO,)))
        assert ended.code == 3, ended
        assert "damaged" in ended.stderr
        assert words in ended.stderr or options


def test_80_nor_what_a_scrub_found_rotten(online, hub, tmp_path):
    commit = hub.add(REPO, write_folder(tmp_path / "src", MODEL))
    online.ok("preserve", REPO)
    weights = online.home / "library" / REPO / str(commit) / WEIGHTS
    weights.write_bytes(MODEL[WEIGHTS][:-1] + b"x")
    assert online.run("library", "scrub", REPO).code == 3
    ended = online.run("preserve", REPO)
    assert (ended.code, f"found damaged: {WEIGHTS}" in ended.stderr, "--repair" in ended.stderr) == (3, True, True)
    online.ok("remove", REPO, "--yes")
    assert online.ok("preserve", REPO)["provenance"] == "proven"
    assert online.ok("preserve", REPO)["unchanged"]
