from __future__ import annotations

import pytest

from p2pqwen.errors import FormatError, UsageError
from p2pqwen.index.acceptance import TrustedState, accept_roots
from p2pqwen.index.root import INDEX_ROLE, ROOT_ROLE, RootKey, SignedRoot, parse_root
from p2pqwen.index.rotation import RootChange, add_signatures, describe_change, next_root, progress
from tests.support.publishing import Rules, chain, key, keyid, make_root

ROOTS = chain(Rules())
ROOT = ROOTS[0].root


def known(name: str) -> RootKey:
    return RootKey(key(name).public, name)


def test_from_one_of_one_to_two_of_three():
    change = RootChange(
        add={ROOT_ROLE: (known("r2"), known("r3")), INDEX_ROLE: (known("i2"), known("i3"))},
        thresholds={ROOT_ROLE: 2, INDEX_ROLE: 2},
    )
    new = next_root(ROOT, change)
    assert new.version == 2
    assert new.previous == ROOT.digest
    assert new.roles[ROOT_ROLE].threshold == new.roles[INDEX_ROLE].threshold == 2
    assert new.roles[INDEX_ROLE].keyids == tuple(map(keyid, ("index", "i2", "i3")))
    assert new.index_epoch == 0
    one = add_signatures(SignedRoot(new, []), [key("root")])
    state = progress(ROOT, one)
    assert (state.old.met, state.new.met, state.complete) == (True, False, False)
    both = add_signatures(one, [key("r3")])
    assert progress(ROOT, both).complete
    assert accept_roots((*ROOTS, both), TrustedState(ROOT.digest))[-1].root == new


def test_signing_twice_is_signing_once():
    new = next_root(ROOT, RootChange(name="Other"))
    once = add_signatures(SignedRoot(new, []), [key("root")])
    assert add_signatures(once, [key("root")]) == once


def test_a_stolen_key_leaves_and_the_epoch_rises():
    new = next_root(ROOT, RootChange(stolen=(keyid("index"),), add={INDEX_ROLE: (known("fresh"),)}))
    assert new.index_epoch == 1
    assert keyid("index") not in new.keys
    assert new.roles[INDEX_ROLE].keyids == (keyid("fresh"),)


def test_a_change_in_words():
    change = RootChange(
        name="Other",
        stolen=(keyid("index"),),
        add={ROOT_ROLE: (known("r2"),), INDEX_ROLE: (known("fresh"),)},
        thresholds={ROOT_ROLE: 2},
    )
    assert describe_change(ROOT, next_root(ROOT, change)) == [
        "name       from Test Keep to Other",
        f"root       {keyid('r2')}  r2 joins",
        "root       2 of 2 keys must sign, before 1 of 1",
        f"index      {keyid('fresh')}  fresh joins",
        f"index      {keyid('index')}  index leaves",
        "epoch      from 0 to 1: every index signed before is outranked",
    ]


def test_a_removed_key_leaves_every_role():
    root = make_root(Rules(root=("a", "b"), index=("a", "c")))
    new = next_root(root, RootChange(remove=(keyid("a"),)))
    assert set(new.keys) == {keyid("b"), keyid("c")}
    assert new.index_epoch == 0


def test_unknown_fields_go_on():
    root = parse_root({**ROOT.document, "motto": "keep"})
    assert next_root(root, RootChange(name="Other")).document["motto"] == "keep"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (RootChange(), "change nothing"),
        (RootChange(name="Test Keep"), "change nothing"),
        (RootChange(remove=(keyid("nobody"),)), "has no key"),
        (RootChange(remove=(keyid("index"),)), "index threshold would be 1 with 0"),
        (RootChange(thresholds={ROOT_ROLE: 2}), "root threshold would be 2 with 1"),
        (RootChange(thresholds={INDEX_ROLE: 0}), "index threshold would be 0"),
        (RootChange(add={INDEX_ROLE: (RootKey(key("other").public, "index"),)}), "label 'index' already"),
        (RootChange(name="x" * 500), "too long"),
    ],
)
def test_changes_that_cannot_be(change, problem):
    with pytest.raises(UsageError, match=problem):
        next_root(ROOT, change)


def test_progress_is_of_the_root_that_follows():
    other = chain(Rules(root=("other",)))[0].root
    with pytest.raises(FormatError, match="does not follow"):
        progress(other, SignedRoot(next_root(ROOT, RootChange(name="x")), []))
