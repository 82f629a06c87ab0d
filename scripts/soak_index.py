#!/usr/bin/env python3
"""Watch a node that follows several publishers of large indexes for an hour: memory, CPU time, bytes.

    scripts/soak_index.py [--publishers 5] [--entries 100000] [--minutes 60] [--every 300] [--changed 100]

The publishers list the same snapshots, each with some rows of its own that change. Every `--every` seconds, each
publishes a new version, with a delta, on a mirror on loopback. The node, whose normal pace is an hour, polls twice as
often. `search` runs after each round, as a person or cron would run it. The script prints a line each minute and a
summary.

Exit 1 if the node missed a version, keeps a removed file open for each, or if its memory grew by more than a tenth
since the second round.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2pqwen.index.delta import delta_location, make_delta  # noqa: E402 - the project's root must be found first
from p2pqwen.index.document import INDEX_TYPE, signed_parts  # noqa: E402
from p2pqwen.index.root import SignedRoot  # noqa: E402
from p2pqwen.signing.envelope import sign  # noqa: E402
from p2pqwen.values.digest import Sha256  # noqa: E402
from p2pqwen.values.strict_json import JsonObject, JsonValue, canonical  # noqa: E402
from scripts.bench_index import Mirror, commit_of, elsewhere, entry, machine, mirror, timed  # noqa: E402
from tests.support.publishing import Rules, chain, key, make_document  # noqa: E402

QUIET = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")
PATIENCE = 600.0
GROWTH = 1.1
DELTAS = 4


@dataclass(slots=True)
class Publisher:
    """One publisher: its rows are `rows`, except for some of its own."""

    name: str
    rows: list[bytes]
    folder: Path
    changed: dict[int, bytes] = field(default_factory=dict)
    version: int = 0
    digest: Sha256 | None = None
    earlier: list[tuple[Sha256, dict[int, bytes]]] = field(default_factory=list)
    roots: tuple[SignedRoot, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.roots = chain(Rules(root=(f"root {self.name}",), index=(f"index {self.name}",)))

    @property
    def id(self) -> str:
        return str(self.roots[0].root.digest)

    def own_rows(self, changed: dict[int, bytes]) -> Iterator[bytes]:
        return (changed.get(number, row) for number, row in enumerate(self.rows))

    def publish(self, server: Mirror, changed: dict[int, bytes]) -> None:
        """Put the next version on the mirror, with deltas from the last few."""
        after = {**self.changed, **changed}
        self.version += 1
        header = self.header()
        first, last = signed_parts(header)
        payload = b"".join((first, b",".join(self.own_rows(after)), last))
        signatures = [sign(INDEX_TYPE, payload, key(f"index {self.name}"))]
        digest = Sha256.of(payload)
        del payload
        path = self.folder / f"{self.name}.json"
        with path.with_suffix(".new").open("wb") as file:
            file.writelines(self.printed(header, self.own_rows(after), signatures))
        if self.digest is not None:
            self.earlier = [*self.earlier, (self.digest, self.changed)][-DELTAS:]
        for older, before in self.earlier:
            delta = make_delta(
                older, self.own_rows(before), digest, self.own_rows(after), signed=header, signatures=signatures,
                roots=[root.to_json() for root in self.roots],
            )  # fmt: skip
            assert delta is not None
            small = self.folder / f"{self.name}-{older}.json"
            small.with_suffix(".new").write_bytes(delta.encode())
            small.with_suffix(".new").rename(small)
            server.files[f"/{self.name}/{delta_location(older)}"] = small
        path.with_suffix(".new").rename(path)
        server.files[f"/{self.name}/index.json"] = path
        self.changed, self.digest = after, digest

    def printed(self, header: JsonObject, rows: Iterator[bytes], signatures: list[JsonValue]) -> Iterator[bytes]:
        """Yield the file in the order of `publish`: the version comes before the entries."""
        yield b'{"roots":' + canonical([root.to_json() for root in self.roots])
        yield b',"signed":' + canonical(header).removesuffix(b"}") + b',"entries":[\n'
        for number, row in enumerate(rows):
            yield b",\n" + row if number else row
        yield b']},"signatures":' + canonical(signatures) + b"}\n"

    def header(self) -> JsonObject:
        document = make_document(self.roots, self.version, [], previous=self.digest)
        return document.header_json()


def make_rows(entries: int) -> list[bytes]:
    listed = sorted(map(entry, range(entries)), key=lambda one: (one.id.repo.text, str(one.id.commit)))
    return [canonical(one.to_json()) for one in listed]


def changes(rows: list[bytes], number: int, round_: int, count: int) -> dict[int, bytes]:
    """Return new licenses for some entries, spread over the index, other entries each time."""
    step = max(1, len(rows) // count)
    places = [(index * step + 7 * number + round_) % len(rows) for index in range(count)]
    return {place: canonical({**json.loads(rows[place]), "license": f"license-{round_}"}) for place in places}


@dataclass(frozen=True, slots=True)
class Look:
    """A process at one moment: resident bytes, and CPU seconds so far."""

    resident: int
    cpu: float

    @classmethod
    def at(cls, pid: int) -> Look:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return cls(pages * os.sysconf("SC_PAGE_SIZE"), sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK"))


def removed_files(pid: int) -> int:
    """Return the number of removed files that a process keeps open."""
    found = 0
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += str(one.readlink()).endswith(" (deleted)")
    return found


def accepted(home: Path, publisher: Publisher) -> int:
    """Return the version of a publisher's index that the home has accepted."""
    seen = home / "trust" / publisher.id / "seen.json"
    return int(json.loads(seen.read_text())["version"]) if seen.exists() else 0


def node(every: float) -> int:
    """Run the node of this home, polling publishers at this interval instead of every hour."""
    from p2pqwen.assembly import serving
    from p2pqwen.cli.main import main as run
    from p2pqwen.operations.node.publisher_sync import PublisherSync

    serving.PublisherSync = functools.partial(PublisherSync, every=every)
    return run(["seed", "--listen", "127.0.0.1:0", *QUIET, "--json"])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publishers", type=int, default=5)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=300.0)
    parser.add_argument("--changed", type=int, default=100)
    parser.add_argument("--node", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.node is not None:
        return node(given.node)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit_of(ROOT)}, {machine()}; {given.publishers} publishers of "
        f"{given.entries} entries, a new version of each every {given.every:.0f} s",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name, mirror() as server:
        return watch(Path(name), server, given)


def watch(folder: Path, server: Mirror, given: argparse.Namespace) -> int:
    rows = elsewhere(make_rows, given.entries)
    publishers = [Publisher(f"p{number}", rows, folder) for number in range(given.publishers)]
    home = folder / "home"
    for one in publishers:
        one.publish(server, {})
        run, _ = timed(ROOT, home, "trust", "add", one.id, "--index", f"{server.url}{one.name}/", server=server)
        print(f"trust add: {run.cpu:.1f} s of a core, {run.memory / 1e6:.0f} MB, {run.traffic / 1e6:.1f} MB sent")
    environment = {**os.environ, "P2PQWEN_HOME": str(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(Path(__file__).resolve()), "--node", str(given.every / 2)]
    with (folder / "node.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        try:
            return rounds(process, home, publishers, server, given)
        finally:
            process.terminate()
            process.wait(60)


def rounds(
    process: subprocess.Popen[bytes], home: Path, publishers: list[Publisher], server: Mirror, given: argparse.Namespace
) -> int:
    started = time.monotonic()
    resident: list[int] = []
    settled: list[int] = []  # at the end of each round
    searched: list[float] = []
    sent = server.sent
    round_, missed, next_round, next_line = 0, 0, started + given.every / 2, started
    first = Look.at(process.pid)
    while (now := time.monotonic()) < started + 60 * given.minutes:
        assert process.poll() is None, "the node has ended"
        look = Look.at(process.pid)
        resident.append(look.resident)
        if now >= next_line:
            print(
                f"{(now - started) / 60:5.1f} min  {look.resident / 1e6:6.1f} MB  {look.cpu:7.1f} s of a core  "
                f"{(server.sent - sent) / 1e6:8.3f} MB sent  versions {[accepted(home, one) for one in publishers]}",
                flush=True,
            )
            next_line += 60
        if now >= next_round:
            if round_:
                settled.append(look.resident)
                missed += sum(accepted(home, one) < one.version for one in publishers)
            round_ += 1
            for number, one in enumerate(publishers):
                one.publish(server, changes(one.rows, number, round_, given.changed))
            run, _ = timed(ROOT, home, "search", f"Model-{1000 + round_}", "--json")
            searched.append(run.cpu)
            next_round += given.every
        time.sleep(1.0)
    last, removed = Look.at(process.pid), removed_files(process.pid)
    hours = (time.monotonic() - started) / 3600
    print(
        f"{hours:.2f} hours, {round_} versions of each of {len(publishers)}, {missed} not accepted within a round\n"
        f"memory: at most {max(resident) / 1e6:.0f} MB, median {statistics.median(resident) / 1e6:.0f} MB, "
        f"between rounds {[round(one / 1e6) for one in settled]} MB\n"
        f"processor: {(last.cpu - first.cpu) / hours:.0f} s of a core in an hour\n"
        f"bytes sent to it: {(server.sent - sent) / 1e6:.1f} MB\n"
        f"removed files that it keeps open: {removed}\n"
        f"search beside it: median {statistics.median(searched):.2f} s of a core"
    )
    grown = len(settled) > 2 and settled[-1] > GROWTH * settled[1]
    return 1 if missed or grown or removed > 2 * len(publishers) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
