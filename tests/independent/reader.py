"""A reader of spec 1, written from torrents/SPEC.md section by section; it imports nothing of p2pqwen.

It is slow and plain. If it and p2pqwen differ, one of them is wrong, or the text is wrong or unclear. test_reader.py
compares them on the golden vectors, on tables of cases and on randomly changed indexes. Numbers in comments are the
text's sections.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import ipaddress
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NoReturn
from urllib.parse import unquote_to_bytes, urlsplit


class RefusedError(Exception):
    """A rule was broken; for acceptance, `step` is the step of section 8."""

    def __init__(self, why: str, step: int = 0) -> None:
        super().__init__(why)
        self.step = step


def need(condition: object, why: str) -> None:
    if not condition:
        raise RefusedError(why)


# 1. Common rules


def read_json(data: bytes, limit: int = 4 << 30) -> Any:
    need(len(data) <= limit, "over the byte limit")
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except (ValueError, RecursionError) as error:
        raise RefusedError(str(error)) from error
    _walk(value, 1)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    need(len({key for key, _ in pairs}) == len(pairs), "a key is repeated")
    return dict(pairs)


def _integer(text: str) -> int:
    need(text != "-0" and len(text) < 20, "no integer of ours")
    need(abs(int(text)) <= 2**53 - 1, "integer out of range")
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise RefusedError(f"{text} is no integer")


def _walk(value: Any, depth: int) -> None:
    if isinstance(value, str):
        need(not any(0xD800 <= ord(character) < 0xE000 for character in value), "a lone surrogate")
    elif isinstance(value, list | dict):
        need(depth <= 16, "nested too deep")
        for inner in value if isinstance(value, list) else [*value, *value.values()]:
            _walk(inner, depth + 1)


_ESCAPES = {0x22: '\\"', 0x5C: "\\\\", 0x08: "\\b", 0x0C: "\\f", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t"}
_ESCAPES |= {code: f"\\u{code:04x}" for code in range(0x20) if code not in _ESCAPES}


def jcs(value: Any) -> bytes:
    return _jcs(value).encode()


def _jcs(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return '"' + value.translate(_ESCAPES) + '"'
        case list():
            return "[" + ",".join(map(_jcs, value)) + "]"
    keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
    return "{" + ",".join(f"{_jcs(key)}:{_jcs(value[key])}" for key in keys) + "}"


def read_base64(text: Any) -> bytes:
    need(isinstance(text, str), "base64 is text")
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise RefusedError("not base64") from error
    need(base64.b64encode(data).decode() == text, "another spelling of base64")
    return data


def hex_digest(value: Any, digits: int) -> str:
    need(isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{digits}}}", value), "not a digest")
    return str(value)


def read_time(value: Any) -> datetime:
    need(isinstance(value, str) and re.fullmatch(r"[0-9]{4}-..-..T..:..:..Z", value), "not a time")
    try:
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError as error:
        raise RefusedError("no such time") from error


def repository(value: Any) -> str:
    need(isinstance(value, str) and len(value) <= 96 and value.count("/") == 1, "not org/model")
    for part in value.split("/"):
        need(re.fullmatch(r"[A-Za-z0-9._-]+", part), "a repository's name holds other characters")
        need(part[0] not in ".-" and part[-1] not in ".-", "a name begins or ends with punctuation")
        need("--" not in part and ".." not in part, "-- or ..")
    need(not value.endswith(".git"), "ends in .git")
    need(value.split("/")[0] not in ["datasets", "models", "spaces"], "a kind's own path")
    return str(value)


KINDS = {
    "model": "",
    "dataset": "datasets/",
    "modelscope-model": "modelscope:",
    "modelscope-dataset": "modelscope:datasets/",
}


def full_name(row: dict[str, Any]) -> str:
    """Return the repository of a row with `repo` and perhaps `repo_type`, with the prefix of its kind."""
    kind = row.get("repo_type")
    return (KINDS.get(kind, "") if isinstance(kind, str) else "") + repository(row.get("repo"))


def site_path(row: dict[str, Any]) -> str:
    return full_name(row).replace("modelscope:", "@modelscope/")


_DEVICES = {"con", "prn", "aux", "nul"} | {f"{stem}{number}" for stem in ("com", "lpt") for number in range(1, 10)}


def path(value: Any) -> str:
    need(isinstance(value, str) and value, "a path is text")
    for character in value:
        bad = character in '<>:"|?*\\' or unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        need(not bad, "a character that no path of ours holds")
    need(unicodedata.normalize("NFC", value) == value, "not in normal form C")
    need(len(value.encode()) <= 1024, "too long")
    parts = value.split("/")
    need(len(parts) <= 64, "too deep")
    for part in parts:
        need(part not in {"", ".", ".."}, "an empty or dotted component")
        need(part[-1] not in ". ", "ends in a dot or blank")
        need(len(part.encode()) <= 255, "a component too long")
        need(part.casefold() not in {".git", ".pad"}, "a reserved name")
        need(part.split(".")[0].rstrip(" ").casefold() not in _DEVICES, "a device of Windows")
    return str(value)


def paths(values: Iterable[str]) -> None:
    """Refuse paths that are equal once folded, folders included, and files that are folders of others."""
    files: set[str] = set()
    folders: dict[str, str] = {}
    for value in values:
        path(value)
        parts = value.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            need(folders.setdefault(_folded(folder), folder) == folder, "two folders clash")
        need(_folded(value) not in files, "two files clash")
        files.add(_folded(value))
    need(not files & folders.keys(), "a file is a folder")


def _folded(text: str) -> str:
    return "/".join(unicodedata.normalize("NFKC", part).casefold() for part in text.split("/"))


def web_address(value: Any) -> str:
    need(isinstance(value, str) and len(value) <= 2048, "not a web address")
    match = re.fullmatch(r"https?://(?:([A-Za-z0-9.-]+)|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?((?:/.*)?)", value)
    need(match, "not a web address")
    assert match
    host, address, port, tail = match.groups()
    need(port is None or 1 <= int(port) <= 65535, "no port")
    if host is not None:
        need(host[0] not in ".-" and host[-1] not in ".-" and len(host) <= 254, "not a host")
        need("xn--" not in host.lower(), "an IDN")
    else:
        try:
            ipaddress.IPv6Address(address)
        except ValueError as error:
            raise RefusedError("no IPv6 address") from error
    need(re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", tail), "a character that no path has")
    need(".." not in tail.split("/"), "a .. component")
    return str(value)


# 2. Manifest


@dataclass(frozen=True)
class Manifest:
    snapshot: str
    files: list[dict[str, Any]]
    proven: bool
    sha256: str


def read_manifest(data: bytes) -> Manifest:
    value = read_json(data, 64 << 20)
    need(isinstance(value, dict), "an object")
    need(jcs(value) == data, "not in RFC 8785 form")
    constants(value, type="manifest", spec=1)
    need(value.get("repo_type") in list(KINDS), "another kind")
    repo, commit = full_name(value), hex_digest(value.get("commit"), 40)
    need("license" in value and "commit_object" in value, "a field is missing")
    named, files = value["license"], value.get("files")
    need(named is None or (isinstance(named, str) and 1 <= len(named) <= 100 and named.isprintable()), "license")
    need(isinstance(files, list) and 1 <= len(files) <= 100_000, "no files, or too many")
    for row in files:
        check_row(row)
    order = [[part.encode() for part in row["path"].split("/")] for row in files]
    need(all(one < other for one, other in itertools.pairwise(order)), "out of order")
    paths(row["path"] for row in files)
    contents: dict[str, Any] = {}
    for row in files:
        said = (row["size"], row["sha256"], row["lfs"])
        need(contents.setdefault(row["git_oid"], said) == said, "one blob with two contents")
    proven = value["commit_object"] is not None and proves(read_base64(value["commit_object"]), commit, files)
    return Manifest(f"{repo}@{commit}", files, proven, sha256(data))


def check_row(row: Any) -> None:
    need(isinstance(row, dict), "a row is an object")
    path(row.get("path"))
    number(row, "size")
    hex_digest(row.get("sha256"), 64)
    hex_digest(row.get("git_oid"), 40)
    need(row.get("mode") in ["100644", "100755", "120000", "100664"], "mode")
    need(isinstance(row.get("lfs"), bool), "lfs")
    need(row["lfs"] or "pointer" not in row, "a pointer of a plain file")
    if row["lfs"]:
        canonical = f"version https://git-lfs.github.com/spec/v1\noid sha256:{row['sha256']}\nsize {row['size']}\n"
        pointer = row.get("pointer", canonical)
        if "pointer" in row:
            need(isinstance(pointer, str) and pointer != canonical, "no pointer to be given")
            need(read_pointer(pointer.encode()) == (row["sha256"], row["size"]), "a pointer to something else")
        need(git_id("blob", pointer.encode()) == row["git_oid"], "not the pointer's id")


def check_content(row: dict[str, Any], content: bytes) -> None:
    """Check that this is the content of the row's file."""
    need(len(content) == row["size"] and sha256(content) == row["sha256"], "other bytes")
    if not row["lfs"]:
        need(git_id("blob", content) == row["git_oid"], "another blob")
        plain_content(content)


def plain_content(content: bytes) -> bytes:
    """Refuse an LFS pointer, in any form that git-lfs reads."""
    need(read_pointer(content) is None, "an LFS pointer")
    return content


def read_pointer(content: bytes) -> tuple[str, int] | None:
    """Return the SHA-256 and size in an LFS pointer, None for anything else."""
    if len(content) > 1024:
        return None
    text = content.decode("utf-8", "replace").strip()
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    rows = [line.split(" ", 1) for line in lines if line]
    kept = [row for row in rows[:-1] if not re.match(r"ext-[0-9]-[A-Za-z0-9_]", row[0])] + rows[-1:]
    if any(len(row) != 2 for row in rows) or [row[0] for row in kept] != ["version", "oid", "size"]:
        return None
    version, oid, size = (row[1] for row in kept)
    hosts = ("https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1", "http://git-media.io/v/2")
    right = version in hosts and re.match(r"sha256:[0-9A-Za-z]{64}", oid) and re.fullmatch(r"\+?[0-9]+", size)
    return (oid[7:71].lower(), int(size)) if right and int(size) < 2**63 else None


def proves(commit_object: bytes, commit: str, files: list[dict[str, Any]]) -> bool:
    need(len(commit_object) <= 64 << 10, "a commit object too large")
    need(git_id("commit", commit_object) == commit, "the object is another commit")
    match = re.match(rb"tree ([0-9a-f]{40})\n(?:parent |author )", commit_object)
    need(match and match[1].decode() == tree_id(files, ""), "the tree is another one")
    return True


def tree_id(files: list[dict[str, Any]], above: str) -> str:
    """Rebuild one folder's tree id: names are sorted as bytes, a folder's as if it ended in a slash."""
    entries: dict[bytes, bytes] = {}
    below = [row for row in files if row["path"].startswith(above)]
    for row in below:
        name, _, rest = row["path"][len(above) :].partition("/")
        if rest:
            oid = tree_id(below, f"{above}{name}/")
            entries[name.encode() + b"/"] = b"40000 " + name.encode() + b"\0" + bytes.fromhex(oid)
        else:
            entries[name.encode()] = f"{row['mode']} {name}\0".encode() + bytes.fromhex(row["git_oid"])
    return git_id("tree", b"".join(entries[name] for name in sorted(entries)))


def git_id(kind: str, content: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# 3. Torrent, recipe 1


def piece_length(size: int) -> int:
    table = [(64 << 20, 256 << 10), (1 << 30, 1 << 20), (4 << 30, 2 << 20), (32 << 30, 4 << 20), (256 << 30, 8 << 20)]
    return next((length for limit, length in table if size <= limit), 16 << 20)


def bencode(value: Any) -> bytes:
    match value:
        case int():
            return b"i%de" % value
        case bytes():
            return b"%d:%b" % (len(value), value)
        case str():
            return bencode(value.encode())
        case list():
            return b"l" + b"".join(map(bencode, value)) + b"e"
    rows = {key.encode() if isinstance(key, str) else key: inner for key, inner in value.items()}
    return b"d" + b"".join(bencode(key) + bencode(rows[key]) for key in sorted(rows)) + b"e"


def bdecode(data: bytes, at: int = 0) -> tuple[Any, int]:
    """Read one value at an offset; return it and its end's offset. Only for the golden torrent: it checks little."""
    if data[at : at + 1] == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if data[at : at + 1] in {b"l", b"d"}:
        items, position = [], at + 1
        while data[position : position + 1] != b"e":
            item, position = bdecode(data, position)
            items.append(item)
        if data[at : at + 1] == b"l":
            return items, position + 1
        return dict(zip(items[::2], items[1::2], strict=True)), position + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end], end


def make_info(name: str, contents: dict[str, bytes]) -> bytes:
    """Make recipe 1's info dictionary from the files; `name` is a commit, or a bundle's name (section 10)."""
    length = piece_length(sum(map(len, contents.values())))
    tree: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    stream = bytearray()
    ordered = sorted(contents, key=lambda text: [part.encode() for part in text.split("/")])
    for path_text in ordered:
        content = contents[path_text]
        *above, last = path_text.split("/")
        folder = tree
        for part in above:
            folder = folder.setdefault(part, {})
        root = {"pieces root": merkle_root(content, length)} if content else {}
        folder[last] = {"": {"length": len(content), **root}}
        rows.append({"length": len(content), "path": path_text.split("/")})
        stream += content
        if path_text != ordered[-1] and len(content) % length:
            pad = length - len(content) % length
            rows.append({"attr": "p", "length": pad, "path": [".pad", str(pad)]})
            stream += bytes(pad)
    pieces = b"".join(hashlib.sha1(stream[at : at + length]).digest() for at in range(0, len(stream), length))
    return bencode(
        {"file tree": tree, "files": rows, "meta version": 2, "name": name, "piece length": length, "pieces": pieces}
    )


def merkle_root(content: bytes, length: int) -> bytes:
    """Return the BEP 52 root: SHA-256 over blocks of 16 KiB; leaves up to the next power of two are zeros."""
    leaves = [hashlib.sha256(content[at : at + 16384]).digest() for at in range(0, len(content), 16384)]
    width = 1
    while width < len(leaves) or (len(content) > length and width * 16384 < length):
        width *= 2
    level = leaves + [bytes(32)] * (width - len(leaves))
    while len(level) > 1:
        level = [hashlib.sha256(level[at] + level[at + 1]).digest() for at in range(0, len(level), 2)]
    return level[0]


# 4. Signed torrent


def torrent_signers(torrent: bytes, keys: Iterable[bytes]) -> list[str]:
    """Return the labels of valid signatures by one of these public keys; refuses a torrent that contradicts itself."""
    meta, end = bdecode(torrent)
    need(end == len(torrent), "trailing bytes")
    info = bencode(meta[b"info"])
    need(info in torrent, "the info dictionary is not in its one form")
    manifest = meta[b"p2pqwen"][b"manifest"]
    read = read_manifest(manifest)
    repo, _, commit = read.snapshot.partition("@")
    known = {hashlib.sha256(key).digest(): key for key in keys}
    valid = []
    for label, row in meta.get(b"signatures", {}).items():
        said, signature = row[b"info"], row[b"signature"]
        expected = {
            b"alg": b"ed25519",
            b"commit": commit.encode(),
            b"keyid": said[b"keyid"],
            b"manifest": hashlib.sha256(manifest).digest(),
            b"repo": repo.encode(),
        }
        if (
            said == expected
            and said[b"keyid"] in known
            and verify(known[said[b"keyid"]], signature, info + bencode(said))
        ):
            valid.append(label.decode())
    return valid


# 5. Keys and signatures (RFC 8032, affine and slow)

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]
NEUTRAL: Point = (0, 1)


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def times(scalar: int, point: Point) -> Point:
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def decode_point(data: bytes) -> Point:
    number = int.from_bytes(data, "little")
    y, sign = number & (2**255 - 1), number >> 255
    need(y < P, "not a canonical point")
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    need(x * x % P == square and (x or not sign), "not a point")
    return (P - x if x & 1 != sign else x), y


def encode_point(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


BASE = decode_point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def public_key(data: bytes) -> bytes:
    need(len(data) == 32, "a key has 32 bytes")
    need(times(8, decode_point(data)) != NEUTRAL, "of small order")
    return data


@cache
def verify(key: bytes, signature: bytes, message: bytes) -> bool:
    if len(signature) != 64:
        return False
    scalar = int.from_bytes(signature[32:], "little")
    try:
        point, other = decode_point(signature[:32]), decode_point(key)
    except RefusedError:
        return False
    if scalar >= L or times(8, point) == NEUTRAL:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    return times(scalar, BASE) == add(point, times(challenge, other))


def pae(kind: str, payload: bytes) -> bytes:
    name = f"application/vnd.p2pqwen.{kind}+json".encode()
    return b"DSSEv1 " + str(len(name)).encode() + b" " + name + b" " + str(len(payload)).encode() + b" " + payload


def signers(kind: str, document: Any, signatures: Any, keys: dict[str, bytes]) -> set[str]:
    need(isinstance(signatures, list) and len(signatures) <= 256, "signatures are a list")
    message, valid = pae(kind, jcs(document)), set()
    for row in signatures:
        try:
            need(isinstance(row, dict), "a row is an object")
            keyid, signature = hex_digest(row.get("keyid"), 64), read_base64(row.get("sig"))
        except RefusedError:
            continue
        if keyid in keys and keyid not in valid and verify(keys[keyid], signature, message):
            valid.add(keyid)
    return valid


# 6. Root


def constants(value: dict[str, Any], **expected: Any) -> None:
    for name, wanted in expected.items():
        need(type(value.get(name)) is type(wanted) and value[name] == wanted, f"{name} is not {wanted}")


def number(value: dict[str, Any], name: str, least: int = 0, most: int = 2**53 - 1) -> int:
    found = value.get(name)
    need(type(found) is int and least <= found <= most, f"{name} is no number in its range")
    assert isinstance(found, int)
    return found


def text(value: dict[str, Any], name: str, most: int, least: int = 0) -> str:
    found = value.get(name)
    need(isinstance(found, str) and least <= len(found) <= most, f"{name} is no text")
    return str(found)


def items(value: dict[str, Any], name: str, most: int) -> list[Any]:
    found = value.get(name)
    need(isinstance(found, list) and len(found) <= most, f"{name} is no list")
    assert isinstance(found, list)
    return found


def named(value: dict[str, Any], name: str) -> str:
    found = text(value, name, 200, 1)
    need(found.strip(), f"{name} is blank")
    return found


@dataclass(frozen=True)
class Root:
    document: Any
    signatures: Any
    version: int
    keys: dict[str, dict[str, bytes]]
    thresholds: dict[str, int]
    epoch: int

    @property
    def digest(self) -> str:
        return sha256(jcs(self.document))

    def met_by(self, role: str, kind: str, document: Any, signatures: Any) -> bool:
        return len(signers(kind, document, signatures, self.keys[role])) >= self.thresholds[role]


def read_root(row: Any) -> Root:
    need(isinstance(row, dict) and isinstance(row.get("signed"), dict), "a root is an object")
    document = row["signed"]
    constants(document, type="root", spec=1)
    version = number(document, "version", 1)
    previous = document.get("previous")
    need((previous is None) == (version == 1), "previous is null in root 1 alone")
    need(previous is None or hex_digest(previous, 64), "previous is a digest")
    named(document, "name")
    rows, roles = document.get("keys"), document.get("roles")
    need(isinstance(rows, dict) and len(rows) <= 64 and isinstance(roles, dict), "keys and roles are objects")
    public: dict[str, bytes] = {}
    for keyid, key in rows.items():
        need(isinstance(key, dict), "a key is an object")
        named(key, "label")
        public[keyid] = public_key(read_base64(key.get("public")))
        need(sha256(public[keyid]) == keyid, "the keyid is not the key's")
    keys, thresholds = {}, {}
    for role in ("root", "index"):
        rule = roles.get(role)
        need(isinstance(rule, dict), "a role is an object")
        keyids = items(rule, "keyids", 64)
        need(all(isinstance(one, str) and one in public for one in keyids), "a role names unknown keys")
        need(len(set(keyids)) == len(keyids), "a role names a key twice")
        keys[role] = {keyid: public[keyid] for keyid in keyids}
        thresholds[role] = number(rule, "threshold", 1, len(keyids))
    return Root(document, row.get("signatures"), version, keys, thresholds, number(document, "index_epoch"))


# 7. Index


def check_document(signed: dict[str, Any]) -> None:
    read_time(signed.get("issued"))
    for mirror in items(signed, "mirrors", 32):
        web_address(mirror)
    if (dht := signed.get("dht")) is not None:
        need(isinstance(dht, dict), "dht is an object")
        hex_digest(dht.get("key"), 64)
        need(len(text(dht, "salt", 64).encode()) <= 64, "a salt of more than 64 bytes")
    rows = items(signed, "entries", 2_000_000)
    need(all(one < other for one, other in itertools.pairwise(map(entry_order, rows))), "not sorted, or repeated")
    listed = [check_entry(row) for row in rows if is_known(row)]
    withdrawn = []
    for row in items(signed, "withdrawn", 200_000):
        need(isinstance(row, dict), "an object")
        withdrawn.append((full_name(row), hex_digest(row.get("commit"), 40)))
        text(row, "reason", 1000)
    need(len(set(withdrawn)) == len(withdrawn), "withdrawn twice")
    need(not set(withdrawn) & set(listed), "listed and withdrawn")


def entry_order(row: Any) -> tuple[bytes, bytes, bytes, int]:
    need(isinstance(row, dict), "an entry is an object")
    texts = [text(row, name, 300, 1) for name in ("repo", "commit", "repo_type")]
    need(all(" " <= character <= "~" for one in texts for character in one), "not printable ASCII")
    return texts[0].encode(), texts[1].encode(), texts[2].encode(), number(row, "recipe", 1)


def is_known(row: dict[str, Any]) -> bool:
    whole = row["repo_type"] == "model" or set(row) >= _ENTRY
    return row["repo_type"] in KINDS and row["recipe"] == 1 and whole


_ENTRY = {
    "repo", "repo_type", "commit", "size", "files", "piece_length", "recipe", "infohash_v1", "infohash_v2", "magnet",
    "manifest_sha256", "provenance", "torrent", "web_seeds", "license", "added", "upstream",
}  # fmt: skip


def check_entry(row: Any) -> tuple[str, str]:
    repo, commit = full_name(row), hex_digest(row.get("commit"), 40)
    size = number(row, "size")
    constants(row, recipe=1, piece_length=piece_length(size), torrent=f"{site_path(row)}/{commit}.torrent")
    number(row, "files", 1, 1_000_000)
    for name, digits in (("infohash_v1", 40), ("infohash_v2", 64), ("manifest_sha256", 64)):
        hex_digest(row.get(name), digits)
    need(row.get("provenance") in ["proven", "unproven"], "provenance")
    need(row.get("upstream") in ["present", "gone", "unknown"], "upstream")
    need(row.get("license") is None or text(row, "license", 200) is not None, "license")
    read_time(row.get("added"))
    seeds = [web_address(url) for url in items(row, "web_seeds", 32)]
    need(len(set(seeds)) == len(seeds), "a web seed twice")
    if "path_seeds" in row:
        paths = [web_address(url) for url in items(row, "path_seeds", 32)]
        need(len(set(paths)) == len(paths) and all(url.endswith("/") for url in paths), "path seeds")
    check_magnet(text(row, "magnet", 16384), row, f"{repo}@{commit}", size, seeds)
    return repo, commit


def check_magnet(magnet: str, row: dict[str, Any], name: str, size: int, seeds: list[str]) -> None:
    need(magnet.startswith("magnet:?"), "not a magnet link")
    found: dict[str, list[str]] = {}
    for pair in magnet.removeprefix("magnet:?").split("&"):
        key, _, value = pair.partition("=")
        plain = re.sub(r"\.[0-9]+$", "", key.lower())
        if plain in {"xt", "dn", "xl", "ws", "xs", "tr", "x.pe"}:
            need(key == plain and value, "another spelling, or no value")
        need(not re.search(r"%(?![0-9A-Fa-f]{2})", value), "a broken escape")
        try:
            found.setdefault(key, []).append(unquote_to_bytes(value).decode())
        except UnicodeDecodeError as error:
            raise RefusedError("not UTF-8") from error
    topics = set(found.get("xt", []))
    need(topics == {f"urn:btih:{row['infohash_v1']}", f"urn:btmh:1220{row['infohash_v2']}"}, "other infohashes")
    need(strip(row["infohash_v1"]) and strip(row["infohash_v2"]), "an infohash of zeros")
    need(set(found.get("dn", [])) == {name}, "another name")
    need(set(found.get("xl", [])) == {str(size)}, "another size")
    need(found.get("ws", []) == seeds, "other web seeds")
    need("x.pe" not in found, "a peer")
    for key, schemes in (("xs", {"http", "https"}), ("tr", {"http", "https", "udp", "ws", "wss"})):
        for url in found.get(key, []):
            need(is_url(url, schemes), f"no address in {key}")


def is_url(url: str, schemes: set[str]) -> bool:
    if len(url) > 2048 or not re.fullmatch(r"""[^\x00-\x20\x7f-\U0010ffff"<>\\^`{|}]+""", url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return False


def strip(digits: str) -> str:
    return digits.strip("0")


# 8. Acceptance


@dataclass(frozen=True)
class Reader:
    """What is trusted of a publisher. `pinned` None: a file is only checked against itself."""

    pinned: str | None
    roots: tuple[Root, ...] = ()
    position: tuple[int, int] | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Accepted:
    reader: Reader
    signers: list[str]


def accept(data: bytes, reader: Reader) -> Accepted:
    """Accept an index file, or raise `RefusedError` with the number of the step."""
    step = 1
    try:
        outer = read_json(data)
        need(isinstance(outer, dict), "an object")
        roots = [read_root(row) for row in items(outer, "roots", 256)]
        need(roots, "no root")
        signed = outer.get("signed")
        need(isinstance(signed, dict), "no index")
        check_header(signed)
        step = 2
        chain = begin(roots[0], reader)
        step = 3
        for old, new in itertools.pairwise(roots):
            follow(old, new)
        chain = (*chain, *roots)
        known = {root.version: root for root in reader.roots}
        need(all(known.get(root.version, root).digest == root.digest for root in chain), "another root is trusted")
        step = 4
        last = chain[-1]
        need(last.version >= max(known, default=0), "an older root than the trusted one")
        by = signers("index", signed, outer.get("signatures"), last.keys["index"])
        need(len(by) >= last.thresholds["index"], "too few signatures")
        step = 5
        need(signed["publisher"] == chain[0].digest, "of another publisher")
        need(signed["root_version"] == last.version and signed["epoch"] == last.epoch, "under another root")
        step = 6
        position, digest = (signed["epoch"], signed["version"]), sha256(jcs(signed))
        check_place(reader, position, digest, signed.get("previous"))
        step = 7
        check_document(signed)
    except RefusedError as refusal:
        raise RefusedError(str(refusal), step) from refusal
    kept = tuple(known.get(root.version, root) for root in chain)
    labels = [
        last.document["keys"][keyid]["label"] for keyid in last.document["roles"]["index"]["keyids"] if keyid in by
    ]
    return Accepted(Reader(chain[0].digest, kept, position, digest), labels)


def accept_delta(data: bytes, base: dict[str, Any], reader: Reader) -> tuple[Accepted, dict[str, Any]]:
    """Make the newer index from a delta and the older `signed`, and accept it like a file; return it too."""
    try:
        outer = read_delta(data)
        need(outer["from"] == sha256(jcs(base)), "from another index")
    except RefusedError as refusal:
        raise RefusedError(str(refusal), 1) from refusal
    signed, changed = outer["signed"], outer["changed"]
    places, removed = ([entry_order(row) for row in outer[name]] for name in ("changed", "removed"))
    rows = {place: row for row in base["entries"] if (place := entry_order(row)) not in removed}
    rows |= dict(zip(places, changed, strict=True))
    signed = {**signed, "entries": [rows[place] for place in sorted(rows)]}
    file = {"roots": outer.get("roots"), "signed": signed, "signatures": outer.get("signatures")}
    return accept(json.dumps(file).encode(), reader), signed


def read_delta(data: bytes) -> dict[str, Any]:
    """Section 7.1: parse a delta, and check what can be checked without the older index."""
    outer = read_json(data, 16 << 20)
    need(isinstance(outer, dict), "an object")
    constants(outer, type="index-delta", spec=1)
    hex_digest(outer.get("from"), 64)
    hex_digest(outer.get("to"), 64)
    number(outer, "steps", 1, 10)
    signed = outer.get("signed")
    need(isinstance(signed, dict) and "entries" not in signed, "a header without entries")
    for name in ("changed", "removed"):
        rows = items(outer, name, 100_000)
        places = [entry_order(row) for row in rows]
        need(all(one < other for one, other in itertools.pairwise(places)), "not sorted, or repeated")
        for row in rows:
            if name == "changed" and is_known(row):
                check_entry(row)
    return dict(outer)


def bundle_files(site: dict[str, bytes]) -> dict[str, bytes]:
    """Section 10: return the files of a site that are in the bundle of its index."""
    signed = read_json(site["index.json"])["signed"]
    kept = {"index.json", *(row["torrent"] for row in signed["entries"] if is_known(row))}
    leading: list[tuple[int, str, str]] = []
    for place, data in site.items():
        if place.startswith("delta/") and place not in kept:
            with contextlib.suppress(RefusedError):
                delta = read_delta(data)
                if place == f"delta/{delta['from']}.json" and delta["to"] == sha256(jcs(signed)):
                    leading.append((delta["steps"], delta["from"], place))
    deltas: list[str] = []
    left = min(16 << 20, len(site["index.json"]))
    for _, _, place in sorted(leading)[:10]:
        left -= len(site[place])
        if left < 0:
            break
        deltas.append(place)
    with contextlib.suppress(RefusedError):
        paths([*kept, *deltas])
        kept.update(deltas)
    return {place: site[place] for place in kept}


def check_header(signed: dict[str, Any]) -> None:
    constants(signed, type="index", spec=1)
    hex_digest(signed.get("publisher"), 64)
    for name, least in (("root_version", 1), ("epoch", 0), ("version", 1)):
        number(signed, name, least)
    need(signed.get("previous") is None or hex_digest(signed["previous"], 64), "previous is a digest")


def begin(first: Root, reader: Reader) -> tuple[Root, ...]:
    """Step 2; return the trusted roots before the first one."""
    if first.version == 1:
        need(reader.pinned in {None, first.digest}, "root 1 of another publisher")
        need(first.met_by("root", "root", first.document, first.signatures), "root 1 is not signed by its own keys")
        return ()
    trusted = {root.version: root.digest for root in reader.roots}
    need(trusted.get(first.version) == first.digest, "the chain starts at a root that is not trusted")
    return tuple(root for root in reader.roots if root.version < first.version)


def follow(old: Root, new: Root) -> None:
    """Step 3."""
    need(new.version == old.version + 1, "a root is missing")
    need(new.document["previous"] == old.digest, "it does not name its predecessor")
    need(old.met_by("root", "root", new.document, new.signatures), "too few old keys signed")
    need(new.met_by("root", "root", new.document, new.signatures), "too few new keys signed")
    need(new.epoch >= old.epoch, "the epoch falls")


def check_place(reader: Reader, position: tuple[int, int], digest: str, previous: Any) -> None:
    """Step 6."""
    if reader.position is None:
        return
    need(position >= reader.position, "older than the last accepted")
    if position == reader.position:
        need(digest == reader.digest, "equivocation")
    if position == (reader.position[0], reader.position[1] + 1):
        need(previous == reader.digest, "another history")


# 9. Published site


def read_sums(sums: bytes, envelope: Any, signed: dict[str, Any], last: Root, kind: str = "sums") -> dict[str, str]:
    """Return the SHA-256 of each file by path, from the sums beside an accepted index, whose newest root is `last`.

    `kind`: `sums` of a site, `file-sums` of the files themselves.
    """
    need(isinstance(envelope, dict) and isinstance(envelope.get("signed"), dict), "an envelope is an object")
    document = envelope["signed"]
    constants(document, type=kind, spec=1, **{name: signed[name] for name in ("publisher", "epoch", "version")})
    need(last.met_by("index", kind, document, envelope.get("signatures")), "too few signatures")
    need(hex_digest(document.get("sha256"), 64) == sha256(sums), "other sums")
    found = {}
    for line in sums.decode().split("\n")[:-1]:
        found[line[66:]] = hex_digest(line[:64], 64)
        need(line[64:66] == "  ", "a line of other shape")
    need(list(found) == sorted(found), "not sorted")
    return found


# 10. Without any host


def item_signed(salt: bytes, sequence: int, value: bytes) -> bytes:
    """Return the bytes that BEP 44 signs for a mutable item; `value` is bencoded."""
    return (b"4:salt" + bencode(salt) if salt else b"") + b"3:seq" + bencode(sequence) + b"1:v" + value


def item_target(key: bytes, salt: bytes) -> str:
    return hashlib.sha1(key + salt).hexdigest()


def board_key(publisher: str) -> bytes:
    """Return the public key of a publisher's notice boards."""
    seed = hashlib.sha256(b"p2pqwen notice board 2\n" + bytes.fromhex(publisher)).digest()
    scalar = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    return encode_point(times(scalar & (2**254 - 8) | 2**254, BASE))


def read_board(value: bytes, publisher: str, stored: dict[str, bytes]) -> tuple[list[str], list[tuple[bytes, bytes]]]:
    """Return the digests of a board's roots, and the addresses that they vouch for; `stored`: immutable items."""
    board, _ = bdecode(value)
    rows = board.get(b"r")
    if rows is None:
        targets = [board[b"h"][at : at + 20].hex() for at in range(0, len(board[b"h"]), 20)]
        need(len(targets) <= 6, "too many parts")
        parts = [stored[target] for target in targets]
        need(
            all(hashlib.sha1(part).hexdigest() == one for one, part in zip(targets, parts, strict=True)), "a wrong part"
        )
        rows, _ = bdecode(b"".join(bdecode(part)[0] for part in parts))
    roots: list[Root] = []
    try:
        for row in rows:
            roots.append(unpack_root(row, roots[-1] if roots else None))
        need(roots, "no roots")
        begin(roots[0], Reader(publisher))
        for old, new in itertools.pairwise(roots):
            follow(old, new)
    except RefusedError:
        return [], []
    keys = {key for root in roots for key in public_keys(root).values()}
    named = [(key, salt) for key, salt in board[b"a"][:4] if key in keys]
    return [root.digest for root in roots], named


def public_keys(root: Root) -> dict[str, bytes]:
    """Return every key of a root by its keyid, in the order of their numbers."""
    rows = root.document["keys"]
    return {keyid: read_base64(rows[keyid]["public"]) for keyid in sorted(rows)}


def unpack_root(row: dict[bytes, Any], before: Root | None) -> Root:
    document = read_json(row[b"d"]) if b"d" in row else unpack_document(row, before)
    numbered = list(dict.fromkeys([*sorted(document["keys"]), *(public_keys(before) if before else [])]))
    signatures = [
        {"keyid": numbered[number], "sig": base64.b64encode(signature).decode()}
        for number, signature in zip(row[b"s"][::2], row[b"s"][1::2], strict=True)
    ]
    return read_root({"signed": document, "signatures": signatures})


def unpack_document(row: dict[bytes, Any], before: Root | None) -> dict[str, Any]:
    labels = {sha256(key): (key, label) for key, label in zip(row[b"k"][::2], row[b"k"][1::2], strict=True)}
    numbered = sorted(labels)
    return {
        "type": "root",
        "spec": 1,
        "version": before.version + 1 if before else 1,
        "previous": before.digest if before else None,
        "name": row[b"n"].decode(),
        "keys": {
            keyid: {"public": base64.b64encode(key).decode(), "label": label.decode()}
            for keyid, (key, label) in labels.items()
        },
        "roles": {
            name: {"keyids": [numbered[number] for number in row[short][1:]], "threshold": row[short][0]}
            for name, short in (("root", b"r"), ("index", b"i"))
        },
        "index_epoch": row.get(b"e", 0),
    }
