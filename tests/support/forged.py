"""Torrents that contradict themselves: bytes that match one of their hashes do not match another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.snapshot_torrent import build_metainfo
from p2pqwen.values.digest import CommitId
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.strategies import hash_payload, lay_out, manifest_of

LIES = ("manifest", "v1", "v2")
"""Which part lies: the manifest is of other bytes than the pieces, or the v1 pieces or the v2 tree are of other bytes
than everything else."""


def honest(files: Mapping[str, bytes], repo: str, commit: str, *, piece_length: int | None = None) -> Metainfo:
    """Return the torrent of a payload, with its manifest; by recipe 1 unless a piece length is given."""
    return forged(files, files, repo, commit, lie="manifest", piece_length=piece_length)


def forged(
    files: Mapping[str, bytes],
    evil: Mapping[str, bytes],
    repo: str,
    commit: str,
    *,
    lie: str,
    piece_length: int | None = None,
) -> Metainfo:
    """Return a torrent of `files` in which one part is of `evil`, whose files have the same names and sizes."""
    good = {RepoPath(name): data for name, data in files.items()}
    bad = {RepoPath(name): data for name, data in evil.items()}
    layout = (
        Layout.of((path, len(data)) for path, data in good.items())
        if piece_length is None
        else lay_out(good, piece_length)
    )
    manifest = manifest_of(good, SnapshotId(RepoId(repo), CommitId.parse(commit)), lfs=_lfs(good))
    true, false = hash_payload(good, layout), hash_payload(bad, layout)
    if lie == "manifest":
        return build_metainfo(manifest, layout, false)
    first, second = (true, false) if lie == "v1" else (false, true)  # what the v2 tree, and the v1 pieces, hash
    mixed = {path: replace(first[path], pieces=second[path].pieces) for path in good}
    return build_metainfo(manifest, layout, mixed)


def approved_by_pieces(files: Mapping[str, bytes], evil: Mapping[str, bytes], lie: str) -> Mapping[str, bytes]:
    """Return the files that match the torrent's v1 pieces."""
    return files if lie == "v2" else evil


def spoilt(files: Mapping[str, bytes], *names: str) -> dict[str, bytes]:
    """Return the files with other bytes in the named ones, or in all that are not empty."""
    return {
        name: bytes(byte ^ 0x55 for byte in data) if not names or name in names else data
        for name, data in files.items()
    }


def looks_of(folder: Path) -> dict[str, tuple[bytes, int, int, int, int]]:
    """Return content, inode, link count, mode and modification time of every file below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            stat = path.stat()
            found[path.relative_to(folder).as_posix()] = (
                path.read_bytes(),
                stat.st_ino,
                stat.st_nlink,
                stat.st_mode,
                stat.st_mtime_ns,
            )
    return found


def _lfs(files: Mapping[RepoPath, bytes]) -> frozenset[RepoPath]:
    return frozenset(path for path in files if path.text.endswith((".safetensors", ".bin")))


__all__ = ["LIES", "approved_by_pieces", "forged", "honest", "looks_of", "spoilt"]
