"""The Hub's errors: a status, a code in `X-Error-Code` by which clients tell them apart, and a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_MAX_MESSAGE = 400


@dataclass(frozen=True, slots=True)
class HubProblem:
    """An error as the Hub sends it; `code` None: its clients go by the status alone."""

    status: int
    code: str | None
    message: str

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that tell the problem; the message may quote names from outside, so it is made harmless here."""
        plain = self.message[:_MAX_MESSAGE].encode("ascii", "backslashreplace").decode()
        shown = "".join(one if one.isprintable() else " " for one in plain)
        return {"X-Error-Message": shown} | ({"X-Error-Code": self.code} if self.code else {})

    @property
    def body(self) -> Mapping[str, str]:
        """The JSON of the body."""
        return {"error": self.message[:_MAX_MESSAGE]}


def repo_not_found(repo: str) -> HubProblem:
    """Return the error for a repository that nobody lists."""
    return HubProblem(404, "RepoNotFound", f"Repository not found: {repo}")


def revision_not_found(revision: str, why: str = "") -> HubProblem:
    """Return the error for a branch, tag or commit that is not known; `why` says more."""
    return HubProblem(404, "RevisionNotFound", f"Invalid rev id: {revision}" + (f" ({why})" if why else ""))


def entry_not_found(path: str) -> HubProblem:
    """Return the error for a path that the commit does not have."""
    return HubProblem(404, "EntryNotFound", f"Entry not found: {path}" if path else "Entry not found")
