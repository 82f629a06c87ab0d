"""Which held snapshots a publication may add to the index: by name, and by license.

Listed snapshots stay as they are: only a withdrawal removes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from p2pqwen.manifest.license import is_licensed
from p2pqwen.values.snapshot_id import RepoId


@dataclass(frozen=True, slots=True)
class Selection:
    """Globs, empty for everything: for `ORG/MODEL` or just the model's name, ignoring case, and for licenses."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()

    def why_not(self, repo: RepoId, license: str | None) -> str | None:  # noqa: A002 - the manifest's own word
        """Return why a snapshot is left out, None if it is not."""
        if self.include and not _any(self.include, repo):
            return "not among --include"
        if _any(self.exclude, repo):
            return "left out by --exclude"
        if self.licenses and not is_licensed(license, self.licenses):
            named = f"license {license}" if license else "it names no license"
            return f"{named}, wanted {', '.join(self.licenses)}"
        return None


EVERYTHING = Selection()


def _any(patterns: tuple[str, ...], repo: RepoId) -> bool:
    return any(
        fnmatchcase((str(repo) if "/" in pattern else repo.name).lower(), pattern.lower()) for pattern in patterns
    )
