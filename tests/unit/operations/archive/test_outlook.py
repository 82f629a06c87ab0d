"""A plan made of columns is the plan that is made of an object for each snapshot."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pqwen.index.entry import row_order
from p2pqwen.index.listing import EntryList
from p2pqwen.index.upstream import Upstream
from p2pqwen.index.withdrawals import all_withdrawn
from p2pqwen.library.snapshots import HeldSnapshot, State
from p2pqwen.operations.archive import rebalance as rebalance_module
from p2pqwen.operations.archive.adopt import Wishes
from p2pqwen.operations.archive.listed import Listed
from p2pqwen.operations.archive.outlook import Outlook
from p2pqwen.operations.archive.rebalance import plan_rebalance
from p2pqwen.operations.archive.watched import health_rows, watched_swarms
from p2pqwen.stewardship import allocation
from p2pqwen.stewardship.allocation import Disk
from p2pqwen.stewardship.rebalance import rebalance
from p2pqwen.stewardship.swarm_health import Sighting, Source
from p2pqwen.stewardship.swarm_record import NEVER_SEEN, SwarmRecord, WebSeedLook, remember
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.values.digest import Sha256
from p2pqwen.values.seed_withdrawn import SeedWithdrawn
from tests.support import plain_allocation
from tests.support.offers import offers_of
from tests.support.plain_plan import Situation, publisher_of
from tests.support.publishing import NOW, make_entry
from tests.unit.stewardship.samples import node

# One name among all kinds, and names of which one begins another's.
REPOS = ("Org/M", "datasets/Org/M", "modelscope:Org/M", "modelscope:datasets/Org/M", "Org/M-1", "Org/M1", "Other/M")
LICENSES = ("apache-2.0", None, "other", "Straße\t")
GLOBS = ("M", "Org/*", "*", "datasets/*", "M?1")
SIZES = (0, 1, 50, 100, 101, 999, 1000, 1001, 5000)
TORRENT = SimpleNamespace(
    infohash=InfoHash.of(b"unlisted"), layout=SimpleNamespace(total_size=777), trackers=(), web_seeds=()
)


@dataclass(frozen=True, slots=True)
class Held(HeldSnapshot):
    """One whose torrent is not on the disk."""

    def metainfo(self) -> Any:
        return TORRENT

    def held_bytes(self, metainfo: Any) -> int:
        assert metainfo is TORRENT
        return 333


def entries(numbers):
    return [make_entry(number, REPOS[number % len(REPOS)]) for number in numbers]


def looks(seeds):
    return remember(NEVER_SEEN, [Sighting(NOW - timedelta(hours=1), Source.TRACKER, seeds, seeds)])


RECORDS = (
    NEVER_SEEN,
    looks(0),
    looks(1),
    looks(9),
    replace(looks(0), web=WebSeedLook(NOW, 1, 0)),  # lost, where its origin does not have it either
    SwarmRecord(web=WebSeedLook(NOW, 2, 2)),
)
NUMBERS = range(21)
some = st.lists(st.sampled_from(NUMBERS), unique=True, max_size=6)


def of_some(values):
    return st.dictionaries(st.sampled_from(NUMBERS), values, max_size=6)


@st.composite
def listings(draw):
    """What one publisher lists, in the order of an index."""
    numbers = draw(st.lists(st.sampled_from(NUMBERS), unique=True, max_size=len(NUMBERS)))
    found = [
        replace(
            one,
            size=draw(st.sampled_from(SIZES)),
            license=draw(st.sampled_from(LICENSES)),
            upstream=draw(st.sampled_from(Upstream)),
            added=NOW + timedelta(days=draw(st.integers(0, 2))),
            manifest=Sha256.of(draw(st.sampled_from([b"a", b"a", b"b"]))),
        )
        for one in entries(numbers)
    ]
    return sorted(found, key=row_order)


LONG_AGO = NOW - timedelta(days=100)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    indexes=st.lists(listings(), max_size=3),
    records=of_some(st.sampled_from(RECORDS)),
    upstream=of_some(st.sampled_from(Upstream)),
    held=of_some(st.tuples(st.sampled_from(State), st.sampled_from([None, ("*",)]))),
    away=of_some(st.integers(0, 500)),
    withdrawn=st.lists(st.tuples(some, st.booleans()), max_size=2),
    rule=st.sampled_from(SeedWithdrawn),
    wishes=st.builds(
        Wishes,
        *(st.lists(st.sampled_from(GLOBS), max_size=2).map(tuple) for _ in range(2)),
        st.lists(st.sampled_from(["apache*", "other"]), max_size=2).map(tuple),
    ),
    rooms=st.lists(st.sampled_from([0, 100, 1500, 10**6]), max_size=3),
    budget=st.sampled_from([0, 1, 500, 1000, 1010, 4000, 10**7]),
    passed_over=some,
    pinned=some,
    spread=st.sampled_from([allocation.SPREAD, 0.0]),  # 0: nearly all are even, and the names decide
)
def test_it_is_the_plan_of_every_snapshot_as_an_object(
    *, indexes, records, upstream, held, away, withdrawn, rule, wishes, rooms, budget, passed_over, pinned, spread
):
    ids = [one.id for one in entries(NUMBERS)]

    def by_id(known):
        return {ids[number]: one for number, one in known.items()}

    records, upstream, held, away = map(by_id, (records, upstream, held, away))
    publishers = [publisher_of(one) for one in indexes]
    library: Any = SimpleNamespace(all=lambda: [Held(one, Path(), Path(), *rest) for one, rest in held.items()])
    voices: Any = [
        SimpleNamespace(
            publisher=Sha256.of(b"voice"), name="Voice", own=own, withdrawn={ids[one]: "why" for one in gone}
        )
        for gone, own in withdrawn
    ]
    disks = [Disk(f"disk {number}", room) for number, room in enumerate(rooms)]
    rest: Any = {"node": node(1), "disks": disks, "now": NOW, "away": away, "seed_withdrawn": rule}
    passed_over, pinned = ({ids[one] for one in some} for some in (passed_over, pinned))
    every = health_rows(watched_swarms(library, publishers, voices), records, upstream, NOW)
    here = {one for one, (state, _) in held.items() if state is not State.INCOMPLETE}
    rows = [row for row in every if row.swarm.snapshot not in passed_over - here]
    listed = Listed(publishers, library.all())
    situation = Situation(rows, contradicted=listed.contradicted, **rest)
    outlook = Outlook(listed, records, upstream, all_withdrawn(voices), passed_over=passed_over, **rest)

    with mock.patch.object(allocation, "SPREAD", spread):
        found = outlook.plan(wishes, budget)
        chosen, others = plain_allocation.allocate(
            situation.candidates(wishes), node=node(1), budget=budget, disks=disks, now=NOW, used=situation.used
        )
    with mock.patch.object(rebalance_module, "held_since", return_value=LONG_AGO):
        moved = plan_rebalance(outlook, wishes, budget, pinned)
    assert moved == rebalance(
        offers_of(situation.candidates(wishes)),
        situation.holdings(pinned, LONG_AGO),
        node=node(1),
        budget=budget,
        now=NOW,
        room=max((disk.room for disk in disks), default=0),
        used=situation.used,
    )

    assert list(found.chosen) == chosen
    assert list(found.allocation.others) == others
    assert [found.allocation.others[at] for at in range(len(others))] == others
    assert [(one.snapshot, one.size) for one in found.held] == [
        (row.swarm.snapshot, row.swarm.size) for row in situation.held
    ]
    licenses = {str(row.swarm.snapshot): row.swarm.license for row in rows if row.swarm.listed}
    decided = [str(one.snapshot) for one in chain(found.held, chosen, others)]
    assert [found.licenses.get(name) for name in decided] == [licenses.get(name) for name in decided]
    assert outlook.withdrawn(ids) == [one for snapshot in ids for one in all_withdrawn(voices).get(snapshot, ())]
    apart = here | passed_over
    assert len(others) + len(chosen) == sum(name not in set(map(str, apart)) for name in listed.columns.names)


@pytest.mark.parametrize("kinds", [REPOS, REPOS[4:]], ids=["all kinds", "models alone"])
def test_columns_are_ordered_by_snapshot(kinds):
    listed = sorted((make_entry(number, repo) for repo in kinds for number in range(3)), key=row_order)
    found = Listed([publisher_of(listed)], ()).columns
    ordered = sorted(listed, key=lambda one: one.id)
    assert found.names == [str(one.id) for one in ordered]
    assert found.sizes == [one.size for one in ordered]


def test_of_several_publishers_no_entry_is_made():
    """Objects for a hundred thousand entries of each of three publishers took most of a minute."""
    first, second = entries([0, 1, 4]), entries([1, 4, 5])
    other = replace(second[1], manifest=Sha256.of(b"another"), added=NOW - timedelta(days=1), size=1)
    listings = [EntryList(sorted(some, key=row_order)) for some in (first, [second[0], other, second[2]])]
    kept = [(list(one.columns()), list(one.claims())) for one in listings]
    stored: Any = [
        SimpleNamespace(
            accepted=SimpleNamespace(
                document=SimpleNamespace(listing=SimpleNamespace(columns=lambda c=c: c, claims=lambda s=s: s))
            )
        )
        for c, s in kept
    ]
    listed = Listed(stored, ())
    assert dict(zip(listed.columns.names, listed.columns.sizes, strict=True)) == {
        str(one.id): one.size for one in (*first, second[2])
    }
    assert listed.contradicted == {other.id}


def test_a_fetch_that_was_begun_goes_first_and_needs_no_more_room():
    begun, other = entries([4, 5])
    listed = Listed([publisher_of([begun, other])], [Held(begun.id, Path(), Path(), State.INCOMPLETE)])
    outlook = Outlook(listed, {}, {}, {}, node(1), [Disk("full", 0)], NOW)
    found = outlook.plan(Wishes(), 10**9)
    assert [(one.snapshot, one.disk) for one in found.chosen] == [(begun.id, "full")]
    assert [one.snapshot for one in found.allocation.others] == [other.id]
    assert found.held == ()
