"""Markers, refs and rights in the Hugging Face cache: what loaders need beside the files, and other users."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from huggingface_hub import _CACHED_NO_EXIST, constants, scan_cache_dir, snapshot_download, try_to_load_from_cache

from p2pqwen.events import Notice
from p2pqwen.hub import cache as cache_module
from p2pqwen.hub.cache import CacheNotWrittenError, HubCache
from p2pqwen.hub.cache_look import look_at_cache
from p2pqwen.hub.looked_for import absent_names
from p2pqwen.index.standing import NotAdmittedError, Standing
from p2pqwen.library.linking import place_linked
from p2pqwen.values.repo_path import RepoPath
from tests.simulators.sample import REPO, WEIGHTS, write_sample
from tests.support.other_user import ALICE, BOB, GROUP, OtherUser, needs_root, place_for_all
from tests.support.standing import admitted
from tests.unit.hub.test_cache import COMMIT, FOLDER, SNAPSHOT, lay, rows_of, state, times

OTHER = "b2" * 20


@pytest.fixture
def payload(tmp_path):
    return write_sample(tmp_path / "payload")


@pytest.fixture
def cache(tmp_path):
    return HubCache(tmp_path / "hub")


@pytest.fixture
def folder(cache):
    return cache.root / FOLDER


def told(cache, payload, standing=Standing.PROVEN, **choices):
    """Lay the snapshot, and return what was said of it."""
    said = []
    lay(cache, payload, standing, report=said.append, **choices)
    return [event.text for event in said if isinstance(event, Notice)]


class TestMarkers:
    def test_a_name_that_the_commit_lacks_is_known_to_be_absent(self, cache, payload):
        lay(cache, payload, ref="main")
        names = absent_names([row.path for row in rows_of(payload)])
        assert "added_tokens.json" in {name.text for name in names}
        for name in names:
            for revision in ("main", COMMIT):
                assert try_to_load_from_cache(REPO, name.text, cache.root, revision) is _CACHED_NO_EXIST, name

    def test_a_partial_snapshot_has_none_for_files_that_exist(self, cache, payload):
        lay(cache, payload, only={RepoPath("README.md")}, ref="main")
        assert try_to_load_from_cache(REPO, "config.json", cache.root) is None
        assert try_to_load_from_cache(REPO, "added_tokens.json", cache.root) is _CACHED_NO_EXIST

    def test_one_that_hides_a_file_goes(self, cache, payload, folder):
        marker = folder / ".no_exist" / COMMIT / "config.json"
        marker.parent.mkdir(parents=True)
        marker.touch()
        (text,) = told(cache, payload, ref="main")
        assert "config.json does not exist" in text
        assert isinstance(try_to_load_from_cache(REPO, "config.json", cache.root), str)

    @pytest.mark.parametrize("standing", [Standing.SIGNED, Standing.UNVOUCHED])
    def test_one_that_contradicts_an_unproven_snapshot_refuses_it(self, cache, payload, folder, standing):
        marker = folder / ".no_exist" / COMMIT / "config.json"
        marker.parent.mkdir(parents=True)
        marker.touch()
        before = state(cache.root)
        with pytest.raises(NotAdmittedError, match=r"another config\.json"):
            lay(cache, payload, standing)
        assert state(cache.root) == before

    def test_they_come_to_a_snapshot_that_an_older_version_laid(self, cache, payload, folder):
        lay(cache, payload, ref="main")
        shutil.rmtree(folder / ".no_exist")
        assert look_at_cache(cache.root, [SNAPSHOT]).unmarked == (SNAPSHOT,)
        lay(cache, payload)
        assert look_at_cache(cache.root, [SNAPSHOT]).unmarked == ()


@dataclass
class Ref:
    text: str
    snapshot: str | None = None
    """The commit of a snapshot that is there beside ours."""


GOOD = [Ref(COMMIT), Ref(OTHER, OTHER)]
DANGLING = [Ref(OTHER), Ref(OTHER + "\n"), Ref(""), Ref("\n"), Ref("main"), Ref(OTHER[:12]), Ref("../" * 14)]


class TestRefs:
    def write(self, folder, ref):
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text(ref.text)
        if ref.snapshot is not None:
            (folder / "snapshots" / ref.snapshot).mkdir(parents=True)

    @pytest.mark.parametrize("ref", DANGLING, ids=repr)
    def test_one_that_names_nothing_is_written_anew_and_said(self, cache, payload, folder, ref):
        self.write(folder, ref)
        before = cache.ref(SNAPSHOT.repo, "main")
        assert before is not None
        assert not before.held
        (text,) = told(cache, payload, ref="main")
        assert "refs/main" in text
        assert f"it names {COMMIT} now" in text
        assert (ref.text.strip() or "''") in text or repr(ref.text) in text
        assert (folder / "refs" / "main").read_bytes() == COMMIT.encode()
        assert snapshot_download(REPO, cache_dir=cache.root, local_files_only=True)

    @pytest.mark.parametrize("ref", GOOD, ids=repr)
    def test_a_good_one_is_kept_and_nothing_said(self, cache, payload, folder, ref):
        self.write(folder, ref)
        assert told(cache, payload) == []
        found = cache.ref(SNAPSHOT.repo, "main")
        assert found is not None
        assert (found.held, found.tidy, found.text) == (True, True, ref.text)

    @pytest.mark.parametrize("blanks", ["\n", "\r\n", " ", "\n\n"], ids=repr)
    @pytest.mark.parametrize("name", ["main", "v1.0", "refs/pr/1"])
    def test_blanks_go_and_the_commit_stays(self, cache, payload, folder, name, blanks):
        (folder / "snapshots" / OTHER).mkdir(parents=True)
        (folder / "refs" / name).parent.mkdir(parents=True)
        (folder / "refs" / name).write_bytes((OTHER + blanks).encode())
        (text,) = told(cache, payload)
        assert f"refs/{name}" in text
        assert (folder / "refs" / name).read_bytes() == OTHER.encode()

    def test_a_later_commit_of_which_nothing_is_there_breaks_every_scan_and_is_mended(self, cache, payload, folder):
        lay(cache, payload, ref="main")
        (folder / "refs" / "main").write_text(OTHER)
        assert scan_cache_dir(cache.root).warnings
        assert [one.ref.name for one in look_at_cache(cache.root, []).loose] == ["main"]
        lay(cache, payload, ref="main")
        assert not scan_cache_dir(cache.root).warnings
        assert look_at_cache(cache.root, []).loose == ()

    def test_our_own_ref_keeps_a_snapshot_that_no_other_names(self, cache, payload):
        lay(cache, payload)
        (repo,) = scan_cache_dir(cache.root).repos
        (revision,) = repo.revisions
        assert revision.refs == {f"p2pqwen/{COMMIT}"}

    def test_a_deletion_takes_our_own_ref_along(self, cache, payload, folder):
        lay(cache, payload)
        (folder / "snapshots" / OTHER).mkdir(parents=True)
        scan_cache_dir(cache.root).delete_revisions(COMMIT).execute()
        assert not (folder / "refs" / "p2pqwen" / COMMIT).exists()
        assert not scan_cache_dir(cache.root).warnings

    def test_a_branch_called_as_our_folder_stays(self, cache, payload, folder):
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "p2pqwen").write_text(COMMIT)
        (text,) = told(cache, payload)
        assert "refs/p2pqwen" in text
        assert (folder / "refs" / "p2pqwen").read_text() == COMMIT

    def test_nothing_half_written_is_ever_below_refs(self, cache, payload, folder, monkeypatch):
        seen = []
        real = Path.replace

        def replace(self, target):
            seen.extend(path.name for path in (folder / "refs").rglob("*") if path.is_file())
            return real(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        lay(cache, payload, ref="main")
        assert set(seen) <= {"main", COMMIT}


def test_a_new_cache_is_tagged_and_another_is_not(tmp_path, payload):
    lay(HubCache(tmp_path / "new" / "hub"), payload)
    tag = (tmp_path / "new" / "hub" / "CACHEDIR.TAG").read_text()
    assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    old = tmp_path / "old"
    (old / "models--Some--Thing").mkdir(parents=True)
    lay(HubCache(old), payload)
    assert not (old / "CACHEDIR.TAG").exists()
    (tmp_path / "own").mkdir()
    lay(HubCache(tmp_path / "own"), payload)
    assert not (tmp_path / "own" / "CACHEDIR.TAG").exists()


class TestRefused:
    """A cache that cannot be written: an error of its own, with the path and the way round."""

    def check(self, error, path):
        assert str(path) in error.message
        assert "--no-hf-cache" in (error.hint or "")

    def test_a_file_where_the_cache_would_be(self, tmp_path, payload):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(CacheNotWrittenError) as refused:
            lay(HubCache(tmp_path / "file" / "hub"), payload)
        self.check(refused.value, tmp_path / "file")

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT], ids=errno.errorcode.get)
    def test_a_disk_that_says_no(self, cache, payload, monkeypatch, number):
        real = Path.replace

        def replace(self, target):
            if Path(target).is_relative_to(cache.root):
                raise OSError(number, os.strerror(number), str(self), None, str(target))
            return real(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        with pytest.raises(CacheNotWrittenError) as refused:
            lay(cache, payload)
        self.check(refused.value, cache.root / FOLDER / "blobs")

    def test_another_disk_without_room_is_not_begun_on(self, cache, payload, monkeypatch):
        monkeypatch.setattr(cache_module, "_free", lambda _: 10)
        monkeypatch.setattr(cache_module, "_on_another_disk", lambda *_: True)
        with pytest.raises(CacheNotWrittenError) as refused:
            lay(cache, payload)
        self.check(refused.value, cache.root)
        assert not cache.root.exists()

    def test_links_are_not_taken_for_impossible_where_nothing_can_be_written(self, cache, payload, monkeypatch):
        def symlink_to(self, *_):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(self))

        monkeypatch.setattr(Path, "symlink_to", symlink_to)
        with pytest.raises(CacheNotWrittenError):
            lay(cache, payload)
        assert not list(cache.snapshot_folder(SNAPSHOT).iterdir())


def lay_as(user: OtherUser, root: Path, payload: Path, **choices) -> list[str]:
    admission = admitted(SNAPSHOT, rows_of(payload), choices.pop("standing", Standing.PROVEN))

    def work():
        said: list[Notice] = []
        HubCache(root).materialise(admission, payload, place=place_linked, report=said.append, **choices)
        return [event.text for event in said]

    return user.does(work)


@needs_root
class TestUsers:
    @pytest.fixture
    def shared(self):
        """A cache that a group shares as administrators set one up: group-writable, files in the group's name."""
        with place_for_all() as folder:
            root = folder / "hub"
            root.mkdir()
            os.chown(root, 0, GROUP)
            root.chmod(0o2775)
            yield root, write_sample(folder / "payload")

    def test_the_second_user_adds_to_it(self, shared):
        root, payload = shared
        alice, bob = OtherUser(ALICE.uid, 0o002), OtherUser(BOB.uid, 0o002)
        lay_as(alice, root, payload, only={RepoPath("config.json")}, ref="main")
        assert lay_as(bob, root, payload, ref="main") == []
        assert lay_as(alice, root, payload, ref="main") == []
        for path in root.rglob("*"):
            found = path.lstat()
            assert found.st_gid == GROUP, path
            if not path.is_symlink():
                assert stat.S_IMODE(found.st_mode) & 0o060 == 0o060, path
        assert bob.does(lambda: len([p.read_bytes() for p in root.rglob("*") if p.is_file()])) > 10

    def test_who_may_only_read_it_finds_all_in_order(self, shared):
        root, payload = shared
        root.chmod(0o2777)
        lay_as(OtherUser(ALICE.uid, 0o022), root, payload, ref="main")
        before = state(root), times(root)
        assert lay_as(BOB, root, payload, ref="main") == []
        assert (state(root), times(root)) == before

    def test_a_closed_lock_of_another_is_named(self, shared):
        root, payload = shared
        lock = (
            root
            / ".locks"
            / FOLDER
            / f"{next(row for row in rows_of(payload) if row.path.text == WEIGHTS).sha256}.lock"
        )
        lock.parent.mkdir(parents=True)
        lock.touch(mode=0o600)
        for folder in (lock.parent, lock.parent.parent):
            folder.chmod(0o777)
        assert BOB.does(lambda: look_at_cache(root, []).locks) == (lock,)
        with pytest.raises(AssertionError, match=f"CacheNotWrittenError: .*{lock}.*--no-hf-cache"):
            lay_as(BOB, root, payload)

    @pytest.mark.parametrize("standing", [Standing.PROVEN, Standing.SIGNED])
    def test_a_list_of_files_that_is_closed_to_us_is_no_failure(self, shared, standing):
        root, payload = shared
        lay_as(OtherUser(ALICE.uid, 0o002), root, payload, ref="main")
        tree = root / FOLDER / "trees" / f"{COMMIT}.json"
        tree.chmod(0o600)
        assert BOB.does(lambda: look_at_cache(root, []).closed) == (tree,)
        assert lay_as(OtherUser(BOB.uid, 0o002), root, payload, ref="main", standing=standing) == []
        assert (tree.stat().st_uid == BOB.uid) is (standing is Standing.PROVEN)

    def test_a_cache_that_is_closed_altogether(self, shared):
        root, payload = shared
        root.chmod(0o700)
        closed = CacheNotWrittenError.__name__
        with pytest.raises(AssertionError, match=f"{closed}: .*{root}.*--no-hf-cache"):
            lay_as(BOB, root, payload)
        row = rows_of(payload)[0]
        assert BOB.does(lambda: HubCache(root).find(SNAPSHOT.repo, row)) is None
        assert BOB.does(lambda: HubCache(root).holds(SNAPSHOT)) is False
        assert BOB.does(lambda: look_at_cache(root, [SNAPSHOT]).closed) == (root,)

    def test_aids_that_cannot_be_written_are_told_and_no_failure(self, shared):
        root, payload = shared
        lay_as(OtherUser(ALICE.uid, 0o002), root, payload, ref="main")
        for path in sorted((root / FOLDER / ".no_exist").rglob("*")):
            if path.is_file():
                path.unlink()
            else:
                path.chmod(0o555)
        (text,) = lay_as(BOB, root, payload, ref="main")
        assert str(root / FOLDER / ".no_exist") in text

    def test_other_refs_of_others_that_cannot_be_read_or_mended_are_no_failure(self, shared):
        root, payload = shared
        root.chmod(0o2777)
        lay_as(OtherUser(ALICE.uid, 0o002), root, payload, ref="main")
        refs = root / FOLDER / "refs"
        (refs / "closed").write_text(COMMIT)
        (refs / "closed").chmod(0o600)
        (refs / "v1").write_text(f"{COMMIT}\n")
        refs.chmod(0o755)
        (root / FOLDER).chmod(0o755)
        (text,) = lay_as(BOB, root, payload)
        assert "refs/v1" in text
        assert "they stay" in text
        (refs / "main").write_text(f"{COMMIT}\n")
        with pytest.raises(AssertionError, match=r"CacheNotWrittenError: .*--no-hf-cache"):
            lay_as(BOB, root, payload)

    def test_a_private_file_of_the_library_is_copied_for_those_who_share_the_cache(self, shared):
        root, payload = shared
        (payload / WEIGHTS).chmod(0o600)
        alice = OtherUser(ALICE.uid, 0o002)
        for path in (payload, *payload.rglob("*")):
            os.chown(path, alice.uid, alice.uid)
        lay_as(alice, root, payload, ref="main")
        blob = (root / FOLDER / "snapshots" / COMMIT / WEIGHTS).resolve()
        assert (blob.stat().st_nlink, blob.stat().st_gid, blob.stat().st_mode & 0o060) == (1, GROUP, 0o060)
        assert stat.S_IMODE((payload / WEIGHTS).stat().st_mode) == 0o600
        assert BOB.does(blob.read_bytes) == (payload / WEIGHTS).read_bytes()


def test_a_hard_link_that_all_may_read_stays_one(cache, payload):
    admission = admitted(SNAPSHOT, rows_of(payload))
    cache.materialise(admission, payload, place=os.link)
    assert (cache.snapshot_folder(SNAPSHOT) / WEIGHTS).samefile(payload / WEIGHTS)


def test_without_symlinks_all_of_it_holds_too(cache, payload, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    lay(cache, payload, ref="main")
    assert try_to_load_from_cache(REPO, "added_tokens.json", cache.root) is _CACHED_NO_EXIST
    assert not scan_cache_dir(cache.root).warnings
