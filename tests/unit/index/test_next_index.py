from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from p2pqwen.errors import NotFoundError
from p2pqwen.index.acceptance import Accepted, TrustedState, accept
from p2pqwen.index.diff import diff
from p2pqwen.index.document import IndexDocument
from p2pqwen.index.next_index import next_document
from tests.support.publishing import NOW, Rules, chain, digest, make_document, make_entry, make_index, withdrawal

ROOTS = chain(Rules())
ROTATED = chain(Rules(), Rules(epoch=1))
LATER = NOW + timedelta(days=1)
ONE, TWO = sorted((make_entry(n) for n in (1, 2)), key=lambda entry: entry.id)


def published(version: int, *entries, roots=ROOTS, **changes) -> Accepted:
    document = make_document(roots, version, entries, **changes)
    return accept(make_index(roots, document), TrustedState(None), NOW)


def follow(
    last=None, base=None, entries=(), *, roots=ROOTS, withdraw=None, mirrors=None, reinstate=()
) -> IndexDocument:
    return next_document(
        roots,
        last,
        base or last,
        entries,
        withdraw=withdraw or {},
        mirrors=mirrors,
        now=LATER,
        reinstate=reinstate,
    )


def test_the_first():
    document = follow(entries=[TWO, ONE])
    assert (document.version, document.epoch, document.previous) == (1, 0, None)
    assert document.entries == (ONE, TWO)
    assert document.issued == LATER


def test_the_next_keeps_what_was_listed():
    last = published(4, ONE, mirrors=("https://one.example/",), extra={"note": 1})
    document = follow(last, entries=[TWO])
    assert (document.version, document.previous) == (5, last.digest)
    assert document.entries == (ONE, TWO)
    assert (document.mirrors, document.extra) == (("https://one.example/",), {"note": 1})
    accept(make_index(ROOTS, document), last.state, LATER)


def test_one_name_of_several_kinds_stands_in_the_order_of_an_index():
    """By commit, and only then by kind: as readers want it."""
    names = ("Org/Name", "datasets/Org/Name", "modelscope:Org/Name")
    document = follow(entries=[make_entry(number, name) for number in range(9) for name in names])
    assert len(accept(make_index(ROOTS, document), TrustedState(None), NOW).document.entries) == 27


def test_an_entry_is_renewed_in_its_place():
    renewed = replace(ONE, license="mit")
    assert follow(published(1, ONE, TWO), entries=[renewed]).entries == (renewed, TWO)


def test_withdrawn_stays_so_until_it_is_reinstated():
    last = published(1, ONE, TWO)
    document = follow(last, withdraw={ONE.id: "license"})
    assert document.entries == (TWO,)
    assert document.withdrawn == (withdrawal(ONE, "license"),)
    last = accept(make_index(ROOTS, document), last.state, LATER)
    offered = follow(last, entries=[ONE])
    assert (offered.entries, offered.withdrawn) == ((TWO,), (withdrawal(ONE, "license"),))
    again = follow(last, entries=[ONE], reinstate=[ONE.id])
    assert (again.entries, again.withdrawn) == ((ONE, TWO), ())
    assert diff(last.document, again).alarms == (f"{ONE.id} was withdrawn (license), and no longer is",)
    with pytest.raises(NotFoundError, match="withdrawn already: license"):
        follow(last, withdraw={ONE.id: "again"})
    with pytest.raises(NotFoundError, match="does not name it as withdrawn"):
        follow(last, reinstate=[TWO.id])


def test_only_what_is_listed_can_be_withdrawn():
    with pytest.raises(NotFoundError, match="does not list it"):
        follow(published(1, ONE), withdraw={TWO.id: "license"})


def test_a_raised_epoch_starts_at_1_from_the_last_good_list():
    good, stolen = published(4, ONE), published(9, ONE, TWO)
    document = follow(stolen, good, roots=ROTATED)
    assert (document.epoch, document.version, document.previous) == (1, 1, good.digest)
    assert document.entries == (ONE,)
    assert document.root_version == 2
    accept(make_index(ROTATED, document), stolen.state, LATER)


def test_going_back_to_an_older_list_still_goes_forward():
    good, bad = published(4, ONE), published(9, TWO)
    document = follow(bad, good)
    assert (document.version, document.previous, document.entries) == (10, bad.digest, (ONE,))


def test_going_on_from_a_colleagues_index():
    mine, theirs = published(4, ONE), published(5, ONE, TWO, previous=digest(make_document(ROOTS, 4, [ONE])))
    document = follow(mine, theirs)
    assert (document.version, document.previous, document.entries) == (6, theirs.digest, (ONE, TWO))
