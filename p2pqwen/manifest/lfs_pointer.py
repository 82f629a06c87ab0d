"""Git LFS pointer files: the few lines that git holds in place of a large file (git-lfs docs/spec.md).

A file has exactly one canonical pointer, so its git blob id follows from the content's SHA-256 and size. But git-lfs
accepts other forms too, and so does `parse_pointer`: a manifest that has the pointer in place of the content still
matches the commit's tree, and only the content tells the two apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from p2pqwen.errors import FormatError
from p2pqwen.manifest.git_object import blob_hasher
from p2pqwen.values.digest import GitOid, Sha256

MAX_POINTER_SIZE = 1024  # docs/spec.md: "less than 1024 bytes"; git-lfs reads up to 1024
# The two older version lines are aliases that git-lfs still reads.
_VERSIONS = frozenset(
    {"https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1", "http://git-media.io/v/2"}
)
_KEYS = ("version", "oid", "size")
_EXTENSION = re.compile(r"ext-\d-\w+", re.ASCII)
_OID = re.compile(r"sha256:([0-9A-Za-z]{64})", re.ASCII)
_SIZE = re.compile(r"\+?[0-9]{1,30}", re.ASCII)
_MAX_SIZE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Pointer:
    """The content of a pointer file: the SHA-256 and the size in bytes of the file that it names."""

    oid: str
    size: int

    def __str__(self) -> str:
        return f"an LFS pointer to {self.size} bytes with SHA-256 {self.oid}"


def pointer_bytes(sha256: Sha256, size: int) -> bytes:
    """Return the canonical pointer of a file with this SHA-256 and size in bytes."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def pointer_oid(sha256: Sha256, size: int) -> GitOid:
    """Return the git blob id of the canonical pointer.

    Its only variable bytes are the hex of a SHA-256 and a number, too few for a collision attack.
    """
    pointer = pointer_bytes(sha256, size)
    hasher = blob_hasher(len(pointer))
    hasher.update(pointer)
    return GitOid(hasher.digest())


def check_odd_pointer(text: str, sha256: Sha256, size: int) -> None:
    """Raise `FormatError` unless a text is a pointer to this content in a non-canonical spelling."""
    found = parse_pointer(text.encode())
    if found != Pointer(str(sha256), size):
        raise FormatError("LFS pointer", expected=Pointer(str(sha256), size), got=found or repr(text[:80]))
    if text.encode() == pointer_bytes(sha256, size):
        raise FormatError("LFS pointer is given though it is the canonical one", expected="no `pointer`")


def parse_pointer(data: bytes) -> Pointer | None:
    """Parse a pointer file, None if `data` is not one (SPEC section 2).

    As lenient as git-lfs (lfs/pointer.go, `decodeKVData`): it accepts surrounding blanks, blank lines, CR before LF, a
    missing final newline, extensions, and hex digits in any case.
    """
    if len(data) > MAX_POINTER_SIZE or b"version" not in data:  # fast path: nearly every file ends here
        return None
    found: dict[str, str] = {}
    for line in data.decode(errors="replace").strip().split("\n"):
        text = line.removesuffix("\r")
        if not text:
            continue
        key, blank, value = text.partition(" ")
        if not blank or len(found) == len(_KEYS):
            return None
        if key == _KEYS[len(found)]:
            found[key] = value
        elif _EXTENSION.match(key) is None:
            return None
    if len(found) < len(_KEYS) or found["version"] not in _VERSIONS:
        return None
    oid, size = _OID.match(found["oid"]), _SIZE.fullmatch(found["size"])
    if oid is None or size is None or int(size[0]) > _MAX_SIZE:
        return None
    return Pointer(oid[1].lower(), int(size[0]))
