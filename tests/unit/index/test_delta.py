"""Deltas: what they lead to is the newer index, byte for byte, or nothing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.index.acceptance import Accepted, RefusedError, TrustedState, accept, accept_delta
from p2pqwen.index.delta import MAX_STEPS, Delta, compose, make_delta, parse_delta
from p2pqwen.index.row_sink import MemoryRows
from p2pqwen.values.strict_json import canonical
from tests.support.publishing import NOW, Rules, chain, digest, make_document, make_entry, make_index

ROOTS = chain(Rules())


def rows_of(accepted: Accepted) -> list[bytes]:
    return [canonical(row.to_json()) for row in accepted.document.rows()]


def history(*lists: Iterable[int]) -> list[Accepted]:
    """Versions of an index, each with the entries of these numbers; a negative number is another row of its entry."""
    found: list[Accepted] = []
    for version, numbers in enumerate(lists, 1):
        entries = [replace(make_entry(abs(one)), license="mit" if one < 0 else "apache-2.0") for one in numbers]
        document = make_document(ROOTS, version, entries, previous=found[-1].digest if found else None)
        state = found[-1].state if found else TrustedState(None)
        found.append(accept(make_index(ROOTS, document), state, NOW))
    return found


def delta(before: Accepted, after: Accepted) -> Delta:
    made = make_delta(
        before.digest,
        rows_of(before),
        after.digest,
        rows_of(after),
        roots=[one.to_json() for one in after.roots],
        signed=after.header,
        signatures=after.signatures,
    )
    assert made is not None
    return made


def applied(data: bytes, base: Accepted) -> Accepted:
    return accept_delta(parse_delta(data), base, rows_of(base), base.state, NOW, MemoryRows())


NUMBERS = st.sets(st.integers(1, 12)).flatmap(
    lambda some: st.tuples(*(st.sampled_from((one, -one)) for one in sorted(some)))
)


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERS, min_size=2, max_size=5))
def test_they_lead_to_the_newer_index_from_every_older_one(lists):
    versions = history(*lists)
    newest = versions[-1]
    longest: Delta | None = None
    for before, after in itertools.pairwise(versions):
        step = delta(before, after)
        assert parse_delta(step.encode()) == step
        found = applied(step.encode(), before)
        assert (found.digest, found.document) == (after.digest, after.document)
        longest = step if longest is None else compose(longest, step)
    assert longest is not None
    assert longest.steps == len(versions) - 1
    found = applied(longest.encode(), versions[0])
    assert (found.digest, found.document, found.unchanged) == (newest.digest, newest.document, False)


def test_one_leads_over_a_limited_number_of_versions():
    versions = history(*([number] for number in range(1, MAX_STEPS + 3)))
    steps = [delta(*pair) for pair in itertools.pairwise(versions)]
    longest: Delta | None = steps[0]
    for step in steps[1:MAX_STEPS]:
        assert longest is not None
        longest = compose(longest, step)
    assert longest is not None
    assert compose(longest, steps[MAX_STEPS]) is None
    assert compose(steps[0], steps[2]) is None


ONE, TWO = history([1, 2, 3], [1, -2, 4])


def edited(**changes: Any) -> bytes:
    return json.dumps({**json.loads(delta(ONE, TWO).encode()), **changes}).encode()


def rows(*numbers: int) -> list[Any]:
    return [make_entry(one).to_json() for one in sorted(numbers, key=lambda one: make_entry(one).id)]


MALFORMED = {
    "no object": b"[]",
    "cut": delta(ONE, TWO).encode()[:-20],
    "another type": edited(type="index"),
    "another spec": edited(spec=2),
    "from nothing": edited(**{"from": "0"}),
    "too many steps": edited(steps=MAX_STEPS + 1),
    "no steps": edited(steps=0),
    "rows out of order": edited(changed=rows(1, 2, 4)[::-1]),
    "a row twice": edited(changed=rows(1) * 2),
    "a row that contradicts itself": edited(changed=[{**rows(1)[0], "size": 5}]),
    "no list": edited(changed={}),
    "removed out of order": edited(removed=json.loads(edited())["removed"] * 2),
    "removed by a number": edited(removed=[1]),
    "entries in the header": edited(signed={**json.loads(edited())["signed"], "entries": []}),
    "no header": edited(signed=None),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(data):
    with pytest.raises(FormatError):
        parse_delta(data)


REFUSED = {
    "from another index": (edited(**{"from": "0" * 64}), 1),
    "without roots": (edited(roots=[]), 1),
    "a row more": (edited(changed=rows(2, 4, 5)), 4),
    "a row less": (edited(changed=rows(4)), 4),
    "nothing removed": (edited(removed=[]), 4),
    "another header": (edited(signed={**json.loads(edited())["signed"], "issued": "2026-11-24T21:00:00Z"}), 4),
    "no signature": (edited(signatures=[]), 4),
    "signatures of another index": (edited(signatures=ONE.signatures), 4),
    "another publisher's roots": (edited(roots=[one.to_json() for one in chain(Rules(root=("x",), index=("x",)))]), 2),
}


@pytest.mark.parametrize(("data", "step"), REFUSED.values(), ids=REFUSED.keys())
def test_a_delta_can_lie_about_nothing(data, step):
    with pytest.raises(RefusedError) as refusal:
        applied(data, ONE)
    assert refusal.value.step == step


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(edited()) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_damage_leads_to_the_same_index_or_nowhere(at, put, drop):
    data = edited()
    try:
        found = applied(data[:at] + put + data[at + drop :], ONE)
    except (FormatError, RefusedError):
        return
    assert (found.digest, found.document) == (TWO.digest, TWO.document)


def test_an_older_version_and_a_second_history_are_refused_as_in_a_file():
    back = delta(TWO, ONE)
    with pytest.raises(RefusedError) as refusal:
        applied(back.encode(), TWO)
    assert refusal.value.step == 6
    document = make_document(ROOTS, 2, [make_entry(7)], previous=ONE.digest)
    other = accept(make_index(ROOTS, document), ONE.state, NOW)
    assert digest(document) == other.digest
    with pytest.raises(RefusedError) as refusal:
        accept_delta(delta(ONE, other), ONE, rows_of(ONE), TWO.state, NOW, MemoryRows())
    assert refusal.value.step == 6
