"""What changed between two indexes, short enough to read before every signing: similar changes share one line.

`index.diff.describe` lists every change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from p2pqwen.index.diff import EntryChange, FieldChange, IndexDiff, describe_field
from p2pqwen.index.entry import Entry
from p2pqwen.manifest.license import Redistribution, reason, redistribution
from p2pqwen.values.byte_size import format_size
from p2pqwen.values.plural import plural
from p2pqwen.values.snapshot_id import SnapshotId

SHOWN = 12
"""The most added snapshots that are named."""
_FOLLOW = {"mirrors": "xs=", "web_seeds": "ws="}
"""Magnet parameters that follow from other fields, and so are not reported again."""


def summarise(difference: IndexDiff) -> list[str]:
    """Return the difference in lines of words, including all alarms."""
    words = [_added(entry) for entry in difference.added[:SHOWN]]
    if rest := difference.added[SHOWN:]:
        size = format_size(sum(entry.size for entry in rest))
        words.append(f"added      {plural(len(rest), 'more snapshot')}, {size}: {licenses(rest)}")
    words += [f"license    {line}" for line in _conditions(difference.added)]
    words += [f"removed    {entry.id}" for entry in _vanished(difference)]
    words += [f"withdrawn  {one.id}: {one.reason}" for one in difference.withdrawn]
    words += [f"reinstated {one.id}, withdrawn before: {one.reason}" for one in difference.reinstated]
    words += _changes(difference)
    words += [
        f"index      {one.field} {describe_field(one)}{_magnets_too(one, difference)}" for one in difference.notable
    ]
    words += [f"ALARM      {alarm}" for alarm in difference.alarms]
    return words or ["no differences"]


def headline(difference: IndexDiff) -> str:
    """Return the difference in half a line: the number of snapshots by change, and the licenses of the new ones."""
    vanished = _vanished(difference)
    counts = (
        (f"{len(difference.added)} added ({licenses(difference.added)})", difference.added),
        (f"{len(vanished)} removed", vanished),
        (f"{len(difference.withdrawn)} withdrawn", difference.withdrawn),
        (f"{len(difference.reinstated)} reinstated", difference.reinstated),
        (f"{len(difference.changed)} changed", difference.changed),
        (plural(len(difference.alarms), "alarm"), difference.alarms),
    )
    return ", ".join(words for words, some in counts if some) or "no snapshot changes"


def licenses(entries: Iterable[Entry]) -> str:
    """Return how many entries each license has, the most frequent first."""
    counts = Counter(entry.license or "no license named" for entry in entries)
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _vanished(difference: IndexDiff) -> list[Entry]:
    """Return the entries that are no longer listed, though not withdrawn."""
    gone = {one.id for one in difference.withdrawn}
    return [entry for entry in difference.removed if entry.id not in gone]


def _added(entry: Entry) -> str:
    return f"added      {entry.id}  {format_size(entry.size)}  {entry.license or 'no license named'}"


def _conditions(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield a line on each license that does not clearly permit redistribution."""
    counts = Counter(entry.license for entry in entries if redistribution(entry.license) is not Redistribution.CLEAR)
    for name, count in sorted(counts.items(), key=lambda one: (one[0] or "", one[1])):
        yield f"{name or 'none named'}, {plural(count, 'snapshot')}: {reason(name)}"


def _changes(difference: IndexDiff) -> list[str]:
    told = {one.field for one in difference.notable}
    groups: dict[tuple[str, ...], list[EntryChange]] = {}
    words = []
    for change in difference.changed:
        alike = tuple(_alike(change, told))
        if any(field.alarming for field in change.fields):
            words += [f"changed    {change.id}: {field.field} {describe_field(field)}" for field in change.fields]
        elif alike:
            groups.setdefault(alike, []).append(change)
    for alike, changes in groups.items():
        first = changes[0].id
        more = "" if len(changes) == 1 else f" and {len(changes) - 1} more"
        words += [f"changed    {first}{more}: {_of(line, first) if len(changes) == 1 else line}" for line in alike]
    return words


def _alike(change: EntryChange, told: set[str]) -> Iterator[str]:
    """Yield an entry's changes in words that are the same for every entry with the same changes."""
    fields = told | {field.field for field in change.fields}
    follow = tuple(parameter for name, parameter in _FOLLOW.items() if name in fields)
    for field in change.fields:
        said = describe_field(field, without=follow if field.field == "magnet" else ())
        if said:
            yield f"{field.field} {_pattern(said, change.id)}"


def _pattern(text: str, snapshot: SnapshotId) -> str:
    for name in (str(snapshot.repo), quote(str(snapshot.repo), safe="")):
        text = text.replace(name, "{repo}")
    return text.replace(str(snapshot.commit), "{commit}")


def _of(pattern: str, snapshot: SnapshotId) -> str:
    return pattern.replace("{repo}", str(snapshot.repo)).replace("{commit}", str(snapshot.commit))


def _magnets_too(change: FieldChange, difference: IndexDiff) -> str:
    moved = [one for one in difference.changed if any(field.field == "magnet" for field in one.fields)]
    if change.field != "mirrors" or not moved:
        return ""
    return f"; the magnet links of {plural(len(moved), 'snapshot')} follow"
