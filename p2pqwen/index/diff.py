"""What changed between two indexes, in words that a maintainer reviews before signing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from p2pqwen.index.document import IndexDocument, Withdrawal
from p2pqwen.index.entry import Entry, SkippedEntry, row_order
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.strict_json import JsonValue, canonical

# A commit's content never changes, so neither do these; a change means that one of the two indexes is wrong.
FIXED_FIELDS = frozenset({"size", "files", "piece_length", "recipe", "infohash_v1", "infohash_v2"})

# Fields that differ between any two versions are not worth a line.
_EVERY_TIME = frozenset({"version", "previous", "issued"})


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of an entry, before and after."""

    field: str
    before: JsonValue
    after: JsonValue

    @property
    def alarming(self) -> bool:
        """Whether this field may not change at all."""
        return self.field in FIXED_FIELDS or (self.field, self.before) == ("provenance", "proven")


@dataclass(frozen=True, slots=True)
class EntryChange:
    """An entry that the two indexes list with different fields."""

    id: SnapshotId
    fields: tuple[FieldChange, ...]


@dataclass(frozen=True, slots=True)
class IndexDiff:
    """What a newer index adds, removes, changes and withdraws; `document` are changes outside the entries.

    `reinstated` are withdrawals that the newer index revokes, whether it lists the snapshot again or not. `unread` says
    what changed among entries of unknown kinds. `concerns` are alarms from other sources than the two lists, such as
    what was signed before.
    """

    added: tuple[Entry, ...]
    removed: tuple[Entry, ...]
    changed: tuple[EntryChange, ...]
    withdrawn: tuple[Withdrawal, ...]
    document: tuple[FieldChange, ...]
    reinstated: tuple[Withdrawal, ...] = ()
    unread: tuple[str, ...] = ()
    concerns: tuple[str, ...] = ()

    @property
    def notable(self) -> tuple[FieldChange, ...]:
        """The changes outside the entries, without those of every new version."""
        return tuple(one for one in self.document if one.field not in _EVERY_TIME)

    @property
    def empty(self) -> bool:
        """Whether the list itself is the same."""
        return not (self.added or self.removed or self.changed or self.withdrawn or self.reinstated or self.unread)

    @property
    def alarms(self) -> tuple[str, ...]:
        """What should not be signed without knowing why."""
        gone = {one.id for one in self.withdrawn}
        return (
            *(
                f"{change.id}: {field.field} changed from {_in_words(field.before)} to {_in_words(field.after)}"
                for change in self.changed
                for field in change.fields
                if field.alarming
            ),
            *(f"{entry.id} disappears without being withdrawn" for entry in self.removed if entry.id not in gone),
            *(f"{one.id} was withdrawn ({one.reason}), and no longer is" for one in self.reinstated),
            *self.unread,
            *(
                f"{entry.id} is new and unproven: nothing shows that its files are those of that commit"
                for entry in self.added
                if not entry.proven
            ),
            *self.concerns,
        )


def diff(old: IndexDocument | None, new: IndexDocument) -> IndexDiff:
    """Compare two indexes of one publisher; `old` None means an empty one."""
    before = {} if old is None else {entry.id: entry for entry in old.entries}
    after = {entry.id: entry for entry in new.entries}
    gone = {} if old is None else {one.id: one for one in old.withdrawn}
    still = {one.id for one in new.withdrawn}
    return IndexDiff(
        added=tuple(entry for entry in new.entries if entry.id not in before),
        removed=tuple(entry for entry in before.values() if entry.id not in after),
        changed=tuple(_changed(before, new.entries)),
        withdrawn=tuple(one for one in new.withdrawn if one.id not in gone),
        document=() if old is None else tuple(_document_changes(old, new)),
        reinstated=tuple(one for one in gone.values() if one.id not in still),
        unread=tuple(_unread_changes(() if old is None else old.skipped, new.skipped)),
    )


def describe(difference: IndexDiff) -> list[str]:
    """Return the difference in lines of words."""
    words = [f"added      {entry.id}  {entry.infohash.v2}" for entry in difference.added]
    words += [f"removed    {entry.id}" for entry in difference.removed]
    words += [f"withdrawn  {one.id}: {one.reason}" for one in difference.withdrawn]
    words += [f"reinstated {one.id}, withdrawn before: {one.reason}" for one in difference.reinstated]
    words += [
        f"changed    {change.id}: {field.field} {describe_field(field)}"
        for change in difference.changed
        for field in change.fields
    ]
    words += [f"index      {field.field} {describe_field(field)}" for field in difference.notable]
    words += [f"ALARM      {alarm}" for alarm in difference.alarms]
    return words or ["no differences"]


def describe_field(field: FieldChange, *, without: tuple[str, ...] = ()) -> str:
    """Say what changed; if the value has many parts, name only those added and dropped.

    Parts that begin with one of `without` are left out; the result is empty if no others changed.
    """
    before, after = _parts(field.before), _parts(field.after)
    if before is None or after is None or sorted(before) == sorted(after):
        return f"from {_in_words(field.before)} to {_in_words(field.after)}"
    come = [f"adds {one}" for one in after if one not in before and not one.startswith(without)]
    gone = [f"drops {one}" for one in before if one not in after and not one.startswith(without)]
    if come or gone or without:
        return ", ".join(come + gone)
    return f"from {_in_words(field.before)} to {_in_words(field.after)}"


def _parts(value: JsonValue) -> list[str] | None:
    """Return the items of a list, or the parameters of a magnet link; None for any other value."""
    if isinstance(value, list):
        return [_in_words(one) for one in value]
    return value.split("?", 1)[1].split("&") if isinstance(value, str) and value.startswith("magnet:?") else None


def _in_words(value: JsonValue) -> str:
    return value if isinstance(value, str) else canonical(value).decode()


def _changed(before: dict[SnapshotId, Entry], entries: Iterable[Entry]) -> Iterator[EntryChange]:
    for entry in entries:
        other = before.get(entry.id)
        if other is None or other is entry or other == entry:
            continue
        old, new = other.to_json(), entry.to_json()
        fields = tuple(
            FieldChange(name, old.get(name), new.get(name))
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        )
        yield EntryChange(entry.id, fields)


def _unread_changes(old: Iterable[SkippedEntry], new: Iterable[SkippedEntry]) -> Iterator[str]:
    """Say what changed among the skipped entries, whose content this version cannot review."""
    before, after = {row_order(one): one for one in old}, {row_order(one): one for one in new}
    for order in sorted(before.keys() | after.keys()):
        was, now = before.get(order), after.get(order)
        if was != now:
            one = now or was
            what = "is added" if was is None else "disappears" if now is None else "changes"
            yield f"{one} {what}: this version cannot read its {one.reason if one else 'kind'}"


def _document_changes(old: IndexDocument, new: IndexDocument) -> Iterator[FieldChange]:
    before, after = old.header_json(), new.header_json()
    for name in sorted(before.keys() | after.keys()):
        if name != "withdrawn" and before.get(name) != after.get(name):
            yield FieldChange(name, before.get(name), after.get(name))
