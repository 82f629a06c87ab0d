"""Git LFS pointer files: the few lines that git holds in place of a large file (git-lfs docs/spec.md).

A file has exactly one canonical pointer, so its git blob id follows from the content's SHA-256 and size.
"""

from __future__ import annotations

import re

from p2pqwen.manifest.git_object import blob_oid
from p2pqwen.values.digest import GitOid, Sha256

MAX_POINTER_SIZE = 1024  # docs/spec.md: "less than 1024 bytes"
# The two older version lines are aliases that git-lfs still reads.
_POINTER = re.compile(
    rb"version (?:https://git-lfs\.github\.com/spec/v1|https://hawser\.github\.com/spec/v1|http://git-media\.io/v/2)\n"
    rb"(?:ext-[^\n]*\n)*oid sha256:([0-9a-f]{64})\nsize (0|[1-9][0-9]{0,18})\n?"
)


def pointer_bytes(sha256: Sha256, size: int) -> bytes:
    """Return the canonical pointer of a file with this SHA-256 and size in bytes."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def pointer_oid(sha256: Sha256, size: int) -> GitOid:
    """Return the git blob id of the canonical pointer."""
    return blob_oid(pointer_bytes(sha256, size))


def parse_pointer(data: bytes) -> tuple[Sha256, int] | None:
    """Return the SHA-256 and size that a pointer file names, None if `data` is not one.

    Canonical or not, so that a file which was never smudged is recognised.
    """
    if len(data) > MAX_POINTER_SIZE:
        return None
    match = _POINTER.fullmatch(data.replace(b"\r\n", b"\n"))
    return None if match is None else (Sha256.parse(match[1].decode()), int(match[2]))
