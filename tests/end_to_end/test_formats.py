"""What the command line writes, taken apart field by field with other people's libraries.

Nothing of p2pqwen is asked what is right: hashes by hashlib, trees and commits by git, canonical JSON by rfc8785,
signatures and key files by cryptography, torrents by libtorrent, recipe 1 made again from the files by the reader that
was written from the text (tests/independent/reader.py).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import libtorrent as lt
import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tests.independent import reader
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import noise, write_folder
from tests.support.nodes import QUIET, seeding
from tests.support.waiting import wait_until

PIECE = 256 << 10
MIRRORS = ["https://mirror.example/keep/", "http://192.0.2.7:8080/p2pqwen/"]
BASE = "https://seeds.example/{repo}/"
TRACKER = "udp://tracker.example:1337/announce"
ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.bin filter=lfs diff=lfs merge=lfs -text\n"
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")

# Empty files, folders beside files of the same stem, multiples of the piece length and their neighbours, names that
# are not ASCII and sort differently as UTF-16, an executable, and a last file that needs no pad although it is short.
AWKWARD = {
    ".gitattributes": ATTRIBUTES,
    "README.md": b"---\nlicense: apache-2.0\n---\n# Awkward\n",
    "a/empty.txt": b"",
    "empty.bin": b"",
    "exact.bin": noise(2 * PIECE, "exact"),
    "model.safetensors": noise(3 * PIECE + 1, "weights"),
    "model/deep/er/\u6587\u4ef6.txt": noise(PIECE - 1, "deep"),
    "model/x": b"beside model.safetensors\n",
    "model-00001.bin": noise(PIECE, "one piece"),
    "run.sh": b"#!/bin/sh\n",
    "z/\uff5e.json": b"{}\n",
    "z/\U0001f701.json": b"[]\n",
}
# The last file is empty, so the short one before it is not the last, and is padded.
ENDS_EMPTY = {".gitattributes": ATTRIBUTES, "short.bin": noise(70_000, "short"), "zz-empty": b""}
ONE_FILE = {"only.txt": noise(16_385, "only")}
EXECUTABLE = ("run.sh",)
SNAPSHOTS = [("Qwen/awkward", AWKWARD), ("Qwen/awkward", ENDS_EMPTY), ("Qwen/One", ONE_FILE)]


@dataclass(slots=True)
class Held:
    """A snapshot that was preserved, what the command said of it, and the git commit it comes from."""

    repo: str
    files: dict[str, bytes]
    commit: str
    commit_object: bytes
    said: dict[str, Any]
    manifest: bytes = b""

    @property
    def name(self) -> str:
        return f"{self.repo}@{self.commit}"


@dataclass(slots=True)
class Site:
    """Three snapshots, published twice; the second index names mirrors."""

    folder: Path
    user: CommandLine
    endpoint: str
    identity: str
    held: list[Held]
    first: dict[str, Any] = field(init=False)
    index: dict[str, Any] = field(init=False)

    def torrent(self, held: Held) -> bytes:
        return (self.folder / held.repo / f"{held.commit}.torrent").read_bytes()


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Site:
    folder = tmp_path_factory.mktemp("formats")
    with HubSimulator() as hub:
        user = CommandLine(folder, hub.endpoint, processes=True)
        held = []
        for number, (repo, files) in enumerate(SNAPSHOTS):
            source = write_folder(folder / "sources" / str(number), files)
            commit = str(hub.repository(repo).commit(source, executable=EXECUTABLE))
            raw = hub.repository(repo).objects[commit.encode()].as_raw_string()
            held.append(Held(repo, files, commit, raw, user.ok("preserve", f"{repo}@{commit}")))
        identity = user.ok("keys", "init", "--name", "Keepers", "--no-passphrase")["publisher"]
        made = Site(folder / "site", user, hub.endpoint, identity, held)
        user.ok("publish", "--out", made.folder, "--no-dht")
        made.first = reader.read_json((made.folder / "index.json").read_bytes())
        mirrors = [word for url in MIRRORS for word in ("--mirror", url)]
        user.ok(
            "publish",
            "--out",
            made.folder,
            *mirrors,
            "--web-seed",
            BASE,
            "--tracker",
            TRACKER,
            "--no-check",
            "--no-dht",
        )
    made.index = reader.read_json((made.folder / "index.json").read_bytes())
    return made


@pytest.fixture(params=range(len(SNAPSHOTS)), ids=["awkward", "ends empty", "one file"])
def held(site, request) -> Held:
    return site.held[request.param]


@pytest.fixture
def meta(site, held) -> dict[bytes, Any]:
    value, end = reader.bdecode(site.torrent(held))
    assert end == len(site.torrent(held))
    return value


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def jcs(value: Any) -> bytes:
    return rfc8785.dumps(value)


# 2.1 Manifest


def in_order(files: dict[str, bytes]) -> list[str]:
    return sorted(files, key=lambda name: [part.encode() for part in name.split("/")])


def row(name: str, content: bytes) -> dict[str, Any]:
    """A file's row, from its content alone; an empty file is no LFS file, whatever .gitattributes says."""
    lfs = name.endswith((".safetensors", ".bin")) and bool(content)
    pointer = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(content)}\nsize {len(content)}\n".encode()
    )
    return {
        "path": name,
        "size": len(content),
        "sha256": sha256(content),
        "git_oid": git("hash-object", "--stdin", stdin=pointer if lfs else content),
        "lfs": lfs,
        "mode": "100755" if name in EXECUTABLE else "100644",
    }


def git(*words: str | Path, stdin: bytes = b"", folder: Path | None = None) -> str:
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *words], input=stdin, capture_output=True, check=True, cwd=folder, env=environment, timeout=60
    )
    return done.stdout.decode().strip()


def test_the_manifest_is_made_again_byte_for_byte(held, meta):
    expected = {
        "type": "manifest",
        "spec": 1,
        "repo_type": "model",
        "repo": held.repo,
        "commit": held.commit,
        "commit_object": base64.b64encode(held.commit_object).decode(),
        "license": "apache-2.0" if "README.md" in held.files else None,
        "files": [row(name, held.files[name]) for name in in_order(held.files)],
    }
    manifest = meta[b"p2pqwen"][b"manifest"]
    assert json.loads(manifest) == expected
    assert manifest == jcs(expected)
    assert held.said["manifest_sha256"] == sha256(manifest)
    assert held.said["provenance"] == "proven"


def test_git_rebuilds_tree_and_commit_from_the_manifest_alone(held, meta, tmp_path):
    manifest = json.loads(meta[b"p2pqwen"][b"manifest"])
    git("init", "--quiet", tmp_path)
    rows = "".join(f"{one['mode']} {one['git_oid']}\t{one['path']}\0" for one in manifest["files"])
    git("update-index", "-z", "--index-info", stdin=rows.encode(), folder=tmp_path)
    tree = git("write-tree", "--missing-ok", folder=tmp_path)
    raw = base64.b64decode(manifest["commit_object"])
    assert raw.startswith(f"tree {tree}\n".encode())
    assert git("hash-object", "-t", "commit", "--stdin", stdin=raw, folder=tmp_path) == held.commit


def bare(manifest: bytes) -> dict[str, Any]:
    """What a manifest says without git: no proof, and no modes."""
    value = json.loads(manifest)
    return value | {"commit_object": None, "files": [one | {"mode": "100644"} for one in value["files"]]}


def test_a_folder_preserved_without_its_commit_gives_the_same_torrent_unproven(held, meta, tmp_path):
    source = write_folder(tmp_path / "files", held.files)
    said = CommandLine(tmp_path).ok("preserve", "--from", source, "--repo", held.repo, "--commit", held.commit)
    for name in ("size", "files", "piece_length", "infohash_v1", "infohash_v2"):
        assert said[name] == held.said[name], name
    assert said["provenance"] == "unproven"
    manifest = reader.bdecode(Path(said["torrent"]).read_bytes())[0][b"p2pqwen"][b"manifest"]
    assert manifest == jcs(bare(meta[b"p2pqwen"][b"manifest"]))


def test_a_fetch_by_a_bare_magnet_makes_the_same_manifest_unproven(site, tmp_path):
    held = site.held[0]
    magnet = f"magnet:?xt=urn:btih:{held.said['infohash_v1']}&dn={held.name}"
    with seeding(site.user) as (_, port):
        fetcher = CommandLine(tmp_path)
        said = fetcher.ok("fetch", magnet, "--peer", f"127.0.0.1:{port}", "--no-web-seeds", "--no-hf-cache", *QUIET)
    assert said["provenance"] == "unproven"
    own = fetcher.home / "library" / held.repo / f"{held.commit}.torrent"
    manifest = reader.bdecode(own.read_bytes())[0][b"p2pqwen"][b"manifest"]
    assert manifest == jcs(bare(reader.bdecode(site.torrent(held))[0][b"p2pqwen"][b"manifest"]))


# 2.2 Recipe 1


def test_the_info_dictionary_is_made_again_byte_for_byte(site, held, meta):
    info = reader.make_info(held.commit, held.files)
    assert reader.bencode(meta[b"info"]) == info
    assert b"4:info" + info in site.torrent(held)
    assert set(meta[b"info"]) == {b"file tree", b"files", b"meta version", b"name", b"piece length", b"pieces"}
    assert (held.said["infohash_v1"], held.said["infohash_v2"]) == (hashlib.sha1(info).hexdigest(), sha256(info))
    assert (held.said["piece_length"], held.said["files"]) == (PIECE, len(held.files))
    assert held.said["size"] == sum(map(len, held.files.values()))
    assert meta[b"info"][b"name"] == held.commit.encode()


def test_pad_files_stand_where_they_must(held, meta):
    """By hand, for the two snapshots where it is easy to be wrong."""
    rows = [(b"/".join(one[b"path"]).decode(), one[b"length"], one.get(b"attr")) for one in meta[b"info"][b"files"]]
    if held.files is AWKWARD:
        names = [name for name, _, attr in rows if attr is None]
        assert names == in_order(AWKWARD)
        assert names.index("model-00001.bin") < names.index("model.safetensors")
        assert names.index("model/x") < names.index("model-00001.bin")
        after = dict(zip([row[0] for row in rows], rows[1:], strict=False))
        assert after["exact.bin"][2] is None
        assert after["a/empty.txt"][2] is None
        assert after["model.safetensors"] == (f".pad/{PIECE - 1}", PIECE - 1, b"p")
        assert after["model/deep/er/\u6587\u4ef6.txt"] == (".pad/1", 1, b"p")
        assert rows[-1][2] is None
    if held.files is ENDS_EMPTY:
        pad = PIECE - 70_000
        assert rows[-2:] == [(f".pad/{pad}", pad, b"p"), ("zz-empty", 0, None)]


def test_piece_layers(held, meta):
    """BEP 52: for each file longer than a piece, the hashes of its pieces under its root."""
    expected = {}
    for content in held.files.values():
        if len(content) > PIECE:
            pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
            leaves = b"".join(piece_hash(piece) for piece in pieces)
            expected[reader.merkle_root(content, PIECE)] = leaves
    assert meta.get(b"piece layers", {}) == expected


def piece_hash(piece: bytes) -> bytes:
    """The root over a piece of a longer file: its tree is full, short pieces have leaves of zeros."""
    level = [hashlib.sha256(piece[at : at + 16384]).digest() for at in range(0, len(piece), 16384)]
    level += [bytes(32)] * (PIECE // 16384 - len(level))
    while len(level) > 1:
        level = [hashlib.sha256(level[at] + level[at + 1]).digest() for at in range(0, len(level), 2)]
    return level[0]


def test_libtorrent_reads_the_torrent_and_finds_every_file_of_the_library_right(site, held):
    torrent = lt.torrent_info(lt.bdecode(site.torrent(held)))
    assert str(torrent.info_hashes().v1) == held.said["infohash_v1"]
    assert str(torrent.info_hashes().v2) == held.said["infohash_v2"]
    files = torrent.layout()
    real = [at for at in range(files.num_files()) if not files.file_flags(at) & lt.file_storage.flag_pad_file]
    assert [files.file_path(at) for at in real] == [f"{held.commit}/{name}" for name in in_order(held.files)]
    offline = {"enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False}
    session = lt.session({**offline, "listen_interfaces": "127.0.0.1:0"})
    added = lt.add_torrent_params()
    added.ti = torrent
    added.save_path = str(site.user.home / "library" / held.repo)
    added.flags = lt.torrent_flags.upload_mode
    handle = session.add_torrent(added)
    wait_until(lambda: handle.status().state == lt.torrent_status.states.seeding, 60, "libtorrent to find it whole")
    assert handle.status().progress == 1.0


def test_outside_the_info_dictionary(site, held, meta):
    assert set(meta) - {b"piece layers", b"announce"} == {
        b"announce-list",
        b"comment",
        b"created by",
        b"info",
        b"p2pqwen",
        b"signatures",
        b"url-list",
    }
    assert meta[b"announce-list"] == [[TRACKER.encode()]]
    assert meta[b"comment"] == f"{held.repo} @ {held.commit}".encode()
    assert meta[b"created by"].startswith(b"p2pqwen")
    assert meta[b"url-list"][0] == f"{site.endpoint}/{held.repo}/resolve/".encode()
    assert BASE.replace("{repo}", held.repo).encode() in meta[b"url-list"]
    assert set(meta[b"p2pqwen"]) == {b"recipe", b"manifest"}
    assert meta[b"p2pqwen"][b"recipe"] == 1
    assert site.torrent(held) == reader.bencode(meta)  # the one bencoding of its content


# 2.3 Signed torrent


def test_the_torrents_signature(site, held, meta):
    """Every signature is by an index key, over info dictionary and statement, and of exactly this form."""
    root = site.index["roots"][0]["signed"]
    manifest = meta[b"p2pqwen"][b"manifest"]
    assert len(meta[b"signatures"]) == 1
    for label, made in meta[b"signatures"].items():
        assert set(made) == {b"info", b"signature"}
        keyid = made[b"info"][b"keyid"].hex()
        assert keyid in root["roles"]["index"]["keyids"]
        assert label.decode() == root["keys"][keyid]["label"]
        assert made[b"info"] == {
            b"alg": b"ed25519",
            b"keyid": bytes.fromhex(keyid),
            b"manifest": hashlib.sha256(manifest).digest(),
            b"repo": held.repo.encode(),
            b"commit": held.commit.encode(),
        }
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(root["keys"][keyid]["public"]))
        message = reader.bencode(meta[b"info"]) + reader.bencode(made[b"info"])
        public.verify(made[b"signature"], message)
        with pytest.raises(InvalidSignature):
            public.verify(made[b"signature"], message[:-1])


# 2.4 Keys, roots, publishers


def envelope_signers(kind: str, document: Any, signatures: list[dict[str, str]], keys: dict[str, Any]) -> set[str]:
    """The keyids whose signature over the DSSE encoding is right; any wrong one fails the test."""
    name, payload = f"application/vnd.p2pqwen.{kind}+json".encode(), jcs(document)
    message = b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)
    for one in signatures:
        assert set(one) == {"keyid", "sig"}
        assert base64.b64encode(base64.b64decode(one["sig"], validate=True)).decode() == one["sig"]
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(keys[one["keyid"]]["public"], validate=True))
        public.verify(base64.b64decode(one["sig"]), message)
    return {one["keyid"] for one in signatures}


def check_root(root: dict[str, Any], version: int) -> None:
    signed = root["signed"]
    assert set(root) == {"signed", "signatures"}
    assert set(signed) == {
        "type",
        "spec",
        "version",
        "previous",
        "name",
        "keys",
        "roles",
        "index_epoch",
    }
    assert (signed["type"], signed["spec"], signed["version"]) == ("root", 1, version)
    assert signed["name"] == "Keepers"
    for keyid, key in signed["keys"].items():
        assert set(key) == {"public", "label"}
        assert keyid == sha256(base64.b64decode(key["public"], validate=True))
    assert set(signed["roles"]) == {"root", "index"}
    for role in signed["roles"].values():
        assert set(role) == {"keyids", "threshold"}
        assert set(role["keyids"]) <= set(signed["keys"])
        assert 1 <= role["threshold"] <= len(set(role["keyids"]))
    by = envelope_signers("root", signed, root["signatures"], signed["keys"])
    assert len(by & set(signed["roles"]["root"]["keyids"])) >= signed["roles"]["root"]["threshold"]


def test_root_1_and_the_publisher_id(site):
    (root,) = site.index["roots"]
    check_root(root, 1)
    assert root["signed"]["previous"] is None
    assert root["signed"]["index_epoch"] == 0
    assert sha256(jcs(root["signed"])) == site.identity == site.index["signed"]["publisher"]


@pytest.mark.parametrize("stolen", [False, True], ids=["added", "stolen"])
def test_root_2_follows_root_1(site, tmp_path, stolen):
    """A key more, or the index key replaced: root 2 is signed by the keys of both, and the epoch tells."""
    user = copy_of(site.user, tmp_path)
    old = site.index["roots"][0]["signed"]
    leaving = old["roles"]["index"]["keyids"][0]
    options = ["--stolen", leaving] if stolen else []
    rotated = user.ok("keys", "rotate", "--new-index-key", "Second", *options, "--no-passphrase")
    assert (rotated["publisher"], rotated["root_version"]) == (site.identity, 2)
    out = tmp_path / "site"
    user.ok("publish", "--out", out, "--no-check", "--no-dht", "--yes")
    index = reader.read_json((out / "index.json").read_bytes())
    first, second = index["roots"]
    assert first["signed"] == old
    check_root(second, 2)
    assert second["signed"]["previous"] == sha256(jcs(old))
    by = envelope_signers("root", second["signed"], second["signatures"], old["keys"] | second["signed"]["keys"])
    assert by >= set(old["roles"]["root"]["keyids"])
    assert (leaving in second["signed"]["roles"]["index"]["keyids"]) is not stolen
    signed = index["signed"]
    assert signed["publisher"] == site.identity
    assert signed["root_version"] == 2
    assert signed["epoch"] == second["signed"]["index_epoch"] == int(stolen)
    assert (signed["epoch"], signed["version"]) > (0, site.index["signed"]["version"])
    by = envelope_signers("index", signed, index["signatures"], second["signed"]["keys"])
    assert by & set(second["signed"]["roles"]["index"]["keyids"])


def copy_of(user: CommandLine, folder: Path) -> CommandLine:
    other = CommandLine(folder)
    subprocess.run(["cp", "-a", user.home, other.home], check=True)
    return other


@pytest.mark.parametrize("passphrase", [None, "correct horse"], ids=["open", "encrypted"])
def test_key_files(tmp_path, passphrase):
    """PKCS#8 PEM, mode 0600, encrypted unless the user says otherwise; they are the keys that root 1 names."""
    user = CommandLine(tmp_path)
    options, extra = (["--no-passphrase"], {}) if passphrase is None else ([], {"P2PQWEN_PASSPHRASE": passphrase})
    said = user.ok("keys", "init", "--name", "Me", *options, **extra)
    files = [path for path in (user.home / "keys").rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert len(files) == len(said["keys"]) == 2
    secret = None if passphrase is None else passphrase.encode()
    header = b"-----BEGIN PRIVATE KEY-----" if secret is None else b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
    found = set()
    for path in files:
        assert path.stat().st_mode & 0o7777 == 0o600
        assert header in path.read_bytes()
        if secret is not None:
            with pytest.raises((ValueError, TypeError)):
                load_pem_private_key(path.read_bytes(), b"wrong")
        key = load_pem_private_key(path.read_bytes(), secret)
        assert isinstance(key, Ed25519PrivateKey)
        found.add(sha256(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)))
    assert found == {one["keyid"] for one in said["keys"]}


# 2.5 Index


def test_the_index_document(site):
    first, signed = site.first["signed"], site.index["signed"]
    assert set(site.index) == {"roots", "signed", "signatures"}
    assert set(signed) == {
        "type",
        "spec",
        "publisher",
        "root_version",
        "epoch",
        "version",
        "previous",
        "issued",
        "mirrors",
        "dht",
        "entries",
        "withdrawn",
    }
    assert (signed["type"], signed["spec"], signed["root_version"], signed["epoch"]) == ("index", 1, 1, 0)
    assert (first["version"], first["previous"]) == (1, None)
    assert (signed["version"], signed["previous"]) == (2, sha256(jcs(first)))
    assert TIME.fullmatch(signed["issued"])
    assert (first["mirrors"], signed["mirrors"]) == ([], MIRRORS)
    assert signed["withdrawn"] == []
    assert signed["dht"] is None  # published with --no-dht
    for index in (site.first, site.index):
        root = index["roots"][0]["signed"]
        by = envelope_signers("index", index["signed"], index["signatures"], root["keys"])
        assert by == set(root["roles"]["index"]["keyids"])


def test_with_the_dht_the_index_names_key_and_salt(site, tmp_path):
    user = copy_of(site.user, tmp_path)
    user.ok("publish", "--out", tmp_path / "site", "--no-check")
    index = json.loads((tmp_path / "site" / "index.json").read_text())
    dht = index["signed"]["dht"]
    assert dht["salt"] == "p2pqwen"
    assert dht["key"] in index["roots"][-1]["signed"]["roles"]["index"]["keyids"]


def test_entries_are_sorted_and_each_field_follows_from_the_snapshot(site):
    entries = site.index["signed"]["entries"]
    names = [(one["repo"], one["commit"]) for one in entries]
    assert names == sorted((one.repo, one.commit) for one in site.held)
    for entry in entries:
        held = next(one for one in site.held if one.commit == entry["commit"])
        info = reader.make_info(held.commit, held.files)
        manifest = reader.bdecode(site.torrent(held))[0][b"p2pqwen"][b"manifest"]
        seeds = entry.pop("web_seeds")
        assert seeds[0] == f"{site.endpoint}/{held.repo}/resolve/"
        assert BASE.replace("{repo}", held.repo) in seeds
        assert TIME.fullmatch(entry.pop("added"))
        check_magnet(entry.pop("magnet"), held, info, seeds)
        assert entry == {
            "repo": held.repo,
            "repo_type": "model",
            "commit": held.commit,
            "size": sum(map(len, held.files.values())),
            "files": len(held.files),
            "piece_length": PIECE,
            "recipe": 1,
            "infohash_v1": hashlib.sha1(info).hexdigest(),
            "infohash_v2": sha256(info),
            "manifest_sha256": sha256(manifest),
            "provenance": "proven",
            "torrent": f"{held.repo}/{held.commit}.torrent",
            "license": "apache-2.0" if "README.md" in held.files else None,
            "upstream": "present",
        }


def check_magnet(magnet: str, held: Held, info: bytes, seeds: list[str]) -> None:
    """Read as any client would, with percent escapes; and as libtorrent does."""
    assert magnet.startswith("magnet:?")
    pairs = parse_qsl(magnet.removeprefix("magnet:?"), strict_parsing=True)
    assert sorted(pairs) == sorted(
        [
            ("xt", f"urn:btih:{hashlib.sha1(info).hexdigest()}"),
            ("xt", f"urn:btmh:1220{sha256(info)}"),
            ("dn", held.name),
            ("xl", str(sum(map(len, held.files.values())))),
            *(("ws", url) for url in seeds),
            *(("xs", f"{mirror}{held.repo}/{held.commit}.torrent") for mirror in MIRRORS),
            ("tr", TRACKER),
        ]
    )
    read = lt.parse_magnet_uri(magnet)
    assert (str(read.info_hashes.v1), str(read.info_hashes.v2)) == (hashlib.sha1(info).hexdigest(), sha256(info))
    assert read.name == held.name
    assert read.trackers == [TRACKER]


# 2.6 Published site


def test_the_site_is_index_and_torrents_and_nothing_hidden(site):
    files = {path.relative_to(site.folder).as_posix() for path in site.folder.rglob("*") if path.is_file()}
    needed = {"index.json", *(f"{one.repo}/{one.commit}.torrent" for one in site.held)}
    assert needed <= files
    assert [name for name in files - needed if name.endswith((".tmp", ".lock")) or "/." in f"/{name}"] == []
