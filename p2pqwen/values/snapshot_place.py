"""A snapshot's places: its path on a Hub, its folders in a Hugging Face cache and a library, the name of its lock.

Models are at the top, as on the Hub. Repositories of other kinds are below the kind's plural (`datasets/org/name`), and
those of another origin below a folder that cannot be an organisation (`@modelscope/org/name`).
Sources: the Hub's URLs and huggingface_hub's `repo_folder_name` (file_download.py of 2.4.0).
"""

from __future__ import annotations

from p2pqwen.errors import FormatError
from p2pqwen.values.snapshot_id import HUB_KINDS, OriginName, RepoId, RepoKind, SnapshotId

_SEPARATOR = "--"
_PLURAL = {kind: f"{kind}s" for kind in RepoKind}


def hub_path(repo: RepoId) -> str:
    """Return a repository's path below a Hub's endpoint: `org/name`, `datasets/org/name`."""
    return repo.text if repo.kind.holds is RepoKind.MODEL else f"{_PLURAL[repo.kind.holds]}/{repo.text}"


def api_path(repo: RepoId) -> str:
    """Return a repository's path below `/api/` and `/api/resolve-cache/`: `models/org/name`, `datasets/org/name`."""
    return f"{_PLURAL[repo.kind.holds]}/{repo.text}"


def cache_folder(repo: RepoId) -> str:
    """Return the name of a repository's folder in a Hugging Face cache: `models--org--name`.

    For another origin, it is a name that no reader of the cache looks for.
    """
    return _SEPARATOR.join((_PLURAL[repo.kind], repo.org, repo.name))


def parse_cache_folder(name: str) -> RepoId | None:
    """Return the repository whose folder in a Hugging Face cache this is, or None."""
    plural, _, rest = name.partition(_SEPARATOR)
    kind = next((one for one in HUB_KINDS if _PLURAL[one] == plural), None)
    try:
        return None if kind is None else RepoId(rest.replace(_SEPARATOR, "/", 1), kind)
    except FormatError:
        return None


def kind_parts(kind: RepoKind) -> tuple[str, ...]:
    """Return the folder of a kind's organisations below a library's root: the root itself for the Hub's models."""
    origin = () if kind.origin is OriginName.HUB else (f"@{kind.origin}",)
    return origin if kind.holds is RepoKind.MODEL else (*origin, _PLURAL[kind.holds])


def library_parts(repo: RepoId) -> tuple[str, ...]:
    """Return the parts of a repository's folder below a library's root; a published site has the same."""
    return (*kind_parts(repo.kind), repo.org, repo.name)


def file_stem(snapshot: SnapshotId) -> str:
    """Return the name of a snapshot's lock and records: `org--name@<commit>`."""
    return f"{_SEPARATOR.join(library_parts(snapshot.repo))}@{snapshot.commit}"
