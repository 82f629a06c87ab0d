"""The answer of `fetch --json`, and the last line of a fetch that a node carried out: one typed result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from p2pqwen.index.standing import Standing, Vouching
from p2pqwen.library.snapshots import State
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.torrent.signer import SignerResult
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.webseed.source_stats import WebSeedUsed

if TYPE_CHECKING:
    from p2pqwen.operations.fetch.run import Fetched


@dataclass(frozen=True, slots=True)
class FetchAnswer:
    """A held, verified snapshot. Sizes in bytes; `hf_cache` None: not laid there.

    `torrent` is its .torrent file, `torrent_from` what named it, `torrent_by` what delivered it.
    """

    snapshot: SnapshotId = field(metadata=FLAT)
    path: Path
    size: int
    bytes_from_peers: int
    bytes_from_web_seeds: int
    bytes_reused: int
    seconds: float
    verified: bool
    provenance: Provenance
    standing: Standing
    standing_words: str
    vouched_by: tuple[Vouching, ...]
    trusted_unverified: bool
    hf_cache: Path | None
    torrent: Path
    state: State
    unchanged: bool
    torrent_from: str
    torrent_by: str
    signers: tuple[SignerResult, ...]
    web_seeds: tuple[WebSeedUsed, ...]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, done: Fetched) -> FetchAnswer:
        """Return the answer about a fetch."""
        return cls(
            snapshot=done.held.id,
            path=done.held.folder,
            size=done.size,
            bytes_from_peers=done.bytes_from_peers,
            bytes_from_web_seeds=done.bytes_from_web_seeds,
            bytes_reused=done.bytes_reused,
            seconds=round(done.seconds, 3),
            verified=True,  # otherwise there is no result
            provenance=done.provenance,
            standing=done.judgement.standing,
            standing_words=done.judgement.words,
            vouched_by=done.judgement.vouched_by,
            trusted_unverified=done.trusted_unverified,
            hf_cache=done.hub_cache,
            torrent=done.held.torrent_path,
            state=done.held.state,
            unchanged=done.unchanged,
            torrent_from=done.route,
            torrent_by=done.origin,
            signers=done.signers,
            web_seeds=done.web_seeds,
            warnings=done.warnings,
        )

    @property
    def bytes_fetched(self) -> int:
        """Bytes that came over the network."""
        return self.bytes_from_peers + self.bytes_from_web_seeds


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """One of several targets that was not fetched, and why."""

    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class FetchedAnswer:
    """The answer of `fetch --json` for several targets, or for a glob."""

    fetched: tuple[FetchShown, ...]
    failed: tuple[FetchFailed, ...]


@dataclass(frozen=True, slots=True)
class FetchShown:
    """The answer of `fetch --json`: the result of the fetch, and where each requested file is."""

    fetched: FetchAnswer = field(metadata=FLAT)
    file_paths: tuple[Path, ...]

    @classmethod
    def of(cls, done: FetchAnswer, files: Sequence[RepoPath], folder: Path, *, chosen: bool) -> FetchShown:
        """Return the answer about files below a folder; if a single file was `chosen`, `path` is that file."""
        paths = tuple(folder / file.text for file in files)
        path = paths[0] if chosen and len(paths) == 1 else folder
        return cls(replace(done, path=path), paths)
