"""The reading half of a git server: protocol version 2 over smart HTTP, with partial clone (gitprotocol-v2(5)).

It supports `git clone`, a shallow fetch of any one commit, and the filters `tree:0` and `blob:none`. A pack is streamed
while it is made: a few blobs are open, and none is in memory. A commit whose parents are missing here is announced as
shallow, as git does for a shallow repository.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from itertools import islice
from typing import Literal, Protocol

from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tag, Tree
from dulwich.pack import pack_object_header
from dulwich.protocol import pkt_line

from p2pqwen.errors import P2pqwenError
from p2pqwen.values.digest import CommitId

FilterPolicy = Literal["allow", "ignore", "refuse"]
"""`ignore` does not advertise filters; `refuse` advertises them and then answers with an error."""

_DELIMITER = b"0001"
_FLUSH = b"0000"
_SIDEBAND_DATA, _SIDEBAND_ERROR = b"\x01", b"\x03"
_SIDEBAND_SIZE = 65515
_UNBOUNDED = 1 << 31
_OID = re.compile(rb"[0-9a-f]{40}", re.ASCII)
_OPEN_AHEAD = 32
_SPEED = 1  # of zlib: large files outside LFS are text, or hardly compress
_MESSAGE = 1000  # bytes


class Content(Protocol):
    """The content of a blob, being read."""

    def pieces(self) -> Iterator[bytes]:
        """Yield it from start to end; raises `P2pqwenError`, also if it is not the blob's."""

    def close(self) -> None:
        """Stop reading."""


class LateBlob(Protocol):
    """A blob that is read while it is sent."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def open(self) -> Content:
        """Start to read it, which may start a download; raises `P2pqwenError`."""


class GitObjects(Protocol):
    """Objects by their ids."""

    def __contains__(self, oid: ObjectID, /) -> bool:
        """Tell whether there is such an object."""

    def __getitem__(self, oid: ObjectID, /) -> ShaFile | LateBlob:
        """Return an object; raises `KeyError`."""


class GitRepository(Protocol):
    """A repository to serve: its refs and its objects."""

    @property
    def branches(self) -> Mapping[str, CommitId]:
        """Its branches; HEAD is `main`."""

    @property
    def tags(self) -> Mapping[str, CommitId]:
        """Its tags, none of them annotated."""

    @property
    def objects(self) -> GitObjects:
        """Every object that its commits reach."""


def advertisement(policy: FilterPolicy) -> bytes:
    """Answer `GET info/refs?service=git-upload-pack`: what this server can do."""
    fetch = b"fetch=shallow\n" if policy == "ignore" else b"fetch=shallow filter\n"
    capabilities = (b"version 2\n", b"agent=p2pqwen\n", b"ls-refs\n", fetch, b"object-format=sha1\n")
    return pkt_line(b"# service=git-upload-pack\n") + _FLUSH + b"".join(map(pkt_line, capabilities)) + _FLUSH


def upload_pack(repository: GitRepository, request: bytes, policy: FilterPolicy) -> Iterator[bytes]:
    """Answer `POST git-upload-pack`: the command `ls-refs` or `fetch`; raises `ValueError` for a malformed request.

    If a blob cannot be read, the answer ends with an error that git shows.
    """
    command, arguments = _parse(request)
    if command == b"ls-refs":
        return iter((_list_refs(repository, arguments),))
    if command == b"fetch":
        return _fetch(repository, arguments, policy)
    return iter((error_line("unknown command"),))


def error_line(message: str) -> bytes:
    """Return an answer that makes git fail with this message (gitprotocol-pack(5))."""
    return pkt_line(b"ERR " + _line(message) + b"\n")


def _parse(request: bytes) -> tuple[bytes, list[bytes]]:
    packets: list[list[bytes]] = [[]]
    stream = BytesIO(request)
    while header := stream.read(4):
        length = int(header, 16)  # `ValueError` for a malformed request
        if length < 4:
            packets.append([])
        else:
            packets[-1].append(stream.read(length - 4).rstrip(b"\n"))
    command = next((line.removeprefix(b"command=") for line in packets[0] if line.startswith(b"command=")), b"")
    return command, packets[1] if len(packets) > 1 else []


def _list_refs(repository: GitRepository, arguments: list[bytes]) -> bytes:
    prefixes = [line.removeprefix(b"ref-prefix ") for line in arguments if line.startswith(b"ref-prefix ")]
    refs = {f"refs/heads/{name}": commit for name, commit in repository.branches.items()}
    refs |= {f"refs/tags/{name}": commit for name, commit in repository.tags.items()}
    lines = []
    if "main" in repository.branches:
        suffix = b" symref-target:refs/heads/main" if b"symrefs" in arguments else b""
        lines.append((b"HEAD", str(repository.branches["main"]).encode(), suffix))
    lines += [(name.encode(), str(commit).encode(), b"") for name, commit in sorted(refs.items())]
    wanted = [line for line in lines if not prefixes or any(line[0].startswith(prefix) for prefix in prefixes)]
    return b"".join(pkt_line(commit + b" " + name + suffix + b"\n") for name, commit, suffix in wanted) + _FLUSH


def _fetch(repository: GitRepository, arguments: list[bytes], policy: FilterPolicy) -> Iterator[bytes]:
    wants = [_oid(line.removeprefix(b"want ")) for line in arguments if line.startswith(b"want ")]
    spec = next((line.removeprefix(b"filter ") for line in arguments if line.startswith(b"filter ")), None)
    deepen = next((int(line.removeprefix(b"deepen ")) for line in arguments if line.startswith(b"deepen ")), None)
    if spec is not None and policy != "allow":
        return iter((error_line("filtering not recognized"),))
    if b"done" not in arguments:
        return iter((pkt_line(b"acknowledgments\n") + pkt_line(b"NAK\n") + _FLUSH,))
    if missing := [want for want in wants if want not in repository.objects]:
        return iter((error_line(f"upload-pack: not our ref {missing[0].decode()}"),))
    found, boundary = _closure(repository, wants, deepen or _UNBOUNDED, spec)
    shallow = b""
    if deepen is not None or boundary:
        shallow = pkt_line(b"shallow-info\n") + b"".join(pkt_line(b"shallow " + oid + b"\n") for oid in boundary)
        shallow += _DELIMITER
    return _answer(shallow, _pack(repository.objects, found))


def _oid(text: bytes) -> ObjectID:
    if not _OID.fullmatch(text):
        raise ValueError(text[:_MESSAGE])
    return ObjectID(text)


def _line(message: str) -> bytes:
    shown = "".join(letter if letter.isprintable() else " " for letter in message)
    return shown.encode(errors="replace")[:_MESSAGE]


def _answer(shallow: bytes, pack: Iterator[bytes]) -> Iterator[bytes]:
    yield shallow + pkt_line(b"packfile\n")
    try:
        for part in _parts(pack):
            yield pkt_line(_SIDEBAND_DATA + part)
    except P2pqwenError as error:
        yield pkt_line(_SIDEBAND_ERROR + _line(error.message) + b"\n")
    yield _FLUSH


def _parts(data: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes, one packet's worth at a time."""
    held = bytearray()
    for piece in data:
        held += piece
        while len(held) >= _SIDEBAND_SIZE:
            yield bytes(held[:_SIDEBAND_SIZE])
            del held[:_SIDEBAND_SIZE]
    if held:
        yield bytes(held)


def _pack(objects: GitObjects, oids: list[ObjectID]) -> Iterator[bytes]:
    """Yield a pack of these objects, none of them as a delta (gitformat-pack(5)); raises `P2pqwenError`."""
    digest = hashlib.sha1(usedforsecurity=False)
    for piece in _entries(objects, oids):
        digest.update(piece)
        yield piece
    yield digest.digest()


def _entries(objects: GitObjects, oids: list[ObjectID]) -> Iterator[bytes]:
    yield b"PACK" + (2).to_bytes(4, "big") + len(oids).to_bytes(4, "big")
    waiting, opened = iter(oids), deque[_Opened]()
    try:
        while True:
            opened += (_Opened(objects[oid]) for oid in islice(waiting, _OPEN_AHEAD - len(opened)))
            if not opened:
                return
            yield from opened[0].entry()
            opened.popleft().close()
    finally:
        for one in opened:
            one.close()


class _Opened:
    """An object that is sent soon. A blob that is not here is requested now."""

    def __init__(self, item: ShaFile | LateBlob) -> None:
        if isinstance(item, ShaFile):
            data = item.as_raw_string()
            self._content, self._pieces = None, iter((data,))
            self._kind, self._size = item.type_num, len(data)
        else:
            self._content = item.open()
            self._pieces = self._content.pieces()
            self._kind, self._size = Blob.type_num, item.size

    def entry(self) -> Iterator[bytes]:
        yield bytes(pack_object_header(self._kind, None, self._size, DEFAULT_OBJECT_FORMAT))
        compress = zlib.compressobj(_SPEED)
        for piece in self._pieces:
            yield compress.compress(piece)
        yield compress.flush()

    def close(self) -> None:
        if self._content is not None:
            self._content.close()


def _closure(
    repository: GitRepository, wants: list[ObjectID], depth: int, spec: bytes | None
) -> tuple[list[ObjectID], list[ObjectID]]:
    """Return the objects reachable from the wants within the depth, and the commits where the history was cut.

    Blobs are not read: the tree says which objects they are.
    """
    store = repository.objects
    found: dict[ObjectID, None] = {}
    boundary: list[ObjectID] = []
    pending = [(want, 1) for want in wants]
    while pending:
        oid, level = pending.pop()
        if oid in found:
            continue
        found[oid] = None
        item = store[oid]
        if isinstance(item, Commit):
            if level < depth and all(parent in store for parent in item.parents):
                pending += [(parent, level + 1) for parent in item.parents]
            elif item.parents:
                boundary.append(oid)
            if spec != b"tree:0":
                pending.append((item.tree, level))
        elif isinstance(item, Tag):
            pending.append((item.object[1], level))
        elif isinstance(item, Tree):
            below = list(item.iteritems())
            if spec != b"blob:none":
                found.update((entry.sha, None) for entry in below if not entry.mode & 0o040000)
            pending += [(entry.sha, level) for entry in below if entry.mode & 0o040000]
    return list(found), boundary
