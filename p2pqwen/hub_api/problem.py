"""The Hub's errors: a status, a message, and a code in `X-Error-Code` by which clients tell them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_MAX_MESSAGE = 400


@dataclass(frozen=True, slots=True)
class HubProblem:
    """An error as the Hub sends it; without a `code`, clients go by the status."""

    status: int
    code: str | None
    message: str

    @property
    def headers(self) -> Mapping[str, str]:
        """The problem's headers; the message may quote untrusted names, so it is reduced to printable ASCII."""
        plain = self.message[:_MAX_MESSAGE].encode("ascii", "backslashreplace").decode()
        shown = "".join(one if one.isprintable() else " " for one in plain)
        return {"X-Error-Message": shown} | ({"X-Error-Code": self.code} if self.code else {})

    @property
    def body(self) -> Mapping[str, str]:
        """The JSON of the body."""
        return {"error": self.message[:_MAX_MESSAGE]}


def repo_not_found(repo: str) -> HubProblem:
    """Return the error for an unknown repository."""
    return HubProblem(404, "RepoNotFound", f"Repository not found: {repo}")


def revision_not_found(revision: str, why: str = "") -> HubProblem:
    """Return the error for an unknown branch, tag or commit; `why` is added to the message."""
    return HubProblem(404, "RevisionNotFound", f"Invalid rev id: {revision}" + (f" ({why})" if why else ""))


def entry_not_found(path: str) -> HubProblem:
    """Return the error for a path that the commit does not have."""
    return HubProblem(404, "EntryNotFound", f"Entry not found: {path}" if path else "Entry not found")
