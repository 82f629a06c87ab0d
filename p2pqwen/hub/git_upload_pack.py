"""The reading half of a git server: protocol version 2 over smart HTTP, with partial clone (gitprotocol-v2(5)).

It supports `git clone`, a shallow fetch of any one commit, and the filters `tree:0` and `blob:none`. Large files are in
LFS, so a repository is small, and each request's pack is made in memory. A commit whose parents are missing here is
announced as shallow, as git does for a shallow repository.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Literal, Protocol

from dulwich.object_format import DEFAULT_OBJECT_FORMAT
from dulwich.objects import Commit, ObjectID, ShaFile, Tag, Tree
from dulwich.pack import write_pack_objects
from dulwich.protocol import pkt_line

from p2pqwen.values.digest import CommitId

FilterPolicy = Literal["allow", "ignore", "refuse"]
"""`ignore` does not advertise filters; `refuse` advertises them and then answers with an error."""

_DELIMITER = b"0001"
_FLUSH = b"0000"
_SIDEBAND_DATA = b"\x01"
_SIDEBAND_SIZE = 65515
_UNBOUNDED = 1 << 31


class GitObjects(Protocol):
    """Objects by their ids."""

    def __contains__(self, oid: ObjectID, /) -> bool:
        """Tell whether there is such an object."""

    def __getitem__(self, oid: ObjectID, /) -> ShaFile:
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


def upload_pack(repository: GitRepository, request: bytes, policy: FilterPolicy) -> bytes:
    """Answer `POST git-upload-pack`: the command `ls-refs` or `fetch`; raises `ValueError` for a malformed request."""
    command, arguments = _parse(request)
    if command == b"ls-refs":
        return _list_refs(repository, arguments)
    if command == b"fetch":
        return _fetch(repository, arguments, policy)
    return pkt_line(b"ERR unknown command\n")


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


def _fetch(repository: GitRepository, arguments: list[bytes], policy: FilterPolicy) -> bytes:
    wants = [ObjectID(line.removeprefix(b"want ")) for line in arguments if line.startswith(b"want ")]
    spec = next((line.removeprefix(b"filter ") for line in arguments if line.startswith(b"filter ")), None)
    deepen = next((int(line.removeprefix(b"deepen ")) for line in arguments if line.startswith(b"deepen ")), None)
    if spec is not None and policy != "allow":
        return pkt_line(b"ERR filtering not recognized\n")
    if b"done" not in arguments:
        return pkt_line(b"acknowledgments\n") + pkt_line(b"NAK\n") + _FLUSH
    if missing := [want for want in wants if want not in repository.objects]:
        return pkt_line(b"ERR upload-pack: not our ref " + missing[0] + b"\n")
    found, boundary = _closure(repository, wants, deepen or _UNBOUNDED, spec)
    shallow = b""
    if deepen is not None or boundary:
        shallow = pkt_line(b"shallow-info\n") + b"".join(pkt_line(b"shallow " + oid + b"\n") for oid in boundary)
        shallow += _DELIMITER
    pack = BytesIO()
    write_pack_objects(pack, [(item, None) for item in found], DEFAULT_OBJECT_FORMAT, deltify=False)
    return shallow + pkt_line(b"packfile\n") + b"".join(_sideband(pack.getvalue())) + _FLUSH


def _sideband(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _SIDEBAND_SIZE):
        yield pkt_line(_SIDEBAND_DATA + data[start : start + _SIDEBAND_SIZE])


def _closure(
    repository: GitRepository, wants: list[ObjectID], depth: int, spec: bytes | None
) -> tuple[list[ShaFile], list[ObjectID]]:
    """Return the objects reachable from the wants within the depth, and the commits where the history was cut."""
    store = repository.objects
    found: dict[ObjectID, ShaFile] = {}
    boundary: list[ObjectID] = []
    pending = [(want, 1) for want in wants]
    while pending:
        oid, level = pending.pop()
        if oid in found:
            continue
        item = found[oid] = store[oid]
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
            pending += [
                (entry.sha, level) for entry in item.iteritems() if spec != b"blob:none" or entry.mode & 0o040000
            ]
    return list(found.values()), boundary
