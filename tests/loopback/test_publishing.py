"""Publishers and readers through the command line: publish, trust, verify, withdraw, lose keys, recover."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from p2pqwen.index.document import INDEX_TYPE
from p2pqwen.index.root import INDEX_ROLE
from p2pqwen.library.home import Home
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.snapshots import Library
from p2pqwen.signing.envelope import sign
from p2pqwen.torrent.metainfo import parse_metainfo
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.strict_json import canonical
from tests.support.command import CommandLine, Ended
from tests.support.keeper import TINY, World
from tests.support.snapshots import FILES, hold, make_snapshot
from tests.support.web_seeds import PlainServer


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_what_a_publisher_gives_out(world: World):
    options = (
        "--mirror",
        "https://one.example/keep",
        "--web-seed",
        "https://two.invalid/{repo}/",
        "--tracker",
        "udp://t.example:1/announce",
    )
    published = world.publish(*options)
    expected = {"publisher": world.id, "epoch": 0, "version": 1, "entries": 1, "index": str(world.site / "index.json")}
    assert published == {**published, **expected}
    signed = world.index["signed"]
    assert signed["mirrors"] == ["https://one.example/keep"]
    (entry,) = signed["entries"]
    assert entry["web_seeds"] == ["https://hub.invalid/Qwen/Tiny/resolve/", "https://two.invalid/Qwen/Tiny/"]
    assert entry["provenance"] == "proven"
    assert entry["license"] == "apache-2.0"
    assert "&xs=https%3A%2F%2Fone.example%2Fkeep%2FQwen%2FTiny%2F" in entry["magnet"]
    torrent = parse_metainfo((world.site / entry["torrent"]).read_bytes())
    assert torrent.web_seeds == tuple(entry["web_seeds"])
    assert torrent.trackers == (("udp://t.example:1/announce",),)
    assert (world.site / entry["torrent"]).read_bytes() == world.held.torrent_path.read_bytes()
    shown = world.keeper.ok("torrent", "show", world.site / entry["torrent"])
    assert [(one["label"], one["state"]) for one in shown["signers"]] == [("Test Keep index key", "valid")]


def test_publishing_again_raises_the_version_and_keeps_the_chain(world: World):
    world.publish()
    first = world.index["signed"]
    reader = world.reader()
    hold(Home(world.keeper.home), repo="Qwen/Other")
    again = world.publish()
    assert (again["version"], again["entries"]) == (2, 2)
    assert world.index["signed"]["previous"] is not None
    assert [entry["added"] for entry in world.index["signed"]["entries"] if entry["repo"] == "Qwen/Tiny"] == [
        first["entries"][0]["added"]
    ]
    assert reader.ok("index", "update")["version"] == 2
    assert {one["repo"] for one in reader.ok("search")["results"]} == {"Qwen/Tiny", "Qwen/Other"}


def test_what_left_the_library_stays_listed_and_the_site_whole(world: World):
    world.publish()
    world.keeper.ok("remove", "Qwen/Tiny", "--yes")
    shutil.rmtree(world.site)
    assert world.publish()["entries"] == 1
    assert (world.site / world.index["signed"]["entries"][0]["torrent"]).is_file()


def test_withdrawing_says_why_and_deletes_nothing(world: World):
    world.publish()
    reader = world.reader()
    world.publish("--withdraw", TINY, "--reason", "license changed")
    assert world.index["signed"]["entries"] == []
    assert world.index["signed"]["withdrawn"][0]["reason"] == "license changed"
    assert world.held.torrent_path.is_file()
    assert reader.ok("index", "update")["entries"] == 0


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--withdraw", TINY), 2, "go together"),
        (("--withdraw", "Qwen/Tiny", "--reason", "x"), 4, "does not list it"),
        (("--withdraw", "Qwen/Tiny@xyz", "--reason", "x"), 2, "REPO[@COMMIT]"),
        (("--reinstate", TINY), 4, "is not withdrawn"),
        (("--withdraw", f"Qwen/None@{'0' * 40}", "--reason", "x"), 4, "does not list it"),
        (("--mirror", "ftp://example.org"), 2, "web address"),
        (("--web-seed", "https://u:p@example.org/"), 2, "web address"),
        (("--tracker", "gopher://example.org"), 2, "tracker address"),
        (("--base", "/nowhere/index.json"), 4, "no file"),
    ],
)
def test_calls_that_cannot_be_meant(world: World, options, code, said):
    ended = world.keeper.run("publish", "--out", world.site, *options)
    assert (ended.code, said in ended.stderr) == (code, True), ended
    assert not (world.site / "index.json").exists()


def test_a_folder_of_somebody_else_is_left_alone(world: World, tmp_path: Path):
    world.publish()
    before = (world.site / "index.json").read_bytes()
    other = World(tmp_path / "other")
    ended = other.keeper.run("publish", "--out", world.site)
    assert ended.code == 2
    assert "belongs to another publisher" in ended.stderr
    assert "--out" in ended.stderr
    assert (world.site / "index.json").read_bytes() == before
    (world.site / "index.json").write_bytes(b"<html>")
    assert "not a valid index" in world.keeper.run("publish", "--out", world.site).stderr


def test_an_index_that_another_home_published_is_not_continued_unseen(world: World, tmp_path: Path):
    world.publish()
    shutil.copytree(world.keeper.home, tmp_path / "second" / "home")
    second = world.user("second")
    hold(Home(second.home), repo="Qwen/Other")
    assert second.ok("publish", "--out", world.site)["version"] == 2
    ended = world.keeper.run("publish", "--out", world.site)
    assert ended.code == 2
    assert "which this home did not publish" in ended.stderr
    merged = world.publish("--base", world.site)
    assert (merged["version"], merged["entries"]) == (3, 2)


@pytest.fixture
def served(world: World):
    """The site on a web server that its index names as a mirror."""
    with PlainServer({}) as server:

        def publish(*options: str | Path) -> Ended:
            ended = world.keeper.run("publish", "--out", world.site, "--mirror", server.url, "--json", *options)
            if (world.site / "index.json").exists():
                server.files["index.json"] = (world.site / "index.json").read_bytes()
            return ended

        yield publish


@pytest.mark.parametrize("lost", ["everything", "the latest"])
def test_an_old_backup_of_a_publisher_signs_no_second_history(world: World, served, tmp_path: Path, lost):
    """Its memory is not the last word: the mirrors are asked before another index 0.2 is signed."""
    memory = world.keeper.home / "keys" / "published.json"
    assert served().code == 0
    if lost == "the latest":
        shutil.copy(memory, tmp_path / "backup.json")
    assert served().json["version"] == 2
    shutil.move(world.site, tmp_path / "carried-away")
    memory.unlink()
    if lost == "the latest":
        shutil.copy(tmp_path / "backup.json", memory)
    refused = served("--no-dht")
    assert (refused.code, "holds index 0.2, which this home did not publish" in refused.stderr) == (2, True)
    assert "--base FILE" in refused.stderr
    assert not (world.site / "index.json").exists()
    assert served("--base", tmp_path / "carried-away").json["version"] == 3


def test_a_publisher_who_is_his_own_reader_signs_no_second_history(world: World):
    world.publish()
    world.keeper.ok("trust", "add", world.id, "--index", world.site)
    memory = world.keeper.home / "keys" / "published.json"
    memory.unlink()
    shutil.rmtree(world.site)
    refused = world.keeper.run("publish", "--out", world.site, "--no-check")
    assert (refused.code, "holds index 0.1, which this home did not publish" in refused.stderr) == (2, True)
    index = world.keeper.home / "trust" / world.id / "index.json"
    assert str(index) in refused.stderr
    assert world.publish("--base", index)["version"] == 2


@pytest.mark.parametrize("name", ["published.json", "roots.json"])
def test_a_damaged_memory_of_a_publisher_says_what_and_what_to_do(world: World, name):
    world.publish()
    path = world.keeper.home / "keys" / name
    path.write_bytes(path.read_bytes()[:-50])
    refused = world.keeper.run("publish", "--out", world.site)
    assert (refused.code, f"{path} is damaged" in refused.stderr, "hint: remove it" in refused.stderr) == (
        3,
        True,
        True,
    )
    path.unlink()
    if name == "roots.json":
        world.keeper.ok("keys", "accept", world.site / "index.json", "--publisher", world.id)
        assert world.publish()["version"] == 2
    else:
        assert world.publish("--base", world.site)["version"] == 2


def test_keys_are_never_overwritten(world: World):
    ended = world.keeper.run("keys", "init", "--name", "Again", "--no-passphrase")
    assert ended.code == 2
    assert world.id in ended.stderr


@pytest.mark.parametrize("name", ["", " ", "x" * 200, "a\nb", "a\x1b[1m", "a=b"])
def test_names_that_are_none(tmp_path: Path, name):
    assert CommandLine(tmp_path).run("keys", "init", "--name", name, "--no-passphrase").code == 2


def test_passphrases(tmp_path: Path):
    user = CommandLine(tmp_path)
    ended = user.run("keys", "init", "--name", "Keep")
    assert ended.code == 2
    assert "--no-passphrase" in ended.stderr
    assert not (user.home / "keys").exists()
    user.ok("keys", "init", "--name", "Keep", P2PQWEN_PASSPHRASE="correct horse")
    pem = next((user.home / "keys").glob("*.pem")).read_bytes()
    assert b"ENCRYPTED" in pem
    without = user.run("publish", "--out", tmp_path / "site")
    assert (without.code, "P2PQWEN_PASSPHRASE" in without.stderr) == (2, True)
    wrong = user.run("publish", "--out", tmp_path / "site", P2PQWEN_PASSPHRASE="battery staple")
    assert (wrong.code, "does not open" in wrong.stderr) == (2, True)
    assert user.ok("publish", "--out", tmp_path / "site", P2PQWEN_PASSPHRASE="correct horse")["version"] == 1
    assert user.ok("keys", "show")["root_version"] == 1


def test_trust_is_pinned_shown_and_withdrawn(world: World):
    world.publish()
    reader = world.user("reader")
    added = reader.ok("trust", "add", world.id, "--index", world.site)
    assert (added["publisher"], added["name"], added["root_version"], added["version"]) == (world.id, "Test Keep", 1, 1)
    assert {role for key in added["keys"] for role in key["roles"]} == {"root", "index"}
    assert reader.ok("trust", "list")["publishers"][0]["sources"] == [str(world.site)]
    assert reader.ok("trust", "show", world.id[:12])["publisher"] == world.id
    words = reader.run("trust", "show", world.id[:12]).stdout
    assert "1 of 1 keys" in words
    assert "Test Keep root key" in words
    removed = reader.ok("trust", "remove", world.id[:12])
    assert (removed["publisher"], removed["name"], removed["version"]) == (world.id, "Test Keep", 1)
    assert reader.ok("trust", "list")["publishers"] == []
    assert reader.run("trust", "remove", world.id).code == 4
    assert reader.ok("search", "tiny")["results"] == []


def test_trust_without_an_index_waits_for_one(world: World):
    world.publish()
    reader = world.user("reader")
    assert reader.ok("trust", "add", world.id)["version"] is None
    assert reader.run("index", "update").code == 5
    assert reader.ok("trust", "add", world.id, "--index", world.site / "index.json")["version"] == 1


@pytest.mark.parametrize(
    ("publisher", "index", "code"),
    [
        ("{id}", "/nowhere", 4),
        ("{id}", "http://127.0.0.1:1/", 5),
        ("{id}", "ftp://example.org", 2),
        ("{other}", "{site}", 3),
        ("main", "{site}", 2),
        ("{ID}", "{site}", 2),
    ],
)
def test_trust_that_cannot_be_given_leaves_nothing(world: World, publisher, index, code):
    world.publish()
    names = {"id": world.id, "ID": world.id.upper() + "x", "other": "0" * 64, "site": str(world.site)}
    reader = world.user("reader")
    assert reader.run("trust", "add", publisher.format(**names), "--index", index.format(**names)).code == code
    assert reader.ok("trust", "list")["publishers"] == []


def test_verify_a_file_offline(world: World, tmp_path: Path):
    world.publish()
    nobody = world.user("nobody")
    unpinned = nobody.ok("index", "verify", world.site / "index.json")
    assert (unpinned["ok"], unpinned["publisher"], unpinned["pinned"], unpinned["trusted"]) == (
        True,
        world.id,
        False,
        False,
    )
    assert unpinned["signers"][0]["label"] == "Test Keep index key"
    assert "no publisher was pinned" in nobody.run("index", "verify", world.site / "index.json").stdout
    assert nobody.ok("index", "verify", world.site, "--publisher", world.id)["pinned"] is True
    wrong = nobody.run("index", "verify", world.site, "--publisher", "0" * 64, "--json")
    assert (wrong.code, wrong.json["ok"], wrong.json["step"]) == (3, False, 2)
    assert nobody.run("index", "verify", tmp_path / "none.json").code == 4
    changed = tmp_path / "changed.json"
    changed.write_text((world.site / "index.json").read_text().replace("apache-2.0", "mit"))
    refused = nobody.run("index", "verify", changed, "--json")
    assert (refused.code, refused.json["ok"], refused.json["step"], len(refused.json["missing"])) == (3, False, 4, 1)
    assert "refused at step 4" in nobody.run("index", "show", changed).stderr
    shown = nobody.ok("index", "show", world.site)
    assert shown["snapshots"][0]["repo"] == "Qwen/Tiny"
    assert world.reader().ok("index", "verify", world.site)["relation"] == "it is the index accepted before"


def test_entries_of_a_kind_that_is_not_known_are_named_and_no_reason_to_refuse(world: World, tmp_path: Path):
    world.publish()
    file = json.loads((world.site / "index.json").read_text())
    file["signed"]["entries"] += [
        {"repo": "Qwen/Zeta", "commit": f"{number:040x}", "repo_type": "dataset", "recipe": 1} for number in range(12)
    ]
    keys = KeyStore(Home(world.keeper.home))
    signers = [one for one in keys.root().roles[INDEX_ROLE].keyids if keys.has_key(one)]
    signed = [sign(INDEX_TYPE, canonical(file["signed"]), keys.key(one, None)) for one in signers]
    index = tmp_path / "newer" / "index.json"
    index.parent.mkdir()
    index.write_text(json.dumps({**file, "signatures": signed}))
    reader = world.user("reader")
    for command in (("index", "verify", index), ("index", "show", index), ("trust", "add", world.id, "--index", index)):
        told = reader.run(*command)
        assert (told.code, told.stdout.count("skipped  ")) == (0, 12 if "show" in command else 11), told
        assert "Qwen/Zeta@" + "0" * 40 + ": this version does not know repo_type 'dataset'" in told.stdout
        found = reader.ok(*command)
        assert (found["entries"], len(found["skipped"])) == (1, 12)
        assert found["skipped"][0] == {
            "repo": "Qwen/Zeta", "commit": "0" * 40, "repo_type": "dataset", "recipe": 1,
            "reason": "repo_type 'dataset'",
        }  # fmt: skip


def test_an_index_is_verified_with_the_network_off(world: World, monkeypatch):
    """Not only is nobody asked: no socket is opened."""
    world.publish()
    reader = world.reader()

    def no_network(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a socket was asked for: {arguments} {options}")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(f"socket.{name}", no_network)
    assert reader.ok("index", "verify", world.site / "index.json", "--publisher", world.id)["ok"]
    assert reader.ok("index", "show", world.site)["entries"] == 1
    assert len(reader.ok("search")["results"]) == 1


def test_a_mistyped_name_and_a_wrong_file_are_told_apart(world: World, tmp_path: Path):
    world.publish()
    reader = world.reader()
    for typed in ("qwen/tiny", "Qwen/Tinny"):
        ended = reader.run("fetch", typed)
        assert (ended.code, "hint: did you mean Qwen/Tiny? " in ended.stderr) == (4, True)
    ended = reader.run("fetch", f"Qwen/Tiny@{'1' * 40}")
    assert (ended.code, "hint: other commits of it are listed" in ended.stderr) == (4, True)
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"neither JSON nor bencode")
    for call in (
        ("trust", "add", world.id, "--index", wrong),
        ("index", "diff", world.site, wrong),
        ("keys", "accept", wrong),
        ("torrent", "show", wrong),
        ("verify", wrong),
        ("fetch", wrong),
        ("library", "import", "--torrent", wrong),
    ):
        ended = reader.run(*call)
        assert (ended.code, f"error: {wrong}: " in ended.stderr) == (3, True), ended.stderr


def test_diff_in_words_and_json(world: World, tmp_path: Path):
    world.publish()
    old = tmp_path / "old.json"
    shutil.copy(world.site / "index.json", old)
    hold(Home(world.keeper.home), repo="Qwen/Other")
    world.publish("--withdraw", TINY, "--reason", "license")
    found = world.keeper.ok("index", "diff", old, world.site)
    assert [one["repo"] for one in found["added"]] == ["Qwen/Other"]
    assert [one["snapshot"] for one in found["removed"]] == [TINY]
    assert [(one["snapshot"], one["reason"]) for one in found["withdrawn"]] == [(TINY, "license")]
    assert found["changed"] == []
    words = world.keeper.run("index", "diff", old, world.site).stdout
    assert f"withdrawn  {TINY}: license" in words
    other = World(tmp_path / "other")
    other.publish()
    assert world.keeper.run("index", "diff", old, other.site).code == 3


def test_a_replayed_version_is_refused_and_the_trusted_copy_keeps_working(world: World, tmp_path: Path):
    world.publish()
    old = tmp_path / "old"
    shutil.copytree(world.site, old)
    hold(Home(world.keeper.home), repo="Qwen/Other")
    world.publish()
    reader = world.reader()
    shutil.rmtree(world.site)
    shutil.copytree(old, world.site)
    ended = reader.run("index", "update", "--json")
    assert (ended.code, ended.json["ok"], ended.json["version"]) == (3, False, 2)
    assert "older than 0.2" in ended.json["sources"][0]["detail"]
    assert len(reader.ok("search")["results"]) == 2


def test_two_publishers_who_contradict_one_another(world: World, tmp_path: Path):
    """Both are shown; the manifest that proves to be the commit settles it; where none does, nothing is chosen."""
    from p2pqwen.errors import VerificationError
    from p2pqwen.library.trust_store import TrustStore
    from p2pqwen.operations.indexes.lookup import choose, find_entries
    from tests.support.publishing import NOW

    liar = World(tmp_path / "liar")
    commit = make_snapshot().commit
    forged = make_snapshot({**FILES, "model.safetensors": b"evil" * 20_000}, proven=False)
    _hold_as(Home(liar.keeper.home), forged, commit)
    world.publish()
    liar.publish("--yes")
    reader = world.reader()
    reader.ok("trust", "add", liar.id, "--index", liar.site)
    results = reader.run("search", "tiny", "--json")
    assert len(results.json["results"]) == 2
    assert len({one["infohash_v2"] for one in results.json["results"]}) == 2
    assert results.json["conflicts"] == [TINY]
    assert "contradict one another" in results.stderr

    target = SnapshotId(RepoId("Qwen/Tiny"), commit)
    found = find_entries(TrustStore(Home(reader.home)).publishers(now=NOW), target)
    chosen = choose(found, target)
    assert str(chosen.publisher.publisher) == world.id
    shutil.rmtree(world.site / "Qwen")
    with pytest.raises(VerificationError, match="contradict one another"):
        choose(found, target)
    refused = reader.run("fetch", TINY, "--no-dht", "--no-lsd", "--no-upnp", "--timeout", "1")
    assert refused.code == 3
    for one in results.json["results"]:
        claim = "claimed proven" if one["provenance"] == "proven" else "unproven"
        assert f"{one['publisher']}) says {one['infohash_v2']}, {claim}" in refused.stderr
    assert reader.ok("list")["snapshots"] == []


def _hold_as(home: Home, metainfo, commit: CommitId) -> None:
    """Put a forged snapshot into a library under a commit that is not its own."""
    from dataclasses import replace

    from p2pqwen.library.verified import Verified
    from p2pqwen.manifest.manifest import Manifest, parse_manifest
    from p2pqwen.torrent.checked import CheckedTorrent
    from p2pqwen.torrent.layout import Layout
    from p2pqwen.torrent.snapshot_torrent import build_metainfo
    from p2pqwen.values.repo_path import RepoPath
    from tests.strategies import hash_payload

    payload = {RepoPath(name): content for name, content in {**FILES, "model.safetensors": b"evil" * 20_000}.items()}
    rows = parse_manifest(metainfo.manifest).files
    manifest = Manifest(SnapshotId(RepoId("Qwen/Tiny"), commit), None, "apache-2.0", rows)
    layout = Layout.of((path, len(content)) for path, content in payload.items())
    forged = build_metainfo(manifest, layout, hash_payload(payload, layout))
    for held in Library(home).all():
        Library(home).remove(held)
    library = Library(home)
    library.stage(manifest.snapshot)
    library.install(
        manifest.snapshot, CheckedTorrent.of(replace(forged, web_seeds=())), Verified(forged.infohash.v2, {})
    )


def test_from_one_signer_to_two_of_three_who_never_share_a_machine(world: World, tmp_path: Path):
    world.publish()
    reader = world.reader()
    bob, carol = world.user("bob"), world.user("carol")
    public = {
        (name, role): user.ok("keys", "new", "--label", f"{name} {role}", "--no-passphrase")["public"]
        for name, user in (("Bob", bob), ("Carol", carol))
        for role in ("root", "index")
    }
    joining = [option for (_, role), key in public.items() for option in (f"--add-{role}", key)]
    change = ("keys", "rotate", *joining, "--root-threshold", "2", "--index-threshold", "2")
    alone = world.keeper.run(*change)
    assert (alone.code, "--draft" in alone.stderr) == (2, True)
    draft = tmp_path / "root2.json"
    written = world.keeper.ok(*change, "--draft", draft)
    assert (written["complete"], written["root_version"], len(written["missing"])) == (False, 2, 2)
    assert world.keeper.run("keys", "accept", draft).code == 3
    assert bob.ok("keys", "sign", draft)["complete"] is True
    for user in (world.keeper, bob, carol):
        joined = user.ok("keys", "accept", draft, *(() if user is world.keeper else ("--publisher", world.id)))
        assert (joined["root_version"], joined["thresholds"]) == (2, {"root": 2, "index": 2})

    too_few = world.keeper.run("publish", "--out", world.site)
    assert (too_few.code, "--draft" in too_few.stderr) == (4, True)
    drafted = world.publish("--draft", tmp_path / "index.draft")
    assert (drafted["complete"], drafted["version"], len(drafted["missing"])) == (False, 2, 2)
    assert world.index["signed"]["version"] == 1
    early = world.keeper.run("publish", "--signed", tmp_path / "index.draft", "--out", world.site)
    assert early.code == 3
    signed = carol.ok("index", "sign", tmp_path / "index.draft")
    assert (signed["complete"], sorted(signed["signers"])) == (True, ["Carol index", "Test Keep index key"])
    # the last one gives it out, from a machine that never saw the library
    assert carol.ok("publish", "--signed", tmp_path / "index.draft", "--out", world.site)["version"] == 2
    ended = reader.run("index", "update", "--json")
    updated = ended.json
    assert (updated["version"], updated["root_version"], len(updated["signers"])) == (2, 2, 2)
    assert "Test Keep has a new root, 2:" in ended.stderr
    assert "Carol root joins" in ended.stderr
    assert "index      2 of 3 keys must sign, before 1 of 1" in ended.stderr


class TwoOfTwo:
    """A publisher whose index needs the keeper and Bob, who joined; readers are at version 1."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.publish()
        self.bob = world.user("bob")
        public = self.bob.ok("keys", "new", "--label", "Bob", "--no-passphrase")["public"]
        world.keeper.ok("keys", "rotate", "--add-index", public, "--index-threshold", "2")
        self.chain = world.folder / "roots.json"
        shutil.copy(world.keeper.home / "keys" / "roots.json", self.chain)
        self.bob.ok("keys", "accept", self.chain, "--publisher", world.id)
        self.bob.ok("trust", "add", world.id, "--index", world.site)

    def draft(self, name: str, *options: str) -> Path:
        path = self.world.folder / name
        self.world.publish("--draft", path, *options)
        return path


def test_a_draft_is_compared_before_it_is_signed(world: World, tmp_path: Path):
    two = TwoOfTwo(world)
    hold(Home(world.keeper.home), repo="Qwen/Other")
    draft = two.draft("draft.json")
    found = two.bob.ok("index", "diff", world.site, draft)
    assert ([one["repo"] for one in found["added"]], found["complete"]) == (["Qwen/Other"], False)
    assert "draft      signed by 1 of the 2 needed" in two.bob.run("index", "diff", world.site, draft).stdout
    changed = tmp_path / "changed.json"
    changed.write_text(draft.read_text().replace("apache-2.0", "mit"))
    refused = two.bob.run("index", "diff", world.site, changed)
    assert (refused.code, "not signed by enough" in refused.stderr) == (3, True)
    signed = two.bob.run("index", "sign", draft)
    assert (signed.code, "added      Qwen/Other@" in signed.stderr) == (0, True)
    assert "Qwen/Tiny" not in signed.stderr  # Bob never published, but as a reader knows what was
    assert two.bob.ok("index", "diff", world.site, draft)["complete"] is True
    given_out = two.bob.run("publish", "--signed", draft, "--out", world.site, "--no-dht")
    assert (given_out.code, "added      Qwen/Other@" in given_out.stderr) == (0, True)


def test_what_alarms_is_not_signed_where_nobody_can_be_asked(world: World):
    """Two drafts of one version, each signed by the same people, would be two histories."""
    two = TwoOfTwo(world)
    first = two.draft("first.json")
    two.bob.ok("index", "sign", first)
    hold(Home(world.keeper.home), repo="Qwen/Other")
    second = two.draft("second.json")
    before = second.read_bytes()
    refused = two.bob.run("index", "sign", second)
    assert (refused.code, "this home signed another draft of index 0.2 before" in refused.stderr) == (2, True)
    assert "--yes" in refused.stderr
    assert second.read_bytes() == before
    assert two.bob.ok("index", "sign", second, "--yes")["complete"] is True
    assert two.bob.ok("index", "sign", second)["complete"] is True  # again the same: nothing to worry about


def test_a_root_shows_what_it_changes_before_it_is_signed(world: World, tmp_path: Path):
    world.publish()
    bob, draft, other = world.user("bob"), tmp_path / "root-2.json", tmp_path / "other.json"
    public = bob.ok("keys", "new", "--label", "Bob", "--no-passphrase")["public"]
    change = ("keys", "rotate", "--add-root", public, "--root-threshold", "2")
    world.keeper.ok(*change, "--draft", draft)
    world.keeper.ok(*change, "--name", "Other Keep", "--draft", other)
    signed = bob.run("keys", "sign", draft)
    assert "  Bob joins" in signed.stderr
    assert "root       2 of 2 keys must sign, before 1 of 1" in signed.stderr
    world.keeper.ok("keys", "accept", draft)
    # a holder of root 2 signs no other root 2
    before = other.read_bytes()
    refused = world.keeper.run("keys", "sign", other)
    assert (refused.code, "older than the trusted one" in refused.stderr) == (3, True)
    assert other.read_bytes() == before


def test_a_stolen_index_key_and_the_way_back(world: World, tmp_path: Path):
    world.publish()
    reader = world.reader()
    good = tmp_path / "good.json"
    shutil.copy(world.site / "index.json", good)
    # the thief has the index key, not the root key, and publishes a poisoned list with a high version
    shutil.copytree(world.keeper.home, tmp_path / "thief" / "home")
    thief = world.user("thief")
    shown = thief.ok("keys", "show")
    keys = {key["roles"][0]: key["keyid"] for key in shown["keys"]}
    (thief.home / "keys" / f"{keys['root']}.pem").unlink()
    hold(Home(thief.home), {"evil.bin": b"evil"}, repo="Qwen/Evil")
    for _ in range(3):
        thief.ok("publish", "--out", world.site)
    assert reader.ok("index", "update")["version"] == 4
    assert thief.run("keys", "rotate", "--new-index-key", "Mine", "--no-passphrase").code == 2

    # the owner takes the key out, which raises the epoch, and goes on from the last good list
    rotated = world.keeper.ok(
        "keys", "rotate", "--stolen", keys["index"], "--new-index-key", "Fresh index key", "--no-passphrase"
    )
    assert (rotated["root_version"], rotated["index_epoch"], rotated["complete"]) == (2, 1, True)
    recovered = world.publish()
    assert (recovered["epoch"], recovered["version"], recovered["entries"]) == (1, 1, 1)
    updated = reader.ok("index", "update")
    assert (updated["epoch"], updated["version"]) == (1, 1)
    assert [one["repo"] for one in reader.ok("search")["results"]] == ["Qwen/Tiny"]

    # the thief goes on under the old root, in vain
    thief.ok("publish", "--out", tmp_path / "elsewhere")
    reader.ok("trust", "add", world.id, "--index", world.site)
    shutil.copy(tmp_path / "elsewhere" / "index.json", world.site / "index.json")
    refused = reader.run("index", "update", "--json")
    assert (refused.code, refused.json["sources"][0]["step"], refused.json["epoch"]) == (3, 4, 1)


def test_a_root_key_that_lives_offline(world: World, tmp_path: Path):
    world.publish()
    keys = {key["roles"][0]: key["keyid"] for key in world.keeper.ok("keys", "show")["keys"]}
    offline = world.user("offline")
    (offline.home / "keys").mkdir(parents=True)
    shutil.move(world.keeper.home / "keys" / f"{keys['root']}.pem", offline.home / "keys")
    shown = world.keeper.ok("keys", "show")
    assert {key["roles"][0]: key["private"] for key in shown["keys"]} == {"root": False, "index": True}
    assert world.publish()["version"] == 2
    draft = tmp_path / "usb-stick.json"
    world.keeper.ok("keys", "rotate", "--new-index-key", "Second", "--no-passphrase", "--draft", draft)
    assert offline.ok("keys", "sign", draft)["complete"] is True
    assert world.keeper.ok("keys", "accept", draft)["root_version"] == 2
    assert world.publish()["signers"] == ["Test Keep index key", "Second"]


def test_names_that_other_clients_cannot_ask_a_web_seed_for_are_said_once(world: World):
    odd = {**FILES, "config#1.json": b"{}", "notes [old].txt": b"x", "100%.txt": b"x"}
    held = hold(Home(world.keeper.home), odd, "Qwen/Odd")
    first = world.keeper.run("publish", "--out", world.site, "--no-dht", "--no-check", "--yes", "--json")
    assert first.code == 0
    (said,) = [line for line in first.stderr.splitlines() if "cannot ask a web seed" in line]
    assert str(held.id) in said
    assert "3 files with #, %, [ or ] in the name, 100%.txt first" in said
    again = world.keeper.run("publish", "--out", world.site, "--no-dht", "--no-check", "--yes", "--json")
    assert (again.code, "cannot ask a web seed" in again.stderr) == (0, False)
