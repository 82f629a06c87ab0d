"""Which web seeds a published torrent may list: those that were checked and gave nothing that could mislead a client.

A base is checked in full before it is listed for a snapshot for the first time (every file's length, its first and last
piece and one between). A base that the last index lists is asked for two files, and checked in full only if they are
not right. A temporary fault (a server that is down, or busy) does not remove it. If this machine cannot reach a base
(no network, no such name), the base is listed unchecked, with a warning.

Checks are made as a stranger would make them, without the Hub's token, because strangers will use the base.

The answers say something about the entry as well. A proven entry needs no base to agree: a base with other bytes is
broken. An unproven entry has only the bases to speak for it. If one has other files, and the Hub itself was not found
to have the right ones, the entry is contradicted and must not be signed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from p2pqwen.errors import FormatError, UsageError
from p2pqwen.events import Notice, Progress, Report, ignore
from p2pqwen.index.entry import PATH_FIELD
from p2pqwen.manifest.provenance import Provenance
from p2pqwen.operations.publish.plan import Plan
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.values.json_value import FLAT
from p2pqwen.values.plural import plural
from p2pqwen.values.repo_pattern import expand, pattern_of
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.webseed.bases import Base, NamedBy
from p2pqwen.webseed.probe import BaseProbe, check_bases
from p2pqwen.webseed.timeouts import Timeouts

Torrents = Sequence[tuple[SnapshotId, Callable[[], CheckedTorrent]]]
"""Read a few at a time: together they may be larger than memory."""
AT_A_TIME = 4
SHOWN = 5


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A base that is not listed for a snapshot, and why."""

    snapshot: SnapshotId = field(metadata=FLAT)
    url: str
    reason: str


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A base whose files at these paths are not those that an unproven snapshot lists."""

    snapshot: SnapshotId
    url: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        more = f" and {len(self.files) - SHOWN} more" if len(self.files) > SHOWN else ""
        return f"{self.url} has other files than {self.snapshot} says: {', '.join(self.files[:SHOWN])}{more}"


@dataclass(frozen=True, slots=True)
class SeedChoice:
    """The bases to list for each snapshot, in order, those left out, and what bases say against snapshots."""

    listed: Mapping[SnapshotId, tuple[str, ...]]
    left_out: tuple[LeftOut, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()


def choose_web_seeds(
    torrents: Torrents,
    plan: Plan,
    before: Mapping[SnapshotId, tuple[str, ...]],
    *,
    timeouts: Timeouts | None = None,
    report: Report = ignore,
) -> SeedChoice:
    """Check what a plan would list for each of these snapshots; `before` is what the last index lists.

    Raises `UsageError` for a named web seed that is no base.
    """

    def choose(one: tuple[SnapshotId, Callable[[], CheckedTorrent]]) -> _Chosen:
        snapshot, read = one
        return _choose(snapshot, read(), plan, before.get(snapshot, ()), timeouts)

    chosen: list[_Chosen] = []
    pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="web-seed-check")
    try:
        for one in pool.map(choose, torrents):
            chosen.append(one)
            report(Progress("check", len(chosen), len(torrents), str(one.snapshot), "snapshots"))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    _tell(plan, chosen, report)
    return SeedChoice(
        {one.snapshot: tuple(dict.fromkeys(one.listed)) for one in chosen},
        tuple(out for one in chosen for out in one.failed.values()),
        tuple(against for one in chosen for against in one.contradictions),
    )


@dataclass(slots=True)
class _Chosen:
    """The bases to list for one snapshot, and the patterns of those that were not asked and of those left out.

    `contradictions` are what bases say against it.
    """

    snapshot: SnapshotId
    listed: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)
    failed: dict[str, LeftOut] = field(default_factory=dict)
    contradictions: tuple[Contradiction, ...] = ()


def _choose(
    snapshot: SnapshotId, torrent: CheckedTorrent, plan: Plan, before: Sequence[str], timeouts: Timeouts | None
) -> _Chosen:
    chosen = _Chosen(snapshot)
    probes: dict[str, BaseProbe] = {}
    for pattern in plan.seed_patterns(snapshot):
        base = _base(pattern, snapshot, torrent.metainfo.name)
        known = base.url in before
        # The files at an address without a commit may change from one day to the next.
        sampled = known and not pattern.endswith(PATH_FIELD)
        probe = probes[pattern] = _probe(torrent, base, timeouts, known=sampled)
        if probe.is_listable or (known and probe.may_recover):
            chosen.listed.append(base.url)
        elif not probe.was_asked and not plan.is_partial(pattern, snapshot.repo):  # that one may do harm
            chosen.listed.append(base.url)
            chosen.unasked.append(pattern)
        else:
            chosen.failed[pattern] = LeftOut(snapshot, base.url, probe.reason or "it has none of the files")
    if torrent.provenance is not Provenance.PROVEN:
        chosen.contradictions = tuple(_contradictions(snapshot, probes, plan))
    return chosen


def _contradictions(snapshot: SnapshotId, probes: Mapping[str, BaseProbe], plan: Plan) -> Iterator[Contradiction]:
    whole = probes.get(pattern_of(plan.site.web_seeds(snapshot.repo).whole, snapshot.repo))
    if whole is not None and whole.ok:
        return  # then the other bases are wrong
    for pattern, probe in probes.items():
        # The Hub's second base may answer with LFS pointers, which says nothing about the files. Nor does an address
        # that names no commit.
        if not (pattern.endswith(PATH_FIELD) or plan.is_partial(pattern, snapshot.repo)) and (
            files := probe.contradicting
        ):
            yield Contradiction(snapshot, probe.base.url, files)


def _base(pattern: str, snapshot: SnapshotId, name: str) -> Base:
    try:
        return Base(expand(pattern, snapshot.repo), NamedBy.COMMAND_LINE, name, snapshot.repo)
    except FormatError as error:
        raise UsageError.of(error, before=f"web seed {pattern!r}: ") from error


def _probe(torrent: CheckedTorrent, base: Base, timeouts: Timeouts | None, *, known: bool) -> BaseProbe:
    if known:
        (seen,) = check_bases(torrent, [base], timeouts=timeouts, more_pieces=0, files=_samples(torrent))
        if seen.is_listable:
            return seen
    (seen,) = check_bases(torrent, [base], timeouts=timeouts)
    return seen


def _samples(torrent: CheckedTorrent) -> set[int]:
    """Return the smallest LFS file and the smallest plain one: the Hub serves the two in different ways."""
    rows = () if torrent.manifest is None else torrent.manifest.files
    lfs = {row.path for row in rows if row.lfs}
    smallest: dict[bool, int] = {}
    for number, file in sorted(enumerate(torrent.metainfo.files), key=lambda one: one[1].size):
        if file.size:
            smallest.setdefault(file.path in lfs, number)
    return set(smallest.values())


def _tell(plan: Plan, chosen: Sequence[_Chosen], report: Report) -> None:
    for pattern in dict.fromkeys(pattern for one in chosen for pattern in one.unasked):
        report(Notice("warning", f"web seed {pattern} is listed unchecked: it cannot be reached from this machine"))
    groups: dict[tuple[str, str], list[SnapshotId]] = {}
    for one in chosen:
        for pattern, failed in one.failed.items():
            groups.setdefault((pattern, failed.reason), []).append(one.snapshot)
    for (pattern, reason), snapshots in groups.items():
        where = snapshots[0] if len(snapshots) == 1 else plural(len(snapshots), "snapshot")
        text = f"web seed {pattern} is not listed for {where}: {reason}"
        # The Hub's second base is only an attempt: it is no news if it does not help.
        report(Notice("info" if plan.is_partial(pattern, snapshots[0].repo) else "warning", text))
