"""Attacks 31 to 44: on versions, histories and clocks, through one mirror and through several."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from p2pqwen.events import Notice
from p2pqwen.index.acceptance import EquivocationError, Position, RollbackError, TrustedState, accept
from p2pqwen.index.diff import diff
from p2pqwen.library.trust_store import MAX_EVIDENCE
from p2pqwen.mirrors.location import Location
from p2pqwen.operations.indexes.trust import add_publisher
from p2pqwen.operations.indexes.update import update
from p2pqwen.operations.indexes.updated import SourceState
from p2pqwen.values.strict_json import MAX_INTEGER
from tests.attacks.victim import NOW, RULES, SIGNERS, TRUSTED_VERSION, Victim
from tests.support.publishing import chain, digest, make_document, make_entry, make_index

EPOCH_1 = replace(RULES, epoch=1, index=("index2", "index3", "index4"))
EPOCH_SIGNERS = ("index3", "index4")


def version(victim: Victim, number: int, **changes) -> bytes:
    document = make_document(victim.roots, number, [victim.entry, make_entry(number % 1000)], **changes)
    return make_index(victim.roots, document, SIGNERS)


@pytest.mark.parametrize("number", [1, TRUSTED_VERSION - 1], ids=["31-version-1", "31-version-4"])
def test_an_old_version_is_refused(victim: Victim, number):
    result = victim.refuses(version(victim, number), step=6)
    assert "older than 0.5, already accepted" in result.detail


def test_31_the_very_file_that_was_accepted_before(victim: Victim):
    old = victim.good
    victim.accepts(victim.next_file())
    before = victim.on_disk()
    result = victim.offer(old)
    assert (result.state, result.step) == ("refused", 6)
    assert victim.on_disk() == before


def test_32_an_old_epoch_with_a_high_version(victim: Victim):
    roots = chain(RULES, EPOCH_1)
    victim.accepts(make_index(roots, make_document(roots, 1, [victim.entry]), EPOCH_SIGNERS))
    before = victim.on_disk()
    result = victim.offer(version(victim, 1000))
    assert (result.state, result.step) == ("refused", 4)  # its root is older than the trusted one
    under_new_root = make_document(roots, 1000, [victim.entry], epoch=0)
    result = victim.offer(make_index(roots, under_new_root, EPOCH_SIGNERS))
    assert (result.state, result.step) == ("refused", 5)  # the epoch is the root's to say
    assert victim.on_disk() == before


def test_32_an_epoch_that_no_root_raised(victim: Victim):
    victim.refuses(victim.next_file(epoch=1), step=5)


def test_33_fast_forward_with_a_stolen_key_and_recovery(victim: Victim):
    """The thief uses up every version there is; a root with a higher epoch starts again at 1."""
    victim.accepts(version(victim, MAX_INTEGER))
    honest = make_document(victim.roots, TRUSTED_VERSION + 1, [victim.entry])
    assert victim.offer(make_index(victim.roots, honest, SIGNERS)).step == 6
    roots = chain(RULES, EPOCH_1)
    recovered = make_document(roots, 1, [victim.entry], previous=digest(victim.trusted))
    victim.accepts(make_index(roots, recovered, EPOCH_SIGNERS))
    assert victim.version() == (1, 1)
    assert victim.offer(version(victim, MAX_INTEGER)).step == 4


def test_33_a_version_beyond_2_to_53(victim: Victim):
    data = victim.next_file().replace(b'"version": 6', b'"version": 9223372036854775808')
    victim.refuses(data, step=1)


def test_34_the_same_version_with_other_bytes(victim: Victim):
    other = version(victim, TRUSTED_VERSION)
    result = victim.refuses(other, step=6)
    assert "two different indexes 0.5" in result.detail
    assert victim.evidence() == {other, victim.good}
    assert any("evidence" in notice for notice in victim.notices)


def test_34_the_same_version_with_other_signatures_is_the_same(victim: Victim):
    assert victim.offer(make_index(victim.roots, victim.trusted, ("index2", "index3"))).state == "unchanged"
    assert victim.evidence() == set()


def test_34_evidence_does_not_fill_the_disk(victim: Victim):
    """A thief of enough keys can sign contradictions without end."""
    for number in range(2, 2 * MAX_EVIDENCE):
        other = make_document(victim.roots, TRUSTED_VERSION, [make_entry(number)])
        victim.refuses(make_index(victim.roots, other, SIGNERS), step=6)
    assert len(victim.evidence()) == MAX_EVIDENCE
    assert victim.good in victim.evidence()
    assert "enough is kept already" in victim.notices[-2]


def test_34_a_contradiction_named_by_the_user_is_evidence_too(victim: Victim, tmp_path: Path):
    before = victim.on_disk()
    other = tmp_path / "other.json"
    other.write_bytes(version(victim, TRUSTED_VERSION))
    with pytest.raises(EquivocationError):
        add_publisher(victim.store, victim.publisher, Location(str(other)), now=NOW)
    assert victim.evidence() == {other.read_bytes(), victim.good}
    assert victim.on_disk() == before


def test_35_the_next_version_must_name_the_one_accepted(victim: Victim):
    data = version(victim, TRUSTED_VERSION + 1, previous=digest(make_document(victim.roots, 5, [])))
    result = victim.refuses(data, step=6)
    assert "does not continue" in result.detail
    assert victim.evidence() == {data, victim.good}


def test_35_a_later_version_cannot_be_held_to_what_we_never_saw(victim: Victim):
    victim.accepts(version(victim, TRUSTED_VERSION + 2, previous=digest(make_document(victim.roots, 5, []))))


def test_37_a_dropped_entry_is_shown_not_hidden(victim: Victim):
    """A publisher may drop entries; a maintainer who reviews the change is alarmed unless they are withdrawn."""
    dropped = make_document(victim.roots, 6, [make_entry(2)])
    assert diff(victim.trusted, dropped).alarms == (f"{victim.entry.id} disappears without being withdrawn",)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"commit": "0" * 40}, id="38-commit"),
        pytest.param({"infohash_v1": "1" * 40}, id="38-infohash-v1"),
        pytest.param({"infohash_v2": "1" * 64}, id="38-infohash-v2"),
        pytest.param({"manifest_sha256": "1" * 64}, id="38-manifest"),
        pytest.param({"repo": "Evil/Tiny"}, id="38-repo"),
        pytest.param({"size": 7}, id="38-size"),
    ],
)
def test_an_entry_changed_after_signing(victim: Victim, changes):
    from tests.attacks.victim import edited

    victim.refuses(edited(victim.next_file(), lambda value: value["signed"]["entries"][0].update(changes)), step=4)


def mirrors(victim: Victim, folder: Path, *files: bytes | None) -> list[str]:
    """Trust as many more mirrors, each with its file, or with none."""
    places = []
    for number, data in enumerate(files):
        place = folder / f"mirror{number}.json"
        if data is not None:
            place.write_bytes(data)
        places.append(str(place))
    victim.store.pin(victim.publisher, places)
    return places


def states(victim: Victim, places: list[str]) -> list[SourceState]:
    found = {one.source: one.state for one in victim.update().sources}
    return [found[place] for place in places]


def test_39_a_frozen_mirror_among_good_ones(victim: Victim, tmp_path: Path):
    victim.source.unlink(missing_ok=True)
    newest = version(victim, TRUSTED_VERSION + 3)
    middle = version(victim, TRUSTED_VERSION + 2)
    places = mirrors(victim, tmp_path, victim.good, middle, newest)
    assert states(victim, places) == [SourceState.BEHIND, SourceState.BEHIND, SourceState.NEWER]
    assert victim.version() == (0, TRUSTED_VERSION + 3)
    assert states(victim, places) == [SourceState.REFUSED, SourceState.REFUSED, SourceState.UNCHANGED]


def test_40_all_mirrors_frozen_is_a_notice_not_an_error(victim: Victim):
    victim.source.write_bytes(victim.good)
    seen: list[str] = []
    done = update(
        victim.store,
        victim.store.get(victim.publisher, now=NOW),
        now=NOW + timedelta(days=200),
        report=lambda event: seen.append(event.text) if isinstance(event, Notice) else None,
    )
    assert done.ok
    assert seen == ["the index of Test Keep was last signed 200 days ago"]


def test_41_a_dead_mirror_does_not_block_another(victim: Victim, tmp_path: Path):
    victim.source.unlink(missing_ok=True)
    places = mirrors(victim, tmp_path, None, b"<html>", victim.next_file())
    assert states(victim, places) == [SourceState.UNREACHABLE, SourceState.REFUSED, SourceState.NEWER]
    assert victim.version() == (0, TRUSTED_VERSION + 1)


def test_34_two_mirrors_with_two_truths_are_both_refused(victim: Victim, tmp_path: Path):
    victim.source.unlink(missing_ok=True)
    one, other = (make_index(victim.roots, make_document(victim.roots, 7, [make_entry(n)]), SIGNERS) for n in (8, 9))
    places = mirrors(victim, tmp_path, one, other, version(victim, 6, previous=digest(victim.trusted)))
    assert states(victim, places) == [SourceState.REFUSED, SourceState.REFUSED, SourceState.NEWER]
    assert victim.version() == (0, 6)
    assert {one, other} <= victim.evidence()


def test_22_two_mirrors_with_two_second_roots_are_both_refused(victim: Victim, tmp_path: Path):
    victim.source.unlink(missing_ok=True)
    files = []
    for name in ("index3", "index4"):
        roots = chain(RULES, replace(RULES, index=("index1", "index2", name)))
        files.append(make_index(roots, make_document(roots, 6 + int(name[-1]), [victim.entry]), SIGNERS))
    places = mirrors(victim, tmp_path, *files)
    assert states(victim, places) == [SourceState.REFUSED, SourceState.REFUSED]
    assert victim.version() == (0, TRUSTED_VERSION)


def test_a_newer_root_beats_a_higher_version(victim: Victim, tmp_path: Path):
    """The thief of a removed key can sign any version, but only under the old root."""
    victim.source.unlink(missing_ok=True)
    roots = chain(RULES, replace(RULES, index=("index2", "index3", "index4")))
    rotated = make_index(roots, make_document(roots, 6, [victim.entry], previous=digest(victim.trusted)), EPOCH_SIGNERS)
    places = mirrors(victim, tmp_path, version(victim, 500), rotated)
    assert states(victim, places) == [SourceState.BEHIND, SourceState.NEWER]
    assert victim.version() == (0, 6)


CLOCKS = {
    "42-fifty-years-late": timedelta(days=50 * 365),
    "42-fifty-years-early": timedelta(days=-50 * 365),
    "44-1970": NOW.replace(year=1970) - NOW,
    "42-right": timedelta(0),
}


@pytest.mark.parametrize("shift", CLOCKS.values(), ids=CLOCKS.keys())
def test_the_clock_decides_nothing(victim: Victim, shift):
    now = NOW + shift
    state = victim.store.get(victim.publisher, now=now).state
    assert accept(victim.next_file(), state, now).position == Position(0, 6)
    assert accept(victim.next_file(issued="1970-01-01T00:00:00Z"), state, now).position == Position(0, 6)
    assert accept(victim.next_file(issued="9999-12-31T23:59:59Z"), state, now).position == Position(0, 6)
    with pytest.raises(RollbackError):
        accept(version(victim, 4), state, now)
    with pytest.raises(EquivocationError):
        accept(version(victim, 5), state, now)


def test_43_a_clock_that_jumps_between_reading_and_storing(victim: Victim):
    data = victim.next_file()
    accepted = accept(data, victim.store.get(victim.publisher, now=NOW).state, NOW + timedelta(days=9000))
    victim.store.store(accepted, data, now=NOW - timedelta(days=9000))
    assert victim.version() == (0, 6)


def test_an_age_is_told_and_never_judged(victim: Victim):
    accepted = accept(victim.good, TrustedState(victim.publisher), NOW + timedelta(days=3))
    assert accepted.age_days == 3
