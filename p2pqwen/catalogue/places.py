"""The places of a published site's pages, relative to index.json.

    index.html                       the first page of the list; SHA256SUMS, SHA256SUMS.sig and sitemap.xml beside it
    <site path>/index.html           a model; <commit>.README.md beside it
    p2pqwen--site/                   further pages of the list, data for searching, scripts, style, feeds
    files/                           the snapshots' files, if the publisher wants a mirror tree

No organisation can be called `p2pqwen--site`: repository names have no `--` (SPEC section 1).
"""

from __future__ import annotations

from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.snapshot_place import library_parts

INDEX_PAGE = "index.html"
FOLDER = "p2pqwen--site"
SUMS = "SHA256SUMS"
SIGNATURE = ".sig"
SUMS_SIGNATURE = f"{SUMS}{SIGNATURE}"
SNAPSHOT_SUMS = ".sha256"
SITEMAP = "sitemap.xml"
TREE = "files"
TREE_SUMS = f"{TREE}/{SUMS}"
ON_TOP = (INDEX_PAGE, SUMS, SUMS_SIGNATURE, SITEMAP)
"""The files at the root of a site, beside index.json and the folders of organisations."""


def list_page(number: int) -> str:
    """Return the place of a page of the list, counted from 1."""
    return INDEX_PAGE if number == 1 else f"{FOLDER}/list-{number}.html"


def model_page(repo: RepoId) -> str:
    """Return the place of a model's page."""
    return "/".join((*library_parts(repo), INDEX_PAGE))


def readme(snapshot: SnapshotId) -> str:
    """Return the place of a snapshot's unrendered README."""
    return "/".join((*library_parts(snapshot.repo), f"{snapshot.commit}.README.md"))


def data_part(number: int) -> str:
    """Return the place of a part of the search data, counted from 0."""
    return f"{FOLDER}/data-{number}.json"


def tree_file(snapshot: SnapshotId, path: str) -> str:
    """Return the place of a snapshot's file in a mirror tree, relative to the tree's folder."""
    return "/".join((*library_parts(snapshot.repo), str(snapshot.commit), path))


def tree_sums(snapshot: SnapshotId) -> str:
    """Return the place of one snapshot's sums in a mirror tree."""
    return "/".join((TREE, *library_parts(snapshot.repo), f"{snapshot.commit}{SNAPSHOT_SUMS}"))


def to_root(place: str) -> str:
    """Return the relative path from a page to the site's root: empty, or a series of `../`."""
    return "../" * place.count("/")
