"""What claims to be checked was: there is no way around the checks, and what is exchanged is checked again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2pqwen.errors import FormatError, VerificationError
from p2pqwen.manifest.manifest import Manifest, parse_manifest
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.signing.keys import PublicKey
from p2pqwen.torrent import checked as checked_module
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.metainfo import Metainfo, metainfo_from_info
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.snapshot_id import RepoId
from tests.support.publishing import key, keyid
from tests.support.snapshots import FILES, make_snapshot, sign_torrent

OLD, NEW, STRANGER = "old", "new", "stranger"
PLAIN = make_snapshot()
SIGNED = sign_torrent(sign_torrent(PLAIN, key(OLD), OLD), key(NEW), NEW)
LARGE = make_snapshot({**FILES, "model.safetensors": b"w" * 600_000})  # of several pieces


def keys(*names: str) -> dict[Sha256, PublicKey]:
    return {keyid(one): key(one).public for one in names}


def known_manifest() -> Manifest:
    assert PLAIN.manifest is not None
    return parse_manifest(PLAIN.manifest)


def states(torrent: CheckedTorrent, *names: str) -> list[tuple[str, str]]:
    return [(one.label, one.state) for one in torrent.signers(keys(*names))]


def test_it_says_what_the_torrent_proves():
    torrent = CheckedTorrent.read(SIGNED.encode())
    assert (torrent.metainfo, torrent.manifest) == (SIGNED, known_manifest())
    assert (torrent.provenance, torrent.snapshot) == (Provenance.PROVEN, known_manifest().snapshot)
    assert CheckedTorrent.of(make_snapshot(proven=False)).provenance is Provenance.UNPROVEN
    bare = CheckedTorrent.of(metainfo_from_info(PLAIN.info))
    assert (bare.manifest, bare.provenance, bare.snapshot) == (None, Provenance.UNPROVEN, None)


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(
            lambda torrent: CheckedTorrent(torrent.metainfo, None, Provenance.PROVEN, ()), id="the constructor"
        ),
        pytest.param(
            lambda torrent: CheckedTorrent(torrent.metainfo, None, Provenance.PROVEN, (), made_by=object()),
            id="another token",
        ),
        pytest.param(lambda torrent: replace(torrent, provenance=Provenance.PROVEN), id="replace"),
        pytest.param(lambda torrent: replace(torrent, metainfo=LARGE), id="replace the torrent"),
    ],
)
def test_nothing_else_makes_one(forge):
    with pytest.raises(TypeError, match="comes of"):
        forge(CheckedTorrent.of(make_snapshot(proven=False)))


def other_commit() -> Manifest:
    known = known_manifest()
    return replace(known, snapshot=replace(known.snapshot, commit=CommitId(b"\1" * 20)), commit_object=None)


def other_rows() -> Manifest:
    known = known_manifest()
    return replace(known, files=known.files[:-1], commit_object=None)


def false_proof() -> Manifest:
    known = known_manifest()
    return replace(known, commit_object=b"tree " + b"0" * 40 + b"\n")


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (other_commit, "not of the manifest's commit"),
        (other_rows, "which the manifest does not list"),
        (false_proof, "another commit's"),
    ],
)
def test_a_manifest_that_contradicts_is_refused_however_it_comes(manifest, problem):
    with pytest.raises(VerificationError, match=problem):
        CheckedTorrent.of(replace(PLAIN, manifest=manifest().encode()))
    with pytest.raises(VerificationError, match=problem):
        CheckedTorrent.around(PLAIN, manifest())


def test_a_manifest_that_is_none_is_refused():
    with pytest.raises(FormatError):
        CheckedTorrent.of(replace(PLAIN, manifest=b"{}"))


def test_signatures_are_tried_once_each_and_told_by_whose_keys_are_known(monkeypatch):
    tried: list[str] = []
    real = checked_module.is_made_by
    monkeypatch.setattr(
        checked_module, "is_made_by", lambda public, *rest: (tried.append(str(public.keyid)), real(public, *rest))[1]
    )
    torrent = CheckedTorrent.of(SIGNED)
    assert states(torrent, OLD, NEW) == [(NEW, "unknown key"), (OLD, "unknown key")]
    torrent = torrent.tried_with(keys(OLD))
    torrent = torrent.tried_with(keys(OLD, NEW, STRANGER)).tried_with(keys(NEW))
    assert sorted(tried) == sorted(map(str, keys(OLD, NEW)))
    assert states(torrent, OLD, NEW) == [(NEW, "valid"), (OLD, "valid")]
    assert states(torrent, NEW) == [(NEW, "valid"), (OLD, "unknown key")]
    assert states(torrent) == [(NEW, "unknown key"), (OLD, "unknown key")]
    assert torrent.tried_with(keys(OLD, NEW)) is torrent


def test_a_signature_that_was_not_made_is_wrong_for_those_alone_who_know_its_key():
    forged = replace(SIGNED.signatures[OLD], signature=bytes(64))
    torrent = CheckedTorrent.of(replace(SIGNED, signatures={OLD: forged})).tried_with(keys(OLD))
    assert (states(torrent, OLD), states(torrent, NEW)) == ([(OLD, "invalid")], [(OLD, "unknown key")])
    misfit = replace(SIGNED.signatures[OLD], repo=RepoId("Qwen/Other"))
    torrent = CheckedTorrent.of(replace(SIGNED, signatures={OLD: misfit}))
    assert states(torrent) == [(OLD, "invalid")]


def test_what_nothing_covers_may_be_exchanged():
    torrent = CheckedTorrent.of(SIGNED).tried_with(keys(OLD))
    changed = torrent.with_uncovered(web_seeds=["https://a.example/"], trackers=[("udp://a.example:1",)], comment="x")
    assert changed.metainfo == replace(
        SIGNED, web_seeds=("https://a.example/",), trackers=(("udp://a.example:1",),), comment="x"
    )
    assert (changed.manifest, changed.provenance, changed.signatures) == (
        torrent.manifest, torrent.provenance, torrent.signatures,
    )  # fmt: skip
    bare = changed.with_covered_only().metainfo
    assert (bare.web_seeds, bare.trackers, bare.comment, bare.created_by) == ((), (), None, None)
    assert (bare.manifest, bare.signatures) == (SIGNED.manifest, SIGNED.signatures)


def test_piece_layers_are_checked_when_they_come():
    bare = CheckedTorrent.of(metainfo_from_info(LARGE.info))
    assert not bare.metainfo.has_all_layers
    assert bare.with_layers(LARGE.piece_layers).metainfo.has_all_layers
    with pytest.raises(FormatError, match="wrong root"):
        bare.with_layers({root: bytes(len(layer)) for root, layer in LARGE.piece_layers.items()})


def test_without_its_manifest_nothing_is_left_of_what_it_said():
    torrent = CheckedTorrent.of(SIGNED).tried_with(keys(OLD, NEW)).without_manifest()
    assert (torrent.metainfo.manifest, torrent.metainfo.signatures) == (None, {})
    assert (torrent.manifest, torrent.provenance, torrent.signatures) == (None, Provenance.UNPROVEN, ())


def test_a_manifest_made_here_is_embedded_as_it_is_read_again():
    made = CheckedTorrent.around(metainfo_from_info(LARGE.info, LARGE.piece_layers), parse_manifest(LARGE.manifest))
    assert made == CheckedTorrent.read(made.metainfo.encode())


def test_a_signature_around_another_manifest_no_longer_fits():
    known = known_manifest()
    torrent = CheckedTorrent.around(SIGNED, replace(known, license="mit"))
    assert states(torrent.tried_with(keys(OLD, NEW)), OLD, NEW) == [(NEW, "invalid"), (OLD, "invalid")]


def test_two_are_joined_with_what_was_tried_of_each():
    one = CheckedTorrent.of(sign_torrent(PLAIN, key(OLD), OLD)).tried_with(keys(OLD))
    two = CheckedTorrent.of(sign_torrent(PLAIN, key(NEW), NEW)).tried_with(keys(NEW))
    joined = one.joined(two)
    assert states(joined, OLD, NEW) == [(NEW, "valid"), (OLD, "valid")]
    assert joined == CheckedTorrent.of(joined.metainfo).tried_with(keys(OLD, NEW))
    with pytest.raises(VerificationError, match="not the same torrent"):
        one.joined(CheckedTorrent.of(LARGE))


def of_another_manifest() -> Metainfo:
    return replace(
        sign_torrent(make_snapshot(proven=False), key(STRANGER), STRANGER), web_seeds=("https://b.example/",)
    )


def test_what_was_signed_of_another_manifest_is_left_behind():
    joined = CheckedTorrent.of(SIGNED).joined(CheckedTorrent.of(of_another_manifest()))
    assert [one.label for one in joined.signatures] == [NEW, OLD]
    assert joined.metainfo.web_seeds == ("https://b.example/",)
