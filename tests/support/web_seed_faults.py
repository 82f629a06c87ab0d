"""Plans of misbehaving web seeds, derived from a number, and the required outcome of each.

A plan gives 1 to 3 Hubs a few faults each. If every file has a Hub whose faults are temporary, or only slow it down,
the download must complete. If some file has none, the relay must report in time that no web seed can be expected to
give it, but never for a file that a Hub gives with at most 2 faults. Wrong bytes must never reach libtorrent.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from p2pqwen.demo.url_signer import UrlSigner
from p2pqwen.torrent.metainfo import Metainfo
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.webseed.bases import combine_bases
from p2pqwen.webseed.relay import Relay, RelayedTorrent
from tests.simulators.faults import PRESETS, Effect, Fault, preset
from tests.simulators.hub import HubSimulator
from tests.support.addresses import LOOPBACK
from tests.support.command import CommandLine, Ended
from tests.support.models import ATTRIBUTES, README, noise, write_folder
from tests.support.web_seeds import HASTY, SNAPSHOT, Fetching, fetching, make_torrent

HUBS = 3
PAYLOADS = 4
COMPLETE_SECONDS = 60.0
GIVE_UP_SECONDS = 60.0
_IDLE = 1.5  # like `fetch`, scaled like everything else
_SLOW_ONLY = {"drip", "reset", "no-range"}
_OF_HOST = {"429", "503"}
_STUMBLES = 2  # fewer than make the relay give up
_LFS = "*.safetensors"


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault at one of the Hubs. `times` None: permanent."""

    hub: int
    name: str
    path: str
    times: int | None
    skip: int
    effect: Effect | None = None

    def make(self) -> Fault:
        """The fault for the simulator."""
        fault = preset(self.name, self.path, times=self.times, skip=self.skip)
        return fault if self.effect is None else replace(fault, effect=self.effect)

    def ends(self, name: str, size: int) -> bool:
        """Tell whether it keeps this file from ever arriving from its Hub."""
        if self.times is not None or self.name in _SLOW_ONLY or not fnmatchcase(name, self.path):
            return False
        if self.name == "expired":
            return fnmatchcase(name, _LFS)
        if self.name == "short":
            return size > 1000
        return True


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """One plan; the same number always makes the same plan."""

    number: int
    payload: int
    hubs: int
    url_lifetime: int
    faults: tuple[PlannedFault, ...]

    @classmethod
    def of(cls, number: int) -> FaultPlan:
        dice = random.Random(f"web seed faults {number}")
        hubs = dice.choice((1, 2, 2, 3))
        payload = dice.randrange(PAYLOADS)
        names = [name for name, data in make_payload(payload).items() if data]
        faults = [_fault(dice, hub, names) for hub in range(hubs) for _ in range(dice.choice((0, 1, 1, 2, 3)))]
        return cls(number, payload, hubs, dice.choice((2, 3600, 3600)), tuple(faults))

    def lost_files(self, files: Mapping[str, bytes]) -> list[str]:
        """The files that no Hub will ever give."""
        return [name for name, data in files.items() if data and not self._givers(name, len(data))]

    def sure_files(self, files: Mapping[str, bytes]) -> set[str]:
        """The files that some Hub gives reliably enough that the relay must not give up on them."""
        steady = {hub for hub in range(self.hubs) if self._is_steady(hub)}
        return {name for name, data in files.items() if data and steady & set(self._givers(name, len(data)))}

    def _givers(self, name: str, size: int) -> list[int]:
        ended = {fault.hub for fault in self.faults if fault.ends(name, size)}
        return [hub for hub in range(self.hubs) if hub not in ended]

    def _is_steady(self, hub: int) -> bool:
        faults = [fault for fault in self.faults if fault.hub == hub]
        stays = any(fault.times is None and (fault.name in _OF_HOST or fault.name in _SLOW_ONLY) for fault in faults)
        return not stays and sum(fault.times or 0 for fault in faults) <= _STUMBLES


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a plan; `problem` is None if it is the required one."""

    plan: FaultPlan
    completed: bool
    seconds: float
    problem: str | None


def make_payload(number: int) -> dict[str, bytes]:
    """A small model; the numbers differ in sizes around the piece length and in the number of files."""
    dice = random.Random(f"payload {number}")
    files = {".gitattributes": ATTRIBUTES, "README.md": README, "config.json": noise(700, "config")}
    for index in range(dice.randint(1, 3)):
        size = dice.choice((65_536, 65_537, 200_000, 524_288, 700_001))
        files[f"model-{index}.safetensors"] = noise(size, f"weights {number} {index}")
    files["tokenizer/vocab.txt"] = noise(dice.choice((1, 40_000, 131_072)), f"vocab {number}")
    return files


def _fault(dice: random.Random, hub: int, names: Sequence[str]) -> PlannedFault:
    name = dice.choice(sorted(PRESETS))
    path = dice.choice(("*", "*", _LFS, dice.choice(names)))
    times = dice.choice((None, None, 1, 2, 3, 5))
    effect = None
    if name == "reset":
        effect = Effect(reset_after=dice.choice((1, 20_000, 66_000, 300_000)))
        if effect.reset_after == 1 and times is None:
            times = 5  # one byte per connection is allowed, but takes too long for a test
    elif name == "drip":
        effect = Effect(bytes_per_second=dice.choice((300_000, 1_000_000)))
    elif name == "corrupt" and times is not None:
        effect = Effect(corrupt_at=dice.randrange(3000))
    # A permanent fault begins at the start, otherwise the required outcome would be unknown.
    return PlannedFault(hub, name, path, times, dice.choice((0, 0, 1, 3)) if times is not None else 0, effect)


class FaultRunner:
    """Runs plans one after another, on Hubs that are started once with all the payloads."""

    def __init__(self, hubs: Sequence[HubSimulator], torrents: Sequence[Metainfo]) -> None:
        self._hubs, self._torrents = hubs, torrents

    def run(self, plan: FaultPlan) -> Outcome:
        """Run a plan through the relay with a bare libtorrent and short timeouts."""
        started = time.monotonic()
        files, metainfo, urls = self._prepare(plan)
        bases = combine_bases(metainfo.name, SNAPSHOT.repo, torrent=urls).usable
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            Relay(named=LOOPBACK, timeouts=HASTY) as relay,
        ):
            relayed = relay.offer(metainfo, bases)
            with fetching(metainfo, Path(folder) / "dst", relayed.urls) as download:
                completed, problem = _judge(plan, files, relayed, download)
        return Outcome(plan, completed, time.monotonic() - started, problem)

    def run_command(self, plan: FaultPlan) -> Outcome:
        """Run a plan through `p2pqwen fetch --only-web-seeds`, as a user does, with the real timeouts."""
        started = time.monotonic()
        files, metainfo, urls = self._prepare(plan)
        with tempfile.TemporaryDirectory() as name:
            torrent = Path(name) / "x.torrent"
            torrent.write_bytes(replace(metainfo, web_seeds=tuple(urls)).encode())
            user = CommandLine(Path(name), self._hubs[0].endpoint, processes=True)
            ended = user.run("fetch", torrent, "--only-web-seeds", "--no-hf-cache", "--timeout", "60", "--json")
            problem = _judge_command(plan, files, ended)
        return Outcome(plan, ended.code == 0, time.monotonic() - started, problem)

    def _prepare(self, plan: FaultPlan) -> tuple[dict[str, bytes], Metainfo, list[str]]:
        """Switch the faults on; return the files, their torrent and the bases."""
        files, metainfo = make_payload(plan.payload), self._torrents[plan.payload]
        urls = []
        for number, hub in enumerate(self._hubs):
            hub.faults.clear()
            hub.signer = UrlSigner(plan.url_lifetime)
            urls.append(f"{hub.endpoint}/Qwen/P{plan.payload}/resolve/")
            for fault in plan.faults:
                if fault.hub == number:
                    hub.faults.add(fault.make())
        return files, metainfo, urls[: plan.hubs]


def _judge_command(plan: FaultPlan, files: Mapping[str, bytes], ended: Ended) -> str | None:
    """A command may give up on a Hub that keeps failing: it then exits with 5, and the next run resumes."""
    lost, sure = plan.lost_files(files), plan.sure_files(files)
    if ended.code not in {0, 5}:
        return f"exit {ended.code}: {ended.stderr}"
    if ended.code == 5:
        everything = sure >= {name for name, data in files.items() if data}
        return f"gave up on what a Hub gives: {ended.stderr}" if everything else None
    if lost:
        return f"completed without an honest source of {lost}"
    folder = Path(ended.json["path"])
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return None if found == files and ended.json["verified"] else "what is on disk is not the payload"


def _judge(
    plan: FaultPlan, files: Mapping[str, bytes], relayed: RelayedTorrent, download: Fetching
) -> tuple[bool, str | None]:
    lost, sure = plan.lost_files(files), plan.sure_files(files)
    deadline = time.monotonic() + (GIVE_UP_SECONDS if lost else COMPLETE_SECONDS)
    completed = given_up = False
    while not completed and not given_up and time.monotonic() < deadline:
        completed = download.wait(0.05)
        outlook = relayed.outlook()
        if wrongly := sure & set(outlook.hopeless):
            return completed, f"despaired of {sorted(wrongly)}: {outlook}"
        given_up = bool(lost and outlook.hopeless and outlook.idle_seconds > _IDLE)
    if download.handle.status().total_failed_bytes:
        return completed, "libtorrent was handed wrong bytes"
    if completed and download.files != files:
        return completed, "what is on disk is not the payload"
    if completed and lost:
        return completed, f"completed without an honest source of {lost}"
    if not completed and not lost:
        return completed, f"did not complete: {relayed.accounts} {relayed.outlook()}"
    if not completed and not given_up:
        return completed, f"nobody said that {lost} cannot be had: {relayed.accounts} {relayed.outlook()}"
    return completed, None


@contextmanager
def fault_runner() -> Iterator[FaultRunner]:
    """Start the Hubs for a number of plans."""
    with ExitStack() as stack:
        hubs = [stack.enter_context(HubSimulator()) for _ in range(HUBS)]
        source = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        torrents = []
        for number in range(PAYLOADS):
            files = make_payload(number)
            folder = write_folder(source / str(number), files)
            commits = {hub.add(f"Qwen/P{number}", folder) for hub in hubs}
            assert len(commits) == 1, "the Hubs disagree about a commit"
            torrents.append(make_torrent(files, snapshot=SnapshotId(SNAPSHOT.repo, commits.pop())))
        yield FaultRunner(hubs, torrents)
