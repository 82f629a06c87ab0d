"""The answer of `webseed check --json`."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pqwen.operations.fetch.webseed_check import WebSeedCheck
from p2pqwen.values.json_value import FLAT, named
from p2pqwen.webseed.bases import NamedBy
from p2pqwen.webseed.probe import BaseProbe, Served


@dataclass(frozen=True, slots=True)
class FileServed:
    """One file at one base; `reason` if it is not right."""

    path: str
    served: Served
    redirected: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class BaseAsked:
    """What a check of a base found; `for_other_clients`: it may be listed in a torrent."""

    named_by: NamedBy = field(metadata=named("from"))
    for_other_clients: bool
    wrong_bytes: bool
    files: tuple[FileServed, ...]

    @classmethod
    def of(cls, probe: BaseProbe) -> BaseAsked:
        """Return the answer about a base."""
        files = (FileServed(one.path, one.served, one.redirected, one.reason) for one in probe.files)
        return cls(probe.base.named_by, probe.is_listable, probe.lies, tuple(files))


@dataclass(frozen=True, slots=True)
class BaseAnswer:
    """One base; `asked` is None for an address that was not asked."""

    url: str
    ok: bool
    files_ok: int
    files_bad: int
    reason: str | None
    asked: BaseAsked | None = field(metadata=FLAT)


@dataclass(frozen=True, slots=True)
class WebSeedAnswer:
    """What every base of a torrent serves; `complete`: at least one base serves each file correctly."""

    torrent: str
    complete: bool
    bases: tuple[BaseAnswer, ...]

    @classmethod
    def of(cls, found: WebSeedCheck) -> WebSeedAnswer:
        """Return the answer about a check."""
        asked = [
            BaseAnswer(
                probe.base.url,
                probe.ok,
                probe.files_ok,
                len(probe.files) - probe.files_ok,
                probe.reason,
                BaseAsked.of(probe),
            )
            for probe in found.bases
        ]
        refused = [
            BaseAnswer(url, ok=False, files_ok=0, files_bad=len(found.metainfo.files), reason=reason, asked=None)
            for url, reason in found.refused
        ]
        return cls(found.metainfo.name, found.complete, (*asked, *refused))
