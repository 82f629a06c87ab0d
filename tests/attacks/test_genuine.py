"""Is it the genuine snapshot? A pointer in place of the weights, a forgery that is held, what a publisher signs."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pqwen.app import App
from p2pqwen.config.load import load
from p2pqwen.errors import VerificationError
from p2pqwen.hub.hub_site import HubSite
from p2pqwen.library.home import Home
from p2pqwen.manifest.lfs_pointer import pointer_bytes
from p2pqwen.operations.publish.plan import Plan
from p2pqwen.operations.publish.publish import publish
from p2pqwen.torrent.metainfo import parse_metainfo
from p2pqwen.values.digest import Sha256
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.processes import p2pqwen, running
from tests.support.publishing import NOW
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


def test_76_before_anything_is_fetched_its_row_is_suspect(user, tmp_path):
    torrent = tmp_path / "swapped.torrent"
    torrent.write_bytes(make_snapshot(SWAPPED).encode())
    shown = user.ok("torrent", "show", torrent)
    assert [one for one in shown["warnings"] if "LFS pointer" in one and WEIGHTS in one]


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


def test_76_of_two_proven_torrents_of_one_commit_the_one_with_the_files_is_taken(tmp_path, monkeypatch):
    """Trusted publishers contradict one another, and both manifests fit the commit."""
    from p2pqwen.operations.publish import plan as publish_plan

    def published(name, files, **options):
        keeper = CommandLine(tmp_path / name)
        publisher = keeper.ok("keys", "init", "--name", name, "--no-passphrase")["publisher"]
        hold(Home(keeper.home), files, **options)
        keeper.ok("publish", "--out", tmp_path / name / "site", "--no-check", "--yes")
        return publisher

    genuine = published("genuine", FILES, lfs=(WEIGHTS,))
    monkeypatch.setattr(publish_plan, "pointer_files", lambda *_: {})  # a publisher with a program of its own
    swapped = published("swapped", SWAPPED)
    reader = CommandLine(tmp_path / "reader")
    for name, publisher in (("swapped", swapped), ("genuine", genuine)):
        reader.ok("trust", "add", publisher, "--index", tmp_path / name / "site")
    results = reader.ok("search", "tiny")["results"]
    (commit,) = {one["commit"] for one in results}
    assert {one["provenance"] for one in results} == {"proven"}
    with PlainServer({f"{commit}/{name}": data for name, data in FILES.items()}) as server:
        done = reader.ok("fetch", REPO, "--web-seed", server.url, "--only-web-seeds", *OFFLINE, "--timeout", "20")
    assert (done["provenance"], done["size"]) == ("proven", sum(map(len, FILES.values())))


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


def test_108_a_strangers_repository_of_the_same_commit_judges_nothing(online, hub, tmp_path):
    """Its name sorts before the genuine one's, and it claims the genuine commit."""
    commit = hub.add(REPO, write_folder(tmp_path / "genuine", MODEL))
    genuine = online.ok("preserve", REPO)
    online.ok("fetch", genuine["torrent"], "--hf-cache")
    forged = write_folder(tmp_path / "forged", FORGERIES["LFS"])
    online.ok("preserve", "--from", forged, "--repo", "AAA/Tiny", "--commit", str(commit))
    cached = online.cache / "models--Qwen--Tiny" / "snapshots" / str(commit)
    shown = online.ok("verify", cached)
    assert (shown["ok"], shown["standing"]) == (True, "proven")
    torrent = tmp_path / "copy.torrent"
    torrent.write_bytes(Path(genuine["torrent"]).read_bytes())
    assert online.ok("verify", torrent)["standing"] == "proven"
    copy = write_folder(tmp_path / "copies" / str(commit), MODEL)
    ended = online.run("verify", copy)
    assert (ended.code, "the repository of" in ended.stderr) == (1, True), ended
    assert online.ok("verify", copy, "--torrent", torrent)["ok"]
    online.ok("remove", f"{REPO}@{commit}", "--yes")
    assert online.run("verify", cached).code == 4


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
    assert (ended.code, f"is damaged: {WEIGHTS}" in ended.stderr, "--repair" in ended.stderr) == (3, True, True)
    online.ok("remove", REPO, "--yes")
    assert online.ok("preserve", REPO)["provenance"] == "proven"
    assert online.ok("preserve", REPO)["unchanged"]


# 81 and 82: what a publisher signs.


@pytest.fixture
def publisher(online):
    online.ok("keys", "init", "--name", "Keepers", "--no-passphrase")
    return online


@pytest.mark.parametrize("check", [pytest.param((), id="81-checked"), pytest.param(("--no-check",), id="81-unchecked")])
def test_a_new_unproven_entry_is_not_signed_without_an_answer(publisher, hub, tmp_path, check):
    name = forge(publisher, hub, tmp_path, MODEL)  # as the Hub has it, but nobody has proven that
    site = tmp_path / "site"
    ended = publisher.run("publish", "--out", site, *check)
    assert (ended.code, f"{name} is new and unproven" in ended.stderr, "--yes" in ended.stderr) == (2, True, True)
    assert not (site / "index.json").exists()
    assert publisher.ok("publish", "--out", site, *check, "--yes")["version"] == 1
    assert publisher.ok("publish", "--out", site, *check)["version"] == 2  # it is no news any more
    shown = publisher.ok("preserve", REPO)
    assert shown["provenance"] == "proven"
    assert publisher.ok("publish", "--out", site, *check)["version"] == 3


def test_81_a_draft_with_one_is_not_signed_unseen(publisher, hub, tmp_path):
    forge(publisher, hub, tmp_path, MODEL)
    draft = tmp_path / "index-draft.json"
    publisher.ok("publish", "--out", tmp_path / "site", "--draft", draft, "--yes")
    ended = publisher.run("index", "sign", draft)
    assert (ended.code, "is new and unproven" in ended.stderr) == (2, True)


@pytest.mark.parametrize(
    "kind", ["a plain file", "LFS", "another size"], ids=lambda kind: f"82-{kind.replace(' ', '-')}"
)
def test_what_the_hub_contradicts_is_not_signed_at_all(publisher, hub, tmp_path, kind):
    name = forge(publisher, hub, tmp_path, FORGERIES[kind])
    site = tmp_path / "site"
    for answer in ((), ("--yes",), ("--yes", "--draft", tmp_path / "draft.json")):
        ended = publisher.run("publish", "--out", site, *answer)
        assert ended.code == 3, ended
        assert f"not signed: {hub.endpoint}/{REPO}/resolve/ has other files than {name} says: {DIFFERENT[kind][0]}" in (
            ended.stderr
        )
        assert f"p2pqwen remove {name}" in ended.stderr
        assert not site.exists()
        assert not (tmp_path / "draft.json").exists()
    # Nobody was asked: then it is unproven, and no more.
    assert publisher.run("publish", "--out", site, "--no-check").code == 2
    publisher.ok("remove", name, "--yes")
    publisher.ok("preserve", REPO)
    assert publisher.ok("publish", "--out", site)["entries"] == 1


def test_82_nor_what_is_listed_already(publisher, hub, tmp_path):
    name = forge(publisher, hub, tmp_path, FORGERIES["LFS"])
    site = tmp_path / "site"
    publisher.ok("publish", "--out", site, "--no-check", "--yes")
    ended = publisher.run("publish", "--out", site, "--yes")
    assert (ended.code, f"{name} says: {WEIGHTS}" in ended.stderr, "--withdraw" in ended.stderr) == (3, True, True)
    assert publisher.ok("publish", "--out", site, "--withdraw", name, "--reason", "a forgery")["entries"] == 0


def test_82_a_mirror_speaks_against_it_only_where_the_hub_does_not_speak_for_it(publisher, hub, tmp_path):
    name = forge(publisher, hub, tmp_path, MODEL)
    commit = name.partition("@")[2]
    spoiled = {f"{commit}/{path}": data for path, data in FORGERIES["LFS"].items()}
    site = tmp_path / "site"
    with PlainServer(spoiled) as liar:
        words = ("publish", "--out", site, "--web-seed", liar.url, "--yes")
        assert [row["url"] for row in publisher.ok(*words)["web_seeds_left_out"]] == [liar.url]
        hub.delete(REPO)
        assert publisher.run(*words).code == 3


def test_82_a_proven_entry_needs_nobody_to_agree(publisher, hub, tmp_path):
    hub.add(REPO, write_folder(tmp_path / "src", MODEL))
    publisher.ok("preserve", REPO)
    hub.fault("corrupt", WEIGHTS)
    left_out = publisher.ok("publish", "--out", tmp_path / "site")["web_seeds_left_out"]
    assert "wrong bytes" in left_out[0]["reason"]


def test_109_what_takes_its_place_while_a_person_thinks_is_not_signed(publisher, hub, tmp_path):
    """The publisher drops a snapshot and fetches a stranger's link of it, while `publish` waits for an answer."""
    hub.add(REPO, write_folder(tmp_path / "genuine", MODEL))
    publisher.ok("preserve", REPO)
    app = App(load(publisher.environment))
    (held,) = app.library.all()
    forged = write_folder(tmp_path / "forged", FORGERIES["LFS"])

    def think(_):
        app.library.remove(held)
        publisher.ok("preserve", "--from", forged, "--repo", REPO, "--commit", str(held.id.commit))
        return True

    plan = Plan(tmp_path / "site", HubSite(hub.endpoint))
    with pytest.raises(VerificationError, match="changed while its index was made"):
        publish(app.library, app.keys, plan, passphrase=lambda _: "", now=NOW, approve=think)
    assert not (tmp_path / "site" / "index.json").exists()
    (row,) = publisher.ok("list")["snapshots"]
    assert row["standing"] == "unvouched"
    assert parse_metainfo(held.torrent_path.read_bytes()).signatures == {}


def test_76_a_publisher_does_not_sign_it(publisher, tmp_path):
    hold(Home(publisher.home), SWAPPED)
    ended = publisher.run("publish", "--out", tmp_path / "site", "--no-check", "--yes")
    is_told(ended)
    assert not (tmp_path / "site").exists()


# 83: two contents with one SHA-1. The marks of the attack are found by libgit2; here they are a word in the content.

MARK = b"marks of a collision attack"
MARKED = {**FILES, "config.json": b'{"a": "' + MARK + b'"}\n'}


@pytest.fixture
def watchful(monkeypatch):
    """Let git's hash refuse every blob with the mark."""
    import pygit2

    from p2pqwen.manifest import git_sha1

    real = git_sha1._hash_blob

    def hash_blob(content):
        if MARK in content:
            raise pygit2.GitError("SHA1 collision attack detected")
        return real(content)

    return lambda: monkeypatch.setattr(git_sha1, "_hash_blob", hash_blob)


def test_83_verify_refuses_it(user, watchful):
    hold(Home(user.home), MARKED)
    assert user.ok("verify", REPO)["ok"]
    watchful()
    ended = user.run("verify", REPO, "--json")
    assert ended.code == 3
    (bad,) = ended.json["bad"]
    assert (bad["path"], "is refused by git's SHA-1" in bad["got"]) == ("config.json", True)


def test_83_preserve_refuses_it(online, hub, tmp_path, watchful):
    hub.add(REPO, write_folder(tmp_path / "src", {**MODEL, "config.json": MARKED["config.json"]}))
    watchful()
    ended = online.run("preserve", REPO)
    assert (ended.code, "is refused by git's SHA-1" in ended.stderr) == (3, True)
    assert online.ok("list")["snapshots"] == []


def test_83_a_fetch_refuses_it(user, tmp_path, watchful):
    metainfo = make_snapshot(MARKED)
    torrent = tmp_path / "marked.torrent"
    torrent.write_bytes(metainfo.encode())
    watchful()
    with PlainServer({f"{metainfo.commit}/{name}": data for name, data in MARKED.items()}) as server:
        words = ("--web-seed", server.url, "--only-web-seeds", *OFFLINE, "--timeout", "20", "--repo", REPO)
        ended = user.run("fetch", torrent, *words)
    assert (ended.code, "is refused by git's SHA-1" in ended.stderr) == (3, True)
    assert not any(one["state"] == "complete" for one in user.ok("list")["snapshots"])


@pytest.mark.parametrize("kind", ["tree", "commit"], ids=lambda kind: f"83-{kind}")
def test_a_marked_tree_or_commit_proves_nothing(user, monkeypatch, kind):
    import pygit2

    from p2pqwen.manifest import git_sha1

    hold(Home(user.home))
    real = git_sha1._hash_other

    def hash_other(asked, content):
        if asked == kind:
            raise pygit2.GitError("SHA1 collision attack detected")
        return real(asked, content)

    monkeypatch.setattr(git_sha1, "_hash_other", hash_other)
    ended = user.run("verify", REPO)
    assert (ended.code, f"a git {kind} of" in ended.stderr) == (3, True)
