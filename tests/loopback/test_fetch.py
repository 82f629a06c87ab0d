"""`fetch` against real seeds: every kind of target, choices of files, where the result lands, what is refused."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from p2pqwen.torrent.metainfo import parse_metainfo
from p2pqwen.values.byte_size import format_size
from tests.support.command import CommandLine
from tests.support.models import noise, small_model
from tests.support.publishing import Rules, chain, make_document, make_index
from tests.support.swarm import COMMIT, QUIET, REPO, preserve, seeding
from tests.support.web_seeds import PlainServer

FILES = {**small_model(), "old.bin": noise(20_000, "pickle")}
SIZE = sum(map(len, FILES.values()))


class Publisher:
    """Somebody who preserved a model, published it, and seeds it."""

    def __init__(self, folder: Path) -> None:
        self.user = CommandLine(folder / "publisher")
        self.preserved = preserve(self.user, folder / "model", FILES)
        self.id = self.user.ok("keys", "init", "--name", "Preservers", "--no-passphrase")["publisher"]
        self.site = folder / "site"
        self.user.ok("publish", "--out", self.site, "--yes")
        self.entry = json.loads((self.site / "index.json").read_text())["signed"]["entries"][0]
        self.magnet = self.entry["magnet"]
        self.torrent = self.site / self.entry["torrent"]
        self.peer = ""


@pytest.fixture(scope="module")
def publisher(tmp_path_factory):
    one = Publisher(tmp_path_factory.mktemp("publisher"))
    with seeding(one.user) as (_, peer):
        one.peer = peer
        yield one


@pytest.fixture
def user(tmp_path):
    return CommandLine(tmp_path / "user")


@pytest.fixture
def follower(user, publisher):
    user.ok("trust", "add", publisher.id, "--index", publisher.site)
    return user


def from_peer(publisher, *options):
    return ("--peer", publisher.peer, *QUIET, "--no-web-seeds", "--timeout", "30", *options)


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check(done, user, *, standing):
    assert done["repo"] == REPO
    assert done["commit"] == COMMIT
    assert done["path"] == str(user.home / "library" / REPO / COMMIT)
    assert content(Path(done["path"])) == FILES
    assert done["size"] == SIZE
    assert done["verified"] is True
    assert (done["provenance"], done["standing"]) == ("unproven", standing)
    assert done["seconds"] > 0
    if standing == "unvouched":
        assert done["hf_cache"] is None
        assert not user.cache.exists()
        assert any("not put into the Hugging Face cache" in warning for warning in done["warnings"])
    else:
        assert content_of_cache(done) == FILES
        assert Path(done["hf_cache"]).is_relative_to(user.cache)


def content_of_cache(done):
    return content(Path(done["hf_cache"]))


def test_by_name_from_a_trusted_index(follower, publisher):
    done = follower.ok("fetch", REPO, *from_peer(publisher))
    check(done, follower, standing="signed")
    assert (done["bytes_from_peers"], done["bytes_from_web_seeds"]) == (SIZE, 0)
    assert [one["state"] for one in done["signers"]] == ["valid"]
    assert follower.ok("verify", f"{REPO}@{COMMIT}")["ok"] is True
    assert follower.ok("list")["snapshots"][0]["state"] == "complete"
    again = follower.ok("fetch", f"{REPO}@{COMMIT}")  # nobody to ask, and nobody needed
    assert again["unchanged"] is True
    assert again["verified"] is True
    assert (again["bytes_from_peers"], again["bytes_from_web_seeds"]) == (0, 0)


def test_by_magnet_that_no_index_knows(user, publisher):
    done = user.ok("fetch", publisher.magnet, *from_peer(publisher))
    check(done, user, standing="unvouched")
    assert done["torrent_from"] == "peers"
    assert any("not signed by any publisher you trust" in warning for warning in done["warnings"])
    torrent = parse_metainfo(Path(done["torrent"]).read_bytes())
    published = parse_metainfo(publisher.torrent.read_bytes())
    assert torrent.infohash == published.infohash
    assert torrent.piece_layers == published.piece_layers
    assert torrent.manifest == published.manifest  # rebuilt from the bytes; unproven ones are alike
    assert list((user.home / "resume").iterdir()) == []


def test_by_magnet_that_a_trusted_index_knows(follower, publisher):
    done = follower.ok("fetch", publisher.magnet, *from_peer(publisher))
    check(done, follower, standing="signed")
    assert done["torrent_from"] == "the index of Preservers"
    assert done["signers"][0]["state"] == "valid"


@pytest.mark.parametrize("which", ["infohash_v1", "infohash_v2"])
def test_by_infohash(follower, publisher, which):
    check(follower.ok("fetch", publisher.entry[which], *from_peer(publisher)), follower, standing="signed")


def test_by_infohash_alone_needs_to_know_whose_it_is(user, publisher):
    ended = user.run("fetch", publisher.entry["infohash_v1"], *from_peer(publisher))
    assert ended.code == 2
    assert "--repo" in ended.stderr
    check(
        user.ok("fetch", publisher.entry["infohash_v2"], *from_peer(publisher, "--repo", REPO)),
        user,
        standing="unvouched",
    )


def test_by_torrent_file(user, publisher):
    done = user.ok("fetch", publisher.torrent, *from_peer(publisher))
    check(done, user, standing="unvouched")
    assert done["signers"][0]["state"] == "unknown key"


def test_by_torrent_url(user, publisher):
    with PlainServer({"x.torrent": publisher.torrent.read_bytes()}) as server:
        check(user.ok("fetch", f"{server.url}x.torrent", *from_peer(publisher)), user, standing="unvouched")


def test_by_the_exact_source_of_a_magnet(user, publisher):
    with PlainServer({"x.torrent": publisher.torrent.read_bytes()}) as server:
        done = user.ok("fetch", f"{publisher.magnet}&xs={server.url}x.torrent", *from_peer(publisher))
    check(done, user, standing="unvouched")
    assert done["torrent_from"] == "the magnet's source"


def test_an_exact_source_with_another_torrent_is_passed_over(user, publisher, tmp_path):
    other = CommandLine(tmp_path / "other")
    wrong = preserve(other, tmp_path / "other-model", {"README.md": b"other\n"})
    with PlainServer({"x.torrent": Path(wrong["torrent"]).read_bytes()}) as server:
        done = user.ok("fetch", f"{publisher.magnet}&xs={server.url}x.torrent", *from_peer(publisher))
    check(done, user, standing="unvouched")
    assert done["torrent_from"] == "peers"


def test_a_mirror_that_is_gone_leaves_the_metadata_to_peers(follower, publisher):
    hidden = publisher.torrent.with_suffix(".hidden")
    publisher.torrent.rename(hidden)
    try:
        check(follower.ok("fetch", REPO, *from_peer(publisher)), follower, standing="signed")
    finally:
        hidden.rename(publisher.torrent)


OTHER = "c" * 40


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param({"commit": OTHER}, "is of another commit", id="53-commit"),
        pytest.param({"size": SIZE + 1}, f"expected {len(FILES)} of {SIZE + 1} bytes", id="53-size"),
        pytest.param({"files": 99}, f"expected 99 of {SIZE} bytes", id="53-files"),
    ],
)
def test_metadata_from_peers_must_be_what_the_index_says(user, publisher, tmp_path, changes, problem):
    """An index that names a real torrent as something else; its mirror has no .torrent, so peers are asked for it."""
    magnet = publisher.magnet.replace(f"xl={SIZE}", f"xl={changes.get('size', SIZE)}")
    row = {**publisher.entry, "magnet": magnet, **changes}
    text = json.dumps(row) if "commit" not in changes else json.dumps(row).replace(COMMIT, OTHER)
    liar = chain(Rules())
    signed = {**make_document(liar).to_json(), "entries": [json.loads(text)]}
    index = tmp_path / "index.json"
    index.write_bytes(make_index(liar, signed))
    user.ok("trust", "add", str(liar[0].root.digest), "--index", index)
    ended = user.run("fetch", f"{REPO}@{changes.get('commit', COMMIT)}", *from_peer(publisher))
    assert (ended.code, problem in ended.stderr) == (3, True), ended.stderr
    assert user.ok("list")["snapshots"] == []
    assert not list(user.home.rglob("*.info"))


def test_only_chosen_files_and_then_the_rest(follower, publisher):
    done = follower.ok("fetch", REPO, *from_peer(publisher, "--include", "*.json", "--include", "model/*"))
    chosen = {"config.json", "model/notes.txt", "tokenizer/résumé.json"}
    assert content_of_cache(done).keys() == chosen
    assert done["size"] == sum(len(FILES[name]) for name in chosen)
    assert done["state"] == "partial"
    assert content(Path(done["path"])).keys() - {"empty.txt"} == chosen
    assert follower.ok("list")["snapshots"][0]["state"] == "partial"
    assert follower.ok("verify", REPO)["files"] == len(chosen)

    fewer = follower.ok("fetch", REPO, "--include", "config.json")
    assert fewer["unchanged"] is True

    more = follower.ok("fetch", REPO, *from_peer(publisher, "--include", "README.md"))
    assert content_of_cache(more).keys() == {*chosen, "README.md"}
    assert follower.ok("verify", REPO)["files"] == len(chosen) + 1

    whole = follower.ok("fetch", REPO, *from_peer(publisher))
    check(whole, follower, standing="signed")
    assert whole["state"] == "complete"
    assert whole["bytes_from_peers"] < SIZE  # the chosen ones were here


def test_files_chosen_of_a_damaged_complete_snapshot_leave_it_complete(follower, publisher):
    whole = follower.ok("fetch", REPO, *from_peer(publisher))
    readme = Path(whole["path"]) / "README.md"
    damaged = bytearray(readme.read_bytes())
    damaged[0] ^= 1
    readme.write_bytes(damaged)
    done = follower.ok("fetch", REPO, *from_peer(publisher, "--include", "config.json"))
    assert (done["state"], done["unchanged"]) == ("complete", False)
    assert readme.read_bytes() == FILES["README.md"]
    assert not Path(whole["torrent"]).with_suffix(".partial").exists()
    assert follower.ok("verify", REPO)["files"] == len(FILES)
    assert follower.ok("list")["snapshots"][0]["state"] == "complete"


def test_chosen_files_are_seeded_and_count_for_what_they_take(follower, publisher, tmp_path):
    options = ("--include", "*.json", "--include", "model/*")
    done = follower.ok("fetch", REPO, *from_peer(publisher, *options))
    (row,) = follower.ok("list")["snapshots"]
    assert (row["state"], row["held_bytes"], row["size"]) == ("partial", done["size"], SIZE)
    plan = follower.ok("adopt", "--budget", "1GB", "--dry-run", "--look-seconds", "0")
    assert plan["used"] == done["size"]
    third = CommandLine(tmp_path / "third")
    third.ok("trust", "add", publisher.id, "--index", publisher.site)
    with seeding(follower) as (process, peer):
        seeds = process.json_line(30, containing='"seeding"')
        assert seeds["held_bytes"] == done["size"]
        (row,) = follower.ok("status", "--once")["snapshots"]
        assert (row["state"], row["progress"], row["held_bytes"]) == ("seeding", 1.0, done["size"])
        arguments = ("--peer", peer, *QUIET, "--no-web-seeds", "--timeout", "30", *options)
        again = third.ok("fetch", REPO, *arguments)
    assert again["bytes_from_peers"] == done["size"]
    assert content_of_cache(again).keys() == content_of_cache(done).keys()


def test_only_chosen_files_by_a_magnet_alone(user, publisher):
    """Peers give the torrent and, by its v2 infohash, the hash of every piece."""
    options = ("--include", "model/*")
    done = user.ok("fetch", publisher.magnet, *from_peer(publisher, *options))
    assert done["file_paths"] == [done["path"]]
    folder = Path(done["torrent"]).with_suffix("")
    assert Path(done["path"]) == folder / "model" / "notes.txt"
    assert content(folder).keys() - {"empty.txt"} == {"model/notes.txt"}
    assert (done["state"], done["torrent_from"]) == ("partial", "peers")
    assert user.ok("verify", REPO)["files"] == 1
    whole = user.ok("fetch", publisher.magnet, *from_peer(publisher))
    assert whole["state"] == "complete"


def test_include_that_matches_nothing(follower, publisher):
    ended = follower.run("fetch", REPO, *from_peer(publisher, "--include", "*.gguf"))
    assert ended.code == 4
    assert "*.gguf" in ended.stderr
    assert f"model.safetensors ({format_size(len(FILES['model.safetensors']))})" in ended.stderr
    assert follower.ok("list")["snapshots"] == []


def test_a_plain_part_of_a_name_in_any_case(follower, publisher):
    done = follower.ok("fetch", REPO, *from_peer(publisher, "--include", "MODEL/Notes"))
    assert content_of_cache(done).keys() == {"model/notes.txt"}
    assert follower.ok("verify", REPO)["files"] == 1


def test_a_repair_of_a_part_takes_no_more_than_the_part(follower, publisher):
    """A stored glob is no text that somebody types: `model/*` must not become all that looks like it."""
    done = follower.ok("fetch", REPO, *from_peer(publisher, "--include", "model/*"))
    marker = next((follower.home / "library").rglob("*.partial"))
    before = marker.read_bytes()
    Path(done["path"]).write_bytes(b"rot")
    repaired = follower.ok("verify", REPO, "--repair", "--peer", publisher.peer, "--timeout", "30")
    assert repaired["files"] == 1
    assert marker.read_bytes() == before


def test_without_the_hugging_face_cache(user, publisher):
    done = user.ok("fetch", publisher.torrent, *from_peer(publisher, "--no-hf-cache"))
    assert done["hf_cache"] is None
    assert not user.cache.exists()
    assert content(Path(done["path"])) == FILES


def test_the_cache_shares_the_bytes_and_main_is_set_once(follower, publisher):
    user = follower
    done = user.ok("fetch", publisher.torrent, *from_peer(publisher))
    blob = (Path(done["hf_cache"]) / "model.safetensors").resolve()
    assert blob.samefile(Path(done["path"]) / "model.safetensors")
    ref = Path(done["hf_cache"]).parents[1] / "refs" / "main"
    assert ref.read_text() == COMMIT
    (Path(done["hf_cache"]).parent / ("a" * 40)).mkdir()
    ref.write_text("a" * 40)
    user.ok("fetch", publisher.torrent)
    assert ref.read_text() == "a" * 40  # somebody chose that
    user.ok("fetch", publisher.torrent, "--set-main")
    assert ref.read_text() == COMMIT


def test_from_a_web_seed_alone(user, publisher):
    files = {f"{COMMIT}/{name}": data for name, data in FILES.items()}
    with PlainServer(files) as server:
        done = user.ok("fetch", publisher.torrent, "--only-web-seeds", "--web-seed", server.url, "--timeout", "30")
    check(done, user, standing="unvouched")
    assert (done["bytes_from_peers"], done["bytes_from_web_seeds"]) == (0, SIZE)


def test_a_dead_web_seed_does_not_hold_up_a_peer(user, publisher):
    options = ("--peer", publisher.peer, *QUIET, "--timeout", "30", "--web-seed", "http://127.0.0.1:9/")
    done = user.ok("fetch", publisher.torrent, *options)
    check(done, user, standing="unvouched")
    assert done["bytes_from_peers"] == SIZE


def test_pickles_are_reported(user, publisher):
    done = user.ok("fetch", publisher.torrent, *from_peer(publisher))
    assert any("old.bin" in warning and "hazard" in warning for warning in done["warnings"])


def test_for_people_there_are_words(user, publisher):
    ended = user.run("fetch", publisher.torrent, *from_peer(publisher))
    assert ended.code == 0
    assert f"fetched {REPO}@{COMMIT}" in ended.stdout
    assert "from peers  3." in ended.stdout
    assert "download: 3." in ended.stderr


@pytest.mark.parametrize("target", [REPO, f"{REPO}@{COMMIT}"])
def test_a_name_that_no_trusted_index_lists(user, target):
    ended = user.run("fetch", target, *QUIET)
    assert ended.code == 4
    assert "no trusted index lists" in ended.stderr
    assert "hint:" in ended.stderr


def test_a_magnet_that_nobody_serves(user, publisher):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        peer = f"127.0.0.1:{closed.getsockname()[1]}"
        ended = user.run("fetch", publisher.magnet, "--peer", peer, *QUIET, "--timeout", "2", "--json")
    assert ended.code == 5
    assert "no peer sent the metadata" in ended.stderr
    assert ended.json["exit_code"] == 5
    assert user.ok("list")["snapshots"] == []


def test_a_torrent_that_nobody_serves(user, publisher):
    ended = user.run("fetch", publisher.torrent, *QUIET, "--no-web-seeds", "--timeout", "2")
    assert ended.code == 5
    assert "nothing arrived for 2 s" in ended.stderr
    assert user.ok("list")["snapshots"][0]["state"] == "incomplete"


def test_web_seeds_alone_that_have_nothing(user, publisher):
    with PlainServer({}) as server:
        ended = user.run("fetch", publisher.torrent, "--only-web-seeds", "--web-seed", server.url, "--timeout", "60")
    assert ended.code == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--only-web-seeds", "--no-web-seeds"), "contradict"),
        (("--only-web-seeds", "--peer", "127.0.0.1:5"), "contradict"),
        (("--no-web-seeds", "--web-seed", "http://127.0.0.1:5/"), "contradict"),
        (("--timeout", "0"), "--timeout"),
        (("--timeout", "soon"), "timeout"),
        (("--peer", "nowhere"), "HOST:PORT"),
        (("--web-seed", "ftp://127.0.0.1/"), "web seed"),
        (("--repo", "no repo"), "repository"),
        (("--repo", "Other/Model"), "contradicts"),
        (("--upload-limit", "fast"), "not a rate"),
    ],
)
def test_wrong_usage(user, publisher, options, words):
    ended = user.run("fetch", publisher.torrent, *options)
    assert ended.code == 2, ended
    assert words in ended.stderr


@pytest.mark.parametrize("garbage", [b"", b"not a torrent", b"d4:infod4:name3:abcee"])
def test_a_file_that_is_no_torrent(user, tmp_path, garbage):
    path = tmp_path / "x.torrent"
    path.write_bytes(garbage)
    assert user.run("fetch", path).code == 3
