"""Check whether a base URL serves a torrent's files: length, first and last piece and some others, against the hashes.

A base may be listed in a published torrent if for every file it gives the right bytes, redirected or not, or answers
404 or 410 (`is_listable`). Anything else does harm: libtorrent and qBittorrent stay at 0% with a base that answers some
files with an LFS pointer or a short body.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from p2pqwen.loop_thread import run_now
from p2pqwen.manifest.lfs_pointer import MAX_POINTER_SIZE, parse_pointer
from p2pqwen.torrent.checked import CheckedTorrent
from p2pqwen.values.named_hosts import NONE_NAMED, NamedHosts
from p2pqwen.values.origin_site import OriginAccess
from p2pqwen.webseed.bases import Base
from p2pqwen.webseed.fault import Kind, UpstreamError
from p2pqwen.webseed.piece_check import PieceCheck
from p2pqwen.webseed.timeouts import Timeouts
from p2pqwen.webseed.upstream_server import RemoteFile, UpstreamServer

MORE_PIECES = 1
CONCURRENCY = 4
PAUSE = 0.5
"""Seconds before the next request to a server that did not say how long to wait."""
_LONGEST_WAIT = 60.0
_TRIES = 4
_WORTH_TRYING_AGAIN = frozenset({Kind.BUSY, Kind.BROKEN, Kind.SILENT})
_PASSING = _WORTH_TRYING_AGAIN | {Kind.UNREACHABLE, Kind.NO_WAY}


OnFile: TypeAlias = Callable[["Base", "FileProbe"], None]


class Served(StrEnum):
    """What a base has at a file's path."""

    RIGHT = "right"
    ABSENT = "absent"
    BAD = "bad"  # something else, or no answer


@dataclass(frozen=True, slots=True)
class FileProbe:
    """One file at one base; `reason` and `fault` if it is not right. `contradicts`: a different file is there."""

    path: str
    size: int
    served: Served
    redirected: bool = False
    reason: str | None = None
    fault: Kind | None = None
    contradicts: bool = False


@dataclass(frozen=True, slots=True)
class BaseProbe:
    """One base and every file of the torrent."""

    base: Base
    files: tuple[FileProbe, ...]

    @property
    def ok(self) -> bool:
        """Whether every file is right."""
        return all(file.served is Served.RIGHT for file in self.files)

    @property
    def files_ok(self) -> int:
        """How many files are right."""
        return sum(file.served is Served.RIGHT for file in self.files)

    @property
    def lies(self) -> bool:
        """Whether it gave wrong bytes for a file."""
        return any(file.fault is Kind.WRONG for file in self.files)

    @property
    def contradicting(self) -> tuple[str, ...]:
        """The paths at which it has other files than the torrent's."""
        return tuple(file.path for file in self.files if file.contradicts)

    @property
    def was_asked(self) -> bool:
        """Whether a server answered or refused; if not, this machine has no route to it or no address for its name."""
        return any(file.fault is not Kind.NO_WAY for file in self.files)

    @property
    def may_recover(self) -> bool:
        """Whether something is wrong, and all of it of a kind that may pass by itself."""
        faults = {file.fault for file in self.files if file.size and file.served is Served.BAD}
        return bool(faults) and faults <= _PASSING

    @property
    def is_listable(self) -> bool:
        """Whether it helps a plain BEP 19 client and cannot mislead one. Empty files are never requested."""
        asked = [file for file in self.files if file.size]
        return not any(file.served is Served.BAD for file in asked) and any(
            file.served is Served.RIGHT for file in asked
        )

    @property
    def reason(self) -> str | None:
        """What is wrong, in one line; None if nothing is."""
        bad = [file for file in self.files if file.served is not Served.RIGHT]
        if not bad:
            return None
        reasons = {file.reason for file in bad}
        if len(bad) == len(self.files) and len(reasons) == 1:
            return f"every file: {bad[0].reason}"
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        return f"{bad[0].path}: {bad[0].reason}{more}"


def check_bases(
    torrent: CheckedTorrent,
    bases: Sequence[Base],
    *,
    site: OriginAccess | None = None,
    named: NamedHosts = NONE_NAMED,
    timeouts: Timeouts | None = None,
    more_pieces: int = MORE_PIECES,
    files: Collection[int] | None = None,
    on_file: OnFile | None = None,
) -> tuple[BaseProbe, ...]:
    """Probe bases for a torrent that has its piece layers.

    `named` are the private hosts that the user named; hosts in the user's own bases count without it.

    From each base, this reads each file's length, its first and last piece, and `more_pieces` random ones in between,
    for the `files` at these indexes or for all. A server that asks us to wait gets up to a minute.
    """
    numbers = range(len(torrent.metainfo.files)) if files is None else sorted(files)

    def upstream(base: Base) -> UpstreamServer:
        return UpstreamServer(base, site=site, named=named, timeouts=timeouts)

    async def run() -> tuple[BaseProbe, ...]:
        return tuple([await _probe(torrent, numbers, base, upstream(base), more_pieces, on_file) for base in bases])

    return run_now(run())


async def _probe(
    torrent: CheckedTorrent,
    numbers: Sequence[int],
    base: Base,
    upstream: UpstreamServer,
    more_pieces: int,
    on_file: OnFile | None,
) -> BaseProbe:
    metainfo = torrent.metainfo
    check = PieceCheck(metainfo.parsed_info, metainfo.piece_layers)
    probe = _Probe(check, upstream, more_pieces, _small_plain_files(torrent))
    turns = asyncio.Semaphore(CONCURRENCY)

    async def one(number: int) -> FileProbe:
        async with turns:
            found = await probe.file(number, RemoteFile(metainfo.files[number].path, metainfo.files[number].size))
            if on_file is not None:
                on_file(base, found)
            return found

    try:
        return BaseProbe(base, tuple(await asyncio.gather(*(one(number) for number in numbers))))
    finally:
        await upstream.close()


def _small_plain_files(torrent: CheckedTorrent) -> frozenset[int]:
    """Return the indexes of the files that are read whole and must not be LFS pointers (SPEC section 2)."""
    rows = () if torrent.manifest is None else torrent.manifest.files
    lfs = {row.path for row in rows if row.lfs}
    files = enumerate(torrent.metainfo.files)
    return frozenset(number for number, file in files if file.size <= MAX_POINTER_SIZE and file.path not in lfs)


class _Probe:
    def __init__(
        self, check: PieceCheck, upstream: UpstreamServer, more_pieces: int, small_plain_files: frozenset[int]
    ) -> None:
        self._check = check
        self._small_plain_files = small_plain_files
        self._upstream = upstream
        self._more = more_pieces
        self._unreachable: UpstreamError | None = None

    async def file(self, number: int, file: RemoteFile) -> FileProbe:
        fault: UpstreamError | None = None
        try:
            for piece in self._pieces(number):
                await self._piece(number, piece, file)
        except UpstreamError as error:
            fault = error
        except Exception as error:  # noqa: BLE001 - one base must not stop the probe of the others
            fault = UpstreamError(Kind.UNFIT, f"it cannot be asked: {type(error).__name__}")
        return FileProbe(
            file.path.text,
            file.size,
            Served.RIGHT if fault is None else Served.ABSENT if fault.kind is Kind.ABSENT else Served.BAD,
            redirected=self._upstream.redirects(file),
            reason=None if fault is None else fault.reason,
            fault=None if fault is None else fault.kind,
            contradicts=fault is not None and fault.contradicts,
        )

    def _pieces(self, number: int) -> list[int | None]:
        count = self._check.count(number)
        if not count:
            return [None]
        between = range(1, count - 1)
        chosen = random.sample(between, min(self._more, len(between)))
        return [*dict.fromkeys([0, count - 1, *sorted(chosen)])]

    async def _piece(self, number: int, piece: int | None, file: RemoteFile) -> None:
        span = range(0) if piece is None else self._check.span(number, piece)
        data = bytearray(len(span))
        waited = 0.0
        for tries_left in reversed(range(_TRIES)):
            try:
                await self._read(file, span, data)
                break
            except UpstreamError as error:
                pause = error.wait if error.wait is not None else PAUSE
                waited += pause
                if error.kind not in _WORTH_TRYING_AGAIN or not tries_left or waited > _LONGEST_WAIT:
                    if error.kind in {Kind.UNREACHABLE, Kind.NO_WAY, Kind.SILENT}:
                        self._unreachable = error
                    raise
                await asyncio.sleep(pause)
        if piece is not None:
            right = await asyncio.to_thread(self._check.holds, number, piece, memoryview(data))
            if not right:
                raise UpstreamError(Kind.WRONG, f"wrong bytes from {span.start} to {span.stop - 1}")
        if number in self._small_plain_files and (pointer := parse_pointer(bytes(data))) is not None:
            raise UpstreamError(Kind.UNFIT, f"as the torrent says, {pointer}: not the file itself")

    async def _read(self, file: RemoteFile, span: range, data: bytearray) -> None:
        if self._unreachable is not None:
            raise self._unreachable  # asking for every file would only waste time
        body = await self._upstream.open(file, span.start, span.stop, skip_any=True)
        try:
            at = 0
            while at < len(data):
                at = await body.read_into(data, at, len(data))
        finally:
            body.close()
