"""Commits of a repository that the Hub is known to have had, with the manifests by which its files are recognised.

A held snapshot counts if it is proven and the Hub itself showed it here, or if a trusted publisher vouches for it. So
does every snapshot that a trusted index lists. A stranger's torrent does not: anyone can make a commit of these files.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from p2pqwen.containment import each, warn
from p2pqwen.events import Report
from p2pqwen.index.standing import judge_torrent, keys_of
from p2pqwen.index.voice import Voice
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.library.trust_store import TrustedPublisher
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.indexes.lookup import choose, find_entries, load_torrent
from p2pqwen.values.snapshot_id import RepoId, SnapshotId


def known_commits(
    repo: RepoId,
    library: Library,
    publishers: Sequence[TrustedPublisher],
    voices: Sequence[Voice],
    shown: Callable[[], Container[SnapshotId]],
    report: Report,
) -> Iterator[Manifest]:
    """Yield the manifests of a repository's known commits, each once; `shown` gives those that the Hub showed here.

    One that cannot be read is skipped with a warning.
    """
    yielded: set[SnapshotId] = set()
    for manifest in (*_held(library.of_repo(repo), voices, shown, report), *_listed(repo, publishers, report)):
        if manifest.snapshot not in yielded:
            yielded.add(manifest.snapshot)
            yield manifest


def _held(
    held: Iterable[HeldSnapshot], voices: Sequence[Voice], shown: Callable[[], Container[SnapshotId]], report: Report
) -> list[Manifest]:
    keys = keys_of(voices)

    def read(one: HeldSnapshot) -> Manifest | None:
        torrent = one.torrent().tried_with(keys)
        if torrent.manifest is None or torrent.manifest.snapshot != one.id:
            return None
        judgement = judge_torrent(torrent, voices, of_bytes=False)
        vouched = judgement is not None and bool(judgement.vouched_by)
        by_hub = torrent.provenance is Provenance.PROVEN and one.id in shown()
        return torrent.manifest if vouched or by_hub else None

    found = each(held, read, failed=warn(report, lambda one: one.id))
    return [one for one in found if one is not None]


def _listed(repo: RepoId, publishers: Sequence[TrustedPublisher], report: Report) -> list[Manifest]:
    def read(snapshot: SnapshotId) -> Manifest | None:
        found = choose(find_entries(publishers, snapshot), snapshot, report=report)
        return load_torrent(found, report=report).manifest

    snapshots = dict.fromkeys(found.entry.id for found in find_entries(publishers, repo))
    found = each(snapshots, read, failed=warn(report, str))
    return [one for one in found if one is not None]
