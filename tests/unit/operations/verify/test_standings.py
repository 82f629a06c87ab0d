"""What is remembered of torrents, and who is asked: records that count only while they are right."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from p2pqwen.index.acceptance import accept
from p2pqwen.index.standing import Standing
from p2pqwen.index.voice import Voice
from p2pqwen.library.home import Home
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.lift_store import LiftStore
from p2pqwen.library.snapshots import HeldSnapshot, Library
from p2pqwen.library.state_store import StateStore
from p2pqwen.library.torrent_facts import FactsStore, TorrentFacts, look_at
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.manifest.manifest import Manifest, parse_manifest
from p2pqwen.operations.indexes.vouchers import Vouchers
from p2pqwen.operations.verify.read_facts import read_facts
from p2pqwen.operations.verify.standing_answer import StandingAnswer
from p2pqwen.operations.verify.standings import Standings, Stood, standing_words
from p2pqwen.torrent.checked import CheckedTorrent
from tests.support.publishing import Publisher, key, make_entry
from tests.support.snapshots import hold, sign_torrent
from tests.support.standing import voice


class Asked:
    """Trusted publishers, and how often somebody asked for them."""

    def __init__(self, *voices: Voice) -> None:
        self.voices, self.times = voices, 0

    def __call__(self) -> tuple[Voice, ...]:
        self.times += 1
        return self.voices


@pytest.fixture
def store(tmp_path: Path):
    with StateStore(tmp_path / "state.sqlite") as found:
        yield found


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The torrents that were read and proved."""
    seen: list[str] = []
    real = Standings._read
    monkeypatch.setattr(Standings, "_read", lambda self, held: (seen.append(str(held.id)), real(self, held))[1])
    return seen


def signed(held: HeldSnapshot) -> CheckedTorrent:
    return CheckedTorrent.of(sign_torrent(held.metainfo(), key("index"), "x"))


def listed(held: HeldSnapshot) -> Voice:
    manifest = held.torrent().manifest
    assert manifest is not None
    return voice(held.id, infohash=held.metainfo().infohash, manifest=manifest.digest)


def standing(store: StateStore, held: HeldSnapshot, asked: Asked) -> Standing:
    return Standings(store, asked, read_facts).of([held])[held.id].standing


def test_a_proof_is_read_once_and_asks_nobody(store, reads, tmp_path):
    held, asked = hold(Home(tmp_path)), Asked()
    for _ in range(3):
        assert standing(store, held, asked) is Standing.PROVEN
    assert (len(reads), asked.times) == (1, 0)


def test_who_is_trusted_is_asked_every_time_and_the_torrent_is_not_read_again(store, reads, tmp_path):
    held = hold(Home(tmp_path), proven=False)
    listing = listed(held)
    found = [standing(store, held, Asked(*voices)) for voices in ((), (listing,), ())]
    assert found == [Standing.UNVOUCHED, Standing.SIGNED, Standing.UNVOUCHED]
    assert len(reads) == 1


def test_a_signature_by_a_key_that_is_known_later_counts_then(store, reads, tmp_path):
    held = hold(Home(tmp_path), proven=False)
    Library(Home(tmp_path)).replace_torrent(held.id, signed(held))
    found = [standing(store, held, Asked(*voices)) for voices in ((), (voice(),), (), (voice(),))]
    assert found == [Standing.UNVOUCHED, Standing.SIGNED, Standing.UNVOUCHED, Standing.SIGNED]
    assert len(reads) == 2


def say_of_license(held: HeldSnapshot, named: str) -> None:
    """Give a held snapshot's torrent a manifest that names another license for the same bytes."""
    metainfo = held.metainfo()
    assert metainfo.manifest is not None
    manifest = parse_manifest(metainfo.manifest)
    evil = Manifest(manifest.snapshot, None, named, manifest.files)
    held.torrent_path.write_bytes(replace(metainfo, manifest=evil.encode()).encode())


def test_a_listing_of_another_manifest_vouches_for_none_but_what_the_bytes_make(store, tmp_path):
    held = hold(Home(tmp_path), proven=False)
    torrent = held.torrent()
    made = judge_held(store, held, voice(held.id, infohash=torrent.infohash, manifest=make_entry(1).manifest))
    assert (made.standing, made.facts.manifest is not None and made.facts.manifest.of_bytes) == (Standing.SIGNED, True)
    listing = listed(held)
    say_of_license(held, "cc0-1.0")
    evil = judge_held(store, held, listing)
    assert (evil.standing, evil.judgement.vouched_by) == (Standing.UNVOUCHED, ())


def judge_held(store: StateStore, held: HeldSnapshot, *voices: Voice) -> Stood:
    return Standings(store, Asked(*voices), read_facts).of([held])[held.id]


def test_a_torrent_that_changed_is_read_again(store, reads, tmp_path):
    held = hold(Home(tmp_path))
    assert standing(store, held, Asked()) is Standing.PROVEN
    data = held.torrent_path.read_bytes()
    held.torrent_path.write_bytes(replace(held.metainfo(), manifest=None).encode())
    os.utime(held.torrent_path, ns=(0, 0))
    assert standing(store, held, Asked()) is Standing.UNVOUCHED
    held.torrent_path.write_bytes(data)
    assert standing(store, held, Asked()) is Standing.PROVEN
    assert len(reads) == 3


def test_a_torrent_of_another_snapshots_manifest_is_left_out_or_unvouched(store, tmp_path):
    """Somebody moved a snapshot's files under another repository's name."""
    held = hold(Home(tmp_path))
    moved = replace(held, id=replace(held.id, repo=type(held.id.repo)("Evil/Tiny")))
    assert standing(store, moved, Asked()) is Standing.UNVOUCHED
    held.torrent_path.write_bytes(b"not a torrent")
    said: list[object] = []
    assert Standings(store, Asked(), read_facts).of([held], said.append) == {}
    assert len(said) == 1


@pytest.mark.parametrize(
    "document", [None, {}, [], {"look": [1, 2, 3]}, {"look": "abcd"}, "x", {"provenance": "certainly"}]
)
def test_a_record_that_makes_no_sense_is_none(document):
    assert TorrentFacts.from_json(document) is None


def test_records_come_back_as_they_were(store, tmp_path):
    held = hold(Home(tmp_path), proven=False)
    Library(Home(tmp_path)).replace_torrent(held.id, signed(held))
    facts = Standings(store, Asked(voice()), read_facts).of([held])[held.id].facts
    assert FactsStore(store).all() == {held.id: facts}
    assert facts.look == look_at(held.torrent_path)
    assert [one.state for one in facts.signers] == ["valid"]


def test_the_users_word_is_told_of_that_torrent_while_nobody_else_vouches(store, tmp_path):
    held = hold(Home(tmp_path), proven=False)
    infohash = held.metainfo().infohash
    LiftStore(store).note(held.id, infohash, datetime(2026, 1, 1, tzinfo=UTC))
    alone = Standings(store, Asked(), read_facts).of([held])[held.id]
    assert (alone.trusted_unverified, standing_words(alone)) == (True, "unvouched (trusted unverified)")
    vouched = Standings(store, Asked(listed(held)), read_facts).of([held])[held.id]
    assert StandingAnswer.of(vouched) == StandingAnswer(Standing.SIGNED, trusted_unverified=False)
    LiftStore(store).note(held.id, replace(infohash, v2=type(infohash.v2)(bytes(32))), datetime(2026, 1, 1, tzinfo=UTC))
    assert not Standings(store, Asked(), read_facts).of([held])[held.id].trusted_unverified


def test_nothing_known_is_unvouched():
    assert StandingAnswer.of(None) == StandingAnswer(Standing.UNVOUCHED, trusted_unverified=False)


def test_vouchers_are_read_again_when_something_changed_and_only_then(tmp_path):
    home = Home(tmp_path)
    trust, publisher = TrustStore(home), Publisher()
    vouchers = Vouchers(trust, KeyStore(home))
    assert vouchers.voices() == ()
    now = datetime.now(UTC)
    trust.pin(publisher.id)
    first = publisher.publish([make_entry(1)])
    trust.store(accept(first, trust.get(publisher.id, now=now).state, now), first, now=now)
    one = vouchers.voices()
    assert vouchers.voices() is one
    assert one[0].lists_bytes(make_entry(1).id, make_entry(1).infohash)
    second = publisher.publish([make_entry(2)])
    trust.store(accept(second, trust.get(publisher.id, now=now).state, now), second, now=now)
    assert not vouchers.voices()[0].lists_bytes(make_entry(1).id, make_entry(1).infohash)
    trust.unpin(publisher.id)
    assert vouchers.voices() == ()
