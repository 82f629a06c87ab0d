"""What a stranger's link left half done, and the genuine snapshot that comes to the same place after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from p2pqwen.errors import P2pqwenError
from p2pqwen.hub.cache import HubCache
from p2pqwen.hub.client import HubClient
from p2pqwen.library.checksummed import seal
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library
from p2pqwen.operations.preserve.rebuild import rebuild
from p2pqwen.operations.preserve.recipe_source import RecipeSource
from p2pqwen.operations.preserve.wanted_torrent import WantedTorrent
from p2pqwen.values.digest import CommitId, Sha1
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.simulators.hub import HubSimulator
from tests.support.addresses import LOOPBACK
from tests.support.command import CommandLine
from tests.support.forged import honest, spoilt
from tests.support.models import small_model, write_folder
from tests.support.web_seeds import PlainServer, served

REPO = "Qwen/Tiny"
MODEL = small_model(600_000)
FORGED = {
    **MODEL,
    "README.md": MODEL["README.md"].replace(b"apache-2.0", b"bigscience"),
    "config.json": MODEL["config.json"].replace(b"qwen3", b"evil3"),
    "adapter_config.json": b'{"base_model_name_or_path": "evil/model"}\n',
    "model/more.bin": b"a pickle\n",
    "scripts/run.py": b"import evil\n",
}


@pytest.fixture
def hub():
    with HubSimulator() as simulator:
        yield simulator


@pytest.fixture
def user(tmp_path, hub):
    return CommandLine(tmp_path / "user", hub.endpoint)


def below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def half_a_rebuild(user: CommandLine, commit: CommitId, folder: Path) -> None:
    """Rebuild from a stranger's host, which claims the genuine commit and breaks off before the last file."""
    with HubSimulator() as stranger:
        stranger.git = "off"
        made = stranger.add(REPO, write_folder(folder, FORGED))
        repository = stranger.repository(REPO)
        repository.commits[commit] = repository.commits.pop(made)
        stranger.fault("404", "model.safetensors")
        with pytest.raises(P2pqwenError):
            rebuild(
                WantedTorrent(Sha1(b"1" * 20), None),
                [RecipeSource(stranger.endpoint, SnapshotId(RepoId(REPO), commit))],
                open_origin=lambda endpoint: HubClient(endpoint, None, named=LOOPBACK),
                cache=HubCache(user.cache),
                library=Library(Home(user.home)),
            )


def half_a_fetch(user: CommandLine, commit: CommitId, folder: Path) -> None:
    """Leave what a fetch by a bare magnet leaves that nobody finished: files, and no torrent to tell whose."""
    write_folder(user.home / "library" / REPO / str(commit), {name: data for name, data in FORGED.items() if data})


def both_and_a_marker(user: CommandLine, commit: CommitId, folder: Path) -> None:
    """Leave what a rebuild left and what fetches left, one of which was killed before it wrote its torrent."""
    half_a_rebuild(user, commit, folder)
    half_a_fetch(user, commit, folder)
    marker = user.home / "library" / REPO / f"{commit}.partial"
    marker.write_bytes(seal({"state": "partial", "selected": ["*.json"]}))


@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(both_and_a_marker, id="104-both"),
        pytest.param(half_a_rebuild, id="104-a-rebuild"),
        pytest.param(half_a_fetch, id="104-a-fetch"),
    ],
)
def test_a_genuine_snapshot_has_no_file_of_a_strangers(user, hub, tmp_path, leave):
    commit = hub.add(REPO, write_folder(tmp_path / "genuine", MODEL))
    leave(user, commit, tmp_path / "forged")
    done = user.ok("preserve", REPO)
    assert done["provenance"] == "proven"
    assert below(Path(done["path"])) == MODEL
    assert [one["state"] for one in user.ok("list")["snapshots"]] == ["complete"]
    assert user.ok("verify", REPO)["extra"] == []


def test_104_nor_has_one_that_is_fetched(user, tmp_path):
    metainfo = honest(MODEL, REPO, "a1" * 20)
    half_a_fetch(user, CommitId.parse("a1" * 20), tmp_path)
    torrent = tmp_path / "genuine.torrent"
    torrent.write_bytes(metainfo.encode())
    with PlainServer(served(MODEL, metainfo)) as server:
        done = user.ok("fetch", torrent, "--only-web-seeds", "--web-seed", server.url, "--no-hf-cache")
    assert below(Path(done["path"])) == MODEL


def test_104_a_folder_of_the_users_that_is_linked_there_stays(user, hub, tmp_path):
    commit = hub.add(REPO, write_folder(tmp_path / "genuine", MODEL))
    mine = write_folder(tmp_path / "mine", FORGED)
    place = user.home / "library" / REPO / str(commit)
    place.parent.mkdir(parents=True)
    place.symlink_to(mine)
    assert below(Path(user.ok("preserve", REPO)["path"])) == MODEL
    assert below(mine) == FORGED


def test_104_nor_does_a_strangers_readme_tell_the_license(user, hub, tmp_path):
    commit = hub.add(REPO, write_folder(tmp_path / "genuine", MODEL))
    half_a_rebuild(user, commit, tmp_path / "forged")
    done = user.ok("preserve", "--org", "Qwen", "--license", "apache-2.0")
    assert [one["repo"] for one in done["preserved"]] == [REPO]
    assert below(Path(user.ok("list")["snapshots"][0]["path"])) == MODEL


@pytest.mark.parametrize("manifest", [True, False], ids=["105-with-a-manifest", "105-without-one"])
def test_resume_data_speak_of_bytes_that_were_there_once(user, tmp_path, manifest):
    """Another torrent of the commit, or a power cut, wrote to files whose pieces resume data say are there."""
    metainfo = honest(MODEL, REPO, "a1" * 20)
    torrent = tmp_path / "x.torrent"
    torrent.write_bytes(replace(metainfo, manifest=metainfo.manifest if manifest else None).encode())
    options = ("--only-web-seeds", "--repo", REPO, "--no-hf-cache", "--timeout", "10")
    files = served(MODEL, metainfo)
    with PlainServer({name: data for name, data in files.items() if "config.json" not in name}) as server:
        weights = user.home / "library" / REPO / ("a1" * 20) / "model.safetensors"
        for _ in range(5):  # it gives up once nobody has the small file, and may not have all of the large one by then
            assert user.run("fetch", torrent, *options, "--web-seed", server.url).code == 5
            if weights.read_bytes() == MODEL["model.safetensors"]:
                break
    (held,) = user.ok("list")["snapshots"]
    assert (held["state"], Path(held["path"])) == ("incomplete", weights.parent)
    assert weights.read_bytes() == MODEL["model.safetensors"]
    weights.write_bytes(spoilt(MODEL)["model.safetensors"])
    with PlainServer(files) as server:
        user.ok("fetch", torrent, *options, "--web-seed", server.url)
    assert below(Path(held["path"])) == MODEL
