"""Attacks 21 to 30: on the chain of roots."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from p2pqwen.index.acceptance import RefusedError, TrustedState, accept
from p2pqwen.index.root import SignedRoot
from tests.attacks.victim import RULES, SIGNERS, TRUSTED_VERSION, Victim
from tests.support.publishing import NOW, Rules, chain, digest, make_document, make_index, make_root, sign_root

NEW_RULES = replace(RULES, root=("root2", "root3", "root4"), index=("index2", "index3", "index4"))
NEW_SIGNERS = ("index2", "index3")


def index_under(victim: Victim, roots: tuple[SignedRoot, ...], signers=SIGNERS, **changes) -> bytes:
    """The honest next list under another chain of roots."""
    document = make_document(roots, TRUSTED_VERSION + 1, [victim.entry], previous=digest(victim.trusted))
    return make_index(roots, replace(document, **{"publisher": victim.publisher, **changes}), signers)


def second_root(victim: Victim, signers, rules: Rules = NEW_RULES, **changes) -> tuple[SignedRoot, ...]:
    return (*victim.roots, sign_root(make_root(rules, victim.roots[0].root, **changes), signers))


EVERYBODY = ("root1", "root2", "root3", "root4")


def test_an_honest_rotation_is_followed(victim: Victim):
    victim.accepts(index_under(victim, second_root(victim, EVERYBODY), NEW_SIGNERS))


@pytest.mark.parametrize(
    ("signers", "step"),
    [
        pytest.param(("root4",), 3, id="23-by-no-old-key"),
        pytest.param(("root1", "root4"), 3, id="23-by-one-old-key"),
        pytest.param(("root1", "root3"), 3, id="24-by-one-new-key"),
        pytest.param(("index1", "index2", "index3", "stranger"), 3, id="23-by-index-keys"),
        pytest.param((), 3, id="23-by-nobody"),
    ],
)
def test_a_root_that_too_few_signed(victim: Victim, signers, step):
    victim.refuses(index_under(victim, second_root(victim, signers), NEW_SIGNERS), step)


@pytest.mark.parametrize(
    ("rules", "signers", "accepted"),
    [
        pytest.param(replace(RULES, root_threshold=3), ("root1", "root2"), False, id="25-raised-new-not-met"),
        pytest.param(replace(RULES, root_threshold=3), ("root1", "root2", "root3"), True, id="25-raised-met"),
        pytest.param(replace(RULES, root_threshold=1), ("root1",), False, id="25-lowered-old-not-met"),
        pytest.param(replace(RULES, root_threshold=1), ("root1", "root2"), True, id="25-lowered-met"),
        pytest.param(replace(RULES, index_threshold=1), ("root1", "root2"), True, id="25-index-threshold-lowered"),
    ],
)
def test_25_changed_thresholds(victim: Victim, rules, signers, accepted):
    data = index_under(victim, second_root(victim, signers, rules), SIGNERS)
    if accepted:
        victim.accepts(data)
    else:
        victim.refuses(data, step=3)


def test_25_the_raised_index_threshold_counts_at_once(victim: Victim):
    roots = second_root(victim, EVERYBODY, replace(RULES, index_threshold=3))
    victim.refuses(index_under(victim, roots, SIGNERS), step=4)


LINKS = {
    "21-version-3-after-1": ({"version": 3}, 3),
    "21-version-1-again": ({"version": 1, "previous": None}, 3),
    "22-previous-of-another-root": ({"previous": "0" * 64}, 3),
    "22-no-previous": ({"previous": None}, 1),
    "23-lower-epoch": ({"index_epoch": -1}, 1),
}


@pytest.mark.parametrize(("changes", "step"), LINKS.values(), ids=LINKS.keys())
def test_links_of_the_chain(victim: Victim, changes, step):
    honest = make_root(NEW_RULES, victim.roots[0].root).document
    if step == 1:
        value = json.loads(index_under(victim, second_root(victim, EVERYBODY), NEW_SIGNERS))
        value["roots"][1]["signed"] = {**honest, **changes}
        data = json.dumps(value).encode()
    else:
        data = index_under(victim, second_root(victim, EVERYBODY, **changes), NEW_SIGNERS)
    victim.refuses(data, step)


def test_21_27_a_missing_middle_root(victim: Victim):
    roots = chain(RULES, NEW_RULES, RULES)
    victim.refuses(index_under(victim, (roots[0], roots[2]), SIGNERS), step=3)


def test_22_the_same_root_version_with_other_content(victim: Victim):
    victim.accepts(index_under(victim, second_root(victim, EVERYBODY), NEW_SIGNERS))
    other = second_root(victim, EVERYBODY, replace(NEW_RULES, index=("index3", "evil1", "evil2")))
    before = victim.on_disk()
    result = victim.offer(index_under(victim, other, ("evil1", "evil2"), version=9))
    assert (result.state, result.step) == ("refused", 3)
    assert victim.on_disk() == before
    assert victim.evidence() != set()


@pytest.mark.parametrize("signers", [(), ("evil1", "evil2"), EVERYBODY], ids=lambda names: f"22-{len(names)}-signers")
def test_a_chain_that_starts_at_another_second_root_proves_nothing(victim: Victim, signers):
    """Nobody's signature stands behind the first root of a chain: a mirror must not be able to cry equivocation."""
    victim.accepts(index_under(victim, second_root(victim, EVERYBODY), NEW_SIGNERS))
    before = victim.on_disk()
    other = second_root(victim, signers, replace(NEW_RULES, index=("index3", "evil1", "evil2")))
    result = victim.offer(index_under(victim, other[1:], ("evil1", "evil2"), version=9))
    assert (result.state, result.step) == ("refused", 2)
    assert victim.on_disk() == before
    assert victim.evidence() == set()


def test_22_another_root_1(victim: Victim):
    evil = chain(replace(RULES, index=("evil1", "evil2", "evil3")))
    victim.refuses(index_under(victim, evil, ("evil1", "evil2")), step=2)


def test_23_a_lowered_index_epoch(victim: Victim):
    roots = chain(RULES, replace(RULES, epoch=2), replace(RULES, epoch=1))
    victim.refuses(index_under(victim, roots, SIGNERS), step=3)


def test_26_ten_thousand_roots(victim: Victim):
    """Refused by their number, before any signature is checked."""
    row = victim.roots[0].to_json()
    value = json.loads(victim.next_file())
    value["roots"] = [row] * 10_000
    victim.refuses(json.dumps(value).encode(), step=1)


def test_26_as_many_roots_as_allowed(victim: Victim):
    rules = [replace(RULES, index=(f"index{n}", f"index{n + 1}"), index_threshold=1) for n in range(1, 256)]
    roots = chain(RULES, *rules)
    assert len(roots) == 256
    victim.accepts(index_under(victim, roots, ("index255",)))


def test_28_a_removed_key_signs_an_index(victim: Victim):
    roots = second_root(victim, EVERYBODY)
    victim.refuses(index_under(victim, roots, ("index1", "index2")), step=4)


def test_28_29_under_the_old_root_a_removed_key_signs_no_more(victim: Victim):
    """The thief keeps the old chain, under which the stolen keys are good."""
    victim.accepts(index_under(victim, second_root(victim, EVERYBODY), NEW_SIGNERS))
    before = victim.on_disk()
    result = victim.offer(index_under(victim, victim.roots, SIGNERS, version=TRUSTED_VERSION + 9))
    assert (result.state, result.step) == ("refused", 4)
    assert victim.on_disk() == before


def test_29_new_root_in_the_file_old_root_in_the_index(victim: Victim):
    roots = second_root(victim, EVERYBODY)
    victim.refuses(index_under(victim, roots, NEW_SIGNERS, root_version=1), step=5)


def test_29_old_root_in_the_file_new_root_in_the_index(victim: Victim):
    victim.refuses(index_under(victim, victim.roots, SIGNERS, root_version=2), step=5)


def test_30_a_chain_of_another_publisher(victim: Victim):
    foreign = chain(Rules(root=("evil",), index=("evil",)))
    victim.refuses(make_index(foreign, make_document(foreign, 6), ("evil",)), step=2)


def test_30_an_index_for_another_publisher_under_our_roots(victim: Victim):
    victim.refuses(victim.next_file(publisher="0" * 64), step=5)


def test_a_chain_may_start_at_a_trusted_root_and_at_no_other(victim: Victim):
    roots = second_root(victim, EVERYBODY)
    victim.accepts(index_under(victim, roots, NEW_SIGNERS))
    document = make_document(roots, TRUSTED_VERSION + 2, [victim.entry])
    later = make_index(roots[1:], replace(document, previous=None), NEW_SIGNERS)
    with pytest.raises(RefusedError) as refusal:
        accept(later, TrustedState(victim.publisher), NOW)
    assert refusal.value.step == 2
    state = victim.store.get(victim.publisher, now=NOW).state
    assert state.seen is not None
    document = replace(document, previous=state.seen.digest)
    assert victim.offer(make_index(roots[1:], document, NEW_SIGNERS)).state == "newer"
    # what is stored rests on the pinned id alone
    stored = victim.store.index_path(victim.publisher).read_bytes()
    assert accept(stored, TrustedState(victim.publisher), NOW).document == document


def test_a_trusted_root_with_worthless_signatures_does_not_spoil_the_store(victim: Victim):
    roots = second_root(victim, EVERYBODY)
    victim.accepts(index_under(victim, roots, NEW_SIGNERS))
    document = make_document(roots, TRUSTED_VERSION + 5, [victim.entry])
    stripped = (SignedRoot(roots[1].root, []),)
    assert victim.offer(make_index(stripped, document, NEW_SIGNERS)).state == "newer"
    assert victim.version() == (0, TRUSTED_VERSION + 5)


ROTATIONS = [
    # (old root keys, old threshold, new root keys, new threshold, signers, accepted): as tuf-conformance has them
    ("1", 1, "1", 1, "1", True),
    ("1", 1, "2", 1, "12", True),
    ("1", 1, "2", 1, "1", False),
    ("1", 1, "2", 1, "2", False),
    ("12345", 3, "12345", 3, "245", True),
    ("12345", 3, "12345", 3, "1245", True),
    ("12345", 3, "12345", 3, "14", False),
    ("12345", 3, "13456", 3, "134", True),
    ("12345", 3, "13456", 3, "256", False),
    ("12345", 3, "24567", 3, "246", False),
    ("12345", 3, "24567", 3, "245", True),
    ("12345", 3, "24567", 3, "12467", True),
    ("12345", 3, "12345", 5, "124", False),
    ("12345", 3, "12345", 5, "12345", True),
    ("12345", 3, "12345", 1, "12", False),
    ("12345", 3, "12345", 1, "123", True),
    ("12345", 1, "12345", 5, "12345", True),
]


@pytest.mark.parametrize(("old", "old_threshold", "new", "new_threshold", "signers", "accepted"), ROTATIONS)
def test_root_rotations_of_tuf_conformance(old, old_threshold, new, new_threshold, signers, accepted):
    first = make_root(Rules(root=tuple(old), root_threshold=old_threshold))
    second = make_root(Rules(root=tuple(new), root_threshold=new_threshold), first)
    roots = (sign_root(first, old), sign_root(second, signers))
    data = make_index(roots, make_document(roots))
    trusted = TrustedState(first.digest)
    if accepted:
        assert accept(data, trusted, NOW).root.version == 2
        return
    with pytest.raises(RefusedError) as refusal:
        accept(data, trusted, NOW)
    assert refusal.value.step == 3


INDEX_ROTATIONS = [
    # (old index keys, old threshold, new index keys, new threshold, signers, accepted)
    *(
        ("1", 1, new, 1, signers, set(signers) >= set(new))
        for new, signers in itertools.product("12", ("1", "2", "12"))
    ),
    ("12345", 3, "12345", 3, "245", True),
    ("12345", 3, "12345", 3, "14", False),
    ("12345", 3, "45678", 3, "123", False),
    ("12345", 3, "45678", 3, "456", True),
]


@pytest.mark.parametrize(("old", "old_threshold", "new", "new_threshold", "signers", "accepted"), INDEX_ROTATIONS)
def test_index_key_rotations_of_tuf_conformance(old, old_threshold, new, new_threshold, signers, accepted):
    first = Rules(index=tuple(old), index_threshold=old_threshold)
    roots = chain(first, Rules(index=tuple(new), index_threshold=new_threshold))
    data = make_index(roots, make_document(roots), signers)
    if accepted:
        assert accept(data, TrustedState(None), NOW).root.version == 2
        return
    with pytest.raises(RefusedError) as refusal:
        accept(data, TrustedState(None), NOW)
    assert refusal.value.step == 4
