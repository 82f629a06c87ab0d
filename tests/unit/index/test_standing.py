"""The one function that says how far a snapshot can be believed, as a table; and that nothing else can say it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2pqwen.errors import VerificationError
from p2pqwen.index.standing import Admission, Evidence, Judgement, NotAdmittedError, Standing, judge
from p2pqwen.index.voice import Voice
from p2pqwen.manifest.manifest import parse_manifest
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.manifest.shown import ShownManifest
from p2pqwen.torrent.infohash import InfoHash
from p2pqwen.torrent.signer import SignerResult
from p2pqwen.values.digest import CommitId, Sha1, Sha256
from p2pqwen.values.snapshot_id import OriginName, RepoId, SnapshotId
from tests.support.publishing import Rules, keyid
from tests.support.snapshots import make_snapshot
from tests.support.standing import INFOHASH, MANIFEST, judged, voice

HERE = SnapshotId(RepoId("Qwen/Tiny"), CommitId.parse("a1" * 20))
OTHER_REPO = replace(HERE, repo=RepoId("Evil/Tiny"))
OTHER_COMMIT = replace(HERE, commit=CommitId.parse("b2" * 20))
OTHER_V1 = replace(INFOHASH, v1=Sha1(b"3" * 20))
OTHERS = Sha256(b"6" * 32)
OTHER_HASH = InfoHash(Sha1(b"1" * 20), Sha256(b"4" * 32))
TWO_OF_THREE = Rules(index=("index1", "index2", "index3"), index_threshold=2)


def evidence(
    *signers: tuple[str, str],
    proven: bool = False,
    manifest: SnapshotId | None = HERE,
    digest: Sha256 = MANIFEST,
    of_bytes: bool = False,
) -> Evidence:
    found = tuple(SignerResult(f"{name} {state}", keyid(name), state) for name, state in signers)
    shown = None if manifest is None else ShownManifest(manifest, digest, of_bytes)
    return Evidence(HERE, INFOHASH, shown, Provenance.PROVEN if proven else Provenance.UNPROVEN, found)


CASES = {
    "nothing at all": (evidence(), (), "unvouched", ()),
    "no manifest": (evidence(manifest=None), (), "unvouched", ()),
    "a proof": (evidence(proven=True), (), "proven", ()),
    "a proof of another snapshot": (evidence(proven=True, manifest=OTHER_REPO), (), "unvouched", ()),
    "a proof and a listing": (evidence(proven=True), (voice(HERE),), "proven", ("index",)),
    "a listing": (evidence(), (voice(HERE),), "signed", ("index",)),
    "a listing, without a manifest": (evidence(manifest=None), (voice(HERE),), "signed", ("index",)),
    "a listing of another manifest": (evidence(digest=OTHERS), (voice(HERE),), "unvouched", ()),
    "a listing of another manifest, and it is of the bytes": (
        evidence(digest=OTHERS, of_bytes=True),
        (voice(HERE),),
        "signed",
        ("index",),
    ),
    "a listing of another manifest, and it is proven": (
        evidence(digest=OTHERS, proven=True),
        (voice(HERE),),
        "proven",
        ("index",),
    ),
    "a listing of another manifest, and a proof of another snapshot": (
        evidence(digest=OTHERS, proven=True, manifest=OTHER_REPO),
        (voice(HERE),),
        "unvouched",
        (),
    ),
    "what the bytes make, and no listing": (evidence(of_bytes=True), (voice(OTHER_REPO),), "unvouched", ()),
    "a listing for another repository": (evidence(), (voice(OTHER_REPO),), "unvouched", ()),
    "a listing for another commit": (evidence(), (voice(OTHER_COMMIT),), "unvouched", ()),
    "a listing of another v2 infohash": (evidence(), (voice(HERE, infohash=OTHER_HASH),), "unvouched", ()),
    "a listing of another v1 infohash": (evidence(), (voice(HERE, infohash=OTHER_V1),), "unvouched", ()),
    "two publishers": (evidence(), (voice(OTHER_REPO), voice(HERE)), "signed", ("index",)),
    "a signature": (evidence(("index", "valid")), (voice(),), "signed", ("signature",)),
    "a signature and a listing": (evidence(("index", "valid")), (voice(HERE),), "signed", ("index",)),
    "a signature of nobody trusted": (evidence(("index", "valid")), (), "unvouched", ()),
    "a signature of a root key": (evidence(("root", "valid")), (voice(),), "unvouched", ()),
    "a wrong signature": (evidence(("index", "invalid")), (voice(),), "unvouched", ()),
    "a signature by a key not known": (evidence(("index", "unknown key")), (voice(),), "unvouched", ()),
    "a signature without its manifest": (evidence(("index", "valid"), manifest=None), (voice(),), "unvouched", ()),
    "a signature beside another manifest": (
        evidence(("index", "valid"), manifest=OTHER_REPO),
        (voice(),),
        "unvouched",
        (),
    ),
    "one signature of two needed": (evidence(("index1", "valid")), (voice(rules=TWO_OF_THREE),), "unvouched", ()),
    "one key twice": (
        evidence(("index1", "valid"), ("index1", "valid")),
        (voice(rules=TWO_OF_THREE),),
        "unvouched",
        (),
    ),
    "a signature of what was withdrawn since": (
        evidence(("index", "valid")),
        (voice(withdrawn=[HERE]),),
        "unvouched",
        (),
    ),
    "a signature, and another commit withdrawn": (
        evidence(("index", "valid")),
        (voice(withdrawn=[OTHER_COMMIT]),),
        "signed",
        ("signature",),
    ),
    "two signatures of two": (
        evidence(("index1", "valid"), ("index3", "valid")),
        (voice(rules=TWO_OF_THREE),),
        "signed",
        ("signature",),
    ),
    "one key each of two publishers": (
        evidence(("index1", "valid"), ("index9", "valid")),
        (voice(rules=TWO_OF_THREE), voice(rules=Rules(index=("index8", "index9"), index_threshold=2))),
        "unvouched",
        (),
    ),
}


@pytest.mark.parametrize(("shown", "voices", "standing", "by"), CASES.values(), ids=CASES)
def test_the_table(shown: Evidence, voices: tuple[Voice, ...], standing: str, by: tuple[str, ...]):
    found = judge(shown, voices)
    assert (found.standing.value, tuple(one.by for one in found.vouched_by)) == (standing, by)
    assert found.words.startswith(standing)


def test_the_words_are_these():
    assert [one.value for one in Standing] == ["proven", "signed", "unvouched"]
    assert sorted(Standing, key=lambda one: one.rank) == [Standing.UNVOUCHED, Standing.SIGNED, Standing.PROVEN]


def manifest():
    found = parse_manifest(make_snapshot().manifest)
    return found, found.snapshot


@pytest.mark.parametrize(
    ("standing", "lifted", "replaces", "mends"),
    [
        (Standing.PROVEN, False, True, True),
        (Standing.PROVEN, True, True, True),
        (Standing.SIGNED, False, False, True),
        (Standing.UNVOUCHED, True, False, False),
    ],
)
def test_what_an_admission_allows(standing, lifted, replaces, mends):
    rows, snapshot = manifest()
    found = judged(snapshot, standing).admit(rows, trust_unverified=lifted)
    assert (found.replaces, found.mends, found.snapshot) == (replaces, mends, snapshot)


def test_an_unvouched_one_is_not_admitted():
    rows, snapshot = manifest()
    with pytest.raises(VerificationError, match="unvouched") as refused:
        judged(snapshot, Standing.UNVOUCHED).admit(rows)
    assert "--trust-unverified" in refused.value.hint


@pytest.mark.parametrize("standing", list(Standing))
def test_what_is_not_the_hubs_is_never_admitted(standing):
    rows, snapshot = manifest()
    theirs = SnapshotId(snapshot.repo.at(OriginName.MODELSCOPE), snapshot.commit)
    with pytest.raises(NotAdmittedError, match="of modelscope"):
        judged(theirs, standing).admit(replace(rows, snapshot=theirs), trust_unverified=True)


def test_a_proof_alone_does_not_choose_main():
    """Anybody can make a commit and say that it is Qwen's."""
    rows, snapshot = manifest()
    assert not judged(snapshot, Standing.PROVEN).admit(rows).names_main
    assert judged(snapshot, Standing.SIGNED).admit(rows).names_main
    listed = judge(
        Evidence(snapshot, INFOHASH, ShownManifest(snapshot, MANIFEST), Provenance.PROVEN), [voice(snapshot)]
    )
    assert listed.admit(rows).names_main


def test_nothing_else_makes_one():
    rows, snapshot = manifest()
    with pytest.raises(TypeError):
        Judgement(snapshot, Standing.PROVEN, ())
    with pytest.raises(TypeError):
        Admission(rows, Standing.PROVEN, replaces=True, mends=True, names_main=True)
    unvouched = judged(snapshot, Standing.UNVOUCHED)
    with pytest.raises(TypeError):
        replace(unvouched, standing=Standing.PROVEN)
    with pytest.raises(TypeError):
        replace(unvouched.admit(rows, trust_unverified=True), replaces=True)
    with pytest.raises(ValueError, match="another snapshot"):
        judged(HERE, Standing.PROVEN).admit(rows)
