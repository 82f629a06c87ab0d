"""The changes from an older index to a newer one, for readers that have the older one (SPEC section 7.1).

    {"type": "index-delta", "spec": 1, "from": <digest of the older index>, "to": <digest of the newer>, "steps": 1,
     "roots": […], "signed": <the newer `signed` without its entries>,
     "changed": [<new or changed rows>, …], "removed": [{"repo", "commit", "repo_type", "recipe"}, …],
     "signatures": […]}

A delta is a hint and proves nothing: a reader builds the newer index from it and from the rows that it has, and judges
the result by all rules of acceptance (`acceptance.accept_delta`). So a wrong delta costs the reader only a fetch of the
whole file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from p2pqwen.errors import FormatError
from p2pqwen.index.document import INDEX_TYPE, MAX_BESIDE, MAX_ROOTS, MAX_VALUE, MAX_VALUES, read_by_pieces
from p2pqwen.index.entry import MAX_NAME, check_row, row_place
from p2pqwen.index.root import SPEC
from p2pqwen.values import json_fields
from p2pqwen.values.digest import Sha256
from p2pqwen.values.json_stream import JsonStream
from p2pqwen.values.strict_json import JsonObject, JsonValue, canonical, canonical_of_parsed

DELTA_TYPE = "index-delta"
DELTA_FOLDER = "delta"
MAX_DELTA = 16 << 20
"""Bytes; a reader that is further behind fetches the whole index."""
MAX_CHANGES = 100_000
MAX_STEPS = 10
"""The most versions that one delta spans; a site has a delta from each of the last `MAX_STEPS` versions."""

Place = tuple[str, str, str, int]
_PLACE_FIELDS = ("repo", "commit", "repo_type", "recipe")


@dataclass(frozen=True, slots=True)
class Delta:
    """A parsed delta, not judged.

    `changed` are rows in their RFC 8785 form, by their places; it and `removed` are in the order of an index. `signed`
    is the newer index's, without its entries.
    """

    base: Sha256
    to: Sha256
    steps: int
    roots: list[JsonValue]
    signed: JsonObject
    changed: Mapping[Place, bytes]
    removed: tuple[Place, ...]
    signatures: JsonValue

    def encode(self) -> bytes:
        """Return the file, one entry per line."""
        removed: list[JsonValue] = [dict(zip(_PLACE_FIELDS, place, strict=True)) for place in self.removed]
        fields: list[tuple[str, bytes]] = [
            ("type", canonical(DELTA_TYPE)),
            ("spec", canonical(SPEC)),
            ("from", canonical(str(self.base))),
            ("to", canonical(str(self.to))),
            ("steps", canonical(self.steps)),
            ("roots", canonical(self.roots)),
            ("signed", canonical(self.signed)),
            ("changed", b"[" + b",".join(b"\n" + row for row in self.changed.values()) + b"]"),
            ("removed", canonical(removed)),
            ("signatures", canonical(self.signatures)),
        ]
        return b"{" + b",\n".join(b'"%b":%b' % (name.encode(), value) for name, value in fields) + b"}\n"

    def applied(self, rows: Iterable[bytes]) -> Iterator[tuple[bytes, JsonObject]]:
        """Yield the rows of the newer index, given those of the older one in their RFC 8785 form.

        A removed row that is not there is ignored: it came and went between the two.
        """
        removed = frozenset(self.removed)
        changed = iter(self.changed.items())
        coming = next(changed, None)
        for line in rows:
            row: JsonObject = json.loads(line)
            place = row_place(row)
            while coming is not None and coming[0] < place:
                yield coming[1], json.loads(coming[1])
                coming = next(changed, None)
            if coming is not None and coming[0] == place:
                continue
            if place not in removed:
                yield line, row
        while coming is not None:
            yield coming[1], json.loads(coming[1])
            coming = next(changed, None)


def delta_location(base: Sha256) -> str:
    """Return the place of the delta from an index, relative to the newer index."""
    return f"{DELTA_FOLDER}/{base}.json"


def parse_delta(data: bytes) -> Delta:
    """Parse a delta strictly; raises `FormatError`."""
    stream = JsonStream(read_by_pieces(data), max_bytes=MAX_DELTA, max_value=MAX_VALUE, max_values=MAX_VALUES)
    if not stream.is_object():
        raise FormatError("JSON document", expected="an object")
    fields: JsonObject = {}
    for name in stream.members():
        if name in {"changed", "removed", "roots"} and stream.is_list():
            fields[name] = _items(stream, MAX_ROOTS if name == "roots" else MAX_CHANGES)
        elif name == "signed" and stream.is_object():
            fields[name] = _signed(stream)
        else:
            fields[name] = stream.value()
    stream.end()
    json_fields.constant(fields, "type", DELTA_TYPE)
    json_fields.constant(fields, "spec", SPEC)
    signed = json_fields.obj(fields, "signed")
    json_fields.constant(signed, "type", INDEX_TYPE)
    json_fields.constant(signed, "spec", SPEC)
    return Delta(
        Sha256.parse(json_fields.text(fields, "from")),
        Sha256.parse(json_fields.text(fields, "to")),
        json_fields.integer(fields, "steps", at_least=1, at_most=MAX_STEPS),
        json_fields.array(fields, "roots", limit=MAX_ROOTS),
        signed,
        _changed(json_fields.array(fields, "changed", limit=MAX_CHANGES)),
        _removed(json_fields.array(fields, "removed", limit=MAX_CHANGES)),
        fields.get("signatures"),
    )


def make_delta(
    base: Sha256,
    before: Iterable[bytes],
    to: Sha256,
    after: Iterable[bytes],
    *,
    roots: Sequence[JsonValue],
    signed: JsonObject,
    signatures: JsonValue,
) -> Delta | None:
    """Compare the rows of two indexes; None if more than `MAX_CHANGES` changed."""
    changed: dict[Place, bytes] = {}
    removed: list[Place] = []
    for place, old, new in _side_by_side(before, after):
        if new is None:
            removed.append(place)
        elif old != new:
            changed[place] = new
        if len(changed) + len(removed) > MAX_CHANGES:
            return None
    return Delta(base, to, 1, list(roots), signed, changed, tuple(removed), signatures)


def compose(first: Delta, second: Delta) -> Delta | None:
    """Return the delta that combines two successive ones; None if it would span too many versions."""
    if first.to != second.base or first.steps + second.steps > MAX_STEPS:
        return None
    changed = {**first.changed, **second.changed}
    removed = {*first.removed, *second.removed} - second.changed.keys()
    for place in second.removed:
        changed.pop(place, None)
    for place in changed:
        removed.discard(place)
    ordered = dict(sorted(changed.items()))
    steps = first.steps + second.steps
    return Delta(
        first.base, second.to, steps, second.roots, second.signed, ordered, tuple(sorted(removed)), second.signatures
    )


def _side_by_side(
    before: Iterable[bytes], after: Iterable[bytes]
) -> Iterator[tuple[Place, bytes | None, bytes | None]]:
    left, right = map(_placed, before), map(_placed, after)
    old, new = next(left, None), next(right, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old[0] < new[0]):
            assert old is not None  # noqa: S101 - one of the two is not None
            yield old[0], old[1], None
            old = next(left, None)
        elif old is None or new[0] < old[0]:
            yield new[0], None, new[1]
            new = next(right, None)
        else:
            yield old[0], old[1], new[1]
            old, new = next(left, None), next(right, None)


def _placed(line: bytes) -> tuple[Place, bytes]:
    return row_place(json.loads(line)), line


def _items(stream: JsonStream, limit: int) -> list[JsonValue]:
    found: list[JsonValue] = []
    for value in stream.items():
        if len(found) == limit:
            raise FormatError("delta holds too many values", expected=f"at most {limit}")
        found.append(value)
    return found


def _signed(stream: JsonStream) -> JsonObject:
    signed: JsonObject = {}
    left = MAX_BESIDE
    for name in stream.members():
        if name == "entries":
            raise FormatError("delta holds the entries of an index")
        signed[name] = _items(stream, MAX_CHANGES) if stream.is_list() else stream.value()
        left -= stream.size
        if left < 0:
            raise FormatError("delta holds too much beside its entries")
    return signed


def _changed(values: list[JsonValue]) -> dict[Place, bytes]:
    found: dict[Place, bytes] = {}
    before: Place | None = None
    for value in values:
        row = json_fields.as_object(value, "changed")
        check_row(row)
        before = _next_place(before, row_place(row))
        found[before] = canonical_of_parsed(row)
    return found


def _removed(values: list[JsonValue]) -> tuple[Place, ...]:
    found: list[Place] = []
    before: Place | None = None
    for value in values:
        row = json_fields.as_object(value, "removed")
        repo, commit, kind = (json_fields.text(row, name, limit=MAX_NAME) for name in _PLACE_FIELDS[:3])
        before = _next_place(before, (repo, commit, kind, json_fields.integer(row, "recipe")))
        found.append(before)
    return tuple(found)


def _next_place(before: Place | None, place: Place) -> Place:
    if before is not None and not before < place:
        raise FormatError(f"{place[0]}@{place[1]} is out of order in a delta")
    return place
