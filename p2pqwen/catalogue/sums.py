"""SHA256SUMS over the files of a published site, and the document that is signed for it (SPEC section 9)."""

from __future__ import annotations

from collections.abc import Mapping

from p2pqwen.index.acceptance import Accepted
from p2pqwen.values.digest import Sha256
from p2pqwen.values.strict_json import JsonObject

SUMS_TYPE = "sums"


def sums_text(hashed: Mapping[str, str]) -> bytes:
    """Return the lines that `sha256sum -c` reads, sorted by path; `hashed` is the SHA-256 of each path, in hex."""
    return "".join(f"{hashed[path]}  {path}\n" for path in sorted(hashed)).encode()


def sums_document(accepted: Accepted, digest: Sha256) -> JsonObject:
    """Return what the index keys sign for the sums with this digest, beside an index that was accepted."""
    return {
        "type": SUMS_TYPE,
        "spec": 1,
        "publisher": str(accepted.publisher),
        "epoch": accepted.document.epoch,
        "version": accepted.document.version,
        "sha256": str(digest),
    }
