from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from p2pqwen.errors import FormatError, VerificationError
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.torrent import bencode
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.metainfo import Metainfo, metainfo_from_info, parse_metainfo
from p2pqwen.torrent.snapshot_torrent import build_metainfo
from p2pqwen.values.digest import CommitId, Sha256
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.strategies import hash_payload, lay_out, manifest_of
from tests.support.snapshots import sign_torrent

SNAPSHOT = SnapshotId.parse("Qwen/Qwen3-0.6B@" + "ab" * 20)
PAYLOAD = {RepoPath("README.md"): b"hello", RepoPath("config.json"): b"{}"}
KEY = PrivateKey.generate()
OTHER_KEY = PrivateKey.generate()
KNOWN = {KEY.public.keyid: KEY.public}


def made(snapshot: SnapshotId = SNAPSHOT, payload: dict[RepoPath, bytes] = PAYLOAD) -> Metainfo:
    layout = lay_out(payload, 1 << 18)
    return build_metainfo(manifest_of(payload, snapshot), layout, hash_payload(payload, layout))


SIGNED = sign_torrent(made(), KEY, "preserver")


def states(torrent: Metainfo) -> dict[str, str]:
    return {one.label: one.state for one in CheckedTorrent.of(torrent).tried_with(KNOWN).signers(KNOWN)}


def with_signature(torrent: Metainfo, **changes: object) -> Metainfo:
    return replace(torrent, signatures={"preserver": replace(torrent.signatures["preserver"], **changes)})


def test_the_form_is_that_of_bep_35():
    top = bencode.decode_dict(SIGNED.encode(), max_bytes=1 << 20)
    entry = top[b"signatures"][b"preserver"]
    assert entry[b"info"] == {
        b"alg": b"ed25519",
        b"commit": b"ab" * 20,
        b"keyid": sha256(KEY.public.raw).digest(),
        b"manifest": sha256(top[b"p2pqwen"][b"manifest"]).digest(),
        b"repo": b"Qwen/Qwen3-0.6B",
    }
    message = bencode.encode(top[b"info"]) + bencode.encode(entry[b"info"])
    Ed25519PublicKey.from_public_bytes(KEY.public.raw).verify(entry[b"signature"], message)


def test_a_signature_is_read_back_and_valid():
    again = parse_metainfo(SIGNED.encode())
    assert again == SIGNED
    assert states(again) == {"preserver": "valid"}
    assert SIGNED.infohash == made().infohash


def test_several_signers():
    both = sign_torrent(SIGNED, OTHER_KEY, "a stranger")
    assert states(both) == {"a stranger": "unknown key", "preserver": "valid"}
    assert states(sign_torrent(both, KEY, "a stranger")) == {"a stranger": "valid", "preserver": "valid"}


def test_a_signature_holds_without_the_manifest_it_names():
    assert states(replace(SIGNED, manifest=None)) == {"preserver": "valid"}


@pytest.mark.parametrize(
    "torrent",
    [
        pytest.param(with_signature(SIGNED, signature=bytes(64)), id="not a signature"),
        pytest.param(with_signature(SIGNED, repo=RepoId("Qwen/Other")), id="another repository"),
        pytest.param(with_signature(SIGNED, commit=CommitId(bytes(20))), id="another commit"),
        pytest.param(with_signature(SIGNED, manifest=Sha256(bytes(32))), id="another manifest"),
        pytest.param(
            replace(SIGNED, manifest=manifest_of(PAYLOAD, SNAPSHOT, license_id="mit").encode()), id="manifest exchanged"
        ),
        pytest.param(
            replace(
                made(payload={**PAYLOAD, RepoPath("config.json"): b"[]"}),
                signatures=SIGNED.signatures,
                manifest=SIGNED.manifest,
            ),
            id="info exchanged",
        ),
    ],
)
def test_invalid(torrent):
    assert states(torrent) == {"preserver": "invalid"}


def test_a_signer_who_names_another_repository_than_the_manifest():
    manifest_digest = SIGNED.signatures["preserver"].manifest
    statement = replace(SIGNED.signatures["preserver"], repo=RepoId("Qwen/Other"), manifest=manifest_digest)
    lie = replace(statement, signature=KEY.sign(statement.signed_bytes(SIGNED.info)))
    assert states(replace(SIGNED, signatures={"preserver": lie})) == {"preserver": "invalid"}


def test_a_key_filed_under_another_name_is_unknown():
    lie = {KEY.public.keyid: OTHER_KEY.public}
    assert CheckedTorrent.of(SIGNED).tried_with(lie).signers(lie)[0].state == "unknown key"


def test_only_what_carries_its_own_manifest_is_signed():
    with pytest.raises(VerificationError, match="without its manifest"):
        sign_torrent(metainfo_from_info(made().info), KEY, "x")
    another = manifest_of({RepoPath("a"): b"x"}, SNAPSHOT).encode()
    with pytest.raises(VerificationError, match="size of a in the torrent"):
        sign_torrent(replace(made(), manifest=another), KEY, "x")
    with pytest.raises(FormatError, match="label"):
        sign_torrent(made(), KEY, "two\nlines")


def edited(*path: bytes, to: object = None, drop: bool = False) -> bytes:
    top = bencode.decode_dict(SIGNED.encode(), max_bytes=1 << 20)
    node = top[b"signatures"]
    for key in path[:-1]:
        node = node[key]
    if drop:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return bencode.encode(top)


ENTRY = SIGNED.signatures["preserver"].document()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (edited(b"preserver", b"signature", drop=True), "`signature`, expected a string"),
        (edited(b"preserver", b"signature", to=bytes(63)), "expected 64 bytes, got 63"),
        (edited(b"preserver", b"note", to=b"x"), "holds unsigned keys"),
        (edited(b"preserver", b"info", b"note", to=b"x"), "holds unsigned keys"),
        (edited(b"preserver", b"info", b"keyid", drop=True), "`keyid`, expected a string"),
        (edited(b"preserver", b"info", b"keyid", to=b"x"), "wrong length"),
        (edited(b"preserver", b"info", b"manifest", to=5), "`manifest`, expected a string"),
        (edited(b"preserver", b"info", b"repo", to=b"../x"), "not a repository name"),
        (edited(b"preserver", b"info", b"repo", to=b"\xff/x"), "not ASCII"),
        (edited(b"preserver", b"info", b"commit", to=b"main"), "not a commit id"),
        (edited(b"\x1b[2J", to=ENTRY), "signer label"),
        (edited(b"\xff", to=ENTRY), "not UTF-8"),
        (edited(b"", to=ENTRY), "signer label"),
        (edited(b"x" * 101, to=ENTRY), "signer label"),
    ],
)
def test_broken_entries_are_refused(data, problem):
    with pytest.raises(FormatError, match=problem):
        parse_metainfo(data)


def test_too_many_signatures():
    top = bencode.decode_dict(SIGNED.encode(), max_bytes=1 << 20)
    top[b"signatures"] = {b"%d" % n: ENTRY for n in range(101)}
    with pytest.raises(FormatError, match="too many torrent signatures"):
        parse_metainfo(bencode.encode(top))


@pytest.mark.parametrize("entry", [b"x", {}, {b"info": b"x"}, {b"info": {b"alg": b"rsa"}, b"signature": b"x"}])
def test_entries_of_another_kind_are_kept_and_do_not_count(entry):
    data = edited(b"com.example", to=entry)
    assert states(parse_metainfo(data)) == {"preserver": "valid"}
    assert parse_metainfo(data).encode() == data
