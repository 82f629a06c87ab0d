"""Check that a manifest is exactly the git commit that it names, without trust in its maker (SPEC section 2)."""

from __future__ import annotations

from p2pqwen.errors import VerificationError
from p2pqwen.manifest.git_object import commit_oid, commit_tree, tree_oid
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.values.repo_path import RepoPath


def prove(manifest: Manifest) -> Provenance:
    """Rebuild the git tree from the rows and follow it to the commit.

    Raises `VerificationError` if the commit object is not the commit's, or names another tree.
    """
    raw = manifest.commit_object
    if raw is None:
        return Provenance.UNPROVEN
    commit = manifest.snapshot.commit
    # 1. the object is the commit's
    if (got := commit_oid(raw)) != commit:
        raise VerificationError(f"commit object of {manifest.snapshot} is another commit's", expected=commit, got=got)
    # 2. it names a tree, and the rows make that tree
    tree = commit_tree(raw)
    if (made := tree_oid((row.path, row.mode, row.git_oid) for row in manifest.files)) != tree:
        raise VerificationError(f"files of {manifest.snapshot} are not the commit's tree", expected=tree, got=made)
    return Provenance.PROVEN


def pointers_beside(manifest: Manifest, other: Manifest) -> tuple[RepoPath, ...]:
    """Return the plain files of a manifest that are LFS files in another manifest of the same commit.

    Both can be proven: the tree has the pointers, and only the other manifest lists the files themselves.
    """
    files = {(row.path, row.git_oid) for row in other.files if row.lfs}
    return tuple(row.path for row in manifest.files if not row.lfs and (row.path, row.git_oid) in files)
