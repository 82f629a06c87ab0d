"""Small snapshots with their torrents, proven by a commit object made for them; and libraries that hold them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from p2pqwen.library.home import Home
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.library.verified import Verified
from p2pqwen.manifest.git_object import commit_oid, tree_oid
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.snapshot_torrent import build_metainfo
from p2pqwen.values.digest import CommitId
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.strategies import hash_payload, manifest_of

FILES = {
    "README.md": b"---\nlicense: apache-2.0\n---\n# Tiny\n",
    "config.json": b"{}\n",
    "model.safetensors": b"w" * 70_000,
}


def make_snapshot(
    files: Mapping[str, bytes] = FILES,
    repo: str = "Qwen/Tiny",
    *,
    proven: bool = True,
    message: str = "one",
    lfs: Collection[str] = (),
    terms: str | None = "apache-2.0",
) -> Metainfo:
    """Return the torrent of a snapshot of these files, by recipe 1, with its manifest; `lfs` are the LFS files."""
    payload = {RepoPath(name): content for name, content in files.items()}
    nowhere = SnapshotId(RepoId(repo), CommitId(bytes(20)))
    rows = manifest_of(payload, nowhere, lfs=frozenset(map(RepoPath, lfs))).files
    tree = tree_oid((row.path, row.mode, row.git_oid) for row in rows)
    author = "Ann <ann@example.org> 1795467600 +0000"
    commit = f"tree {tree}\nauthor {author}\ncommitter {author}\n\n{message}\n".encode()
    snapshot = SnapshotId(RepoId(repo), commit_oid(commit))
    manifest = Manifest(snapshot, commit if proven else None, terms, rows)
    layout = Layout.of((path, len(content)) for path, content in payload.items())
    return build_metainfo(manifest, layout, hash_payload(payload, layout))


def sign_torrent(metainfo: Metainfo, key: PrivateKey, label: str) -> Metainfo:
    """Return the torrent with one more signature; raises as checking and signing do."""
    return CheckedTorrent.of(metainfo).signed(key, label).metainfo


def hold(home: Home, files: Mapping[str, bytes] = FILES, repo: str = "Qwen/Tiny", **options: Any) -> HeldSnapshot:
    """Put such a snapshot, complete, into a home's library."""
    metainfo = make_snapshot(files, repo, **options)
    library = Library(home)
    snapshot = SnapshotId(RepoId(repo), metainfo.commit)
    staged = library.stage(snapshot)
    for name, content in files.items():
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        (staged / name).write_bytes(content)
    verified = Verified.now(metainfo.infohash.v2, staged, (RepoPath(name) for name in files))
    return library.install(snapshot, CheckedTorrent.of(metainfo), verified)
