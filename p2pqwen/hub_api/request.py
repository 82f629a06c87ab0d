"""Parse a request to the Hub from its path alone.

Sources: the URLs that huggingface_hub 2.4, @huggingface/hub 2.17, git with Git LFS, llama.cpp and Ollama build. Paths
are taken percent-encoded, so an encoded slash stays inside its segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from p2pqwen.values.snapshot_id import HUB_KINDS, RepoKind

Kind = Literal[
    "list", "info", "tree", "refs", "paths-info", "resolve", "raw", "resolve-cache", "git", "lfs-batch", "lfs-object",
    "registry", "other",
]  # fmt: skip
MAX_PATH = 8192
"""Characters of the longest path that is parsed."""
_PLURALS = {f"{kind}s": kind for kind in HUB_KINDS}
_BELOW_A_REPOSITORY = (["revision"], ["tree"], ["refs"], ["paths-info"])
_FILES: tuple[Literal["resolve", "raw"], ...] = ("resolve", "raw")
_GIT = {("info", "refs"): "git", ("git-upload-pack",): "git", ("info", "lfs", "objects", "batch"): "lfs-batch"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A parsed request: `repo` as written in the URL, `revision` and `path` if the URL has them.

    `path` is a file or folder of the repository; in git and registry requests, whatever follows the repository.
    """

    kind: Kind
    repo: str = ""
    repo_kind: RepoKind = RepoKind.MODEL
    revision: str = ""
    path: str = ""


_OTHER = Asked("other")


def parse_path(raw_path: str) -> Asked:
    """Parse a request's path; `raw_path` is still percent-encoded."""
    if len(raw_path) > MAX_PATH:
        return _OTHER
    parts = [unquote(part) for part in raw_path.split("/")[1:]] or [""]
    if parts[:1] == ["v2"]:
        return Asked("registry", repo="/".join(parts[1:3]), path="/".join(parts[3:]))
    if parts[:1] == ["api"]:
        return _parse_api(parts[1:])
    kind = _PLURALS.get(parts[0], RepoKind.MODEL)
    return _parse_repository(parts if kind is RepoKind.MODEL else parts[1:], kind)


def _parse_api(parts: list[str]) -> Asked:
    cached = parts[:1] == ["resolve-cache"]
    plural, *rest = parts[1:] if cached else parts or [""]
    kind = _PLURALS.get(plural)
    if kind is None:
        return _OTHER
    if cached:
        whole = len(rest) > 3
        return Asked("resolve-cache", "/".join(rest[:2]), kind, rest[2], "/".join(rest[3:])) if whole else _OTHER
    if not any(rest):
        return Asked("list", repo_kind=kind)
    at = 1 if rest[1:2] in _BELOW_A_REPOSITORY else 2  # old names have no owner
    return _parse_api_of("/".join(rest[:at]), kind, rest[at:])


def _parse_api_of(repo: str, kind: RepoKind, rest: list[str]) -> Asked:
    match rest:
        case [] | [""]:
            return Asked("info", repo, kind, "main")
        case ["revision", revision]:
            return Asked("info", repo, kind, revision)
        case ["refs"]:
            return Asked("refs", repo, kind)
        case ["tree", revision, *folders]:
            return Asked("tree", repo, kind, revision, "/".join(folders).strip("/"))
        case ["paths-info", revision]:
            return Asked("paths-info", repo, kind, revision)
    return _OTHER


def _parse_repository(parts: list[str], kind: RepoKind) -> Asked:
    for at in (2, 1):
        repo, rest = "/".join(parts[:at]), parts[at:]
        if rest[:1] and rest[0] in _FILES and len(rest) > 2:
            return Asked("raw" if rest[0] == "raw" else "resolve", repo, kind, rest[1], "/".join(rest[2:]))
        found = _GIT.get(tuple(rest))
        if found is not None:
            return Asked("git" if found == "git" else "lfs-batch", repo.removesuffix(".git"), kind, path="/".join(rest))
        if rest[:3] == ["info", "lfs", "objects"] and len(rest) == 4:
            return Asked("lfs-object", repo.removesuffix(".git"), kind, path=rest[3])
    return _OTHER
