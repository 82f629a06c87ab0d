"""Traces in the library of a BitTorrent client that was pointed at it: files renamed to `*.part`, and pad files.

Transmission renames a file that it takes for incomplete, even in a paused torrent. That includes a complete file before
a pad file. For us, the file is then missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.containment import each
from p2pqwen.library.snapshots import HeldSnapshot
from p2pqwen.values.snapshot_id import SnapshotId

_RENAMED = ".part"
_PADS = ".pad"


@dataclass(frozen=True, slots=True)
class Traces:
    """What another client left in the folder of a snapshot."""

    snapshot: SnapshotId
    folder: Path
    renamed: tuple[str, ...]
    pads: bool


def traces_of_other_clients(held: Iterable[HeldSnapshot]) -> Iterator[Traces]:
    """Yield the snapshots in whose folders another client has written, skipping what cannot be read."""
    yield from (one for one in each(held, _traces, failed=lambda *_: None) if one.renamed or one.pads)


def _traces(held: HeldSnapshot) -> Traces:
    found = [
        path for path in held.folder.rglob(f"*{_RENAMED}") if not path.with_name(path.name[: -len(_RENAMED)]).exists()
    ]
    renamed: list[str] = []
    if found:
        ours = {file.path.text for file in held.metainfo().files}
        names = (path.relative_to(held.folder).as_posix() for path in found)
        renamed = sorted(name for name in names if name not in ours and name[: -len(_RENAMED)] in ours)
    return Traces(held.id, held.folder, tuple(renamed), (held.folder / _PADS).is_dir())
