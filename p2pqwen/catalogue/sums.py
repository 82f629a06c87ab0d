"""SHA256SUMS over the files of a published site, and the document that is signed for it (SPEC section 9)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from p2pqwen.errors import FormatError
from p2pqwen.index.acceptance import Accepted
from p2pqwen.values.digest import Sha256
from p2pqwen.values.strict_json import JsonObject

SUMS_TYPE = "sums"
TREE_TYPE = "file-sums"
"""The signed type of a mirror tree's sums; it differs so that neither document passes for the other."""
_LINE = re.compile(r"[0-9a-f]{64}  [^\n]+", re.ASCII)


def sums_text(hashed: Mapping[str, str]) -> bytes:
    """Return the lines that `sha256sum -c` reads, sorted by path; `hashed` is the SHA-256 of each path, in hex."""
    return "".join(f"{hashed[path]}  {path}\n" for path in sorted(hashed)).encode()


def read_sums(data: bytes) -> dict[str, str]:
    """Return the SHA-256 of each path; raises `FormatError`. Callers must check that paths stay inside."""
    lines = data.decode("utf-8", "replace").split("\n")[:-1]
    if wrong := next((line for line in lines if not _LINE.fullmatch(line)), None):
        raise FormatError("a line of SHA256SUMS", expected="64 hex digits, two blanks and a path", got=wrong[:100])
    return {line[66:]: line[:64] for line in lines}


def sums_document(accepted: Accepted, digest: Sha256, kind: str = SUMS_TYPE) -> JsonObject:
    """Return the document that the index keys sign for the sums with this digest, for an accepted index."""
    return {
        "type": kind,
        "spec": 1,
        "publisher": str(accepted.publisher),
        "epoch": accepted.document.epoch,
        "version": accepted.document.version,
        "sha256": str(digest),
    }
