"""The mirror tree: what stands in it, what it is made of, and that nothing of anybody else's is touched."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from p2pqwen.catalogue.sums import TREE_TYPE
from p2pqwen.errors import UsageError
from p2pqwen.index.acceptance import TrustedState, accept
from p2pqwen.index.entry import Entry
from p2pqwen.index.root import INDEX_ROLE
from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.operations.publish import mirror_tree
from p2pqwen.operations.publish.mirror_tree import MirrorTreeAnswer
from p2pqwen.operations.publish.site_pages import SitePages
from p2pqwen.values.strict_json import canonical
from tests.support.catalogue import CatalogueSite, Model
from tests.support.publishing import NOW, key
from tests.support.snapshots import hold

FILES = {"README.md": b"# Tiny\n", "sub/model one.safetensors": b"w" * 70_000, "empty.txt": b""}


class Kept:
    """A site whose entries are held, and whose tree is written again and again."""

    def __init__(self, folder: Path) -> None:
        self.site = CatalogueSite(folder)
        self.home, self.out = Home(folder / "home"), folder / "out"
        self.tree = self.out / "files"
        self.entries: list[Entry] = []

    def hold(self, repo: str) -> HeldSnapshot:
        held = hold(self.home, FILES, repo)
        entry = replace(Model(repo).entry(held.metainfo()), license="apache-2.0")
        self.entries.append(entry)
        (self.out / entry.torrent).parent.mkdir(parents=True, exist_ok=True)
        (self.out / entry.torrent).write_bytes(held.torrent_path.read_bytes())
        return held

    def write(self, *, tree: bool | None = None, signed: bool = True, check: bool = True) -> MirrorTreeAnswer | None:
        data = self.site.publisher.publish(sorted(self.entries, key=lambda one: one.id))
        (self.out / "index.json").write_bytes(data)
        self.accepted = accept(data, TrustedState(None), NOW)
        pages = SitePages(self.home, Library(self.home), {}, NOW, tree)
        if check:
            pages.check(self.out)
        return pages.write(self.out, self.accepted, (key("index"),) if signed else ())

    def folder_of(self, held: HeldSnapshot) -> Path:
        return self.tree / str(held.id.repo) / str(held.id.commit)

    def sums(self, place: str) -> list[str]:
        return [line.split("  ", 1)[1] for line in (self.tree / place).read_text().splitlines()]


@pytest.fixture
def kept(tmp_path) -> Kept:
    return Kept(tmp_path)


def unread(looks: os.stat_result) -> list[int]:
    """How a file looks, but for when it was last read: that may be written down later (relatime)."""
    return [value for index, value in enumerate(looks) if index != stat.ST_ATIME]


def cloning(source: Path, target: Path) -> bool:
    """What a file system that shares blocks does, seen from outside."""
    shutil.copyfile(source, target)
    return True


@pytest.fixture(params=["links", "clones"])
def kind(request, monkeypatch) -> str:
    made: Callable[[Path, Path], bool] = cloning if request.param == "clones" else lambda *_: False
    monkeypatch.setattr(mirror_tree, "clone", made)
    return request.param


def test_the_files_stand_there_and_the_library_is_as_it_was(kept, kind):
    held = kept.hold("Qwen/Tiny")
    before = {name: (held.folder / name).lstat() for name in FILES}
    done = kept.write(tree=True)
    assert (done.snapshots, done.files, done.bytes) == (1, 3, sum(map(len, FILES.values())))
    assert {"links": done.links, "clones": done.clones} == {"links": 0, "clones": 0, kind: 3}
    for name, content in FILES.items():
        file, source = kept.folder_of(held) / name, held.folder / name
        assert file.read_bytes() == content
        assert file.is_symlink() == (kind == "links")
        assert not file.is_symlink() or (not file.readlink().is_absolute() and file.samefile(source))
        assert unread(source.lstat()) == unread(before[name])
        assert file.stat().st_mtime_ns == before[name].st_mtime_ns, "rsync compares times"
        assert source.stat().st_nlink == 1, "no hard link"
    assert kept.sums("SHA256SUMS") == [f"Qwen/Tiny/{held.id.commit}/{name}" for name in sorted(FILES)]
    assert kept.sums(f"Qwen/Tiny/{held.id.commit}.sha256") == [f"{held.id.commit}/{name}" for name in sorted(FILES)]


def test_its_sums_are_signed_as_what_they_are(kept):
    kept.hold("Qwen/Tiny")
    kept.write(tree=True)
    envelope = json.loads((kept.tree / "SHA256SUMS.sig").read_text())
    root, said = kept.accepted.root, canonical(envelope["signed"])
    assert root.check(INDEX_ROLE, TREE_TYPE, said, envelope["signatures"]).met
    assert not root.check(INDEX_ROLE, "sums", said, envelope["signatures"]).met
    assert "files/SHA256SUMS" in (kept.out / "SHA256SUMS").read_text()
    kept.write(signed=False)
    assert not (kept.tree / "SHA256SUMS.sig").exists()


def looks(folder: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_symlink() or path.is_file()]
    return {str(path.relative_to(folder)): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in files}


def test_it_stays_without_being_asked_for_and_nothing_is_written_again(kept, kind):
    kept.hold("Qwen/Tiny")
    kept.write(tree=True)
    before = looks(kept.tree)
    assert kept.write().snapshots == 1
    after = looks(kept.tree)
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {"SHA256SUMS.sig"}


def test_what_left_the_library_leaves_the_tree_if_it_was_links_alone(kept, kind):
    gone, stays = kept.hold("Qwen/Gone"), kept.hold("Qwen/Stays")
    kept.write(tree=True)
    Library(kept.home).remove(gone)
    done = kept.write()
    clones = kind == "clones"
    assert done.missing == (() if clones else (gone.id,))
    assert kept.folder_of(gone).exists() == clones
    assert (kept.folder_of(stays) / "README.md").read_bytes() == FILES["README.md"]
    assert not any(path.is_symlink() and not path.exists() for path in kept.tree.rglob("*"))


def test_what_is_no_longer_listed_leaves_it_and_somebodys_own_file_stays(kept, kind):
    gone, stays = kept.hold("Qwen/Gone"), kept.hold("Qwen/Stays")
    kept.write(tree=True)
    own = kept.folder_of(gone) / "sub" / "notes.txt"
    own.write_text("mine")
    kept.entries = [one for one in kept.entries if one.id != gone.id]
    kept.write()
    assert [path for path in (kept.tree / "Qwen/Gone").rglob("*") if not path.is_dir()] == [own]
    assert (gone.folder / "README.md").read_bytes() == FILES["README.md"]
    assert kept.folder_of(stays).exists()
    own.unlink()


def test_without_it_all_of_it_goes_and_the_library_stays(kept, kind):
    held = kept.hold("Qwen/Tiny")
    kept.write(tree=True)
    assert kept.write(tree=False) is None
    assert not kept.tree.exists()
    assert kept.write() is None
    assert {name: (held.folder / name).read_bytes() for name in FILES} == FILES


def test_a_folder_on_the_way_that_leads_elsewhere_keeps_what_is_there(kept, kind, tmp_path):
    """Somebody put a symlink to another folder in the place of one of ours."""
    held = kept.hold("Qwen/Tiny")
    kept.write(tree=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model one.safetensors").write_bytes(b"somebody's")
    shutil.rmtree(kept.folder_of(held) / "sub")
    (kept.folder_of(held) / "sub").symlink_to(elsewhere)
    kept.write(tree=False)
    assert (elsewhere / "model one.safetensors").read_bytes() == b"somebody's"


def test_nothing_is_written_to_where_a_folder_on_the_way_leads(kept, kind, tmp_path):
    held = kept.hold("Qwen/First")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "README.md").write_bytes(b"somebody's own")
    folder = kept.folder_of(held)
    folder.parent.mkdir(parents=True)
    folder.symlink_to(elsewhere)
    answer = kept.write(tree=True, check=False)
    assert answer.missing == (held.id,)
    assert [(one.name, one.read_bytes()) for one in elsewhere.iterdir()] == [("README.md", b"somebody's own")]


def test_sums_that_name_a_way_out_remove_nothing_there(kept, tmp_path):
    held = kept.hold("Qwen/Tiny")
    kept.write(tree=True)
    mine = kept.out / "mine"
    mine.write_text("mine")
    sums = kept.tree / f"Qwen/Tiny/{held.id.commit}.sha256"
    sums.write_text(f"{'0' * 64}  ../../../mine\n")
    kept.write(tree=False)
    assert mine.read_text() == "mine"


def test_what_changed_on_the_disk_is_not_listed(kept):
    held = kept.hold("Qwen/Tiny")
    (held.folder / "README.md").write_bytes(b"# Tiny?")
    done = kept.write(tree=True)
    assert done.missing == (held.id,)
    assert (kept.tree / "SHA256SUMS").read_bytes() == b""


def test_a_folder_of_somebody_elses_is_refused(kept):
    kept.hold("Qwen/Tiny")
    kept.tree.mkdir(parents=True)
    (kept.tree / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a mirror tree"):
        kept.write(tree=True)
    assert [path.name for path in kept.tree.iterdir()] == ["thesis.txt"]


def test_an_organisation_that_is_called_like_it_keeps_its_place(kept):
    kept.hold("files/Tiny")
    assert kept.write(tree=True, check=False) is None
    assert not (kept.tree / "SHA256SUMS").exists()
    assert (kept.tree / "Tiny" / "index.html").exists()
