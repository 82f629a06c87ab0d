"""Candidates as the columns from which plans are made."""

from __future__ import annotations

from collections.abc import Iterable

from p2pqwen.stewardship.allocation import Candidate, Offers, why_unobtainable


def offers_of(candidates: Iterable[Candidate]) -> Offers:
    given = list(candidates)
    return Offers(
        names=[str(one.snapshot) for one in given],
        sizes=[one.size for one in given],
        healths=[one.health for one in given],
        order=sorted(range(len(given)), key=lambda place: given[place].snapshot),
        preferred=frozenset(place for place, one in enumerate(given) if one.preferred),
        has_room=frozenset(place for place, one in enumerate(given) if one.has_room),
        refused={
            place: reason
            for place, one in enumerate(given)
            if (reason := why_unobtainable(one.health) if one.refused is None else one.refused) is not None
        },
    )
