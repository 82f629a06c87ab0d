"""Make a snapshot's torrent by the recipe from its manifest and hashes, and check that a torrent is one."""

from __future__ import annotations

from collections.abc import Mapping

from p2pqwen.errors import FormatError, VerificationError
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.torrent.comment import comment_of
from p2pqwen.torrent.info import build_info, recipe_differences
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.torrent.piece_hasher import FileHashes
from p2pqwen.torrent.recipe import CURRENT, Recipe
from p2pqwen.values.repo_path import RepoPath


def build_metainfo(
    manifest: Manifest,
    layout: Layout,
    hashes: Mapping[RepoPath, FileHashes],
    *,
    web_seeds: tuple[str, ...] = (),
    trackers: tuple[tuple[str, ...], ...] = (),
    created_by: str | None = None,
) -> Metainfo:
    """Make a snapshot's torrent by the current recipe, with its manifest embedded, unsigned."""
    one_piece = layout.piece_length
    layers = {file.pieces_root: file.piece_layer for file in hashes.values() if file.size > one_piece}
    metainfo = Metainfo(
        build_info(manifest.snapshot.commit, layout, hashes),
        {root: layer for root, layer in layers.items() if root is not None},
        web_seeds=web_seeds,
        trackers=trackers,
        comment=comment_of(manifest.snapshot),
        created_by=created_by,
        manifest=manifest.encode(),
    )
    check_manifest(metainfo, manifest)
    return metainfo


def check_recipe(metainfo: Metainfo, recipe: Recipe = CURRENT) -> None:
    """Raise `FormatError`, naming every difference, unless the torrent is one that the recipe makes."""
    if differences := recipe_differences(metainfo.parsed_info, recipe):
        raise FormatError(f"the torrent does not follow {recipe}", got="; ".join(differences))


def check_manifest(metainfo: Metainfo, manifest: Manifest) -> None:
    """Raise `VerificationError` unless torrent and manifest have the same commit, paths and sizes.

    Only hashing tells whether the bytes are the same.
    """
    if metainfo.name != str(manifest.snapshot.commit):
        raise VerificationError(
            "the torrent is not of the manifest's commit", expected=manifest.snapshot.commit, got=metainfo.name
        )
    in_torrent = {file.path: file.size for file in metainfo.files}
    in_manifest = {row.path: row.size for row in manifest.files}
    for path, size in in_manifest.items():
        if in_torrent.get(path) != size:
            got = in_torrent.get(path, "no such file")
            raise VerificationError(f"size of {path} in the torrent", expected=size, got=got)
    if surplus := sorted(in_torrent.keys() - in_manifest.keys()):
        raise VerificationError(f"the torrent holds {surplus[0]}, which the manifest does not list")
