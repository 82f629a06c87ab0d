#!/usr/bin/env python3
"""Make the golden vectors under tests/vectors, or with --check compare them with the existing ones.

Keys, dates and contents are fixed, and Ed25519 is deterministic, so the bytes are the same on every machine. A
difference means that a format changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2pqwen.catalogue.sums import SUMS_TYPE, TREE_TYPE, sums_document, sums_text  # noqa: E402 - the project's root must be found first
from p2pqwen.index.acceptance import (  # noqa: E402
    Accepted,
    Position,
    TrustedState,
    accept,
)
from p2pqwen.index.board import (  # noqa: E402
    BOARD_SLOTS,
    board_key,
    board_notice,
    board_salt,
    immutable_target,
)
from p2pqwen.index.bundle import build_bundle, bundle_layout, bundle_name, hash_bundle_file  # noqa: E402
from p2pqwen.index.delta import Delta, compose, delta_location, make_delta  # noqa: E402
from p2pqwen.index.document import INDEX_FILE, INDEX_TYPE, IndexDocument, encode_file  # noqa: E402
from p2pqwen.index.entry import entry_magnet  # noqa: E402
from p2pqwen.index.mutable_item import ItemAddress, MutableItem, sign_item, signed_bytes  # noqa: E402
from p2pqwen.index.pointer import Pointer  # noqa: E402
from p2pqwen.index.publisher_link import PublisherLink  # noqa: E402
from p2pqwen.index.root import SignedRoot  # noqa: E402
from p2pqwen.library.bundles import BundleStore  # noqa: E402
from p2pqwen.library.home import Home  # noqa: E402
from p2pqwen.manifest.git_object import blob_oid, commit_oid, tree_oid  # noqa: E402
from p2pqwen.manifest.lfs_pointer import pointer_bytes  # noqa: E402
from p2pqwen.operations.indexes.bundle import make_bundle  # noqa: E402
from p2pqwen.signing.envelope import pae, sign  # noqa: E402
from p2pqwen.torrent import bencode  # noqa: E402
from p2pqwen.values import base64_text  # noqa: E402
from p2pqwen.values.digest import GitOid, Sha256  # noqa: E402
from p2pqwen.values.repo_path import RepoPath  # noqa: E402
from p2pqwen.values.snapshot_id import SnapshotId  # noqa: E402
from p2pqwen.values.strict_json import JsonValue, canonical  # noqa: E402
from tests.support import publishing as make  # noqa: E402
from tests.support.common_rules import common_rules  # noqa: E402
from tests.support.snapshots import FILES, make_snapshot, sign_torrent  # noqa: E402

VECTORS = ROOT / "tests" / "vectors"
KEYS = ("root", "index", "root2", "root3", "index2", "index3", "stranger")
ONE = make.Rules()
TWO_OF_THREE = make.Rules(
    root=("root", "root2", "root3"), root_threshold=2, index=("index", "index2", "index3"), index_threshold=2
)
STOLEN = replace(TWO_OF_THREE, index=("index2", "index3"), epoch=1)
SIGNERS = ("index", "index2")


def vectors() -> dict[str, bytes]:
    """Return every file by its name below tests/vectors."""
    files: dict[str, bytes] = {}
    files["keys.json"] = pretty({name: key_row(name) for name in KEYS})
    files["canonical.json"] = pretty(canonical_rows())
    files["common.json"] = pretty(common_rules(KEYS))
    files |= torrent_files()
    files["dht.json"] = pretty(dht_rows())
    index_files, rows = index_cases()
    files |= index_files
    files["index/expected.json"] = pretty(rows)
    files["sums.json"] = pretty(sums_rows(index_files))
    files |= delta_files()
    return files


def sums_rows(index_files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Return rows of SHA256SUMS beside an index, the envelope of its signature, and whether it counts."""
    rows = []

    def add(
        why: str,
        index: str,
        signers: tuple[str, ...],
        *,
        counts: bool,
        kind: str = SUMS_TYPE,
        read_as: str = SUMS_TYPE,
        **other: JsonValue,
    ) -> None:
        data = index_files[f"index/{index}.json"]
        text = sums_text({"index.json": str(Sha256.of(data)), "index.html": str(Sha256.of(b"<!doctype html>"))})
        document = {**sums_document(accept(data, TrustedState(None), make.NOW), Sha256.of(text)), **other}
        signed = [sign(kind, canonical(document), make.key(name)) for name in signers]
        envelope = {"signed": document, "signatures": signed}
        row: dict[str, Any] = {"index": f"{index}.json", "sums": text.decode(), "envelope": envelope}
        rows.append({**row, "type": read_as, "counts": counts, "why": why})

    add("signed by the index key", "0.1", ("index",), counts=True)
    add("signed by two of three", "0.3", SIGNERS, counts=True)
    add("a stranger's signature beside a good one", "0.1", ("stranger", "index"), counts=True)
    add("a field that nobody knows yet, signed", "0.1", ("index",), counts=True, later=[1])
    add("signed by nobody", "0.1", (), counts=False)
    add("signed by a stranger", "0.1", ("stranger",), counts=False)
    add("signed by the root key, which has no part in it", "0.1", ("root",), counts=False)
    add("signed by one of two", "0.3", ("index",), counts=False)
    add("signed as an index", "0.1", ("index",), counts=False, kind=INDEX_TYPE)
    add("of another version", "0.1", ("index",), counts=False, version=2)
    add("of another epoch", "0.1", ("index",), counts=False, epoch=1)
    tree = {"kind": TREE_TYPE, "type": TREE_TYPE}
    add("of the files themselves", "0.1", ("index",), counts=True, read_as=TREE_TYPE, **tree)
    add("of the site, read as those of the files", "0.1", ("index",), counts=False, read_as=TREE_TYPE)
    add("of the files, read as those of the site", "0.1", ("index",), counts=False, **tree)
    add("of the files, signed as those of the site", "0.1", ("index",), counts=False, read_as=TREE_TYPE, type=TREE_TYPE)
    add("of another publisher", "0.1", ("index",), counts=False, publisher="0" * 64)
    add("of another file", "0.1", ("index",), counts=False, sha256="0" * 64)
    add("of another spec", "0.1", ("index",), counts=False, spec=2)
    add("of another type", "0.1", ("index",), counts=False, type="index")
    return rows


def key_row(name: str) -> dict[str, str]:
    seed = hashlib.sha256(f"p2pqwen test key {name}".encode()).digest()
    public = make.key(name).public
    return {"seed": seed.hex(), "public": base64_text.encode(public.raw), "keyid": str(public.keyid)}


def canonical_rows() -> list[dict[str, Any]]:
    """Return values, their RFC 8785 bytes, and the bytes that a signature covers."""
    values: list[Any] = [
        {"b": 1, "a": [True, None, -5], "": 'é\n\u0001\u007f"\\/'},
        {"\ufb33": "Hebrew Letter Dalet With Dagesh", "\U0001f600": "Emoji: Grinning Face", "\r": 2**53 - 1},
    ]
    rows = []
    for value in values:
        payload = canonical(value)
        message = pae(INDEX_TYPE, payload)
        rows.append(
            {
                "value": value,
                "canonical": payload.hex(),
                "pae": message.hex(),
                "sig by index": base64_text.encode(make.key("index").sign(message)),
            }
        )
    return rows


def torrent_files() -> dict[str, bytes]:
    """Return one snapshot: its files, manifest, signed torrent and magnet."""
    metainfo = sign_torrent(make_snapshot(), make.key("index"), "index")
    snapshot = SnapshotId.parse(f"Qwen/Tiny@{metainfo.commit}")
    magnet = entry_magnet(
        snapshot,
        metainfo.infohash,
        metainfo.layout.total_size,
        web_seeds=("https://huggingface.co/Qwen/Tiny/resolve/",),
        trackers=(),
        mirrors=("https://one.example/",),
    )
    assert metainfo.manifest is not None
    expected = {
        "snapshot": str(snapshot),
        "files": {
            name: {"size": len(content), "hex": content.hex()} for name, content in FILES.items() if len(content) < 100
        }
        | {"model.safetensors": {"size": 70_000, "content": "70,000 times the letter w"}},
        "manifest_sha256": str(make.Sha256.of(metainfo.manifest)),
        "provenance": "proven",
        "infohash_v1": str(metainfo.infohash.v1),
        "infohash_v2": str(metainfo.infohash.v2),
        "piece_length": metainfo.piece_length,
        "magnet": magnet,
        "signed bytes by index": metainfo.signatures["index"].signed_bytes(metainfo.info).hex(),
    }
    return {
        "torrent/manifest.json": metainfo.manifest,
        f"torrent/{metainfo.commit}.torrent": metainfo.encode(),
        "torrent/expected.json": pretty(expected),
        "torrent/swapped.json": pretty(swapped_row()),
        "torrent/git_rows.json": pretty(git_rows()),
        "torrent/dataset.json": pretty(of_kind("dataset", "datasets/Qwen/Rows", _NO_DATASETS)),
        "torrent/modelscope.json": pretty(of_kind("modelscope-model", "modelscope:Qwen/Rows", _NOT_MODELSCOPES)),
        "torrent/modelscope-dataset.json": pretty(of_kind("modelscope-dataset", "modelscope:datasets/Qwen/Rows", {})),
    }


_NO_DATASETS: dict[str, dict[str, Any]] = {
    "another kind": {"repo_type": "space"},
    "a kind in the name": {"repo": "datasets/Qwen/Rows"},
    "a kind as the organisation": {"repo": "datasets/Rows"},
}
_NOT_MODELSCOPES: dict[str, dict[str, Any]] = {
    "another kind": {"repo_type": "modelscope-studio"},
    "an origin alone": {"repo_type": "modelscope"},
    "an origin in the name": {"repo": "modelscope:Qwen/Rows"},
    "an origin as the organisation": {"repo": "@modelscope/Rows"},
}


def of_kind(kind: str, name: str, refused: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a manifest of a kind, its signature's statement, and manifests of kinds and names that readers refuse."""
    metainfo = make_snapshot()
    assert metainfo.manifest is not None
    document = {**json.loads(metainfo.manifest), "repo": "Qwen/Rows", "repo_type": kind}
    manifest = canonical(document)
    signed = sign_torrent(replace(metainfo, manifest=manifest), make.key("index"), "index")
    return {
        "snapshot": f"{name}@{metainfo.commit}",
        "manifest": manifest.decode(),
        "comment": f"{name} @ {metainfo.commit}",
        "info of the signature": bencode.encode(signed.signatures["index"].document()[b"info"]).hex(),
        "refused": [{"why": why, "manifest": canonical({**document, **one}).decode()} for why, one in refused.items()],
    }


def git_rows() -> dict[str, Any]:
    """Return manifests of commits with rows that git may have, and with rows that readers must refuse: section 2."""
    weights = b"w" * 70_000
    digest, size = Sha256.of(weights), len(weights)
    usual = pointer_bytes(digest, size).decode()
    other = pointer_bytes(Sha256.of(b"other"), size).decode().replace("\n", "\r\n")

    def lfs(pointer: str | None, oid_of: str | None = None) -> dict[str, Any]:
        row = {"path": "model.safetensors", "size": size, "sha256": str(digest), "lfs": True, "mode": "100644"}
        row["git_oid"] = str(blob_oid((oid_of or pointer or usual).encode()))
        return row if pointer is None else {**row, "pointer": pointer}

    def plain(path: str, content: bytes, mode: str) -> dict[str, Any]:
        oid = str(blob_oid(content))
        row = {"path": path, "size": len(content), "sha256": str(Sha256.of(content)), "git_oid": oid, "lfs": False}
        return {**row, "mode": mode}

    odd = {
        "CR LF": usual.replace("\n", "\r\n"),
        "no newline at the end": usual.rstrip("\n"),
        "an extension": usual.replace("oid", f"ext-0-gzip sha256:{'0' * 63}1\noid"),
        "the older version": usual.replace("https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1"),
        "text beyond ASCII": usual.replace("oid", "ext-0-x ümlaut\noid"),
    }
    accepted = {f"a pointer with {what}": [lfs(text)] for what, text in odd.items()}
    accepted["a symlink, and an executable file"] = [
        plain("alias.json", b"../../etc/passwd", "120000"),
        plain("run.sh", b"#!/bin/sh\n", "100755"),
    ]
    crlf = odd["CR LF"]
    refused = {
        "the canonical pointer given": [lfs(usual)],
        "a pointer that is null": [{**lfs(None), "pointer": None}],
        "a pointer to other content": [lfs(other)],
        "a pointer to another size": [lfs(crlf.replace("70000", "70001"))],
        "text that is no pointer": [lfs("weights")],
        "a pointer of more than 1,024 bytes": [lfs(crlf + " " * 1024)],
        "the blob id of the canonical pointer beside another one": [lfs(crlf, oid_of=usual)],
        "the blob id of a pointer that is not given": [lfs(None, oid_of=crlf)],
        "a pointer of a plain file": [{**plain("a", b"x", "100644"), "pointer": crlf}],
        "a mode that git does not have": [plain("a", b"x", "120777")],
    }
    return {
        "accepted": [{"what": what, "manifest": git_manifest(rows)} for what, rows in accepted.items()],
        "refused": [{"why": why, "manifest": git_manifest(rows)} for why, rows in refused.items()],
    }


def git_manifest(rows: list[dict[str, Any]]) -> str:
    """Return the manifest of a commit with these rows, proven by its object."""
    tree = tree_oid((RepoPath(row["path"]), row["mode"], GitOid.parse(row["git_oid"])) for row in rows)
    author = "Ann <ann@example.org> 1795467600 +0000"
    commit = f"tree {tree}\nauthor {author}\ncommitter {author}\n\none\n".encode()
    document = {
        "type": "manifest", "spec": 1, "repo_type": "model", "repo": "Qwen/Tiny", "commit": str(commit_oid(commit)),
        "commit_object": base64_text.encode(commit), "license": None, "files": rows,
    }  # fmt: skip
    return canonical(document).decode()


def swapped_row() -> dict[str, Any]:
    """Return a snapshot whose LFS file was swapped for its pointer, in a plain row: section 2."""
    weights = FILES["model.safetensors"]
    files = {**FILES, "model.safetensors": pointer_bytes(Sha256.of(weights), len(weights))}
    metainfo = make_snapshot(files)
    assert metainfo.manifest is not None
    return {
        "why": "model.safetensors is the LFS pointer of the weights: the tree is the commit's, the weights are missing",
        "manifest": metainfo.manifest.decode(),
        "infohash_v2": str(metainfo.infohash.v2),
        "files": {name: content.hex() for name, content in files.items()},
        "refused": ["model.safetensors"],
    }


def dht_rows() -> dict[str, Any]:
    """Return a bundle, the pointer to it, the notice boards that name the pointer, and the link."""
    index, _ = index_cases()
    (torrent, content), *_ = ((name, data) for name, data in torrent_files().items() if name.endswith(".torrent"))
    site = {"index.json": index["index/0.1.json"], f"Qwen/Tiny/{torrent.partition('/')[2]}": content}
    position = Position(0, 1)
    layout = bundle_layout((RepoPath(name), len(data)) for name, data in site.items())
    hashes = {
        file.path: hash_bundle_file(site[file.path.text], layout, number) for number, file in enumerate(layout.files)
    }
    bundle = build_bundle(position, layout, hashes).infohash
    digest = Sha256.of(canonical(json.loads(site["index.json"])["signed"]))
    value = Pointer.to_bundle(bundle, position, digest).encode()
    item = sign_item(make.key("index"), b"p2pqwen", 1, value)
    boards = [
        sign_item(board_key(PUBLISHER), board_salt(slot), slot, board_notice([item.address], ROOTS).value)
        for slot in range(BOARD_SLOTS)
    ]
    return {
        "bundle": {
            "name": bundle_name(position),
            "files": {"index.json": "index/0.1.json", f"Qwen/Tiny/{torrent.partition('/')[2]}": torrent},
            "infohash_v1": str(bundle.v1),
            "infohash_v2": str(bundle.v2),
        },
        "bundles with deltas": bundle_cases(),
        "pointer": {"key": "index", **item_row(item)},
        "boards": {"publisher": str(PUBLISHER), "items": [item_row(board) for board in boards]},
        "board cases": board_cases(item.address),
        "link": str(PublisherLink(item.address, PUBLISHER)),
    }


def bundle_cases() -> list[dict[str, Any]]:
    """Return sites with deltas, and which of their files are in the bundle."""
    vectors = index_cases()[0] | torrent_files() | delta_files()
    torrent = next(name for name in vectors if name.endswith(".torrent"))
    from_one, from_two = (delta_location(judged(vectors[f"index/{name}.json"]).digest) for name in ("0.1", "0.2"))
    cases: tuple[tuple[str, str, dict[str, str]], ...] = (
        ("the delta that leads to the index", "0.2", {from_one: "0.1-0.2"}),
        (
            "of two the one over fewer versions: both are larger than the index",
            "0.3",
            {from_one: "0.1-0.3", from_two: "0.2-0.3"},
        ),
        ("a delta that leads to an older index", "0.3", {from_one: "0.1-0.2", from_two: "0.2-0.3"}),
        ("a delta at the place of another", "0.3", {from_one: "0.2-0.3"}),
        ("a delta that is cut off", "0.2", {from_one: "refused-cut"}),
        ("no deltas", "0.3", {}),
    )
    return [bundle_case(why, index, torrent, deltas, vectors) for why, index, deltas in cases]


def bundle_case(
    why: str, index: str, torrent: str, deltas: dict[str, str], vectors: dict[str, bytes]
) -> dict[str, Any]:
    data = vectors[f"index/{index}.json"]
    accepted = judged(data)
    files = {INDEX_FILE: f"index/{index}.json"} | {entry.torrent: torrent for entry in accepted.document.entries}
    files |= {place: f"delta/{name}.json" for place, name in deltas.items()}
    with TemporaryDirectory() as folder:
        site = Path(folder, "site")
        for place, name in files.items():
            (site / place).parent.mkdir(parents=True, exist_ok=True)
            (site / place).write_bytes(vectors[name])
        _, metainfo = make_bundle(BundleStore(Home(Path(folder, "home"))), accepted, site)
    return {
        "why": why,
        "site": files,
        "digest": str(accepted.digest),
        "name": metainfo.name,
        "files": [file.path.text for file in metainfo.files],
        "infohash_v1": str(metainfo.infohash.v1),
        "infohash_v2": str(metainfo.infohash.v2),
    }


def board_cases(address: ItemAddress) -> list[dict[str, Any]]:
    """Return boards, and which of their roots and addresses count."""
    stranger = ItemAddress(make.key("stranger").public, b"p2pqwen")
    forged = make.chain(make.Rules(root=("stranger",), index=("stranger",)))
    unsigned = (ROOTS[0], SignedRoot(ROTATED[1].root, []))
    larger = make.sign_root(make.make_root(ONE, later={"than": "spec 1"}), ["root"])
    long = make.chain(*[TWO_OF_THREE] * 4)
    cases = (
        ("the publisher's", [address], ROOTS, PUBLISHER, 1),
        ("after a rotation, which every root key of both sides signed", [address], ROTATED, PUBLISHER, 2),
        ("a stranger's address among them", [stranger, address], ROOTS, PUBLISHER, 1),
        ("roots of another", [stranger], forged, PUBLISHER, 0),
        ("a second root that nobody signed", [address], unsigned, PUBLISHER, 0),
        ("no roots", [address], (), PUBLISHER, 0),
        ("a root with a field we do not know", [address], (larger,), larger.root.digest, 1),
        ("roots behind their hash", [address], long, long[0].root.digest, 4),
    )
    rows = []
    for why, named, roots, publisher, count in cases:
        notice = board_notice(named, roots)
        rows.append(
            {
                "publisher": str(publisher),
                "value": notice.value.hex(),
                "immutable items": {str(immutable_target(part)): part.hex() for part in notice.parts},
                "roots": [str(signed.root.digest) for signed in roots[:count]],
                "addresses": [
                    [one.public.raw.hex(), one.salt.decode()] for one in named if count and one.public == address.public
                ],
                "why": why,
            }
        )
    return rows


def item_row(item: MutableItem) -> dict[str, Any]:
    return {
        "public": item.address.public.raw.hex(),
        "salt": item.address.salt.decode(),
        "target": str(item.address.target),
        "sequence": item.sequence,
        "value": item.value.hex(),
        "signed": signed_bytes(item.address.salt, item.sequence, item.value).hex(),
        "signature": item.signature.hex(),
    }


class Cases:
    """Index files, and the answers of a reader that trusts some of them."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.rows: list[dict[str, Any]] = []

    def add(
        self,
        name: str,
        data: bytes,
        *,
        after: tuple[str, ...] = (),
        pin: str | None = "",
        why: str,
        **result: JsonValue,
    ) -> None:
        self.files[f"index/{name}.json"] = data
        publisher = str(PUBLISHER) if pin == "" else pin
        self.rows.append(
            {
                "file": f"{name}.json",
                "publisher": publisher,
                "accepted before": [f"{one}.json" for one in after],
                **result,
                "why": why,
            }
        )


ROOTS = make.chain(ONE)
PUBLISHER = ROOTS[0].root.digest
ROTATED = make.chain(ONE, TWO_OF_THREE)
RAISED = make.chain(ONE, TWO_OF_THREE, STOLEN)
FIRST, SECOND = make.make_entry(1), make.make_entry(2)
MODELSCOPE = make.make_entry(4, "modelscope:Qwen/Tiny")
DATASET, NAMESAKE = make.make_entry(3, "datasets/Qwen/Rows"), make.make_entry(3, "Qwen/Rows")


def index_cases() -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    cases = Cases()
    first = make.make_document(ROOTS, 1, [FIRST])
    second = make.make_document(
        ROOTS, 2, [FIRST, SECOND], previous=make.digest(first), mirrors=("https://one.example/",)
    )
    third = make.make_document(
        ROTATED, 3, [SECOND], previous=make.digest(second), withdrawn=(make.withdrawal(FIRST, "licence"),)
    )
    again = make.make_document(RAISED, 1, [FIRST, SECOND], previous=make.digest(second))
    add_accepted(cases, first, second, third, again)
    add_datasets(cases, first)
    add_modelscope(cases, first)
    add_path_seeds(cases, first)
    add_refused(cases, first, second, third)
    return cases.files, cases.rows


def add_accepted(
    cases: Cases, first: IndexDocument, second: IndexDocument, third: IndexDocument, again: IndexDocument
) -> None:
    one = make.make_index(ROOTS, first)
    cases.add("0.1", one, why="the first index of a publisher", accepted="0.1", signers=["index"])
    cases.add("0.1-unpinned", one, pin=None, why="held to nothing but itself", accepted="0.1", signers=["index"])
    cases.add(
        "0.2", make.make_index(ROOTS, second), after=("0.1",), why="the next version", accepted="0.2", signers=["index"]
    )
    three = make.make_index(ROTATED, third, SIGNERS)
    cases.add("0.3", three, after=("0.1", "0.2"), why="a new root, two of three", accepted="0.3", signers=list(SIGNERS))
    cases.add("0.3-first-seen", three, why="a reader who was away for long", accepted="0.3", signers=list(SIGNERS))
    late = make.make_index(ROTATED[1:], third, SIGNERS)
    cases.add(
        "0.3-from-root-2",
        late,
        after=("0.3",),
        why="the chain starts at a trusted root",
        accepted="0.3",
        signers=list(SIGNERS),
    )
    data = make.make_index(RAISED, again, ("index3", "index2"))
    cases.add(
        "1.1",
        data,
        after=("0.3",),
        why="a stolen key left, the epoch rose",
        accepted="1.1",
        signers=["index2", "index3"],
    )
    garbage = json.loads(one)
    garbage["signatures"] = [{"keyid": "?", "sig": "garbage"}, *garbage["signatures"], {}]
    cases.add(
        "0.1-with-garbage",
        pretty(garbage),
        why="broken signatures beside a good one",
        accepted="0.1",
        signers=["index"],
    )
    pointer = {"key": str(make.key("index").public.keyid), "salt": "é" * 32}
    cases.add(
        "0.1-long-salt",
        make.make_index(ROOTS, {**first.to_json(), "dht": pointer}),
        why="a salt of 32 letters that are 64 bytes",
        accepted="0.1",
        signers=["index"],
    )
    unknown = {**first.to_json(), "colour": "blue"}
    cases.add(
        "0.1-unknown-field",
        make.make_index(ROOTS, unknown),
        why="an unknown field, signed",
        accepted="0.1",
        signers=["index"],
    )
    known = FIRST.to_json()
    newer = [{**known, "recipe": 2, "magnet": None}, {"repo": "Qwen/Tiny-data", "commit": "1", **UNKNOWN_KIND}]
    cases.add(
        "0.1-unknown-kinds",
        make.make_index(ROOTS, {**first.to_json(), "entries": [known, *newer]}),
        why="entries of kinds that spec 1 does not know are skipped",
        accepted="0.1",
        signers=["index"],
    )


def add_datasets(cases: Cases, first: IndexDocument) -> None:
    listed = make.make_document(ROOTS, 1, [DATASET, FIRST])
    cases.add("0.1-dataset", make.make_index(ROOTS, listed), why="a dataset", accepted="0.1", signers=["index"])
    withdrawn = replace(first, withdrawn=(make.withdrawal(DATASET, "licence"),))
    why = "a dataset is withdrawn, and a model of its name and commit is listed"
    other, commit = str(NAMESAKE.id.commit), DATASET.id.commit
    namesake = replace(
        NAMESAKE,
        id=SnapshotId(NAMESAKE.id.repo, commit),
        magnet=NAMESAKE.magnet.replace(other, str(commit)),
    )
    cases.add(
        "0.1-dataset-withdrawn",
        make.make_index(ROOTS, replace(withdrawn, entries=(namesake, FIRST))),
        why=why, accepted="0.1", signers=["index"],
    )  # fmt: skip
    row = {**DATASET.to_json(), "torrent": f"Qwen/Rows/{DATASET.id.commit}.torrent"}
    cases.add(
        "refused-7-dataset-torrent",
        make.make_index(ROOTS, {**first.to_json(), "entries": [row]}),
        why="the torrent of a dataset where a model's would be",
        refused=7,
    )


def add_modelscope(cases: Cases, first: IndexDocument) -> None:
    listed = make.make_document(ROOTS, 1, [FIRST, MODELSCOPE])
    why = "a model of ModelScope, and the Hub's of its name"
    cases.add("0.1-modelscope", make.make_index(ROOTS, listed), why=why, accepted="0.1", signers=["index"])
    gone = replace(first, withdrawn=(make.withdrawal(MODELSCOPE, "licence"),))
    why = "a model of ModelScope is withdrawn"
    cases.add("0.1-modelscope-withdrawn", make.make_index(ROOTS, gone), why=why, accepted="0.1", signers=["index"])
    commit = MODELSCOPE.id.commit
    for number, (why, place) in enumerate(
        {
            "the torrent of a model of ModelScope where the Hub's would be": f"Qwen/Tiny/{commit}.torrent",
            "a full name where a site path should be": f"modelscope:Qwen/Tiny/{commit}.torrent",
        }.items(),
        1,
    ):
        row = {**MODELSCOPE.to_json(), "torrent": place}
        index = make.make_index(ROOTS, {**first.to_json(), "entries": [row]})
        cases.add(f"refused-7-modelscope-torrent-{number}", index, why=why, refused=7)


def add_path_seeds(cases: Cases, first: IndexDocument) -> None:
    place = "https://modelscope.cn/models/Qwen/Tiny/resolve/master"
    listed = replace(first, entries=(replace(FIRST, path_seeds=(f"{place}/",)),))
    cases.add("0.1-path-seeds", make.make_index(ROOTS, listed), why="path seeds", accepted="0.1", signers=["index"])
    for number, (why, seeds) in enumerate(
        {
            "a path seed that does not end in /": [place],
            "a path seed with a query": [f"{place}/?file=/"],
            "a path seed twice": [f"{place}/", f"{place}/"],
            "path seeds that are no list": f"{place}/",
        }.items(),
        1,
    ):
        index = make.make_index(ROOTS, {**first.to_json(), "entries": [{**FIRST.to_json(), "path_seeds": seeds}]})
        cases.add(f"refused-7-path-seeds-{number}", index, why=why, refused=7)


def add_refused(cases: Cases, first: IndexDocument, second: IndexDocument, third: IndexDocument) -> None:
    one = make.make_index(ROOTS, first)
    cases.add(
        "refused-1-repeated-key", one.rstrip()[:-1] + b', "signatures": []}\n', why="a key stands twice", refused=1
    )
    cases.add(
        "refused-1-float", one.replace(b'"version": 1', b'"version": 1.0'), why="a number with a point", refused=1
    )
    cases.add("refused-2-publisher", one, pin="0" * 64, why="another publisher was pinned", refused=2)
    cases.add(
        "refused-2-root-2", make.make_index(ROTATED[1:], third, SIGNERS), why="root 2 is not known here", refused=2
    )
    lonely = (*ROOTS, make.sign_root(ROTATED[1].root, ["root2", "root3"]))
    cases.add(
        "refused-3-old-root", make.make_index(lonely, third, SIGNERS), why="no key of root 1 signed root 2", refused=3
    )
    few = (*ROOTS, make.sign_root(ROTATED[1].root, ["root"]))
    cases.add(
        "refused-3-new-root", make.make_index(few, third, SIGNERS), why="root 2 needs two of its own keys", refused=3
    )
    gap = (RAISED[0], RAISED[2])
    cases.add("refused-3-missing-root", make.make_index(gap, third, SIGNERS), why="root 2 is missing", refused=3)
    cases.add("refused-4-unsigned", encode_file(ROOTS, first.to_json(), []), why="nobody signed", refused=4)
    cases.add("refused-4-stranger", make.make_index(ROOTS, first, ["stranger"]), why="a stranger signed", refused=4)
    cases.add("refused-4-threshold", make.make_index(ROTATED, third, ["index"]), why="one of two signed", refused=4)
    cases.add(
        "refused-4-old-root", make.make_index(ROOTS, replace(second, version=9)), after=("0.3",),
        why="made under root 1, root 2 is trusted here", refused=4,
    )  # fmt: skip
    cases.add(
        "refused-5-epoch", make.make_index(ROOTS, replace(first, epoch=1)), why="no root raised the epoch", refused=5
    )
    cases.add("refused-6-rollback", one, after=("0.1", "0.2"), why="an older version", refused=6)
    cases.add(
        "refused-6-equivocation",
        make.make_index(ROOTS, replace(first, entries=(SECOND,))),
        after=("0.1",),
        why="the same version, other bytes",
        refused=6,
    )
    cases.add(
        "refused-6-previous",
        make.make_index(ROOTS, replace(second, previous=PUBLISHER)),
        after=("0.1",),
        why="another history before it",
        refused=6,
    )
    pointer = {"key": str(make.key("index").public.keyid), "salt": "é" * 33}
    cases.add(
        "refused-7-salt",
        make.make_index(ROOTS, {**first.to_json(), "dht": pointer}),
        why="a salt of 33 letters that are 66 bytes",
        refused=7,
    )
    for name, why, change in ENTRY_PROBLEMS:
        row = {**FIRST.to_json(), **change}
        cases.add(
            f"refused-7-{name}", make.make_index(ROOTS, {**first.to_json(), "entries": [row]}), why=why, refused=7
        )


def delta_files() -> dict[str, bytes]:
    """Return deltas between the index files, and invalid ones; expected.json has the result of each."""
    first = make.make_document(ROOTS, 1, [FIRST])
    second = make.make_document(
        ROOTS, 2, [FIRST, SECOND], previous=make.digest(first), mirrors=("https://one.example/",)
    )
    third = make.make_document(
        ROTATED, 3, [SECOND], previous=make.digest(second), withdrawn=(make.withdrawal(FIRST, "licence"),)
    )
    one, two = judged(make.make_index(ROOTS, first)), judged(make.make_index(ROOTS, second))
    three = judged(make.make_index(ROTATED, third, SIGNERS))
    step, next_step = delta(one, two), delta(two, three)
    both = compose(step, next_step)
    assert both is not None
    other = judged(make.make_index(ROOTS, replace(second, entries=(SECOND,))))
    files: dict[str, bytes] = {}
    rows: list[dict[str, JsonValue]] = []

    def add(name: str, data: bytes, index: str, before: tuple[str, ...], why: str, **result: JsonValue) -> None:
        files[f"delta/{name}.json"] = data
        rows.append(
            {
                "file": f"{name}.json",
                "publisher": str(PUBLISHER),
                "accepted before": [f"{seen}.json" for seen in before],
                "index": f"{index}.json",
                **result,
                "why": why,
            }
        )

    def leads(to: Accepted, name: str) -> dict[str, JsonValue]:
        return {"accepted": f"{name}.json", "digest": str(to.digest)}

    add("0.1-0.2", step.encode(), "0.1", ("0.1",), "an entry is added", **leads(two, "0.2"))
    add("0.2-0.3", next_step.encode(), "0.2", ("0.1", "0.2"), "a new root, an entry less", **leads(three, "0.3"))
    add("0.1-0.3", both.encode(), "0.1", ("0.1",), "over two versions", **leads(three, "0.3"))
    add("0.1-0.2-pretty", pretty(json.loads(step.encode())), "0.1", ("0.1",), "printed otherwise", **leads(two, "0.2"))
    plain = json.loads(step.encode())
    add("refused-from", step.encode(), "0.2", ("0.1", "0.2"), "from another index than the reader has", refused=1)
    add("refused-cut", step.encode()[:-9], "0.1", ("0.1",), "cut off", refused=1)
    twice = pretty({**plain, "changed": plain["changed"] * 2})
    add("refused-order", twice, "0.1", ("0.1",), "a row twice", refused=1)
    wrong = pretty({**plain, "changed": [{**SECOND.to_json(), "size": 5}]})
    add("refused-row", wrong, "0.1", ("0.1",), "a row that contradicts itself", refused=1)
    add("refused-nothing", pretty({**plain, "changed": []}), "0.1", ("0.1",), "a row is missing", refused=4)
    gone = {name: FIRST.to_json()[name] for name in ("repo", "commit", "repo_type", "recipe")}
    add("refused-less", pretty({**plain, "removed": [gone]}), "0.1", ("0.1",), "a row is removed", refused=4)
    add("refused-unsigned", pretty({**plain, "signatures": []}), "0.1", ("0.1",), "nobody signed", refused=4)
    back = delta(two, one).encode()
    add("refused-rollback", back, "0.2", ("0.1", "0.2"), "it leads to an older version, validly signed", refused=6)
    split = delta(two, other).encode()
    add(
        "refused-equivocation", split, "0.2", ("0.1", "0.2"), "it leads to another index 0.2, validly signed", refused=6
    )
    files["delta/expected.json"] = pretty(rows)
    return files


def judged(data: bytes) -> Accepted:
    return accept(data, TrustedState(PUBLISHER), make.NOW)


def delta(before: Accepted, after: Accepted) -> Delta:
    made = make_delta(
        before.digest,
        [canonical(row.to_json()) for row in before.document.rows()],
        after.digest,
        [canonical(row.to_json()) for row in after.document.rows()],
        roots=[one.to_json() for one in after.roots],
        signed=after.header,
        signatures=after.signatures,
    )
    assert made is not None
    return made


UNKNOWN_KIND: dict[str, Any] = {"repo_type": "dataset", "recipe": 1}

ENTRY_PROBLEMS: list[tuple[str, str, dict[str, Any]]] = [
    ("magnet", "the magnet is of another snapshot", {"magnet": SECOND.magnet}),
    ("size", "the magnet names another size", {"size": 5}),
    ("piece-length", "not the recipe's piece length", {"piece_length": 16384}),
    ("torrent", "a torrent outside the site", {"torrent": "../x.torrent"}),
    ("repo", "no repository name", {"repo": "../etc"}),
    ("web-seed", "credentials in a web seed", {"web_seeds": ["https://a:b@example.org/"]}),
    ("kind", "a kind that is no text", {"repo_type": 1}),
    ("recipe", "no recipe", {"recipe": 0}),
    (
        "port",
        "a port that does not exist in web seed and magnet",
        {
            "web_seeds": ["https://example.org:99999/"],
            "magnet": FIRST.magnet.replace(
                quote(FIRST.web_seeds[0], safe=""), quote("https://example.org:99999/", safe="")
            ),
        },
    ),
]


def pretty(value: object) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing; exit 1 on a difference")
    check = parser.parse_args(arguments).check
    made = vectors()
    there = {str(path.relative_to(VECTORS)): path for path in VECTORS.rglob("*") if path.is_file()}
    ours = {
        name
        for name in there
        if name.partition("/")[0]
        in {"keys.json", "canonical.json", "common.json", "dht.json", "sums.json", "torrent", "index", "delta"}
    }
    if check:
        different = [name for name, data in made.items() if name not in there or there[name].read_bytes() != data]
        different += sorted(ours - made.keys())
        for name in different:
            print(f"differs: {name}", file=sys.stderr)
        return 1 if different else 0
    for name in ours - made.keys():
        there[name].unlink()
    for name, data in made.items():
        path = VECTORS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    print(f"{len(made)} files in {VECTORS.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
