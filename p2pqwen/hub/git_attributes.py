"""Which files a repository keeps in LFS, by the rules in its own `.gitattributes` (gitattributes(5))."""

from __future__ import annotations

import io
from collections.abc import Iterable

from p2pqwen.errors import FormatError
from p2pqwen.values.repo_path import RepoPath


def lfs_paths(attributes: bytes, paths: Iterable[RepoPath]) -> frozenset[RepoPath]:
    """Return the paths whose `filter` is `lfs`; `attributes` is the content of the root `.gitattributes`.

    Do not pass empty files: git-lfs commits them unchanged, since the pointer of an empty file is empty (git-lfs
    specification). Raises `FormatError` for rules that cannot be read.
    """
    from dulwich.attrs import GitAttributes, Pattern, parse_git_attributes  # noqa: PLC0415 - only a fresh snapshot needs it

    try:
        rules = [(Pattern(pattern), values) for pattern, values in parse_git_attributes(io.BytesIO(attributes))]
        matcher = GitAttributes(rules)
        return frozenset(path for path in paths if matcher.match_path(path.text.encode()).get(b"filter") == b"lfs")
    except ValueError as error:
        raise FormatError("cannot read .gitattributes", got=str(error)) from error
