"""The cache as huggingface_hub itself reads it, and everything in it that must not change."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest
from huggingface_hub import (
    _tree_cache,
    constants,
    get_cached_repo_tree,
    hf_hub_download,
    scan_cache_dir,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import IncompleteSnapshotError
from huggingface_hub.utils._fixes import WeakFileLock

from p2pqwen.errors import DiskError, VerificationError
from p2pqwen.events import Notice
from p2pqwen.hub import cache as cache_module
from p2pqwen.hub.cache import CacheBusyError, HubCache
from p2pqwen.index.standing import Standing
from p2pqwen.library.linking import place
from p2pqwen.manifest.git_object import blob_oid
from p2pqwen.manifest.lfs_pointer import pointer_oid
from p2pqwen.manifest.manifest import FileRow
from p2pqwen.values.digest import CommitId, GitOid, Sha256
from p2pqwen.values.listing import ListedFile
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.simulators.sample import REPO, WEIGHTS, write_sample
from tests.support.standing import admitted

COMMIT = "a1" * 20
SNAPSHOT = SnapshotId(RepoId(REPO), CommitId.parse(COMMIT))
FOLDER = "models--Qwen--Sample"


@pytest.fixture(autouse=True)
def _nothing_remembered():
    _tree_cache._IN_MEMORY_TREE_CACHE.clear()


@pytest.fixture
def payload(tmp_path):
    return write_sample(tmp_path / "payload")


@pytest.fixture
def cache(tmp_path):
    return HubCache(tmp_path / "hub")


def rows_of(folder):
    return [
        row_of(RepoPath(path.relative_to(folder).as_posix()), path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def row_of(path, content):
    sha256, lfs = Sha256.of(content), path.text == WEIGHTS
    oid = pointer_oid(sha256, len(content)) if lfs else blob_oid(content)
    return FileRow(path, len(content), sha256, GitOid(oid.raw), lfs)


def lay(cache, payload, standing=Standing.PROVEN, **choices):
    return cache.materialise(admitted(SNAPSHOT, rows_of(payload), standing), payload, place=place, **choices)


def state(root):
    """Every file and link under a folder, locks left out: path to kind and content."""
    return {
        path.relative_to(root).as_posix(): ("link", str(path.readlink())) if path.is_symlink() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if (path.is_symlink() or path.is_file()) and ".locks" not in path.parts
    }


def times(root):
    """When each file and link was last written, locks left out."""
    return {name: (root / name).lstat().st_mtime_ns for name in state(root)}


def test_huggingface_hub_finds_all_of_it_offline(cache, payload):
    folder = lay(cache, payload, ref="main")
    found = Path(snapshot_download(REPO, cache_dir=cache.root, local_files_only=True))
    assert found == folder
    expected = {row.path.text: (payload / row.path.text).read_bytes() for row in rows_of(payload)}
    assert {
        path.relative_to(found).as_posix(): path.read_bytes() for path in found.rglob("*") if path.is_file()
    } == expected
    assert {file.path for file in get_cached_repo_tree(REPO, cache_dir=cache.root)} == set(expected)
    for path, content in expected.items():
        assert Path(hf_hub_download(REPO, path, cache_dir=cache.root, local_files_only=True)).read_bytes() == content
        assert Path(str(try_to_load_from_cache(REPO, path, cache_dir=cache.root))).read_bytes() == content
    scanned = scan_cache_dir(cache.root)
    assert not scanned.warnings
    assert [(repo.repo_id, repo.nb_files, repo.refs.keys()) for repo in scanned.repos] == [
        (REPO, 6, {"main", f"p2pqwen/{COMMIT}"})
    ]


def test_layout(cache, payload):
    lay(cache, payload, ref="main")
    sha256 = hashlib.sha256((payload / WEIGHTS).read_bytes()).hexdigest()
    folder = cache.root / FOLDER / "snapshots" / COMMIT
    assert str((folder / WEIGHTS).readlink()) == f"../../blobs/{sha256}"
    assert str((folder / "model" / "notes é.txt").readlink()).startswith("../../../blobs/")
    assert (cache.root / FOLDER / "refs" / "main").read_bytes() == COMMIT.encode()
    tree = json.loads((cache.root / FOLDER / "trees" / f"{COMMIT}.json").read_text())
    assert tree["format_version"] == 1
    assert tree["files"][WEIGHTS]["lfs_sha256"] == sha256
    assert not list(cache.root.rglob("*p2pqwen-tmp*"))


def test_refs_are_left_alone_unless_asked_for(cache, payload):
    (cache.root / FOLDER / "refs").mkdir(parents=True)
    (cache.root / FOLDER / "refs" / "main").write_text("b" * 40)
    lay(cache, payload)
    assert (cache.root / FOLDER / "refs" / "main").read_text() == "b" * 40
    lay(cache, payload, ref="main")
    assert (cache.root / FOLDER / "refs" / "main").read_text() == COMMIT


def test_a_partial_snapshot_shows_as_partial(cache, payload):
    only = {RepoPath("config.json")}
    folder = lay(cache, payload, only=only, ref="main")
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    with pytest.raises(IncompleteSnapshotError):
        snapshot_download(REPO, cache_dir=cache.root, local_files_only=True)
    lay(cache, payload)
    assert Path(snapshot_download(REPO, cache_dir=cache.root, local_files_only=True)) == folder


def test_nothing_outside_the_snapshot_changes(cache, payload):
    elsewhere = {
        f"{FOLDER}/blobs/{'1' * 64}": b"a blob of another commit",
        f"{FOLDER}/snapshots/{'c' * 40}/config.json": b"real file",
        f"{FOLDER}/trees/{'c' * 40}.json": b"{}",
        f"{FOLDER}/refs/other": b"c" * 40,
        "models--Other--Model/blobs/" + "2" * 40: b"another model",
        "datasets--Some--Data/refs/main": b"d" * 40,
        "blobs/12/" + "3" * 64: b"the shared store",
        "CACHEDIR.TAG": b"tag",
        "version.txt": b"1",
    }
    for name, content in elsewhere.items():
        (cache.root / name).parent.mkdir(parents=True, exist_ok=True)
        (cache.root / name).write_bytes(content)
    before = state(cache.root)
    lay(cache, payload, ref="main")
    lay(cache, payload, ref="main")
    after = state(cache.root)
    assert {name: after[name] for name in before} == before
    added = {
        f"{FOLDER}/blobs/",
        f"{FOLDER}/snapshots/{COMMIT}/",
        f"{FOLDER}/trees/{COMMIT}.json",
        f"{FOLDER}/refs/main",
        f"{FOLDER}/refs/p2pqwen/{COMMIT}",
        f"{FOLDER}/.no_exist/{COMMIT}/",
    }
    assert all(any(name.startswith(prefix) for prefix in added) for name in set(after) - set(before))


def test_a_second_time_changes_nothing(cache, payload):
    lay(cache, payload, ref="main")
    before = (state(cache.root), times(cache.root))
    lay(cache, payload, ref="main")
    assert (state(cache.root), times(cache.root)) == before


def test_a_right_blob_is_kept_even_in_the_shared_store(cache, payload):
    content = (payload / WEIGHTS).read_bytes()
    shared = cache.root / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    shared.write_bytes(content)
    shared.chmod(0o444)
    blob = cache.root / FOLDER / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(parents=True)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    lay(cache, payload)
    assert blob.is_symlink()
    assert shared.stat().st_nlink == 1
    assert (cache.root / FOLDER / "snapshots" / COMMIT / WEIGHTS).read_bytes() == content


def test_a_damaged_blob_is_replaced_and_said_so(cache, payload):
    content = (payload / WEIGHTS).read_bytes()
    shared = cache.root / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    damaged = content[:-1] + bytes([content[-1] ^ 1])
    shared.write_bytes(damaged)
    blob = cache.root / FOLDER / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(parents=True)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    said = []
    lay(cache, payload, report=said.append)
    assert [event.level for event in said if isinstance(event, Notice)] == ["warning"]
    assert WEIGHTS in said[0].text
    assert blob.read_bytes() == content
    assert shared.read_bytes() == damaged  # other repositories' file: never written to


def test_dangling_and_wrong_links_are_put_right(cache, payload):
    folder = cache.snapshot_folder(SNAPSHOT)
    folder.mkdir(parents=True)
    (folder / "config.json").symlink_to("../../blobs/nothing")
    (folder / "README.md").symlink_to("config.json")
    lay(cache, payload)
    assert (folder / "config.json").read_bytes() == (payload / "config.json").read_bytes()
    assert (folder / "README.md").read_bytes() == (payload / "README.md").read_bytes()


def test_a_right_real_file_in_the_snapshot_stays(cache, payload):
    folder = cache.snapshot_folder(SNAPSHOT)
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes((payload / "config.json").read_bytes())
    lay(cache, payload)
    assert not (folder / "config.json").is_symlink()


def test_real_files_where_links_do_not_work(cache, payload, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    folder = lay(cache, payload, ref="main")
    assert not [path for path in cache.root.rglob("*") if path.is_symlink()]
    assert Path(snapshot_download(REPO, cache_dir=cache.root, local_files_only=True)) == folder
    assert (folder / WEIGHTS).read_bytes() == (payload / WEIGHTS).read_bytes()


def test_a_tree_with_more_to_say_stays(cache, payload):
    lay(cache, payload)
    path = cache.root / FOLDER / "trees" / f"{COMMIT}.json"
    tree = json.loads(path.read_text())
    tree["files"][WEIGHTS]["xet_hash"] = "f" * 64
    path.write_text(json.dumps(tree))
    lay(cache, payload)
    assert json.loads(path.read_text()) == tree
    tree["files"].pop("config.json")
    path.write_text(json.dumps(tree))
    lay(cache, payload)
    assert "config.json" in json.loads(path.read_text())["files"]


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"format_version": 2, "files": {}}', b'{"format_version": 1}'])
def test_a_broken_tree_is_written_anew(cache, payload, junk):
    path = cache.root / FOLDER / "trees" / f"{COMMIT}.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(junk)
    lay(cache, payload)
    assert len(json.loads(path.read_text())["files"]) == 6


def test_leftovers_of_a_killed_run_do_not_matter(cache, payload):
    blobs = cache.root / FOLDER / "blobs"
    blobs.mkdir(parents=True)
    for row in rows_of(payload):
        name = row.sha256 if row.lfs else row.git_oid
        (blobs / f"{name}.p2pqwen-tmp").write_bytes(b"half")
    for folder in (blobs, blobs.parent):
        (folder / ".p2pqwen-tmp-0123abcd").write_bytes(b"half")
        os.utime(folder / ".p2pqwen-tmp-0123abcd", (1, 1))
    lay(cache, payload)
    assert not list(cache.root.rglob("*p2pqwen-tmp*"))


def test_a_payload_file_of_another_size_is_refused(cache, payload):
    rows = rows_of(payload)
    (payload / "config.json").write_bytes(b"grown since it was verified")
    with pytest.raises(VerificationError, match=r"config\.json"):
        cache.materialise(admitted(SNAPSHOT, rows), payload, place=place)
    assert not (cache.snapshot_folder(SNAPSHOT) / "config.json").exists()


def test_a_cache_that_cannot_be_written_is_a_disk_error(tmp_path, payload):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError):
        lay(HubCache(tmp_path / "file" / "hub"), payload)


def test_the_lock_is_huggingface_hubs_own(cache, payload, monkeypatch):
    monkeypatch.setattr(cache_module, "LOCK_SECONDS", 0.2)
    sha256 = hashlib.sha256((payload / WEIGHTS).read_bytes()).hexdigest()
    lock = cache.root / ".locks" / FOLDER / f"{sha256}.lock"
    lock.parent.mkdir(parents=True)
    held, done = threading.Event(), threading.Event()

    def hold():
        with WeakFileLock(lock):
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(10)
        with pytest.raises(CacheBusyError, match="another program"):
            lay(cache, payload)
    finally:
        done.set()
        holder.join()
    lay(cache, payload)


def hub_file(row):
    return ListedFile(row.path, row.size, row.git_oid, row.sha256 if row.lfs else None)


def test_find(cache, payload):
    assert [cache.find(SNAPSHOT.repo, row) for row in rows_of(payload)] == [None] * 6
    lay(cache, payload)
    for row in rows_of(payload):
        for file in (row, hub_file(row)):
            found = cache.find(SNAPSHOT.repo, file)
            assert found is not None
            assert found.read_bytes() == (payload / row.path.text).read_bytes()


def test_find_weights_under_another_name_but_not_small_files(cache, payload):
    lay(cache, payload)
    found = {row.path.text: cache.find(RepoId("Other/Name"), row) for row in rows_of(payload)}
    assert [name for name, path in found.items() if path is not None] == [WEIGHTS]


def test_find_ignores_what_has_another_size_or_leads_nowhere(cache, payload):
    lay(cache, payload)
    weights, small = row_of(RepoPath(WEIGHTS), (payload / WEIGHTS).read_bytes()), RepoPath("config.json")
    row = row_of(small, (payload / "config.json").read_bytes())
    blob = cache.root / FOLDER / "blobs" / str(weights.sha256)
    blob.unlink()
    blob.symlink_to("nowhere")
    (cache.root / FOLDER / "blobs" / str(row.git_oid)).write_bytes(b"cut")
    assert cache.find(SNAPSHOT.repo, weights) is None
    assert cache.find(SNAPSHOT.repo, row) is None


def test_find_real_files_in_snapshots(cache, payload, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    folder = lay(cache, payload)
    row = row_of(RepoPath("config.json"), (payload / "config.json").read_bytes())
    assert cache.find(SNAPSHOT.repo, row) == folder / "config.json"


def rewrite(path, content):
    """Write a file anew: the old one has a second name in the cache."""
    path.unlink()
    path.write_bytes(content)


UNPROVEN = [Standing.SIGNED, Standing.UNVOUCHED]


@pytest.mark.parametrize("standing", UNPROVEN)
@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("partial", [True, False], ids=["a file the tree lists", "a file that is there"])
def test_only_a_proof_replaces_what_the_cache_has_for_a_commit(cache, payload, monkeypatch, standing, links, partial):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    only = {RepoPath("README.md")} if partial else None
    lay(cache, payload, ref="main", only=only)
    before = state(cache.root)
    rewrite(payload / "config.json", b'{"another": "model"}')
    with pytest.raises(VerificationError, match=r"another config\.json .* which is kept") as refused:
        lay(cache, payload, standing, ref="main")
    assert "trees" in refused.value.hint
    assert state(cache.root) == before
    lay(cache, payload)
    assert (cache.snapshot_folder(SNAPSHOT) / "config.json").read_bytes() == b'{"another": "model"}'


@pytest.mark.parametrize("standing", UNPROVEN)
def test_without_a_tree_the_files_tell_what_is_there(cache, payload, standing):
    lay(cache, payload)
    (cache.root / FOLDER / "trees" / f"{COMMIT}.json").unlink()
    before = state(cache.root)
    rewrite(payload / "config.json", b"{}  ")
    with pytest.raises(VerificationError, match=r"another config\.json"):
        lay(cache, payload, standing)
    assert state(cache.root) == before


@pytest.mark.parametrize("standing", UNPROVEN)
def test_the_same_content_is_welcome_from_anybody_admitted(cache, payload, standing):
    lay(cache, payload, only={RepoPath("config.json")})
    folder = lay(cache, payload, standing, ref="main")
    assert Path(snapshot_download(REPO, cache_dir=cache.root, local_files_only=True)) == folder


def test_what_nobody_vouches_for_mends_nothing(cache, payload):
    content = (payload / WEIGHTS).read_bytes()
    blob = cache.root / FOLDER / "blobs" / hashlib.sha256(content).hexdigest()
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"other bytes, whoever put them there")
    with pytest.raises(VerificationError, match="which is kept"):
        lay(cache, payload, Standing.UNVOUCHED)
    assert blob.read_bytes() == b"other bytes, whoever put them there"
    lay(cache, payload, Standing.SIGNED)
    assert blob.read_bytes() == content
