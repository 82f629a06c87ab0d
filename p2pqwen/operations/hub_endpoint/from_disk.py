"""Files whose content is already on this disk: in another snapshot of the library, or in the Hugging Face cache.

A manifest's word is only a reason to look there: each piece is read and hashed before a byte of it is sent. Putting a
file in place requires all the checks of a fetch (`preserve.reuse`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from p2pqwen.errors import VerificationError
from p2pqwen.events import Event, Notice, Report, ignore
from p2pqwen.operations.fetch.context import FetchContext
from p2pqwen.operations.fetch.plan import TorrentPlan
from p2pqwen.operations.hub_endpoint.reading import PieceFile
from p2pqwen.operations.preserve.reuse import CachedFile, HeldFile, Search, take
from p2pqwen.values.repo_path import RepoPath

LOOK_FROM = 1 << 20
"""Bytes; a smaller file is not searched for on this disk: that takes longer than to download it."""


class FromDisk:
    """Finds files of one torrent on this disk and puts them in place. `check` is called meanwhile and may raise."""

    def __init__(self, plan: TorrentPlan, context: FetchContext, check: Callable[[], None], report: Report) -> None:
        self._plan, self._cache, self._check, self._report = plan, context.hub_cache, check, report
        self._library = context.sources.library
        self._spoiled: set[RepoPath] = set()

    def find(self, index: int, folder: Path) -> PieceFile | None:
        """Return where a file of the torrent can be read outside its own `folder`, None if nowhere.

        Reads no content. Raises `DiskError`.
        """
        metainfo = self._plan.metainfo
        file = metainfo.files[index]
        if file.size < LOOK_FROM or file.path in self._spoiled:
            return None
        match self._search(ignore).where(file.path, folder):
            case HeldFile(path=at, name=name):
                return PieceFile(metainfo, index, at.parents[len(name.parts) - 1], name=name)
            case CachedFile(path=at):
                return PieceFile(metainfo, index, at.parent, name=RepoPath(at.name))
        return None

    def refuse(self, path: RepoPath) -> VerificationError:
        """Stop looking for a file whose copy is bad, and return the error."""
        self._spoiled.add(path)
        return VerificationError(f"the copy of {path} that was found on this disk does not match the torrent")

    def put_in_place(self, path: RepoPath, folder: Path) -> None:
        """Put a file into its own snapshot, whose lock we hold; raises `VerificationError`, `DiskError`."""
        search = self._search(lambda _: self._check())
        here = search.find({path}, folder)
        if here.cached:
            self._library.require_room(folder, sum(here.cached))
        if path not in take(self._plan.snapshot, self._plan.metainfo, here, folder, self._library, search):
            raise self.refuse(path)
        self._report(Notice("info", f"{self._plan.snapshot}: {path} was on this disk already"))

    def _search(self, report: Callable[[Event], None]) -> Search:
        plan = self._plan
        return Search(plan.snapshot, plan.metainfo, plan.manifest, self._library, report, cache=self._cache)
