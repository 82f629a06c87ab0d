"""Several origins as one, in memory: who is asked, whose a snapshot is, and where its bytes come from."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from p2pqwen.errors import ClosedError, DiskError, NetworkError, NotShownError, UsageError, VerificationError
from p2pqwen.manifest.git_object import blob_oid
from p2pqwen.manifest.manifest import FileRow, Manifest
from p2pqwen.operations.preserve.origins import SLOW_SECONDS, Origins
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import OriginName, Owner, RepoId
from tests.support.origin import MemoryOrigin, MemorySite

REPO = RepoId("Qwen/Tiny")
THEIRS = REPO.at(OriginName.MODELSCOPE)
FILES = {"README.md": b"# A model\n", "config.json": b"{}\n", "model.safetensors": b"w" * 400_000}
MORE = {**FILES, "configuration.json": b"{}\n"}


@pytest.fixture
def hub():
    return MemoryOrigin()


@pytest.fixture
def modelscope():
    return MemoryOrigin(MemorySite("https://second.example"))


def origins(hub, modelscope, **settings):
    return Origins(hub, modelscope, **settings)


def manifest_of(snapshot, files):
    rows = [
        FileRow(path, len(files[path.text]), Sha256.of(files[path.text]), oid, lfs=path.text.endswith(".safetensors"))
        for path, _, oid in snapshot.rows
    ]
    listing = snapshot.listing
    rows.sort(key=lambda row: row.path.sort_key)
    return Manifest(listing.snapshot, snapshot.commit_object, None, tuple(rows))


@pytest.mark.parametrize("auto", [False, True])
def test_each_repository_is_asked_for_where_it_lies(hub, modelscope, auto):
    mine, other = hub.add(REPO, FILES), modelscope.add(THEIRS, {"a.bin": b"other"})
    both = origins(hub, modelscope, auto=auto)
    assert both.resolve(REPO).snapshot == mine
    assert not modelscope.asked
    assert both.resolve(THEIRS, renamed=True).snapshot == other
    assert both.resolve(THEIRS).snapshot == other
    assert both.serves(mine)
    assert both.serves(other)
    assert both.commit_object(other) == modelscope.shown[THEIRS].commit_object
    assert both.site.web_seeds(REPO) == hub.site.web_seeds(REPO)
    assert both.site.web_seeds(THEIRS) == modelscope.site.web_seeds(THEIRS)


def test_what_the_hub_lists_is_the_hubs_and_exactly_that_only_where_another_name_is_taken(hub, modelscope):
    mine, other = hub.add(REPO, FILES), modelscope.add(THEIRS, MORE)
    both = origins(hub, modelscope)
    listing = both.resolve(THEIRS, renamed=True)
    assert listing.snapshot == mine
    assert listing.shown is True
    assert "configuration.json" in listing.notes[1]
    assert both.resolve(THEIRS).snapshot == other


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"config.json": b"{ }"}, False),
        ({"config.json": b"[]\n"}, False),
        ({"model.safetensors": b"v" * 400_000}, False),
    ],
)
@pytest.mark.parametrize("told", ["git ids", "hashes"])
def test_the_same_is_what_has_every_file(hub, modelscope, tmp_path, change, same, told):
    mine = hub.add(REPO, FILES)
    other = modelscope.add(THEIRS, MORE | change)
    if told == "hashes":
        shown = modelscope.shown[THEIRS]
        content = MORE | change
        files = tuple(
            one if one.lfs_sha256 else replace(one, blob_oid=None, sha256=Sha256.of(content[one.path.text]))
            for one in shown.listing.files
        )
        modelscope.shown[THEIRS] = replace(shown, listing=replace(shown.listing, files=files))
    found = origins(hub, modelscope).resolve(THEIRS, renamed=True)
    assert found.snapshot == (mine if same else other)


def test_a_file_that_modelscope_lacks_makes_it_another_snapshot(hub, modelscope):
    hub.add(REPO, MORE)
    other = modelscope.add(THEIRS, FILES)
    assert origins(hub, modelscope).resolve(THEIRS, renamed=True).snapshot == other


def test_a_hub_that_does_not_answer_is_told_of(hub, modelscope):
    other = modelscope.add(THEIRS, FILES)
    hub.silent.add("resolve")
    found = origins(hub, modelscope).resolve(THEIRS, renamed=True)
    assert found.snapshot == other
    assert "the Hub did not say" in found.notes[0]


def test_a_known_manifest_tells_the_commit_and_gives_what_git_would(hub, modelscope, tmp_path):
    mine = hub.add(REPO, FILES, executable=["config.json"])
    shown = hub.shown.pop(REPO)
    modelscope.add(THEIRS, MORE)
    manifest = manifest_of(shown, FILES)
    both = origins(hub, modelscope, known=lambda repo: [manifest] if repo == REPO else [], auto=True)
    listing = both.resolve(REPO)
    assert (listing.snapshot, listing.shown) == (mine, False)
    assert both.commit_object(mine) == shown.commit_object
    assert len(both.tree_rows(mine)) == len(FILES)
    assert both.small_blobs(mine, [blob_oid(b"x")]) == {}
    for file in listing.files:
        assert both.download(listing, file, tmp_path / "stage").read_bytes() == FILES[file.path.text]
    assert both.resolve(REPO, str(mine.commit)).snapshot == mine


ERRORS = {
    "not shown": (NotShownError("gone"), True),
    "closed": (ClosedError("gated"), True),
    "silent": (NetworkError("no answer"), True),
    "our disk": (DiskError("full"), False),
    "the user": (UsageError("no token"), False),
    "a lie": (VerificationError("another commit"), False),
}


@pytest.mark.parametrize(("error", "goes_on"), ERRORS.values(), ids=ERRORS)
def test_what_makes_auto_ask_elsewhere(hub, modelscope, monkeypatch, error, goes_on):
    other = modelscope.add(THEIRS, FILES)

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(MemoryOrigin, "resolve", lambda self, *a, **b: fails() if self is hub else real(self, *a, **b))
    real = _RESOLVE
    both = origins(hub, modelscope, auto=True)
    if goes_on:
        assert both.resolve(REPO, renamed=True).snapshot == other
    with pytest.raises(type(error)):
        both.resolve(REPO) if goes_on else both.resolve(REPO, renamed=True)
    with pytest.raises(type(error)):
        origins(hub, modelscope).resolve(REPO, renamed=True)


_RESOLVE = MemoryOrigin.resolve


def test_a_gated_repository_is_opened_by_who_serves_it_to_everybody(hub, modelscope, tmp_path):
    mine = hub.add(REPO, FILES, gated=True)
    assert origins(hub, modelscope, auto=True).resolve(REPO).closed == "gated"
    modelscope.add(THEIRS, MORE, gated=True)
    assert origins(hub, modelscope, auto=True).resolve(REPO).closed == "gated"
    modelscope.add(THEIRS, MORE)
    both = origins(hub, modelscope, auto=True)
    listing = both.resolve(REPO)
    assert (listing.snapshot, listing.closed, listing.shown) == (mine, None, True)
    both.download(listing, listing.files[0], tmp_path / "stage")
    assert not [one for one in hub.asked if one.startswith("download")]
    assert origins(hub, modelscope).resolve(REPO).closed == "gated"


@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_slow_hub_is_left_where_that_is_no_choice_of_the_user(hub, modelscope, tmp_path, auto, limited, there):
    hub.add(REPO, FILES)
    if there:
        modelscope.add(THEIRS, MORE)
    ticks = itertools.count(step=SLOW_SECONDS)
    both = origins(hub, modelscope, auto=auto, limited=lambda: limited, clock=lambda: float(next(ticks)))
    listing = both.resolve(REPO)
    weights = next(one for one in listing.files if one.lfs_sha256)
    counted: list[int] = []
    assert both.download(listing, weights, tmp_path / "s", counted.append).read_bytes() == FILES["model.safetensors"]
    left = auto and there and not limited
    assert bool([one for one in modelscope.asked if one.startswith("download")]) == left
    if left:  # and stays left
        both.download(listing, listing.files[0], tmp_path / "s")
        assert len([one for one in hub.asked if one.startswith("download")]) == 1


def test_a_quick_hub_stays(hub, modelscope, tmp_path):
    hub.add(REPO, FILES)
    modelscope.add(THEIRS, MORE)
    ticks = itertools.count(step=0.5)
    both = origins(hub, modelscope, auto=True, clock=lambda: float(next(ticks)))
    listing = both.resolve(REPO)
    for file in listing.files:
        both.download(listing, file, tmp_path / "s")
    assert not modelscope.asked


def test_an_owners_repositories_of_both_places(hub, modelscope):
    hub.add(REPO, FILES)
    modelscope.add(THEIRS, MORE)
    alone = modelscope.add(RepoId.parse("modelscope:Qwen/Alone"), FILES).repo
    qwen = Owner("Qwen")
    names = [one.repo for one in origins(hub, modelscope).repos(qwen)]
    assert names == [REPO]
    assert [one.repo for one in origins(hub, modelscope, auto=True).repos(qwen)] == [REPO, alone]
    assert [one.repo for one in origins(hub, modelscope).repos(Owner.parse("modelscope:Qwen"))] == [alone, THEIRS]
    hub.silent.add("repos")
    silent = [one.repo for one in origins(hub, modelscope, auto=True).repos(qwen)]
    assert silent == [alone.at(OriginName.HUB), REPO]
    modelscope.silent.add("repos")
    with pytest.raises(NetworkError):
        origins(hub, modelscope, auto=True).repos(qwen)
    hub.silent.clear()
    assert [one.repo for one in origins(hub, modelscope, auto=True).repos(qwen)] == [REPO]


def test_where_else_the_files_are(hub, modelscope):
    hub.add(REPO, FILES)
    manifest = manifest_of(hub.shown[REPO], FILES)
    both = origins(hub, modelscope)
    assert "shows no" in both.elsewhere(manifest).reason
    other = modelscope.add(THEIRS, MORE)
    found = both.elsewhere(manifest)
    assert found.reason is None
    assert found.url == f"{modelscope.site.web_seeds(THEIRS).whole}{other.commit}/{{path}}"
    modelscope.add(THEIRS, MORE | {"config.json": b"[]"})
    assert "has other files" in both.elsewhere(manifest).reason
    assert both.elsewhere(replace(manifest, snapshot=other)) is None
