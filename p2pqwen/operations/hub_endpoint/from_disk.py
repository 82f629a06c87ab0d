"""Files whose content this disk has already: of another snapshot of the library, or in the Hugging Face cache.

What a manifest says of a content is a reason to look there, and nothing else: each piece is read and hashed before a
byte of it goes out. To put a file in place takes all that a fetch asks for (`preserve.reuse`).
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
"""For a smaller file nobody looks elsewhere on this disk: that takes longer than to bring it."""


class FromDisk:
    """Finds files of one torrent on this disk, and puts them in place. `check` is called meanwhile, and may raise."""

    def __init__(self, plan: TorrentPlan, context: FetchContext, check: Callable[[], None], report: Report) -> None:
        self._plan, self._cache, self._check, self._report = plan, context.hub_cache, check, report
        self._library = context.sources.library
        self._spoiled: set[RepoPath] = set()

    def find(self, index: int, folder: Path) -> PieceFile | None:
        """Return where a file of the torrent may be read, None where it is nowhere but in its own `folder`, if there.

        Nothing is read for that. Raises `DiskError`.
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
        """Look no more for a file that is not what it should be, and return what there is to say of it."""
        self._spoiled.add(path)
        return VerificationError(f"the copy of {path} that was found on this disk does not match the torrent")

    def put_in_place(self, path: RepoPath, folder: Path) -> None:
        """Make a file part of its own snapshot, whose lock is ours; raises `VerificationError`, `DiskError`."""
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
