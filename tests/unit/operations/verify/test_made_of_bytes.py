"""A manifest that the bytes make themselves, and everything that is somebody's word beside them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from p2pqwen.manifest.git_object import blob_oid
from p2pqwen.manifest.lfs_pointer import pointer_oid
from p2pqwen.manifest.manifest import FileRow, Manifest, parse_manifest
from p2pqwen.operations.verify.made_of_bytes import is_made_of_bytes
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.strict_json import canonical

FILES = {
    ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
    "README.md": b"---\nlicense: apache-2.0\n---\n",
    "config.json": b"{}",
    "model.safetensors": b"weights",
}


def row(name: str, data: bytes, *, lfs: bool) -> FileRow:
    sha256 = Sha256.of(data)
    return FileRow(
        RepoPath(name), len(data), sha256, pointer_oid(sha256, len(data)) if lfs else blob_oid(data), lfs=lfs
    )


def manifest(**lfs: bool) -> Manifest:
    rows = (row(name, data, lfs=lfs.get(name.partition(".")[0], "model" in name)) for name, data in FILES.items())
    return Manifest(SnapshotId(RepoId("Org/Model"), CommitId(b"c" * 20)), None, "apache-2.0", tuple(rows))


def saying_more(where: str) -> Manifest:
    document = json.loads(manifest().encode())
    (document if where == "top" else document["files"][0])["rating"] = "five stars"
    return parse_manifest(canonical(document))


@pytest.fixture
def folder(tmp_path):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_made_or_read_it_is_what_the_bytes_make(folder):
    assert is_made_of_bytes(manifest(), folder)
    assert is_made_of_bytes(parse_manifest(manifest().encode()), folder)


MODE = replace(row("config.json", b"{}", lfs=False), mode="100755")


@pytest.mark.parametrize(
    "claimed",
    {
        "a commit": replace(manifest(), commit_object=b"tree"),
        "another license": replace(manifest(), license="mit"),
        "no license": replace(manifest(), license=None),
        "a mode": replace(manifest(), files=tuple(MODE if one.path == MODE.path else one for one in manifest().files)),
        "a plain file where .gitattributes has LFS": manifest(model=False),
        "LFS where .gitattributes has a plain file": manifest(config=True),
        "a key of a later version": saying_more("top"),
        "a key of a later version in a row": saying_more("row"),
    }.items(),
    ids=lambda one: one[0],
)
def test_what_somebody_says_is_not_made_of_the_bytes(folder, claimed):
    assert not is_made_of_bytes(claimed[1], folder)


@pytest.mark.parametrize("name", [".gitattributes", "README.md"])
def test_what_it_is_made_of_must_be_there(folder, name):
    (folder / name).write_bytes(FILES[name].replace(b"=", b":").replace(b"apache", b"apachy"))
    assert not is_made_of_bytes(manifest(), folder)
    (folder / name).unlink()
    assert not is_made_of_bytes(manifest(), folder)
