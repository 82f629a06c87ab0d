"""Signs that the disk of a library folder fails: I/O errors seen there, and those that the kernel counted.

    disk-fault/<folder>    in the state store: the last error and its time; it counts for a week

SMART says more and says it earlier, but reading it takes root. smartd does that, and notifies people itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from p2pqwen.errors import DiskError, FailingDiskError, FormatError
from p2pqwen.library.state_store import Followed, Json, StateStore
from p2pqwen.portable.disk_counts import counted_errors
from p2pqwen.values.plural import plural
from p2pqwen.values.utc_time import format_time, parse_time

COUNTS_FOR = timedelta(days=7)
"""How long a disk is reported after its last error. A disk that was replaced is not reported for ever."""
_AGAIN_AFTER = timedelta(minutes=1)
_PREFIX = "disk-fault/"


class DiskFaults:
    """What is known of the disks of a library's folders; thread-safe. Methods raise `DiskError`."""

    def __init__(
        self,
        store: StateStore,
        folders: Callable[[], Iterable[Path]],
        now: Callable[[], datetime],
        *,
        counted: Callable[[Path], int] = counted_errors,
    ) -> None:
        self._store, self._folders, self._now, self._counted = store, folders, now, counted
        self._met: Followed[Mapping[str, tuple[datetime, str]]] = Followed(store, self._read)

    def note(self, folder: Path, error: DiskError) -> None:
        """Record an error seen below `folder`, if it is one that a failing disk gives."""
        if not isinstance(error, FailingDiskError):
            return
        now = self._now()
        for root in self._folders():
            if folder.is_relative_to(root):
                last = self._met.now().get(str(root))
                if last is None or not timedelta(0) <= now - last[0] < _AGAIN_AFTER:  # it may come for every piece
                    self._store.put(f"{_PREFIX}{root}", {"seen": format_time(now), "what": error.message})

    def all(self) -> Mapping[str, str]:
        """Return the evidence for each folder whose disk seems to be failing."""
        now, met, found = self._now(), self._met.now(), {}
        for root in self._folders():
            seen, what = met.get(str(root), (None, ""))
            if seen is not None and now - seen < COUNTS_FOR:
                found[str(root)] = f"{what} ({seen:%Y-%m-%d})"
            elif count := self._counted(root):
                found[str(root)] = f"the kernel counted {plural(count, 'error')} of its file system"
        return found

    def _read(self) -> Mapping[str, tuple[datetime, str]]:
        read = ((root, _met(value)) for root, value in self._store.items(_PREFIX).items())
        return {root: one for root, one in read if one is not None}


def _met(value: Json) -> tuple[datetime, str] | None:
    try:
        return parse_time(value["seen"]), str(value["what"])
    except (KeyError, TypeError, FormatError):
        return None
