"""Operations need an origin and no Hub: one in memory is preserved, watched, rebuilt from and published beside."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from p2pqwen.errors import NetworkError, NotFoundError, NotShownError, P2pqwenError, VerificationError
from p2pqwen.hub.cache import HubCache
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import Library, State
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.upstream_store import UpstreamStore
from p2pqwen.manifest.manifest import parse_manifest
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.archive.bulk_preserve import BulkContext, BulkOptions, bulk_preserve
from p2pqwen.operations.archive.bulk_survey import wanted_repos
from p2pqwen.operations.archive.upstream import check_upstream
from p2pqwen.operations.preserve.from_origin import PreserveOptions, preserve
from p2pqwen.operations.preserve.rebuild import rebuild
from p2pqwen.operations.preserve.recipe_source import RecipeSource
from p2pqwen.operations.preserve.wanted_torrent import WantedTorrent
from p2pqwen.operations.publish.plan import Plan
from p2pqwen.stewardship.bulk_plan import Action
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import Owner, RepoId
from tests.support.models import small_model
from tests.support.origin import MemoryOrigin

REPO, OTHER, CLOSED = RepoId("Org/Tiny"), RepoId("Org/Other"), RepoId("Org/Closed")
FILES = small_model(400_000)
NOW = datetime(2026, 11, 29, tzinfo=UTC)
CRLF = b"version https://git-lfs.github.com/spec/v1\r\noid sha256:%s\r\nsize %d\r\n"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refused(*_: object) -> None:
        raise AssertionError("something asked a network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.fixture
def origin():
    origin = MemoryOrigin()
    origin.add(REPO, FILES)
    return origin


@pytest.fixture
def library(tmp_path):
    return Library(Home(tmp_path / "home"))


@pytest.fixture
def bring(origin, library, tmp_path):
    """Preserve from the origin into the library."""

    def bring(repo: RepoId = REPO, revision: str | None = None, **options: object):
        chosen = PreserveOptions(**options)
        cache = HubCache(tmp_path / "cache")
        return preserve(repo, revision, origin=origin, cache=cache, library=library, options=chosen)

    return bring


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_snapshot_is_preserved_proven_with_the_origin_as_its_web_seed(origin, library, bring):
    done = bring()
    snapshot = origin.shown[REPO].listing.snapshot
    assert (done.held.id, done.held.state, done.unchanged) == (snapshot, State.COMPLETE, False)
    assert content(done.held.folder) == FILES
    assert done.provenance is Provenance.PROVEN
    assert done.metainfo.web_seeds == ("https://origin.example/files/Org/Tiny/",)
    assert done.bytes_downloaded == sum(map(len, FILES.values()))
    assert not list(library.root.rglob("*.arriving"))
    assert sorted(one for one in origin.asked if one.startswith("download")) == sorted(f"download: {n}" for n in FILES)


def test_what_is_held_is_not_downloaded_again(origin, bring):
    first = bring()
    origin.asked.clear()
    again = bring(revision=str(first.held.id.commit)[:12])
    assert again.unchanged
    assert again.metainfo == first.metainfo
    assert origin.asked == ["resolve: Org/Tiny"]


def test_without_a_commit_object_it_is_unproven_until_there_is_one(origin, bring):
    origin.silent.add("commit object")
    assert bring().provenance is not Provenance.PROVEN
    origin.silent.clear()
    proven = bring()
    assert (proven.provenance, proven.unchanged) == (Provenance.PROVEN, True)


def test_modes_and_pointers_that_a_listing_does_not_tell_come_over_git(origin, bring):
    def crlf(sha256: Sha256, size: int) -> bytes:
        return CRLF % (str(sha256).encode(), size)

    origin.add(REPO, FILES | {"run.sh": b"#!/bin/sh\n"}, executable=["run.sh"], pointer_of=crlf)
    done = bring()
    assert done.provenance is Provenance.PROVEN
    rows = {row.path.text: row for row in parse_manifest(done.metainfo.manifest).files}
    assert rows["run.sh"].mode == "100755"
    sha256 = hashlib.sha256(FILES["model.safetensors"]).hexdigest().encode()
    assert rows["model.safetensors"].pointer == (CRLF % (sha256, len(FILES["model.safetensors"]))).decode()
    assert {"tree rows", "small blobs"} <= {one.partition(":")[0] for one in origin.asked}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_an_origin_that_gives_other_bytes_is_refused(origin, library, bring, name):
    origin.shown[REPO].serves[name] = bytes(len(FILES[name]))
    with pytest.raises(VerificationError, match=name):
        bring()
    assert library.all() == []


def test_an_origin_whose_commit_is_another_is_refused(origin, library, bring):
    other = MemoryOrigin()
    other.add(REPO, FILES | {"config.json": b"{}"})
    origin.shown[REPO] = replace(origin.shown[REPO], commit_object=other.shown[REPO].commit_object)
    with pytest.raises(VerificationError):
        bring()
    assert library.all() == []


@pytest.mark.parametrize(
    ("repo", "revision", "error"),
    [(OTHER, None, NotShownError), (REPO, "f" * 40, NotShownError), (CLOSED, None, P2pqwenError)],
)
def test_what_is_not_shown_or_not_free_is_not_preserved(origin, library, bring, repo, revision, error):
    origin.add(CLOSED, {"config.json": b"{}"}, gated=True)
    with pytest.raises(error):
        bring(repo, revision)
    assert library.all() == []
    assert bring(CLOSED, allow_gated=True).held.id.repo == CLOSED


@pytest.fixture
def places(origin, library, tmp_path):
    with StateStore(tmp_path / "state.sqlite") as store:
        cache = HubCache(tmp_path / "cache")
        yield BulkContext(origin, cache, library, UpstreamStore(store), clock=lambda: NOW, sleep=lambda _: None)


def test_an_organisation_is_preserved_and_missed_when_it_is_gone(origin, places):
    origin.add(OTHER, {"README.md": b"---\nlicense: mit\n---\n", "config.json": b"{}"}, license="mit")
    origin.add(CLOSED, {"config.json": b"{}"}, gated=True)
    wanted = wanted_repos(None, [Owner("Org")], origin)
    assert [one.repo for one in wanted.repos] == [CLOSED, OTHER, REPO]
    result = bulk_preserve(wanted, BulkOptions(), places)
    assert {one.held.id.repo for one in result.done} == {REPO, OTHER}
    assert [row.survey.wanted.repo for row in result.of(Action.SKIPPED)] == [CLOSED]

    held = [one.id for one in places.library.all()]
    assert check_upstream(held, origin, places.upstream, clock=lambda: NOW).vanished == ()
    del origin.shown[OTHER]
    checked = check_upstream(held, origin, places.upstream, clock=lambda: NOW)
    assert [one.repo for one in checked.vanished] == [OTHER]


def test_a_silent_origin_fails_one_organisation_and_says_so(origin):
    origin.silent.add("repos")
    with pytest.raises(NetworkError, match="no answer about Org"):
        wanted_repos(None, [Owner("Org")], origin)
    origin.silent.clear()
    with pytest.raises(NotFoundError, match="Nobody"):
        wanted_repos(None, [Owner("Nobody")], origin)


def test_a_torrent_is_rebuilt_from_the_origin_that_has_its_bytes(origin, bring, tmp_path):
    magnet = bring().magnet
    lying, silent = MemoryOrigin(), MemoryOrigin(silent={"resolve"})
    lying.shown[REPO] = replace(origin.shown[REPO], serves=FILES | {"config.json": bytes(len(FILES["config.json"]))})
    origins = {"https://silent.example": silent, "https://lying.example": lying, "https://origin.example": origin}
    library = Library(Home(tmp_path / "another"))
    done = rebuild(
        WantedTorrent.of(magnet),
        [RecipeSource(endpoint, origin.shown[REPO].listing.snapshot) for endpoint in origins],
        open_origin=origins.__getitem__,
        cache=HubCache(tmp_path / "cache"),
        library=library,
    )
    assert done.source.endpoint == "https://origin.example"
    assert done.preserved.metainfo.infohash.v2 == magnet.infohash_v2
    assert content(library.all()[0].folder) == FILES


def test_an_index_lists_the_bases_that_the_origin_has(origin, tmp_path):
    plan = Plan(tmp_path / "site", origin.site, web_seeds=("https://mirror.example/{repo}/",))
    snapshot = origin.shown[REPO].listing.snapshot
    assert plan.seed_patterns(snapshot) == ("https://origin.example/files/{repo}/", "https://mirror.example/{repo}/")
    assert plan.web_seeds_of(snapshot) == (
        "https://origin.example/files/Org/Tiny/",
        "https://mirror.example/Org/Tiny/",
    )
