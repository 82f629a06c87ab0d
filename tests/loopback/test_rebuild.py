"""A torrent is rebuilt from the Hub by the recipe, and only the one that was asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2pqwen.errors import NetworkError, NotFoundError, VerificationError
from p2pqwen.hub.cache import HubCache
from p2pqwen.hub.client import HubClient
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library, State
from p2pqwen.operations.preserve.from_origin import preserve
from p2pqwen.operations.preserve.rebuild import rebuild
from p2pqwen.operations.preserve.recipe_source import RecipeSource, recipe_sources, repo_of
from p2pqwen.operations.preserve.wanted_torrent import WantedTorrent
from p2pqwen.torrent.magnet import Magnet, parse_magnet
from p2pqwen.values.digest import CommitId, Sha1, Sha256
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.simulators.hub import HubSimulator
from tests.support.addresses import LOOPBACK
from tests.support.models import small_model, write_folder

REPO = RepoId("Qwen/Tiny")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = "https://huggingface.co"
MIRROR = "https://mirror.example"
SOME = Sha1(b"\x01" * 20)


@pytest.fixture
def hub(tmp_path):
    with HubSimulator() as running:
        running.add(str(REPO), write_folder(tmp_path / "model", small_model(700_000)))
        yield running


@pytest.fixture
def magnet(hub, tmp_path):
    """The magnet that another preserver gave out."""
    return bring(hub, tmp_path / "other").magnet


def bring(hub, folder):
    return preserve(
        REPO,
        None,
        origin=HubClient(hub.endpoint, None, named=LOOPBACK),
        cache=HubCache(folder / "hf"),
        library=Library(Home(folder)),
    )


def try_rebuild(wanted, sources, folder):
    return rebuild(
        wanted,
        sources,
        open_origin=lambda endpoint: HubClient(endpoint, None, named=LOOPBACK),
        cache=HubCache(folder / "hf"),
        library=Library(Home(folder)),
    )


def nothing_kept(folder):
    library = Library(Home(folder))
    staged = [path for path in (folder / "library").rglob("*") if path.is_file()]
    return library.all() == [] and staged == []


def test_a_magnet_with_no_peers_ends_in_a_verified_snapshot(hub, magnet, tmp_path):
    sources = recipe_sources(magnet, None, hub.endpoint)
    done = try_rebuild(WantedTorrent.of(magnet), sources, tmp_path / "mine")
    held = done.preserved.held
    assert held.state is State.COMPLETE
    assert held.metainfo().infohash.v2 == magnet.infohash_v2
    assert str(held.id) == magnet.name
    assert done.source.endpoint == hub.endpoint
    assert (held.folder / "model.safetensors").read_bytes() == small_model(700_000)["model.safetensors"]


@pytest.mark.parametrize("known", ["v1", "v2", "both"])
def test_one_infohash_is_enough(hub, magnet, tmp_path, known):
    wanted = WantedTorrent(magnet.infohash_v1 if known != "v2" else None, magnet.infohash_v2 if known != "v1" else None)
    sources = recipe_sources(magnet, None, hub.endpoint)
    assert try_rebuild(wanted, sources, tmp_path / "mine").preserved.held.state is State.COMPLETE


@pytest.mark.parametrize(
    "wanted",
    [
        lambda magnet: WantedTorrent(SOME, None),
        lambda magnet: WantedTorrent(None, Sha256.of(b"another")),
        lambda magnet: WantedTorrent(magnet.infohash_v1, Sha256.of(b"another")),
        lambda magnet: WantedTorrent(SOME, magnet.infohash_v2),
    ],
)
def test_other_bytes_are_refused_and_not_kept(hub, magnet, tmp_path, wanted):
    with pytest.raises(VerificationError, match="serves other bytes") as caught:
        try_rebuild(wanted(magnet), recipe_sources(magnet, None, hub.endpoint), tmp_path / "mine")
    assert caught.value.expected != caught.value.got
    assert nothing_kept(tmp_path / "mine")


def test_another_size_is_refused_before_anything_is_downloaded(hub, magnet, tmp_path):
    before = len(hub.calls(kind="resolve"))
    wanted = replace(WantedTorrent.of(magnet), size=magnet.size + 1)
    with pytest.raises(VerificationError, match="another size"):
        try_rebuild(wanted, recipe_sources(magnet, None, hub.endpoint), tmp_path / "mine")
    assert len(hub.calls(kind="resolve")) == before
    assert nothing_kept(tmp_path / "mine")


def test_bytes_spoiled_on_the_way_are_refused(hub, magnet, tmp_path):
    hub.fault("corrupt", "model.safetensors")
    with pytest.raises(VerificationError, match=r"model\.safetensors"):
        try_rebuild(WantedTorrent.of(magnet), recipe_sources(magnet, None, hub.endpoint), tmp_path / "mine")
    assert Library(Home(tmp_path / "mine")).all() == []


def test_what_is_here_already_is_compared_too(hub, magnet, tmp_path):
    bring(hub, tmp_path / "mine")
    sources = recipe_sources(magnet, None, hub.endpoint)
    assert try_rebuild(WantedTorrent.of(magnet), sources, tmp_path / "mine").preserved.unchanged
    with pytest.raises(VerificationError, match="serves other bytes"):
        try_rebuild(WantedTorrent(SOME, None), sources, tmp_path / "mine")
    assert len(Library(Home(tmp_path / "mine")).all()) == 1


def test_the_second_source_serves_what_the_first_does_not(hub, magnet, tmp_path):
    snapshot = SnapshotId.parse(magnet.name)
    sources = [RecipeSource("http://127.0.0.1:9", snapshot), RecipeSource(hub.endpoint, snapshot)]
    done = try_rebuild(WantedTorrent.of(magnet), sources, tmp_path / "mine")
    assert done.source.endpoint == hub.endpoint


def test_nobody_serves_it(hub, magnet, tmp_path):
    gone = RecipeSource("http://127.0.0.1:9", SnapshotId.parse(magnet.name))
    with pytest.raises(NetworkError):
        try_rebuild(WantedTorrent.of(magnet), [gone], tmp_path / "mine")
    hub.delete(str(REPO))
    with pytest.raises(NotFoundError):
        try_rebuild(WantedTorrent.of(magnet), recipe_sources(magnet, None, hub.endpoint), tmp_path / "mine")
    with pytest.raises(NotFoundError, match="no source is known"):
        try_rebuild(WantedTorrent.of(magnet), [], tmp_path / "mine")


def test_wrong_bytes_matter_more_than_a_dead_host(hub, magnet, tmp_path):
    snapshot = SnapshotId.parse(magnet.name)
    sources = [RecipeSource(hub.endpoint, snapshot), RecipeSource("http://127.0.0.1:9", snapshot)]
    with pytest.raises(VerificationError):
        try_rebuild(WantedTorrent(SOME, None), sources, tmp_path / "mine")


@pytest.mark.parametrize(
    ("name", "web_seeds", "repo", "expected"),
    [
        (f"Qwen/Tiny@{COMMIT}", [], None, [(HUB, "Qwen/Tiny")]),
        (f"Qwen/Tiny@{COMMIT}", [f"{HUB}/Qwen/Tiny/resolve/"], None, [(HUB, "Qwen/Tiny")]),
        (f"Qwen/Tiny@{COMMIT}", [f"{MIRROR}/Qwen/Tiny/resolve/"], None, [(HUB, "Qwen/Tiny"), (MIRROR, "Qwen/Tiny")]),
        (COMMIT, [f"{MIRROR}/Qwen/Tiny/resolve/"], None, [(HUB, "Qwen/Tiny"), (MIRROR, "Qwen/Tiny")]),
        (None, [f"{MIRROR}/Qwen/Tiny/resolve/{COMMIT}/"], None, [(HUB, "Qwen/Tiny"), (MIRROR, "Qwen/Tiny")]),
        (None, [f"{MIRROR}/api/resolve-cache/models/Qwen/Tiny/{COMMIT}"], None,
         [(HUB, "Qwen/Tiny"), (MIRROR, "Qwen/Tiny")]),
        (COMMIT, [], "Qwen/Tiny", [(HUB, "Qwen/Tiny")]),
        (f"Qwen/Tiny@{COMMIT}", [f"{MIRROR}/Other/Model/resolve/"], None, [(HUB, "Qwen/Tiny")]),
        (f"Qwen/Tiny@{COMMIT}", [f"{MIRROR}/files/"], None, [(HUB, "Qwen/Tiny")]),
        (f"Other/Name@{COMMIT}", [], "Qwen/Tiny", [(HUB, "Qwen/Tiny")]),
        ("Qwen/Tiny", [f"{HUB}/Qwen/Tiny/resolve/"], None, []),
        ("Qwen/Tiny@main", [], None, []),
        (COMMIT, [], None, []),
        (None, [], None, []),
        ("a film", [f"{HUB}/Qwen/Tiny/blob/{COMMIT}/"], None, []),
    ],
)  # fmt: skip
def test_where_a_magnet_may_be_rebuilt_from(name, web_seeds, repo, expected):
    magnet = Magnet(SOME, name=name, web_seeds=tuple(web_seeds))
    found = recipe_sources(magnet, None if repo is None else RepoId(repo), HUB + "/")
    assert [(one.endpoint, str(one.snapshot.repo)) for one in found] == expected
    assert all(one.snapshot.commit == CommitId.parse(COMMIT) for one in found)


def test_few_sources_are_asked():
    many = tuple(f"https://mirror{number}.example/Qwen/Tiny/resolve/" for number in range(9))
    found = recipe_sources(Magnet(SOME, name=f"Qwen/Tiny@{COMMIT}", web_seeds=many), None, HUB)
    assert len(found) == 3


def test_the_repository_may_come_from_a_web_seed(magnet):
    assert repo_of(magnet) == REPO
    assert repo_of(Magnet(SOME, web_seeds=(f"{HUB}/Qwen/Tiny/resolve/",))) == REPO
    assert repo_of(parse_magnet(f"magnet:?xt=urn:btih:{SOME}&dn=a+film")) is None


def test_preservers_of_one_commit_make_one_torrent(hub, tmp_path):
    one, other = bring(hub, tmp_path / "one"), bring(hub, tmp_path / "other")
    assert one.metainfo.infohash == other.metainfo.infohash
    assert one.metainfo.manifest == other.metainfo.manifest
