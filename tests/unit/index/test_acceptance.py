"""Properties of acceptance: histories, damage, and that nothing but a refusal ever comes of junk."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pqwen.errors import VerificationError
from p2pqwen.index.acceptance import Accepted, RefusedError, TrustedState, accept, accept_draft
from p2pqwen.index.document import encode_file, parse_file
from tests.support.publishing import (
    NOW,
    Publisher,
    Rules,
    chain,
    digest,
    make_document,
    make_entry,
    make_index,
    make_root,
    sign_root,
)

GOOD = make_index(chain(Rules()))
PUBLISHER = chain(Rules())[0].root.digest


def test_a_file_by_itself():
    accepted = accept(GOOD, TrustedState(None), NOW + timedelta(days=2))
    assert accepted.publisher == PUBLISHER
    assert accepted.signer_labels == ("index",)
    assert str(accepted.position) == "0.1"
    assert accepted.age_days == 2
    assert not accepted.unchanged
    assert accept(GOOD, accepted.state, NOW).unchanged


def test_what_is_missing_is_named():
    roots = chain(Rules(index=("a", "b", "c"), index_threshold=3))
    with pytest.raises(RefusedError) as refusal:
        accept(make_index(roots, None, ("b",)), TrustedState(None), NOW)
    result = refusal.value.threshold
    assert result is not None
    assert [roots[0].root.keys[one].label for one in result.missing] == ["a", "c"]
    assert refusal.value.message.endswith("expected 3 signatures, got 1")
    assert "no valid signature by a (" in str(refusal.value.hint)


def test_a_draft_may_lack_signatures_and_nothing_else():
    roots = chain(Rules(index=("a", "b"), index_threshold=2))
    draft = accept_draft(make_index(roots, None, ("b",)), TrustedState(None), NOW)
    assert not draft.signers.met
    with pytest.raises(RefusedError) as refusal:
        accept_draft(make_index(roots, make_document(roots, epoch=3), ("b",)), TrustedState(None), NOW)
    assert refusal.value.step == 5


def test_a_printed_file_is_read_back():
    file = parse_file(GOOD)
    assert encode_file(file.roots, file.signed, file.signatures) == GOOD


KEYS = "abcde"


@st.composite
def histories(draw: st.DrawFn) -> list[bytes]:
    """What an honest publisher gives out over the years: rotations, raised epochs and new versions."""
    publisher = Publisher(())
    files = []
    rules: Rules | None = None
    for _ in range(draw(st.integers(1, 5))):
        if rules is None or draw(st.booleans()):
            root_keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True))
            index_keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True))
            new = Rules(
                root=tuple(root_keys),
                root_threshold=draw(st.integers(1, len(root_keys))),
                index=tuple(index_keys),
                index_threshold=draw(st.integers(1, len(index_keys))),
                epoch=(rules.epoch if rules else 0) + draw(st.sampled_from([0, 0, 1])),
            )
            before = publisher.roots[-1].root if publisher.roots else None
            old_keys = rules.root if rules else ()
            signed = sign_root(make_root(new, before), dict.fromkeys((*old_keys, *new.root)))
            publisher.roots = (*publisher.roots, signed)
            rules = new
        signers = rules.index[: rules.index_threshold]
        files.append(publisher.publish([make_entry(n) for n in range(len(files))], signers))
    return files


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(histories(), st.lists(st.booleans(), min_size=5, max_size=5))
def test_an_honest_history_goes_forward_and_never_back(files, missed):
    first = parse_file(files[0]).roots[0].root.digest
    state = TrustedState(first)
    seen: list[Accepted] = []
    for file, miss in zip(files, missed, strict=False):
        if file == files[-1] or not miss:  # a reader may miss any but the last
            seen.append(accept(file, state, NOW))
            state = seen[-1].state
    assert seen[-1].roots == accept(files[-1], TrustedState(first), NOW).roots
    for file in files[:-1]:
        with pytest.raises(RefusedError) as refusal:
            accept(file, state, NOW)
        assert refusal.value.step in {4, 6}
    assert accept(files[-1], state, NOW).unchanged


@settings(max_examples=150)
@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_damaged_bytes_are_refused_or_say_the_same(at, put, drop):
    good = accept(GOOD, TrustedState(PUBLISHER), NOW)
    damaged = GOOD[:at] + put + GOOD[at + drop :]
    try:
        accepted = accept(damaged, TrustedState(PUBLISHER), NOW)
    except RefusedError:
        return
    assert (accepted.document, accepted.root) == (good.document, good.root)


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def paths(value: object, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [above]
    if isinstance(value, dict):
        for name, inner in value.items():
            found += paths(inner, (*above, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found += paths(inner, (*above, number))
    return found


PATHS = [path for path in paths(json.loads(GOOD)) if path]


@settings(max_examples=200)
@given(st.sampled_from(PATHS), junk)
def test_junk_in_any_place_is_refused_and_nothing_else_is_raised(path, put):
    value = json.loads(GOOD)
    place = value
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = put
    try:
        accepted = accept(json.dumps(value).encode(), TrustedState(PUBLISHER), NOW)
    except RefusedError:
        return
    # beside the signed parts, or the same value again
    assert accepted.digest == digest(make_document(chain(Rules())))


@settings(max_examples=200)
@given(st.sampled_from([path for path in PATHS if path[0] == "signed"]), junk)
def test_junk_that_was_signed_is_refused_or_read(path, put):
    """A publisher's own nonsense may be refused, but only by a rule."""
    value = json.loads(GOOD)
    place = value
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = put
    signed = value["signed"]
    try:
        data = make_index(chain(Rules()), signed) if isinstance(signed, dict) else json.dumps(value).encode()
        accept(data, TrustedState(PUBLISHER), NOW)
    except VerificationError:
        return


@given(st.binary(max_size=300))
def test_noise_is_refused(data):
    with pytest.raises(RefusedError) as refusal:
        accept(data, TrustedState(None), NOW)
    assert refusal.value.step == 1
