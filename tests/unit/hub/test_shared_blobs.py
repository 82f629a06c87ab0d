"""The store that repositories of a Hugging Face cache share: what is laid is found, what is damaged is mended."""

from __future__ import annotations

import stat

import pytest
from huggingface_hub import constants, scan_cache_dir, snapshot_download
from huggingface_hub.utils import _shared_blobs as theirs

from p2pqwen.events import Notice
from p2pqwen.hub.cache import HubCache
from p2pqwen.hub.xet_hashing import XetHashing
from p2pqwen.index.standing import Standing
from p2pqwen.library.linking import place, place_linked
from p2pqwen.values.listing import ListedFile
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId
from tests.simulators.sample import REPO, WEIGHTS, write_sample
from tests.support.standing import admitted
from tests.unit.hub.test_cache import COMMIT, FOLDER, SNAPSHOT, rows_of, state, times


@pytest.fixture
def payload(tmp_path):
    return write_sample(tmp_path / "payload")


@pytest.fixture
def cache(tmp_path):
    hasher = XetHashing(tmp_path / "log")

    def named(_, files):
        return dict(zip(files, hasher(list(files.values())) or (), strict=True))

    return HubCache(tmp_path / "hub", named)


@pytest.fixture
def stored(tmp_path, payload):
    """Where the weights belong in the store."""
    (name,) = XetHashing(tmp_path / "log")([payload / WEIGHTS]) or ()
    return theirs.shared_blob_path(tmp_path / "hub", name)


def lay(cache, payload, standing=Standing.PROVEN, how=place):
    said = []
    cache.materialise(
        admitted(SNAPSHOT, rows_of(payload), standing), payload, place=how, ref="main", report=said.append
    )
    return [event.text for event in said if isinstance(event, Notice)]


def blob_of(cache, payload):
    (row,) = [row for row in rows_of(payload) if row.path.text == WEIGHTS]
    return cache.root / FOLDER / "blobs" / str(row.sha256)


def put(stored, cache, content):
    """Put content into the store as huggingface_hub does, for a blob of another repository; return that blob."""
    blob = cache.root / "models--Other--Twin" / "blobs" / ("c" * 64)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content)
    assert theirs.publish_blob_to_shared_store(
        blob_path=str(blob), xet_hash=stored.name, cache_dir=cache.root, expected_size=len(content)
    )
    return blob


@pytest.mark.parametrize("how", [place, place_linked])
def test_what_is_laid_is_found_by_a_twin(cache, payload, stored, how):
    mode = stat.S_IMODE((payload / WEIGHTS).stat().st_mode)
    assert lay(cache, payload, how=how) == []
    assert stored.read_bytes() == (payload / WEIGHTS).read_bytes()
    assert stat.S_IMODE((payload / WEIGHTS).stat().st_mode) == mode
    twin = cache.root / "models--Other--Twin" / "blobs" / ("c" * 64)
    twin.parent.mkdir(parents=True)
    size = stored.stat().st_size
    assert theirs.try_link_from_shared_store(
        blob_path=str(twin), xet_hash=stored.name, cache_dir=cache.root, expected_size=size
    )
    assert twin.samefile(stored)
    (twin.parent.parent / "snapshots" / COMMIT).mkdir(parents=True)
    (twin.parent.parent / "snapshots" / COMMIT / WEIGHTS).symlink_to(f"../../blobs/{twin.name}")
    assert not scan_cache_dir(cache.root).warnings
    assert scan_cache_dir(cache.root).size_on_disk < 2 * size
    assert snapshot_download(REPO, cache_dir=cache.root, local_files_only=True)


def test_a_second_time_changes_nothing(cache, payload, stored):
    lay(cache, payload)
    before = (state(cache.root), times(cache.root))
    assert lay(cache, payload) == []
    assert (state(cache.root), times(cache.root)) == before


def test_what_is_there_is_used_and_no_second_copy_made(cache, payload, stored):
    twin = put(stored, cache, (payload / WEIGHTS).read_bytes())
    inode = stored.stat().st_ino
    assert lay(cache, payload) == []
    assert blob_of(cache, payload).is_symlink()
    assert blob_of(cache, payload).samefile(twin)
    assert stored.stat().st_ino == inode


@pytest.mark.parametrize("size", ["same", "other"])
def test_what_is_damaged_there_is_mended_for_all(cache, payload, stored, size):
    content = (payload / WEIGHTS).read_bytes()
    twin = put(stored, cache, content[:-1] + bytes([content[-1] ^ 1]) if size == "same" else content[:-1])
    (text,) = lay(cache, payload)
    assert f"mended {WEIGHTS} in the store" in text
    assert twin.read_bytes() == stored.read_bytes() == content
    assert blob_of(cache, payload).samefile(twin)


def test_our_own_blob_that_leads_to_what_is_damaged_is_mended_with_it(cache, payload, stored):
    lay(cache, payload)
    content = stored.read_bytes()
    stored.chmod(0o644)
    stored.write_bytes(b"x" * len(content))
    texts = lay(cache, payload)
    assert len(texts) == 2
    assert stored.read_bytes() == content
    assert blob_of(cache, payload).samefile(stored)


def test_an_unvouched_snapshot_replaces_nothing_there(cache, payload, stored):
    content = (payload / WEIGHTS).read_bytes()
    damaged = b"x" * len(content)
    put(stored, cache, damaged)
    assert lay(cache, payload, Standing.UNVOUCHED) == []
    assert stored.read_bytes() == damaged
    assert not blob_of(cache, payload).is_symlink()
    assert blob_of(cache, payload).read_bytes() == content


def test_a_deletion_takes_along_what_nobody_else_uses(cache, payload, stored):
    lay(cache, payload)
    scan_cache_dir(cache.root).delete_revisions(COMMIT).execute()
    assert not stored.exists()
    assert (payload / WEIGHTS).exists()


def test_a_deletion_leaves_what_a_twin_uses(cache, payload, stored):
    content = (payload / WEIGHTS).read_bytes()
    twin = put(stored, cache, content)
    lay(cache, payload)
    scan_cache_dir(cache.root).delete_revisions(COMMIT).execute()
    assert twin.read_bytes() == content


@pytest.mark.parametrize("what", ["a folder of somebody's", "a link", "a file", "a link of two digits", "switched off"])
def test_where_there_is_no_store_the_blob_is_the_repositorys_own(cache, payload, stored, tmp_path, monkeypatch, what):
    cache.root.mkdir()
    blobs = cache.root / "blobs"
    outside = tmp_path / "outside"
    outside.mkdir()
    if what == "a folder of somebody's":
        (blobs / "notes").mkdir(parents=True)
    elif what == "a link":
        blobs.symlink_to(outside)
    elif what == "a file":
        blobs.write_bytes(b"")
    elif what == "a link of two digits":
        put(stored.with_name("f" * 64), cache, b"x")
        stored.parent.symlink_to(outside)
    else:
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_SHARED_BLOBS", True)
    assert lay(cache, payload) == []
    assert not blob_of(cache, payload).is_symlink()
    assert not list(outside.iterdir())
    assert what != "switched off" or not blobs.exists()
    assert snapshot_download(REPO, cache_dir=cache.root, local_files_only=True)


@pytest.mark.parametrize("link", ["refs", "lock"])
def test_nothing_is_written_through_a_link_beside_a_stored_file(cache, payload, stored, tmp_path, link):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    put(stored.with_name("f" * 64), cache, b"x")
    stored.parent.mkdir(exist_ok=True)
    stored.with_name(f"{stored.name}.{link}").symlink_to(victim)
    lay(cache, payload)
    assert victim.read_bytes() == b"mine"
    assert blob_of(cache, payload).read_bytes() == (payload / WEIGHTS).read_bytes()


def test_a_file_of_the_store_is_found_by_what_the_hub_lists(cache, payload, stored):
    content = (payload / WEIGHTS).read_bytes()
    twin = put(stored, cache, content)
    (row,) = [row for row in rows_of(payload) if row.path.text == WEIGHTS]
    file = ListedFile(RepoPath("x.safetensors"), row.size, row.git_oid, row.sha256, xet_hash=stored.name)
    assert cache.find(RepoId("Any/One"), file) == stored
    twin.unlink()
    assert cache.find(RepoId("Any/One"), file) == stored
    stored.unlink()
    stored.symlink_to(payload / WEIGHTS)
    assert cache.find(RepoId("Any/One"), file) is None
