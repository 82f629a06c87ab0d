"""Check every web seed of a torrent, before listing it or because it seems not to work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from p2pqwen.errors import NotFoundError
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.manifest.manifest import Manifest
from p2pqwen.operations.fetch.plan import MagnetPlan, Sources, make_plan
from p2pqwen.operations.fetch.target import FetchTarget
from p2pqwen.operations.preserve.origins import Elsewhere
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.named_hosts import NONE_NAMED, NamedHosts
from p2pqwen.values.origin_site import OriginAccess
from p2pqwen.webseed.bases import Base, combine_bases
from p2pqwen.webseed.probe import MORE_PIECES, BaseProbe, FileProbe, check_bases
from p2pqwen.webseed.timeouts import Timeouts


@dataclass(frozen=True, slots=True)
class WebSeedCheck:
    """What every base of one torrent serves; `refused` are addresses that were not asked, with the reason."""

    metainfo: Metainfo
    bases: tuple[BaseProbe, ...]
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def lies(self) -> bool:
        """Whether some base serves wrong bytes."""
        return any(probe.lies for probe in self.bases)

    @property
    def complete(self) -> bool:
        """Whether at least one base serves each non-empty file correctly."""
        rows = zip(*(probe.files for probe in self.bases), strict=True)
        return bool(self.bases) and all(any(file.served == "right" or not file.size for file in row) for row in rows)


def check_web_seeds(
    target: FetchTarget,
    sources: Sources,
    *,
    site: OriginAccess,
    extra: Sequence[str] = (),
    config: Sequence[str] = (),
    elsewhere: Callable[[Manifest], Elsewhere | None] = lambda _: None,
    more_pieces: int = MORE_PIECES,
    report: Report = ignore,
) -> WebSeedCheck:
    """Check the bases that a fetch of `target` would use, and `extra` ones.

    `elsewhere` returns where another origin has the files: that place is checked too, or is listed in `refused`.

    Raises `NotFoundError` if no torrent or no web seed is known, `UsageError` for an invalid `extra`.
    """
    plan = make_plan(target, sources, repo=None, report=report)
    if isinstance(plan, MagnetPlan):
        raise NotFoundError("the torrent is not known", hint="name its .torrent file, or fetch it first")
    other = None if plan.manifest is None else elsewhere(plan.manifest)
    bases = combine_bases(
        plan.metainfo.name,
        plan.snapshot.repo,
        command_line=extra,
        config=(*config, other.url) if other is not None and other.reason is None else config,
        indexes=plan.leads.index_web_seeds,
        torrent=(*plan.metainfo.web_seeds, *plan.leads.extra_web_seeds),
    )
    refused = bases.refused
    if other is not None and other.reason is not None:
        refused = (*refused, (other.url, other.reason))
    if not bases.usable and not refused:
        raise NotFoundError(f"{plan.snapshot} has no web seeds", hint="name one with --web-seed")
    named = sources.named | NamedHosts.of(extra)
    probes = probe_bases(plan.torrent, bases.usable, site=site, named=named, more_pieces=more_pieces, report=report)
    return WebSeedCheck(plan.metainfo, probes, refused)


def probe_bases(
    torrent: CheckedTorrent,
    bases: Sequence[Base],
    *,
    site: OriginAccess | None = None,
    named: NamedHosts = NONE_NAMED,
    more_pieces: int = MORE_PIECES,
    timeouts: Timeouts | None = None,
    report: Report = ignore,
) -> tuple[BaseProbe, ...]:
    """Check these bases for a torrent, reporting each file; `publish` lists the listable ones."""
    total, done = len(bases) * len(torrent.metainfo.files), 0

    def on_file(base: Base, file: FileProbe) -> None:
        nonlocal done
        done += 1
        report(Progress("check", done, total, f"{base}: {file.path}", "files"))

    probes = check_bases(
        torrent, bases, site=site, named=named, timeouts=timeouts, more_pieces=more_pieces, on_file=on_file
    )
    for probe in probes:
        if probe.lies:
            report(Notice("warning", f"web seed {probe.base} serves wrong bytes: {probe.reason}"))
    return probes
