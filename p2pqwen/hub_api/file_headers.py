"""The headers of an answer to HEAD or GET of a file, as huggingface_hub and similar clients read them.

`ETag` and `X-Repo-Commit` name the cache's blob and snapshot. `X-Linked-Etag` and `X-Linked-Size` give the same for an
LFS file that is served directly, without a redirect. There are no `X-Xet-` headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from p2pqwen.hub_api.listing import HubFile, etag
from p2pqwen.values.digest import CommitId


def file_headers(file: HubFile, commit: CommitId) -> Mapping[str, str]:
    """Return the headers of a file of a commit, without its length."""
    tag = f'"{etag(file)}"'
    name = file.path.rsplit("/", 1)[-1]
    headers = {
        "X-Repo-Commit": str(commit),
        "ETag": tag,
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name)}",
    }
    if file.sha256:
        headers |= {"X-Linked-Etag": tag, "X-Linked-Size": str(file.size)}
    return headers


def is_unchanged(if_none_match: str | None, file: HubFile) -> bool:
    """Tell whether a client has the file already, by its `If-None-Match` (RFC 9110, section 13.1.2)."""
    if if_none_match is None:
        return False
    given = [one.strip().removeprefix("W/") for one in if_none_match.split(",")]
    return "*" in given or f'"{etag(file)}"' in given
