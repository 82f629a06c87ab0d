from dataclasses import replace

import pytest

from p2pqwen.errors import VerificationError
from p2pqwen.manifest.git_object import commit_oid, tree_oid
from p2pqwen.manifest.lfs_pointer import pointer_oid
from p2pqwen.manifest.manifest import Manifest, parse_manifest
from p2pqwen.manifest.proof import prove
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.values.digest import CommitId, GitOid, Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.strategies import manifest_of

PAYLOAD = {RepoPath("README.md"): b"hello", RepoPath("model.safetensors"): b"weights", RepoPath("model/x"): b"x"}
LFS = frozenset({RepoPath("model.safetensors")})
ANY = SnapshotId(RepoId("Qwen/Qwen3"), CommitId(bytes(20)))


def commit_object(tree: object) -> bytes:
    who = "A <a@example.com> 1700000000 +0000"
    return f"tree {tree}\nauthor {who}\ncommitter {who}\n\nmessage\n".encode()


def proven() -> Manifest:
    rows = manifest_of(PAYLOAD, ANY, lfs=LFS).files
    raw = commit_object(tree_oid((row.path, row.mode, row.git_oid) for row in rows))
    return Manifest(SnapshotId(ANY.repo, commit_oid(raw)), raw, "mit", rows)


def test_rows_that_lead_to_the_commit_are_proven():
    assert prove(proven()) is Provenance.PROVEN
    assert prove(parse_manifest(proven().encode())) == "proven"


def test_without_a_commit_object_nothing_is_proven():
    assert prove(replace(proven(), commit_object=None)) is Provenance.UNPROVEN
    assert str(Provenance.UNPROVEN) == "unproven"


def rows_with(index: int, **changes: object) -> Manifest:
    manifest = proven()
    rows = list(manifest.files)
    rows[index] = replace(rows[index], **changes)
    return replace(manifest, files=tuple(rows))


OTHER = Sha256.of(b"other")


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        pytest.param(replace(proven(), snapshot=ANY), "another commit's", id="another commit"),
        pytest.param(
            replace(proven(), commit_object=proven().commit_object + b" "), "another commit's", id="a byte more"
        ),
        pytest.param(replace(proven(), commit_object=b""), "another commit's", id="no object at all"),
        pytest.param(replace(proven(), files=proven().files[1:]), "not the commit's tree", id="a file less"),
        pytest.param(rows_with(0, git_oid=GitOid(bytes(20))), "not the commit's tree", id="another blob"),
        pytest.param(rows_with(0, mode="100755"), "not the commit's tree", id="another mode"),
        pytest.param(rows_with(0, path=RepoPath("READ.md")), "not the commit's tree", id="another name"),
        pytest.param(
            rows_with(2, sha256=OTHER, git_oid=pointer_oid(OTHER, 7)), "not the commit's tree", id="other LFS content"
        ),
    ],
)
def test_anything_else_is_refused(manifest, problem):
    with pytest.raises(VerificationError, match=problem):
        prove(manifest)


def test_an_object_that_hashes_right_and_is_no_commit():
    raw = b"not a commit"
    manifest = replace(proven(), commit_object=raw, snapshot=SnapshotId(ANY.repo, commit_oid(raw)))
    with pytest.raises(VerificationError, match="not a git commit object"):
        prove(manifest)
