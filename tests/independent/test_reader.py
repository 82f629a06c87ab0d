"""torrents/SPEC.md, p2pqwen and the golden vectors agree: a second reader, written from the text alone, shows it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pqwen.errors import FormatError
from p2pqwen.index import acceptance
from p2pqwen.index.board import join_parts, parse_board, vouching_roots
from p2pqwen.index.entry import parse_entry
from p2pqwen.manifest.git_object import blob_oid
from p2pqwen.manifest.lfs_pointer import parse_pointer, pointer_bytes
from p2pqwen.manifest.manifest import parse_manifest
from p2pqwen.manifest.proof import prove
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.signing.keys import PrivateKey, PublicKey
from p2pqwen.torrent import bencode
from p2pqwen.torrent.comment import comment_of
from p2pqwen.torrent.layout import Layout
from p2pqwen.torrent.recipe import RECIPE_1
from p2pqwen.torrent.snapshot_torrent import build_metainfo
from p2pqwen.values import base64_text, strict_json
from p2pqwen.values.digest import Sha256
from p2pqwen.values.repo_path import RepoPath, refuse_clashes
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from p2pqwen.values.utc_time import parse_time
from p2pqwen.values.web_url import check_web_url
from tests.fuzz.mutation import change_magnet, mutate
from tests.independent import reader
from tests.strategies import hash_payload, manifests
from tests.support.publishing import make_entry
from tests.support.snapshots import FILES

pytestmark = pytest.mark.slow

VECTORS = Path(__file__).parents[1] / "vectors"
CASES = json.loads((VECTORS / "index" / "expected.json").read_text())
COMMON = json.loads((VECTORS / "common.json").read_text())
KEYS = json.loads((VECTORS / "keys.json").read_text())
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def plain_content(content: bytes) -> bytes:
    if (pointer := parse_pointer(content)) is not None:
        raise FormatError(str(pointer))
    return content


# Both readers of each common rule.
READ: dict[str, tuple[Callable[[Any], object], Callable[[Any], object]]] = {
    "json": (
        lambda text: reader.read_json(bytes.fromhex(text)),
        lambda text: strict_json.parse(bytes.fromhex(text), max_bytes=1 << 20),
    ),
    "base64": (reader.read_base64, base64_text.decode),
    "content of a plain file": (
        lambda text: reader.plain_content(bytes.fromhex(text)),
        lambda text: plain_content(bytes.fromhex(text)),
    ),
    "time": (reader.read_time, parse_time),
    "repository": (reader.repository, RepoId),
    "path": (reader.path, RepoPath),
    "paths of one snapshot": (reader.paths, lambda paths: refuse_clashes(map(RepoPath, paths))),
    "web address": (reader.web_address, check_web_url),
    "public key": (
        lambda text: reader.public_key(bytes.fromhex(text)),
        lambda text: PublicKey(bytes.fromhex(text)),
    ),
}


def test_every_common_rule_is_read_twice():
    assert READ.keys() == COMMON.keys()


@pytest.mark.parametrize("rule", READ)
def test_common_rules(rule):
    theirs, ours = READ[rule]
    for value in COMMON[rule]["accepted"]:
        theirs(value)
        ours(value)
    for value in COMMON[rule]["refused"]:
        with pytest.raises(reader.RefusedError):
            theirs(value)
        with pytest.raises(FormatError):
            ours(value)


@pytest.mark.parametrize("name", KEYS)
def test_keys(name):
    row = KEYS[name]
    public = reader.public_key(base64.b64decode(row["public"]))
    assert reader.sha256(public) == row["keyid"]


def test_canonical_bytes_and_signatures():
    key = base64.b64decode(KEYS["index"]["public"])
    for row in json.loads((VECTORS / "canonical.json").read_text()):
        payload = reader.jcs(row["value"])
        assert payload.hex() == row["canonical"]
        assert reader.pae("index", payload).hex() == row["pae"]
        signature = reader.read_base64(row["sig by index"])
        assert reader.verify(key, signature, reader.pae("index", payload))
        assert not reader.verify(key, signature, reader.pae("root", payload))


def test_the_torrent_is_made_again_from_the_files_alone():
    expected = json.loads((VECTORS / "torrent" / "expected.json").read_text())
    manifest = reader.read_manifest((VECTORS / "torrent" / "manifest.json").read_bytes())
    assert (manifest.snapshot, manifest.sha256) == (expected["snapshot"], expected["manifest_sha256"])
    assert manifest.proven
    contents = {name: bytes.fromhex(row["hex"]) for name, row in expected["files"].items() if "hex" in row}
    contents["model.safetensors"] = b"w" * 70_000
    assert contents == FILES
    info = reader.make_info(manifest.snapshot.partition("@")[2], contents)
    assert hashlib.sha1(info).hexdigest() == expected["infohash_v1"]
    assert reader.sha256(info) == expected["infohash_v2"]
    (path,) = (VECTORS / "torrent").glob("*.torrent")
    assert reader.torrent_signers(path.read_bytes(), [base64.b64decode(KEYS["index"]["public"])]) == ["index"]
    assert reader.torrent_signers(path.read_bytes(), [base64.b64decode(KEYS["root"]["public"])]) == []
    row = {
        "infohash_v1": expected["infohash_v1"],
        "infohash_v2": expected["infohash_v2"],
    }
    seeds = ["https://huggingface.co/Qwen/Tiny/resolve/"]
    size = sum(map(len, contents.values()))
    reader.check_magnet(expected["magnet"], row, expected["snapshot"], size, seeds)


def test_weights_swapped_for_their_pointer():
    """The rows make the commit's tree, so they are proven; only the content shows the swap."""
    swapped = json.loads((VECTORS / "torrent" / "swapped.json").read_text())
    data = swapped["manifest"].encode()
    assert reader.read_manifest(data).proven
    assert prove(parse_manifest(data)) is Provenance.PROVEN
    contents = {name: bytes.fromhex(text) for name, text in swapped["files"].items()}
    refused = set()
    for row in reader.read_manifest(data).files:
        with contextlib.suppress(reader.RefusedError):
            reader.check_content(row, contents[row["path"]])
            continue
        refused.add(row["path"])
    assert refused == set(swapped["refused"]) == {"model.safetensors"}
    layout = Layout.of((RepoPath(name), len(content)) for name, content in contents.items())
    hashes = hash_payload({RepoPath(name): content for name, content in contents.items()}, layout)
    assert str(build_metainfo(parse_manifest(data), layout, hashes).infohash.v2) == swapped["infohash_v2"]


GIT_ROWS = json.loads((VECTORS / "torrent" / "git_rows.json").read_text())


SUMS = json.loads((VECTORS / "sums.json").read_text())


@pytest.mark.parametrize("row", SUMS, ids=[row["why"] for row in SUMS])
def test_sums_of_a_site(row):
    index = (VECTORS / "index" / row["index"]).read_bytes()
    last = reader.accept(index, reader.Reader(None)).reader.roots[-1]
    signed = reader.read_json(index)["signed"]
    with contextlib.nullcontext() if row["counts"] else pytest.raises(reader.RefusedError):
        found = reader.read_sums(row["sums"].encode(), row["envelope"], signed, last, row["type"])
        assert found["index.json"] == hashlib.sha256(index).hexdigest()


@pytest.mark.parametrize("case", GIT_ROWS["accepted"], ids=lambda case: case["what"])
def test_what_git_holds_is_told_and_proven(case):
    data = case["manifest"].encode()
    assert reader.read_manifest(data).proven
    manifest = parse_manifest(data)
    assert prove(manifest) is Provenance.PROVEN
    assert replace(manifest).encode() == data  # printed again from its rows


@pytest.mark.parametrize("case", GIT_ROWS["refused"], ids=lambda case: case["why"])
def test_rows_that_no_reader_takes(case):
    data = case["manifest"].encode()
    with pytest.raises(reader.RefusedError):
        reader.read_manifest(data)
    with pytest.raises(FormatError):
        parse_manifest(data)


KINDS = {
    name: json.loads((VECTORS / "torrent" / f"{name}.json").read_text())
    for name in ("dataset", "modelscope", "modelscope-dataset")
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_a_kind_is_told_from_the_model_of_its_name(kind):
    data = kind["manifest"].encode()
    assert reader.read_manifest(data).snapshot == kind["snapshot"]
    manifest = parse_manifest(data)
    assert str(manifest.snapshot) == kind["snapshot"]
    assert SnapshotId.parse(kind["snapshot"]) == manifest.snapshot
    assert comment_of(manifest.snapshot) == kind["comment"]
    assert replace(manifest).encode() == data
    stated = bencode.decode(bytes.fromhex(kind["info of the signature"]), max_bytes=1000)
    assert f"{stated[b'repo'].decode()}@{stated[b'commit'].decode()}" == kind["snapshot"]


@pytest.mark.parametrize(
    "case", [case for kind in KINDS.values() for case in kind["refused"]], ids=lambda case: case["why"]
)
def test_kinds_that_no_reader_takes(case):
    data = case["manifest"].encode()
    with pytest.raises(reader.RefusedError):
        reader.read_manifest(data)
    with pytest.raises(FormatError):
        parse_manifest(data)


def test_a_pointer_beside_its_file_is_two_contents_of_one_blob():
    content = b"w" * 3000
    pointer = pointer_bytes(Sha256.of(content), len(content))
    oid = str(blob_oid(pointer))
    rows = [
        {"path": "a", "size": len(pointer), "sha256": str(Sha256.of(pointer)), "git_oid": oid, "lfs": False},
        {"path": "b", "size": len(content), "sha256": str(Sha256.of(content)), "git_oid": oid, "lfs": True},
    ]
    manifest = {
        "type": "manifest", "spec": 1, "repo_type": "model", "repo": "Qwen/Tiny", "commit": "0" * 40,
        "commit_object": None, "license": None, "files": [row | {"mode": "100644"} for row in rows],
    }  # fmt: skip
    for files in (manifest["files"], manifest["files"][1:]):
        data = strict_json.canonical({**manifest, "files": files})
        if len(files) == 1:
            assert reader.read_manifest(data).files == json.loads(parse_manifest(data).encode())["files"]
            continue
        with pytest.raises(reader.RefusedError, match="two contents"):
            reader.read_manifest(data)
        with pytest.raises(FormatError, match=r"has one git blob id for .* and different contents"):
            parse_manifest(data)


@pytest.mark.parametrize(
    "size", [0, 1, *(edge + one for edge in (2**26, 2**30, 2**32, 2**35, 2**38) for one in (0, 1))]
)
def test_piece_lengths(size):
    assert reader.piece_length(size) == RECIPE_1.piece_length(size)


@settings(max_examples=50)
@given(manifests())
def test_manifests(manifest):
    data = manifest.encode()
    try:
        proven = prove(parse_manifest(data)) == "proven"
    except acceptance.VerificationError:
        with pytest.raises(reader.RefusedError):
            reader.read_manifest(data)
        return
    assert reader.read_manifest(data).proven == proven


@settings(max_examples=50)
@given(st.binary(max_size=40), st.integers(0, 63), st.integers(0, 8))
def test_signatures(message, at, flip):
    """OpenSSL signs, the second reader verifies with its own code; both notice a flipped bit."""
    key = PrivateKey.from_seed(bytes.fromhex(KEYS["index"]["seed"]))
    signature = bytearray(key.sign(message))
    signature[at] ^= 1 << flip & 0xFF
    expected = key.public.verify(bytes(signature), message)
    assert reader.verify(key.public.raw, bytes(signature), message) is expected is (flip == 8)


ORDER_8 = reader.decode_point(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"))


@pytest.mark.parametrize("of_key", [0, 1, 4])
@pytest.mark.parametrize("of_r", [0, 1, 4])
def test_signatures_with_a_point_of_small_order_in_them(of_key, of_r):
    """Verifiers with and without cofactor differ here; ours and the text's must not."""
    results = set()
    for number in range(4):
        message = b"%d" % number
        secret, nonce = (
            int.from_bytes(hashlib.sha512(name + message).digest(), "little") % reader.L for name in (b"a", b"r")
        )
        key = reader.encode_point(reader.add(reader.times(secret, reader.BASE), reader.times(of_key, ORDER_8)))
        r = reader.encode_point(reader.add(reader.times(nonce, reader.BASE), reader.times(of_r, ORDER_8)))
        challenge = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % reader.L
        signature = r + ((nonce + challenge * secret) % reader.L).to_bytes(32, "little")
        valid = reader.verify(key, signature, message)
        assert PublicKey(key).verify(signature, message) is valid
        results.add(valid)
    if (of_key, of_r) == (0, 0):
        assert results == {True}


@cache
def believers(case: int) -> tuple[acceptance.TrustedState, reader.Reader]:
    """Return both readers in the state in which a case begins."""
    pinned = CASES[case]["publisher"]
    ours = acceptance.TrustedState(None if pinned is None else Sha256.parse(pinned))
    theirs = reader.Reader(pinned)
    for name in CASES[case]["accepted before"]:
        data = (VECTORS / "index" / name).read_bytes()
        ours, theirs = acceptance.accept(data, ours, NOW).state, reader.accept(data, theirs).reader
    return ours, theirs


def answer_of_p2pqwen(data: bytes, trusted: acceptance.TrustedState) -> tuple[object, ...]:
    try:
        accepted = acceptance.accept(data, trusted, NOW)
    except acceptance.RefusedError as refusal:
        return ("refused", refusal.step)
    return ("accepted", str(accepted.position), list(accepted.signer_labels))


def answer_of_the_text(data: bytes, believer: reader.Reader) -> tuple[object, ...]:
    try:
        accepted = reader.accept(data, believer)
    except reader.RefusedError as refusal:
        return ("refused", refusal.step)
    assert accepted.reader.position is not None
    return ("accepted", "{}.{}".format(*accepted.reader.position), accepted.signers)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case["file"] for case in CASES])
def test_golden_indexes(number):
    case = CASES[number]
    found = answer_of_the_text((VECTORS / "index" / case["file"]).read_bytes(), believers(number)[1])
    if "accepted" in case:
        assert found == ("accepted", case["accepted"], case["signers"])
    else:
        assert found == ("refused", case["refused"])


DELTAS = json.loads((VECTORS / "delta" / "expected.json").read_text())


@pytest.mark.parametrize("case", DELTAS, ids=[case["file"] for case in DELTAS])
def test_golden_deltas(case):
    theirs = reader.Reader(case["publisher"])
    for name in case["accepted before"]:
        theirs = reader.accept((VECTORS / "index" / name).read_bytes(), theirs).reader
    base = json.loads((VECTORS / "index" / case["index"]).read_bytes())["signed"]
    data = (VECTORS / "delta" / case["file"]).read_bytes()
    if "refused" in case:
        with pytest.raises(reader.RefusedError) as refusal:
            reader.accept_delta(data, base, theirs)
        assert refusal.value.step == case["refused"]
    else:
        accepted, signed = reader.accept_delta(data, base, theirs)
        assert accepted.reader.digest == case["digest"]
        assert hashlib.sha256(reader.jcs(signed)).hexdigest() == case["digest"]
        assert signed == json.loads((VECTORS / "index" / case["accepted"]).read_bytes())["signed"]


DHT = json.loads((VECTORS / "dht.json").read_text())


@pytest.mark.parametrize("case", DHT["board cases"], ids=[case["why"] for case in DHT["board cases"]])
def test_notice_boards(case):
    value, publisher = bytes.fromhex(case["value"]), case["publisher"]
    stored = {target: bytes.fromhex(part) for target, part in case["immutable items"].items()}
    roots, named = reader.read_board(value, publisher, stored)
    assert roots == case["roots"]
    assert [[key.hex(), salt.decode()] for key, salt in named] == case["addresses"]
    board = parse_board(value)
    chain = join_parts([stored[str(part)] for part in board.parts]) if board.chain is None else board.chain
    try:
        ours = vouching_roots(chain, Sha256.parse(publisher))
    except (FormatError, acceptance.RefusedError):
        ours = ()
    assert [str(signed.root.digest) for signed in ours] == roots


@pytest.mark.parametrize("case", DHT["bundles with deltas"], ids=[case["why"] for case in DHT["bundles with deltas"]])
def test_bundles_hold_the_deltas_that_lead_to_their_index(case):
    site = {place: (VECTORS / name).read_bytes() for place, name in case["site"].items()}
    files = reader.bundle_files(site)
    assert sorted(files) == sorted(case["files"])
    info = reader.make_info(case["name"], files)
    assert hashlib.sha1(info).hexdigest() == case["infohash_v1"]
    assert hashlib.sha256(info).hexdigest() == case["infohash_v2"]


def test_where_boards_stand():
    key = reader.board_key(DHT["boards"]["publisher"])
    for slot, item in enumerate(DHT["boards"]["items"]):
        salt = b"p2pqwen-%d" % slot
        assert (item["public"], item["target"]) == (key.hex(), reader.item_target(key, salt))
        signed = reader.item_signed(salt, item["sequence"], bytes.fromhex(item["value"]))
        assert signed.hex() == item["signed"]
        assert reader.verify(key, bytes.fromhex(item["signature"]), signed)


def test_changed_magnets_are_read_alike():
    chance, row = random.Random(20261125), make_entry(1).to_json()
    answers = []
    for _ in range(2000):
        changed = {**row, "magnet": change_magnet(row["magnet"], chance)}
        if chance.random() < 0.1:
            changed["web_seeds"] = chance.choice(([], row["web_seeds"] * 2, ["https://a.example/"]))
        answers.append(is_read(parse_entry, changed))
        assert is_read(reader.check_entry, changed) is answers[-1], changed["magnet"]
    assert answers.count(True) > 300


def is_read(read: Callable[[Any], object], row: dict[str, Any]) -> bool:
    try:
        read(row)
    except (FormatError, reader.RefusedError):
        return False
    return True


@settings(max_examples=150)
@given(st.integers(0, len(CASES) - 1), st.integers(0, 2**32))
def test_changed_indexes_are_refused_at_the_same_step(number, seed):
    """Indexes are changed, and then often signed again or repaired, so that every rule applies to some."""
    ours, theirs = believers(number)
    data = mutate((VECTORS / "index" / CASES[number]["file"]).read_bytes(), random.Random(seed))
    assert answer_of_the_text(data, theirs) == answer_of_p2pqwen(data, ours)
