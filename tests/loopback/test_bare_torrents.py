"""A .torrent that another client saved, without piece layers and much else, is taken wherever ours is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from p2pqwen.torrent.metainfo import parse_metainfo
from tests.support.bare_torrents import KEPT, as_saved_by
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.swarm import COMMIT, QUIET, REPO, preserve, seeding
from tests.support.web_seeds import PlainServer

FILES = small_model()
NAMELESS = "aria2, webtorrent"  # neither a manifest nor a comment


class Publisher:
    """Somebody who preserved a model and seeds it."""

    def __init__(self, folder: Path) -> None:
        self.user = CommandLine(folder / "publisher")
        self.torrent = Path(preserve(self.user, folder / "model", FILES)["torrent"])
        self.peer = ""

    def saved(self, client: str, folder: Path) -> Path:
        path = folder / "saved.torrent"
        path.write_bytes(as_saved_by(client, self.torrent.read_bytes()))
        return path


@pytest.fixture(scope="module")
def publisher(tmp_path_factory):
    one = Publisher(tmp_path_factory.mktemp("publisher"))
    with seeding(one.user) as (_, one.peer):
        yield one


@pytest.fixture
def user(tmp_path):
    return CommandLine(tmp_path / "user")


def whose(client):
    return ("--repo", REPO) if client == NAMELESS else ()


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check(done, user, publisher):
    """A snapshot like any other: whole, unvouched, with a torrent that has its layers and a manifest."""
    assert (done["repo"], done["commit"], done["standing"]) == (REPO, COMMIT, "unvouched")
    assert done["hf_cache"] is None
    assert content(Path(done["path"])) == FILES
    (held,) = user.ok("list")["snapshots"]
    assert (held["repo"], held["state"]) == (REPO, "complete")
    torrent = parse_metainfo(Path(f"{done['path']}.torrent").read_bytes())
    original = parse_metainfo(publisher.torrent.read_bytes())
    assert (torrent.infohash, torrent.piece_layers) == (original.infohash, original.piece_layers)
    assert torrent.manifest is not None
    assert user.ok("verify", REPO)["ok"] is True


@pytest.mark.parametrize("client", KEPT)
def test_it_is_fetched_from_peers(user, publisher, tmp_path, client):
    torrent = publisher.saved(client, tmp_path)
    done = user.ok(
        "fetch", torrent, *whose(client), "--peer", publisher.peer, *QUIET, "--no-web-seeds", "--timeout", "30"
    )
    check(done, user, publisher)
    again = user.ok("fetch", torrent, *whose(client))
    assert again["unchanged"] is True


@pytest.mark.parametrize("client", KEPT)
def test_its_layers_are_rebuilt_from_the_bytes_that_a_web_seed_gives(user, publisher, tmp_path, client):
    torrent = publisher.saved(client, tmp_path)
    with PlainServer({f"{COMMIT}/{name}": data for name, data in FILES.items()}) as server:
        done = user.ok(
            "fetch", torrent, *whose(client), "--only-web-seeds", "--web-seed", server.url, "--timeout", "30"
        )
    check(done, user, publisher)


@pytest.mark.parametrize("client", KEPT)
def test_files_can_be_chosen_by_the_layers_that_a_peer_gives(user, publisher, tmp_path, client):
    torrent = publisher.saved(client, tmp_path)
    done = user.ok(
        "fetch", torrent, *whose(client), "--include", "config.json", "--peer", publisher.peer, *QUIET,
        "--no-web-seeds", "--timeout", "30",
    )  # fmt: skip
    assert done["file_paths"] == [done["path"]]
    assert content(Path(done["path"]).parent) == {"config.json": FILES["config.json"]}


@pytest.mark.parametrize("client", KEPT)
def test_it_is_shown_and_what_it_lacks_is_said(user, publisher, tmp_path, client):
    torrent = publisher.saved(client, tmp_path)
    shown = user.ok("torrent", "show", torrent)
    original = parse_metainfo(publisher.torrent.read_bytes())
    assert (shown["infohash_v1"], shown["infohash_v2"]) == (str(original.infohash.v1), str(original.infohash.v2))
    assert shown["piece_layers"] is False
    assert any(warning.startswith("piece layers: missing") for warning in shown["warnings"])
    named = shown["manifest"] is not None
    assert shown["claimed"] == (None if named or client == NAMELESS else f"{REPO}@{COMMIT}")
    assert user.ok("torrent", "show", publisher.torrent)["piece_layers"] is True


@pytest.mark.parametrize("client", KEPT)
def test_a_folder_is_verified_by_it(user, publisher, tmp_path, client):
    torrent = publisher.saved(client, tmp_path)
    folder = write_folder(tmp_path / "model", FILES)
    assert user.ok("verify", folder, "--torrent", torrent)["ok"] is True
    assert user.ok("verify", torrent, "--data", folder)["ok"] is True
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[600_000] ^= 1
    weights.write_bytes(data)
    ended = user.run("verify", folder, "--torrent", torrent, "--json")
    assert (ended.code, [bad["path"] for bad in ended.json["bad"]]) == (3, ["model.safetensors"])


def test_it_takes_nothing_from_the_torrent_that_is_held(publisher, tmp_path):
    user = CommandLine(tmp_path / "keeper")
    shutil.copytree(publisher.user.home / "library", user.home / "library")
    held = user.home / "library" / REPO / f"{COMMIT}.torrent"
    before = held.read_bytes()
    for client in KEPT:
        done = user.ok("fetch", publisher.saved(client, tmp_path), *whose(client), "--no-hf-cache")
        assert done["unchanged"] is True
        assert held.read_bytes() == before, client


def test_nothing_names_it_at_all(user, publisher, tmp_path):
    ended = user.run("fetch", publisher.saved(NAMELESS, tmp_path), *QUIET)
    assert ended.code == 2
    assert "--repo ORG/MODEL" in ended.stderr


@pytest.mark.parametrize("place", ["folder", "cache"])
@pytest.mark.parametrize("client", KEPT)
def test_files_that_are_here_are_imported_by_it(user, publisher, tmp_path, client, place):
    torrent = publisher.saved(client, tmp_path)
    folder = tmp_path / "models" / "tiny"
    if place == "cache":
        folder = user.cache / f"models--{REPO.replace('/', '--')}" / "snapshots" / COMMIT
    write_folder(folder, {name: data for name, data in FILES.items() if data})  # another client may make no empty ones
    where = () if place == "cache" else (tmp_path / "models", "--no-hf-cache")
    (one,) = user.ok("library", "import", *where, "--torrent", torrent, *whose(client))["imported"]
    assert one["bytes_missing"] == 0
    check({**one, "hf_cache": None}, user, publisher)


@pytest.mark.parametrize("client", KEPT)
def test_an_import_of_files_that_differ_takes_nothing_and_leads_to_a_fetch(user, publisher, tmp_path, client):
    torrent = publisher.saved(client, tmp_path)
    files = {**FILES, "config.json": FILES["config.json"].replace(b"{", b"[", 1)}
    folder = write_folder(tmp_path / "model", files)
    ended = user.run("library", "import", folder, "--torrent", torrent, *whose(client), "--no-hf-cache", "--json")
    assert (ended.code, f"p2pqwen fetch {torrent}" in ended.json["error"]["hint"]) == (4, True)
    assert user.ok("list")["snapshots"] == []


def test_an_import_needs_to_know_whose_it_is(user, publisher, tmp_path):
    folder = write_folder(tmp_path / "model", FILES)
    ended = user.run("library", "import", folder, "--torrent", publisher.saved(NAMELESS, tmp_path), "--json")
    assert (ended.code, ended.json["error"]["hint"]) == (3, "name it: --repo ORG/MODEL")
