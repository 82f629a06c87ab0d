import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given

from p2pqwen.errors import FormatError
from p2pqwen.manifest.git_object import blob_oid
from p2pqwen.manifest.lfs_pointer import pointer_oid
from p2pqwen.manifest.manifest import FileRow, Manifest, parse_manifest
from p2pqwen.values import strict_json
from p2pqwen.values.digest import GitOid, Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId
from tests.strategies import manifest_of, manifests

SNAPSHOT = SnapshotId.parse("Qwen/Qwen3-0.6B@" + "ab" * 20)
WEIGHTS = RepoPath("model.safetensors")
MANIFEST = manifest_of(
    {RepoPath(".gitattributes"): b"* -text\n", RepoPath("empty"): b"", RepoPath("é/x"): b"x", WEIGHTS: b"weights"},
    SNAPSHOT,
    lfs=frozenset({WEIGHTS}),
    commit_object=b"tree ...",
)


@given(manifests())
def test_what_is_written_is_read_back(manifest):
    again = parse_manifest(manifest.encode())
    assert again == manifest
    assert again.encode() == manifest.encode()
    assert again.digest == Sha256.of(manifest.encode())


def test_the_bytes_field_by_field():
    document = json.loads(MANIFEST.encode())
    assert document == {
        "type": "manifest",
        "spec": 1,
        "repo_type": "model",
        "repo": "Qwen/Qwen3-0.6B",
        "commit": "ab" * 20,
        "commit_object": "dHJlZSAuLi4=",
        "license": "apache-2.0",
        "files": [
            {
                "path": path,
                "size": len(data),
                "sha256": str(Sha256.of(data)),
                "git_oid": str(pointer_oid(Sha256.of(data), 7) if path == WEIGHTS.text else blob_oid(data)),
                "lfs": path == WEIGHTS.text,
                "mode": "100644",
            }
            for path, data in (
                (".gitattributes", b"* -text\n"),
                ("empty", b""),
                ("model.safetensors", b"weights"),
                ("é/x", b"x"),
            )
        ],
    }
    assert MANIFEST.encode() == strict_json.canonical(document)
    assert MANIFEST.total_size == 16


def edited(*path: str | int, to: object = None, drop: bool = False) -> bytes:
    document = json.loads(MANIFEST.encode())
    node = document
    for key in path[:-1]:
        node = node[key]
    if drop:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return strict_json.canonical(document)


ROWS = json.loads(MANIFEST.encode())["files"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not a JSON document"),
        (b"[]", "expected an object"),
        (b"{}", "manifest `type`, expected 'manifest'"),
        (edited("type", to="index"), "manifest `type`"),
        (edited("spec", to=2), "manifest `spec`, expected 1, got 2"),
        (edited("spec", to=True), "manifest `spec`"),
        (edited("repo_type", to="space"), "manifest `repo_type`"),
        (edited("repo", to="Qwen3"), "not a repository name"),
        (edited("repo", to=None), "manifest `repo`, expected str"),
        (edited("commit", to="main"), "not a commit id"),
        (edited("commit", to="AB" * 20), "not a commit id"),
        (edited("commit_object", to="dHJlZSAuLi4"), "not base64"),
        (edited("commit_object", to="dHJlZSAuLi4=\n"), "not base64"),
        (edited("commit_object", to="dHJlZSAuLi5="), "not the one base64"),
        (edited("commit_object", to="dHJl-_AA"), "not base64"),
        (edited("commit_object", to="é"), "not base64"),
        (edited("commit_object", to=5), "manifest `commit_object`, expected str"),
        (edited("commit_object", drop=True), "manifest has no `commit_object`"),
        (edited("commit_object", to=base64.b64encode(bytes(70_000)).decode()), "commit object is too large"),
        (edited("license", drop=True), "manifest has no `license`"),
        (edited("license", to=["mit"]), "manifest `license`, expected str"),
        (edited("license", to=""), "license, expected a short printable name"),
        (edited("license", to="x\u001b[2J"), "license, expected a short printable name"),
        (edited("license", to="x" * 101), "license, expected a short printable name"),
        (edited("files", to=[]), "lists no files"),
        (edited("files", to={}), "manifest `files`, expected list"),
        (edited("files", 0, to="x"), "a row of manifest `files`"),
        (edited("files", to=ROWS[::-1]), "out of order"),
        (edited("files", to=[ROWS[0], ROWS[0]]), "out of order"),
        (edited("files", to=[{**ROWS[1], "path": "A"}, {**ROWS[1], "path": "a"}]), "clash"),
        (edited("files", 0, "path", to="../x"), "not safe to create"),
        (edited("files", 0, "path", drop=True), "manifest `path`"),
        (edited("files", 0, "size", to=-1), "out of range"),
        (edited("files", 0, "size", to="8"), "manifest `size`, expected int"),
        (edited("files", 0, "size", to=True), "manifest `size`, expected int"),
        (edited("files", 0, "sha256", to="ab"), "not a SHA-256"),
        (edited("files", 0, "git_oid", to="x" * 40), "not a git object id"),
        (edited("files", 0, "lfs", to=0), "manifest `lfs`, expected bool"),
        (edited("files", 0, "lfs", to=True), "git id of .gitattributes is not its LFS pointer's"),
        (edited("files", 2, "size", to=8), "git id of model.safetensors is not its LFS pointer's"),
        (edited("files", 2, "sha256", to="00" * 32), "git id of model.safetensors is not its LFS pointer's"),
        (edited("files", 0, "mode", to="100600"), "git mode of .gitattributes"),
        (edited("files", 0, "mode", to="040000"), "git mode of .gitattributes"),
        (edited("files", 0, "mode", drop=True), "manifest `mode`"),
        (json.dumps(json.loads(MANIFEST.encode()), ensure_ascii=False).encode(), "not in canonical form"),
        (MANIFEST.encode() + b"\n", "not in canonical form"),
    ],
)
def test_refused(data, problem):
    with pytest.raises(FormatError, match=problem):
        parse_manifest(data)


def test_a_limit_on_its_length():
    with pytest.raises(FormatError, match="too large"):
        parse_manifest(b" " * (64 * 1024 * 1024 + 1))


def test_keys_we_do_not_know_do_no_harm_and_keep_the_digest():
    document = json.loads(MANIFEST.encode())
    document["later"] = {"x": [1]}
    document["files"][0]["later"] = None
    data = strict_json.canonical(document)
    again = parse_manifest(data)
    assert again == MANIFEST
    assert again.encode() == data
    assert again.digest == Sha256.of(data)
    assert replace(again, license="mit").encode() == replace(MANIFEST, license="mit").encode()


def test_an_unproven_manifest_has_null():
    manifest = Manifest(SNAPSHOT, None, None, MANIFEST.files)
    document = json.loads(manifest.encode())
    assert (document["commit_object"], document["license"]) == (None, None)
    assert parse_manifest(manifest.encode()) == manifest


def test_an_lfs_row_takes_its_pointers_id_only():
    digest = Sha256.of(b"x")
    FileRow(WEIGHTS, 1, digest, pointer_oid(digest, 1), lfs=True)
    with pytest.raises(FormatError, match="git id"):
        FileRow(WEIGHTS, 1, digest, GitOid(bytes(20)), lfs=True)
