"""What changes a Hugging Face cache goes through one place, which looks at each folder on the way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from p2pqwen.hub import cache, cache_look, cache_refs, cache_tree
from p2pqwen.hub.cache_place import CachePlace

CHANGING = {
    "mkdir", "makedirs", "touch", "write_text", "write_bytes", "unlink", "remove", "rmdir", "rmtree", "rename",
    "replace", "symlink_to", "symlink", "hardlink_to", "link", "chmod", "chown", "truncate", "copyfile", "copy", "move",
}  # fmt: skip
ALLOWED = {
    "self._cache", "cache",  # the one place
    "shutil.copyfile",  # in what that place calls to fill a new file
}  # fmt: skip


@pytest.mark.parametrize("module", [cache, cache_look, cache_refs, cache_tree], ids=lambda one: one.__name__)
def test_the_cache_is_changed_in_one_place_alone(module):
    calls = [node for node in ast.walk(ast.parse(Path(module.__file__).read_text())) if isinstance(node, ast.Call)]
    named = [node.func for node in calls if isinstance(node.func, ast.Attribute)]
    changing = [one for one in named if one.attr in CHANGING]
    assert [
        ast.unparse(one)
        for one in changing
        if ast.unparse(one) not in ALLOWED and ast.unparse(one.value) not in ALLOWED
    ] == []
    opened = [node for node in calls if ast.unparse(node.func).endswith("open")]
    assert all([ast.unparse(argument) for argument in node.args] == ["'rb'"] for node in opened)


WAYS = {
    "make_folder": lambda place, path: place.make_folder(path),
    "make_lock_folder": lambda place, path: place.make_lock_folder(path),
    "write_new": lambda place, path: place.write_new(path, "text"),
    "fill_new": lambda place, path: place.fill_new(path, Path.touch),
    "link": lambda place, path: place.link(path, "nowhere"),
    "replace to": lambda place, path: place.replace(path.parents[2] / "file", path),
    "replace from": lambda place, path: place.replace(path, path.parents[2] / "file"),
    "remove": lambda place, path: place.remove(path),
    "remove_empty": lambda place, path: place.remove_empty(path),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_way_leads_through_a_link(tmp_path, way):
    root, precious = tmp_path / "hub", tmp_path / "precious"
    (root / "models--Some--Thing").mkdir(parents=True)
    (root / "file").touch()
    precious.mkdir()
    (precious / "empty").touch()
    link = root / "models--Some--Thing" / "blobs"
    link.symlink_to(precious)
    before = sorted(tmp_path.rglob("*"))
    for name in ("empty", "new"):
        with pytest.raises(OSError, match="symbolic link") as refused:
            way(CachePlace(root), link / name)
        assert refused.value.filename == str(link)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_cache_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "hub").symlink_to(tmp_path / "disk")
    place = CachePlace(tmp_path / "hub")
    place.make_root("TAG", "text")
    place.make_folder(tmp_path / "hub" / "models--Some--Thing" / "blobs")
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["models--Some--Thing"]


def test_a_new_file_is_not_written_through_a_link_of_its_name(tmp_path):
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "name").symlink_to(tmp_path / "elsewhere")
    for way in ("write_new", "fill_new"):
        with pytest.raises(FileExistsError):
            WAYS[way](CachePlace(tmp_path / "hub"), tmp_path / "hub" / "name")
    assert not (tmp_path / "elsewhere").exists()
