"""Attacks 68 to 75: links from strangers that would speak for a repository. Real commands, real peers, on loopback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from p2pqwen.manifest.lfs_pointer import pointer_oid
from p2pqwen.manifest.manifest import parse_manifest
from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo
from tests.support.bare_torrents import KEPT, as_saved_by
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.nodes import quiet_config
from tests.support.processes import p2pqwen, running
from tests.support.publishing import Rules, chain, key, make_document, make_entry, make_index
from tests.support.snapshots import make_snapshot, sign_torrent
from tests.support.swarm import QUIET, seeding
from tests.support.world import REPO, World, seeded_world

GENUINE = small_model(600_000)
EVIL = {**GENUINE, "config.json": GENUINE["config.json"].replace(b"{", b'{"auto_map": "evil", ', 1)}


@dataclass(slots=True)
class Stranger:
    """Somebody who holds other bytes under the name of the genuine snapshot, and seeds them."""

    user: CommandLine
    preserved: dict[str, Any]
    peer: str = ""

    @property
    def torrent(self) -> Path:
        return Path(self.preserved["torrent"])

    @property
    def magnet(self) -> str:
        return str(self.preserved["magnet"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with seeded_world(tmp_path_factory.mktemp("world")) as found:
        yield found


@pytest.fixture(scope="module")
def stranger(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    folder = tmp_path_factory.mktemp("stranger")
    user = CommandLine(folder, world.hub.endpoint)
    quiet_config(user)
    write_folder(folder / "evil", EVIL)
    done = user.ok("preserve", "--from", folder / "evil", "--repo", REPO, "--commit", world.commit)
    found = Stranger(user, done)
    with seeding(user) as (_, found.peer):
        yield found


@pytest.fixture
def victim(world: World, tmp_path: Path) -> CommandLine:
    user = CommandLine(tmp_path / "victim", world.hub.endpoint)
    quiet_config(user)
    return user


def by(peer: str, *options: str) -> tuple[str, ...]:
    return "--peer", peer, *QUIET, "--no-web-seeds", "--timeout", "60", *options


def cached(user: CommandLine, commit: str) -> dict[str, bytes]:
    """What readers of the Hugging Face cache see of a commit."""
    folder = user.cache / f"models--{REPO.replace('/', '--')}" / "snapshots" / commit
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main_of(user: CommandLine) -> str | None:
    ref = user.cache / f"models--{REPO.replace('/', '--')}" / "refs" / "main"
    return ref.read_text() if ref.exists() else None


def shown(user: CommandLine) -> set[str]:
    """The snapshot's standing in every JSON answer that shows it."""
    row = user.ok("list")["snapshots"][0]
    return {row["standing"], user.ok("verify", REPO)["standing"], user.ok("status")["snapshots"][0]["standing"]}


def genuine_in_cache_alone(world: World, user: CommandLine) -> None:
    """Give a user the genuine snapshot as huggingface_hub would: in the cache, and nowhere else."""
    user.ok("trust", "add", world.identity, "--index", world.site)
    user.ok("fetch", REPO, *by(world.peer))
    user.ok("remove", REPO, "--yes")
    user.ok("trust", "remove", world.identity)
    assert (cached(user, world.commit), main_of(user)) == (GENUINE, world.commit)


def test_68_a_magnet_that_claims_a_real_commit_touches_nothing_in_the_cache(world, stranger, victim):
    genuine_in_cache_alone(world, victim)
    done = victim.ok("fetch", stranger.magnet, *by(stranger.peer))
    assert (done["provenance"], done["standing"], done["hf_cache"]) == ("unproven", "unvouched", None)
    assert (done["vouched_by"], done["trusted_unverified"]) == ([], False)
    assert any(text.startswith("standing: not put into the Hugging Face cache") for text in done["warnings"])
    assert (Path(done["path"]) / "config.json").read_bytes() == EVIL["config.json"]  # it stays under its own path
    assert (cached(victim, world.commit), main_of(victim)) == (GENUINE, world.commit)
    assert shown(victim) == {"unvouched"}
    again = victim.ok("fetch", stranger.magnet)
    assert (again["unchanged"], again["standing"], again["hf_cache"]) == (True, "unvouched", None)
    words = victim.run("fetch", stranger.magnet)
    assert "standing    unvouched: no publisher you trust lists it" in words.stdout
    assert "--trust-unverified" in words.stderr


def test_68_an_empty_cache_gets_nothing_either(stranger, victim):
    done = victim.ok("fetch", stranger.torrent, *by(stranger.peer))
    assert (done["standing"], done["hf_cache"]) == ("unvouched", None)
    assert not victim.cache.exists()


@pytest.mark.parametrize("wish", ["--hf-cache", "--set-main"])
def test_69_an_explicit_wish_is_refused_and_says_what_was_kept(world, stranger, victim, wish):
    genuine_in_cache_alone(world, victim)
    ended = victim.run("fetch", stranger.magnet, *by(stranger.peer, wish), "--json")
    assert ended.code == 3, ended
    held = victim.home / "library" / REPO / world.commit
    assert "unvouched" in ended.json["error"]["what"]
    assert str(held) in ended.json["error"]["hint"]
    assert (held / "config.json").read_bytes() == EVIL["config.json"]
    assert (cached(victim, world.commit), main_of(victim)) == (GENUINE, world.commit)
    assert victim.ok("list")["snapshots"][0]["state"] == "complete"


def test_69_through_a_running_node_too(world, stranger, victim):
    genuine_in_cache_alone(world, victim)
    node = p2pqwen("seed", "--listen", "127.0.0.1:0", *QUIET, "--json")
    with running(node, victim.environment) as process:
        process.json_line(60, containing='"listening"')
        ended = victim.run("fetch", stranger.magnet, *by(stranger.peer, "--set-main"), "--json")
        assert (ended.code, "unvouched" in ended.json["error"]["what"]) == (3, True)
        done = victim.ok("fetch", stranger.magnet, *by(stranger.peer))
        assert (done["standing"], done["hf_cache"]) == ("unvouched", None)
        assert victim.ok("status")["snapshots"][0]["standing"] == "unvouched"
    assert (cached(victim, world.commit), main_of(victim)) == (GENUINE, world.commit)


def test_69_a_repair_of_it_leaves_the_cache_alone_too(world, stranger, victim):
    genuine_in_cache_alone(world, victim)
    held = Path(victim.ok("fetch", stranger.magnet, *by(stranger.peer))["path"])
    weights = held / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    done = victim.ok("verify", REPO, "--repair", "--peer", stranger.peer)
    assert (done["ok"], done["standing"]) == (True, "unvouched")
    assert (cached(victim, world.commit), main_of(victim)) == (GENUINE, world.commit)


def test_70_trusted_unverified_it_still_replaces_nothing_and_is_recorded(world, stranger, victim):
    genuine_in_cache_alone(world, victim)
    done = victim.ok("fetch", stranger.magnet, *by(stranger.peer, "--trust-unverified"))
    assert (done["standing"], done["hf_cache"], done["trusted_unverified"]) == ("unvouched", None, False)
    assert (cached(victim, world.commit), main_of(victim)) == (GENUINE, world.commit)
    ended = victim.run("fetch", stranger.magnet, "--trust-unverified", "--hf-cache")
    assert (ended.code, "which is kept" in ended.stderr) == (3, True)
    assert (cached(victim, world.commit), main_of(victim)) == (GENUINE, world.commit)
    log = [json.loads(line) for line in (victim.home / "log" / "node.jsonl").read_text().splitlines()]
    assert [(one["event"], one["commit"]) for one in log] == [("trusted unverified", world.commit)] * 2


def test_70_the_lift_is_for_one_command_and_every_answer_says_it(world, stranger, victim):
    done = victim.ok("fetch", stranger.magnet, *by(stranger.peer, "--trust-unverified"))
    assert (done["standing"], done["trusted_unverified"]) == ("unvouched", True)
    assert cached(victim, world.commit) == EVIL
    assert Path(done["hf_cache"]).name == world.commit
    row, checked = victim.ok("list")["snapshots"][0], victim.ok("verify", REPO)
    assert (row["standing"], row["trusted_unverified"]) == ("unvouched", True)
    assert (checked["standing"], checked["trusted_unverified"]) == ("unvouched", True)
    assert "unvouched (trusted unverified)" in victim.run("list").stdout
    shutil.rmtree(victim.cache)
    assert victim.ok("fetch", stranger.magnet)["hf_cache"] is None
    victim.ok("remove", REPO, "--yes")
    victim.ok("trust", "add", world.identity, "--index", world.site)
    genuine = victim.ok("fetch", REPO, *by(world.peer))
    assert (genuine["standing"], victim.ok("list")["snapshots"][0]["trusted_unverified"]) == ("proven", False)


@pytest.mark.parametrize("state", ["complete", "partial"])
@pytest.mark.parametrize("lift", [(), ("--trust-unverified",)], ids=["", "lifted"])
def test_71_it_never_displaces_a_better_one_in_the_library(world, stranger, victim, state, lift):
    victim.ok("trust", "add", world.identity, "--index", world.site)
    chosen = ("--include", "*.json") if state == "partial" else ()
    victim.ok("fetch", REPO, *by(world.peer, *chosen))
    victim.ok("trust", "remove", world.identity)
    held = victim.home / "library" / REPO
    before = {path: path.read_bytes() for path in held.rglob("*") if path.is_file()}
    for target in (stranger.torrent, stranger.magnet):
        ended = victim.run("fetch", target, *by(stranger.peer, *lift), "--json")
        assert ended.code == 3, ended
        error = ended.json["error"]
        assert ("proven" in error["expected"], "unvouched" in error["got"]) == (True, True)
        assert stranger.preserved["infohash_v2"] in error["got"]
        assert f"p2pqwen remove {REPO}@{world.commit}" in error["hint"]
    assert {path: path.read_bytes() for path in held.rglob("*") if path.is_file()} == before
    assert victim.ok("verify", REPO)["standing"] == "proven"


def test_71_nor_one_that_a_trusted_index_lists_and_nobody_holds(world, stranger, victim):
    victim.ok("trust", "add", world.identity, "--index", world.site)
    ended = victim.run("fetch", stranger.magnet, *by(stranger.peer), "--json")
    assert (ended.code, "names another torrent" in ended.json["error"]["what"]) == (3, True)
    assert world.entry["infohash_v2"] in ended.json["error"]["expected"]
    assert victim.ok("list")["snapshots"] == []
    assert victim.ok("fetch", stranger.magnet, *by(stranger.peer, "--trust-unverified"))["standing"] == "unvouched"


@pytest.mark.parametrize("client", KEPT)
def test_71_nor_by_the_comment_of_a_torrent_that_carries_nothing_else(world, stranger, victim, tmp_path, client):
    """A comment names a repository as a link does: it is the stranger's word, with layers from peers or without."""
    saved = tmp_path / "saved.torrent"
    saved.write_bytes(as_saved_by(client, stranger.torrent.read_bytes()))
    named = ("--repo", REPO) if client == "aria2, webtorrent" else ()
    genuine_in_cache_alone(world, victim)
    done = victim.ok("fetch", saved, *named, *by(stranger.peer))
    assert (done["repo"], done["standing"], done["hf_cache"]) == (REPO, "unvouched", None)
    assert (cached(victim, world.commit), main_of(victim)) == (GENUINE, world.commit)
    assert shown(victim) == {"unvouched"}
    victim.ok("remove", REPO, "--yes")
    victim.ok("trust", "add", world.identity, "--index", world.site)
    ended = victim.run("fetch", saved, *named, *by(stranger.peer))
    assert ended.code == 3
    assert "names another torrent" in ended.stderr
    assert victim.ok("list")["snapshots"] == []


def test_71_nor_by_a_rebuild_nor_by_an_import(world, stranger, victim, tmp_path):
    victim.ok("trust", "add", world.identity, "--index", world.site)
    ended = victim.run("fetch", stranger.magnet, *QUIET, "--web-seeds", "auto", "--timeout", "2")
    assert (ended.code, "names another torrent" in ended.stderr) == (3, True), ended
    assert victim.ok("list")["snapshots"] == []
    victim.ok("fetch", REPO, *by(world.peer, "--include", "*.json"))
    held = victim.home / "library" / REPO
    before = {path: path.read_bytes() for path in held.rglob("*") if path.is_file()}
    evil = write_folder(tmp_path / "evil" / world.commit, EVIL)
    done = victim.ok("library", "import", evil, "--torrent", stranger.torrent, "--no-hf-cache")
    assert (done["imported"], "which is kept" in done["unmatched"][0]["reason"]) == ([], True)
    assert {path: path.read_bytes() for path in held.rglob("*") if path.is_file()} == before


def test_111_nor_by_an_import_of_what_is_listed_and_not_held(world, stranger, victim, tmp_path):
    """The stranger gives a folder and a torrent that fits it; then the listed one would find its place taken."""
    victim.ok("trust", "add", world.identity, "--index", world.site)
    evil = write_folder(tmp_path / "evil" / world.commit, EVIL)
    words = ("library", "import", evil, "--torrent", stranger.torrent, "--no-hf-cache")
    done = victim.ok(*words)
    assert (done["imported"], "names another torrent" in done["unmatched"][0]["reason"]) == ([], True)
    assert victim.ok("list")["snapshots"] == []
    victim.ok("trust", "remove", world.identity)
    (one,) = victim.ok(*words)["imported"]  # nobody says otherwise
    assert one["standing"] == "unvouched"


@pytest.mark.parametrize("client", KEPT)
def test_111_nor_by_a_torrent_whose_manifest_is_made_of_the_strangers_bytes(world, stranger, victim, tmp_path, client):
    victim.ok("trust", "add", world.identity, "--index", world.site)
    evil = write_folder(tmp_path / "evil" / world.commit, EVIL)
    saved = tmp_path / "saved.torrent"
    saved.write_bytes(as_saved_by(client, stranger.torrent.read_bytes()))
    done = victim.ok("library", "import", evil, "--torrent", saved, "--repo", REPO, "--no-hf-cache")
    assert (done["imported"], "names another torrent" in done["unmatched"][0]["reason"]) == ([], True)
    assert victim.ok("list")["snapshots"] == []


def with_a_strangers_rows(torrent: Path, path: Path) -> Path:
    """The same infohash, with a manifest that calls a small file LFS and names another license; unsigned."""
    metainfo = parse_metainfo(torrent.read_bytes())
    assert metainfo.manifest is not None
    genuine = parse_manifest(metainfo.manifest)
    rows = tuple(
        replace(row, lfs=True, git_oid=pointer_oid(row.sha256, row.size)) if row.path.text == "config.json" else row
        for row in genuine.files
    )
    evil = type(genuine)(genuine.snapshot, None, "mit", rows)
    path.write_bytes(replace(metainfo, manifest=evil.encode(), signatures={}).encode())
    return path


def test_112_a_listed_infohash_with_rows_of_a_strangers(world, victim, tmp_path):
    """The bytes are the publisher's; what is LFS and which license they have, the stranger's manifest says."""
    torrent = with_a_strangers_rows(world.torrent, tmp_path / "evil.torrent")
    victim.ok("trust", "add", world.identity, "--index", world.site)
    done = victim.ok("fetch", torrent, *by(world.peer))
    assert done["standing"] == "signed"
    kept = parse_metainfo(Path(done["torrent"]).read_bytes()).manifest
    before = parse_metainfo(world.torrent.read_bytes()).manifest
    assert kept is not None
    assert before is not None
    genuine = parse_manifest(before)
    assert parse_manifest(kept).files == genuine.files
    assert parse_manifest(kept).license == genuine.license
    (tree,) = victim.cache.rglob("trees/*.json")
    assert "lfs_sha256" not in json.loads(tree.read_text())["files"]["config.json"]


def test_112_nor_by_an_import(world, victim, tmp_path):
    torrent = with_a_strangers_rows(world.torrent, tmp_path / "evil.torrent")
    victim.ok("trust", "add", world.identity, "--index", world.site)
    copy = shutil.copytree(world.publisher.home / "library" / REPO / world.commit, tmp_path / "copy" / world.commit)
    done = victim.ok("library", "import", copy, "--torrent", torrent, "--no-hf-cache")
    assert (done["imported"], "names another manifest" in done["unmatched"][0]["reason"]) == ([], True)
    assert victim.ok("list")["snapshots"] == []


def test_124_held_with_rows_of_a_strangers_and_listed_later(world, victim, tmp_path):
    """The listing is of another manifest, and its .torrent cannot be reached when the snapshot is fetched again."""
    metainfo = replace(parse_metainfo(world.torrent.read_bytes()), signatures={})
    torrent = with_a_strangers_rows(world.torrent, tmp_path / "evil.torrent")
    assert victim.ok("fetch", torrent, *by(world.peer))["standing"] == "unvouched"
    index = tmp_path / "index.json"  # beside it there is no .torrent
    shutil.copy(world.site / "index.json", index)
    victim.ok("trust", "add", world.identity, "--index", index)
    done = victim.ok("fetch", REPO, *by(world.peer))
    assert (done["standing"], done["vouched_by"], done["hf_cache"]) == ("unvouched", [], None)
    assert shown(victim) == {"unvouched"}
    assert not victim.cache.exists()
    assert victim.run("fetch", REPO, *by(world.peer), "--hf-cache").code == 3
    victim.ok("trust", "remove", world.identity)
    victim.ok("trust", "add", world.identity, "--index", world.site)
    risen = victim.ok("fetch", REPO, *by(world.peer))  # and with the listed torrent it is what it can be
    assert risen["standing"] in {"signed", "proven"}
    assert parse_metainfo(Path(risen["torrent"]).read_bytes()).infohash == metainfo.infohash


def strangers_copy(metainfo: Metainfo) -> Metainfo:
    """The same infohash without proof and signatures, and with a web seed of the stranger's."""
    assert metainfo.manifest is not None
    bare = replace(parse_manifest(metainfo.manifest), commit_object=None)
    # A manifest that was read keeps its bytes: one that is made again has its own.
    made = type(bare)(bare.snapshot, None, "mit", bare.files)
    return replace(metainfo, manifest=made.encode(), signatures={}, web_seeds=("http://127.0.0.1:9/evil/",))


@pytest.mark.parametrize("state", ["complete", "partial"])
def test_72_the_same_bytes_with_a_worse_manifest_take_no_proof_away(world, victim, tmp_path, state):
    victim.ok("trust", "add", world.identity, "--index", world.site)
    victim.ok("fetch", REPO, *by(world.peer, *(("--include", "*.json") if state == "partial" else ())))
    torrent = tmp_path / "worse.torrent"
    torrent.write_bytes(strangers_copy(parse_metainfo(world.torrent.read_bytes())).encode())
    done = victim.ok("fetch", torrent, *by(world.peer))
    assert (done["standing"], done["state"]) == ("proven", "complete")
    assert [one["state"] for one in done["signers"]] == ["valid"]
    kept = parse_metainfo(Path(done["torrent"]).read_bytes())
    assert "mit" not in victim.ok("torrent", "show", done["torrent"])["manifest"]["license"]
    assert kept.signatures
    assert "http://127.0.0.1:9/evil/" not in kept.web_seeds


def test_73_a_listed_infohash_under_another_repository_is_nobodys_word(world, victim, tmp_path):
    """The infohash does not cover the repository's name: a stranger's manifest gives it any."""
    metainfo = parse_metainfo(world.torrent.read_bytes())
    assert metainfo.manifest is not None
    rows = parse_manifest(metainfo.manifest)
    evil = type(rows)(replace(rows.snapshot, repo=type(rows.snapshot.repo)("Evil/Tiny")), None, None, rows.files)
    torrent = tmp_path / "evil.torrent"
    torrent.write_bytes(replace(metainfo, manifest=evil.encode(), signatures={}).encode())
    victim.ok("trust", "add", world.identity, "--index", world.site)
    done = victim.ok("fetch", torrent, *by(world.peer))
    assert (done["repo"], done["standing"], done["hf_cache"]) == ("Evil/Tiny", "unvouched", None)


def test_73_a_made_up_commit_is_proven_and_still_not_main(victim, tmp_path):
    """Anybody can make a git commit and say that it is Qwen's: a proof is of the commit."""
    files = {"README.md": b"# Tiny\n", "config.json": b'{"evil": 1}\n'}
    metainfo = make_snapshot(files, REPO)
    torrent, folder = tmp_path / "evil.torrent", tmp_path / "evil"
    torrent.write_bytes(metainfo.encode())
    write_folder(folder, files)
    victim.ok("library", "import", folder, "--torrent", torrent, "--no-hf-cache")
    done = victim.ok("fetch", torrent)
    assert (done["standing"], done["vouched_by"]) == ("proven", [])
    assert cached(victim, metainfo.name) == files
    assert main_of(victim) is None
    victim.ok("fetch", torrent, "--set-main")
    assert main_of(victim) == metainfo.name


def test_74_one_key_of_two_that_it_takes_signs_no_snapshot(world, victim, tmp_path, stranger):
    rules = Rules(index=("index1", "index2"), index_threshold=2)
    roots = chain(rules)
    index = tmp_path / "index.json"
    index.write_bytes(make_index(roots, make_document(roots, entries=[make_entry(7, "Other/Model")]), rules.index))
    victim.ok("trust", "add", str(roots[0].root.digest), "--index", index)
    evil = replace(parse_metainfo(stranger.torrent.read_bytes()), signatures={})
    torrent = tmp_path / "evil.torrent"
    torrent.write_bytes(sign_torrent(evil, key("index1"), "one").encode())
    assert victim.ok("torrent", "show", torrent)["standing"] == "unvouched"
    done = victim.ok("fetch", torrent, *by(stranger.peer))
    assert ([one["state"] for one in done["signers"]], done["standing"]) == (["valid"], "unvouched")
    assert done["hf_cache"] is None
    both = sign_torrent(sign_torrent(evil, key("index1"), "one"), key("index2"), "two")
    torrent.write_bytes(both.encode())
    assert victim.ok("torrent", "show", torrent)["standing"] == "signed"


def test_74_who_is_trusted_no_longer_vouches_no_longer(world, stranger, victim, tmp_path):
    """A publisher who lied: what it vouched for is unvouched the moment it is not trusted."""
    liar = chain(Rules())
    entry = {**stranger_entry(stranger, world), "provenance": "unproven"}
    signed = {**make_document(liar).to_json(), "entries": [entry]}
    index = tmp_path / "index.json"
    index.write_bytes(make_index(liar, signed))
    identity = str(liar[0].root.digest)
    victim.ok("trust", "add", identity, "--index", index)
    done = victim.ok("fetch", f"{REPO}@{world.commit}", *by(stranger.peer))
    assert (done["standing"], done["vouched_by"][0]["by"]) == ("signed", "index")
    assert shown(victim) == {"signed"}
    victim.ok("trust", "remove", identity)
    assert shown(victim) == {"unvouched"}
    shutil.rmtree(victim.cache)
    assert victim.ok("fetch", f"{REPO}@{world.commit}")["hf_cache"] is None


def stranger_entry(stranger: Stranger, world: World) -> dict[str, Any]:
    """The entry that would list the stranger's torrent."""
    done = stranger.preserved
    same = ("repo", "commit", "size", "files", "piece_length", "infohash_v1", "infohash_v2", "manifest_sha256")
    magnet = make_entry(1).magnet  # its form
    assert "xl=" in magnet
    row = {**world.entry, **{name: done[name] for name in same}, "web_seeds": []}
    links = f"magnet:?xt=urn:btih:{done['infohash_v1']}&xt=urn:btmh:1220{done['infohash_v2']}"
    return {**row, "magnet": f"{links}&dn={REPO.replace('/', '%2F')}%40{world.commit}&xl={done['size']}"}


def test_75_a_listed_torrent_of_other_rows_raises_nothing(world, victim, tmp_path):
    """A publisher signs, for the bytes held here, a manifest that says otherwise of them: the old torrent stays."""
    victim.ok("fetch", world.entry["magnet"], *by(world.peer))
    held = Path(victim.ok("list")["snapshots"][0]["path"]).with_suffix(".torrent")
    before = held.read_bytes()
    site = tmp_path / "site"
    liar = chain(Rules())
    metainfo = parse_metainfo(world.torrent.read_bytes())
    assert metainfo.manifest is not None
    rows = parse_manifest(metainfo.manifest)
    first = next(row for row in rows.files if not row.lfs and row.size)
    other = next(row for row in rows.files if row.lfs)
    wrong = tuple(replace(row, sha256=other.sha256) if row is first else row for row in rows.files)
    lying = type(rows)(rows.snapshot, None, None, wrong)
    torrent = sign_torrent(replace(metainfo, manifest=lying.encode(), signatures={}), key("index"), "liar")
    (site / REPO).mkdir(parents=True)
    (site / REPO / world.torrent.name).write_bytes(torrent.encode())
    entry = {**world.entry, "manifest_sha256": str(lying.digest)}
    (site / "index.json").write_bytes(make_index(liar, {**make_document(liar).to_json(), "entries": [entry]}))
    victim.ok("trust", "add", str(liar[0].root.digest), "--index", site)
    ended = victim.run("fetch", REPO, "--json")
    assert ended.code == 0, ended
    assert "keeps its torrent" in ended.stderr
    assert ended.json["provenance"] == "unproven"
    assert held.read_bytes() == before
    victim.ok("list")
    victim.ok("verify", REPO)
    assert held.read_bytes() == before
