"""The golden vectors say what our code does, and nothing about them changes by itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from p2pqwen.errors import FormatError
from p2pqwen.index.acceptance import RefusedError, TrustedState, accept, accept_delta
from p2pqwen.index.delta import parse_delta
from p2pqwen.index.row_sink import MemoryRows
from p2pqwen.manifest.manifest import parse_manifest
from p2pqwen.manifest.proof import prove
from p2pqwen.signing.envelope import pae
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.magnet import parse_magnet
from p2pqwen.torrent.metainfo import parse_metainfo
from p2pqwen.values import base64_text
from p2pqwen.values.digest import Sha256
from p2pqwen.values.strict_json import canonical
from scripts import make_vectors

VECTORS = Path(__file__).parents[2] / "vectors"
CASES = json.loads((VECTORS / "index" / "expected.json").read_text())
DELTAS = json.loads((VECTORS / "delta" / "expected.json").read_text())
KEYS = json.loads((VECTORS / "keys.json").read_text())
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_they_come_out_the_same_again():
    assert make_vectors.main(["--check"]) == 0


@pytest.mark.parametrize("case", CASES, ids=[case["file"] for case in CASES])
def test_index(case):
    state = TrustedState(Sha256.parse(case["publisher"]) if case["publisher"] else None)
    for name in case["accepted before"]:
        state = accept((VECTORS / "index" / name).read_bytes(), state, NOW).state
    data = (VECTORS / "index" / case["file"]).read_bytes()
    if "accepted" in case:
        accepted = accept(data, state, NOW)
        assert str(accepted.position) == case["accepted"]
        assert list(accepted.signer_labels) == case["signers"]
        return
    with pytest.raises(RefusedError) as refusal:
        accept(data, state, NOW)
    assert refusal.value.step == case["refused"]


def test_every_step_is_refused_somewhere():
    assert {case["refused"] for case in CASES if "refused" in case} == {1, 2, 3, 4, 5, 6, 7}


@pytest.mark.parametrize("name", KEYS)
def test_keys(name):
    key = PrivateKey.from_seed(bytes.fromhex(KEYS[name]["seed"]))
    assert base64_text.encode(key.public.raw) == KEYS[name]["public"]
    assert str(key.public.keyid) == KEYS[name]["keyid"]


def test_canonical_bytes_and_what_is_signed():
    key = PrivateKey.from_seed(bytes.fromhex(KEYS["index"]["seed"]))
    for row in json.loads((VECTORS / "canonical.json").read_text()):
        payload = canonical(row["value"])
        assert payload.hex() == row["canonical"]
        assert pae("index", payload).hex() == row["pae"]
        assert base64_text.encode(key.sign(pae("index", payload))) == row["sig by index"]


@pytest.mark.parametrize("case", DELTAS, ids=[case["file"] for case in DELTAS])
def test_deltas(case):
    state = TrustedState(Sha256.parse(case["publisher"]))
    for name in case["accepted before"]:
        state = accept((VECTORS / "index" / name).read_bytes(), state, NOW).state
    base = accept((VECTORS / "index" / case["index"]).read_bytes(), TrustedState(state.publisher), NOW)
    rows = [canonical(row) for row in base.document.to_json()["entries"]]
    data = (VECTORS / "delta" / case["file"]).read_bytes()
    if "refused" in case:
        with pytest.raises((RefusedError, FormatError)) as refusal:
            accept_delta(parse_delta(data), base, rows, state, NOW, MemoryRows())
        assert getattr(refusal.value, "step", 1) == case["refused"]
    else:
        found = accept_delta(parse_delta(data), base, rows, state, NOW, MemoryRows())
        assert str(found.digest) == case["digest"]
        assert found.document == accept((VECTORS / "index" / case["accepted"]).read_bytes(), state, NOW).document


def test_torrent():
    expected = json.loads((VECTORS / "torrent" / "expected.json").read_text())
    (path,) = (VECTORS / "torrent").glob("*.torrent")
    metainfo = parse_metainfo(path.read_bytes())
    manifest = (VECTORS / "torrent" / "manifest.json").read_bytes()
    assert metainfo.manifest == manifest
    assert str(Sha256.of(manifest)) == expected["manifest_sha256"]
    assert str(parse_manifest(manifest).snapshot) == expected["snapshot"]
    assert str(prove(parse_manifest(manifest))) == expected["provenance"]
    assert (str(metainfo.infohash.v1), str(metainfo.infohash.v2)) == (expected["infohash_v1"], expected["infohash_v2"])
    assert metainfo.piece_length == expected["piece_length"]
    assert parse_magnet(expected["magnet"]).infohash_v2 == metainfo.infohash.v2
    assert metainfo.signatures["index"].signed_bytes(metainfo.info).hex() == expected["signed bytes by index"]
    key = PrivateKey.from_seed(bytes.fromhex(KEYS["index"]["seed"]))
    keys = {key.public.keyid: key.public}
    assert [one.state for one in CheckedTorrent.of(metainfo).tried_with(keys).signers(keys)] == ["valid"]
