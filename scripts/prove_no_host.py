#!/usr/bin/env python3
"""Cut off every central host, one after another, and show that newcomers still get the model.

There are 13 hosts, each a Linux network namespace with its own address, on one bridge: a Hub, a publisher, a mirror, a
tracker (opentracker), a DHT node through which all others enter the DHT, 3 seeders, and 5 newcomers. Each newcomer
knows only a publisher id and that DHT node. It pins the id, gets the index and fetches the model:

    1 with everything there   2 the Hub is cut off   3 and the mirror   4 and the tracker   5 and the publisher

Local discovery (LSD) is off, so peers are not found by being near. Needs root, iproute2 and opentracker.

    python scripts/prove_no_host.py                  # a clean network
    python scripts/prove_no_host.py --line 20,5,1    # each cable: 20 ± 5 ms each way and 1 % of all frames lost
    python scripts/prove_no_host.py --json           # the report as JSON
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from lib.namespaces import Host, Line, NamespacesError, Network, network  # noqa: E402

from p2pqwen.demo.tiny_model import REPO, TinyShape, write_tiny_model  # noqa: E402

# Addresses that look public (no route leads out of the namespaces), each in its own /24: the DHT treats several nodes
# of one /24 as one. (libtorrent's DHT ignores some ranges that are considered unused, such as 11/8.)
ADDRESSES = {
    "hub": "77.77.1.1", "publisher": "77.77.2.1", "mirror": "77.77.3.1", "tracker": "77.77.4.1", "dht": "77.77.5.1",
    "seeder1": "77.77.6.1", "seeder2": "77.77.7.1", "seeder3": "77.77.8.1",
}  # fmt: skip
SEEDERS = ("seeder1", "seeder2", "seeder3")
CUTS = (None, "hub", "mirror", "tracker", "publisher")
DHT_PORT, TRACKER_PORT, MIRROR_PORT = 6881, 6969, 8080
SWITCHES = ("--no-lsd", "--no-upnp")
START_SECONDS = 180.0
COMMAND_SECONDS = 900.0
MAX_TRIES = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--line", type=_line, default=Line(), metavar="MS,MS,PERCENT", help="delay, jitter, loss")
    parser.add_argument("--layers", type=int, default=4, help="of the model: 4 are 6.5 MB, 40 are 46 MB (default 4)")
    parser.add_argument("--quick", action="store_true", help="only the last newcomer, when everything is cut off")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--dht-node", metavar="HOST", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.dht_node:
        return serve_dht(given.dht_node)
    try:
        with tempfile.TemporaryDirectory(prefix="p2pqwen-no-host-") as folder, network(given.line) as hosts:
            report = Play(hosts, Path(folder), given.layers, given.quick).run()
    except NamespacesError as error:
        print(f"cannot make network namespaces: {error}", file=sys.stderr)
        return 77
    except StepError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report, indent=2) if given.json else written(report))
    return 0


class StepError(Exception):
    """A step failed."""


@dataclass(slots=True)
class Play:
    """The hosts, the processes on them, and the steps."""

    network: Network
    folder: Path
    layers: int
    quick: bool
    _processes: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _bootstrap: str = f"{ADDRESSES['dht']}:{DHT_PORT}"
    _endpoint: str = "http://127.0.0.1:9"
    _began: float = field(default_factory=time.monotonic)

    def run(self) -> dict[str, Any]:
        with self._processes:
            for name, address in ADDRESSES.items():
                self.network.add(name, address)
            commit = self._start_hub()
            self._start("dht", [sys.executable, __file__, "--dht-node", ADDRESSES["dht"]], until="ready")
            identity = self._publish(commit)
            with ThreadPoolExecutor(len(SEEDERS)) as pool:
                list(pool.map(lambda name: self._become_seeder(name, identity), SEEDERS))
            rows = []
            for number, cut in enumerate(CUTS, 1):
                if cut is not None:
                    self.network.cut(cut)
                    self._say(f"the {cut}'s cable is pulled")
                if not self.quick or cut == CUTS[-1]:
                    rows.append(self._newcomer(number, identity))
        return {
            "hosts": len(self.network.hosts),
            "line": {"delay": self.network.line.delay, "loss": self.network.line.loss, "by": self.network.impaired_by},
            "model": {"repo": REPO, "commit": commit, "size": rows[0]["size"]},
            "newcomers": rows,
            "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
            "date": datetime.now(UTC).date().isoformat(),
            "seconds": round(time.monotonic() - self._began),
        }

    def _start_hub(self) -> str:
        model = write_tiny_model(self.folder / "model", TinyShape(layers=self.layers))
        address = ADDRESSES["hub"]
        hub = [sys.executable, "-m", "tests.simulators.hub", "--folder", model, "--repo", REPO]
        line = self._start("hub", [*hub, "--host", address, "--cdn-host", address], until='"endpoint"')
        told = json.loads(line)
        self._endpoint = told["endpoint"]
        self._say(f"the Hub serves {REPO}, git, LFS and signed URLs")
        return str(told["commits"][REPO])

    def _publish(self, commit: str) -> str:
        mirror = f"http://{ADDRESSES['mirror']}:{MIRROR_PORT}/"
        tracker = f"http://{ADDRESSES['tracker']}:{TRACKER_PORT}/announce"
        self._p2pqwen("publisher", "preserve", REPO)
        self._p2pqwen("publisher", "keys", "init", "--name", "Keepers", "--no-passphrase")
        site = self.folder / "site"
        done = self._p2pqwen("publisher", "publish", "--out", site, "--yes", "--mirror", mirror, "--tracker", tracker)
        self._say(
            f"index {done['epoch']}.{done['version']} is published; {done['dht_nodes']} DHT node(s) took its pointer"
        )
        shown = self._p2pqwen("publisher", "torrent", "show", site / REPO / f"{commit}.torrent")
        self._start_tracker(shown["infohash_v1"], shown["infohash_v2"][:40], done["bundle"])
        serve = [sys.executable, "-m", "http.server", str(MIRROR_PORT), "--bind", ADDRESSES["mirror"]]
        self._start("mirror", [*serve, "--directory", site])
        self._seed("publisher")
        return str(done["publisher"])

    def _start_tracker(self, *infohashes: str) -> None:
        rules = self.folder / "tracker"
        rules.mkdir(mode=0o755)
        self.folder.chmod(0o755)  # it drops root privileges
        (rules / "whitelist").write_text("".join(f"{one}\n" for one in infohashes))
        port = str(TRACKER_PORT)
        where = ["-i", ADDRESSES["tracker"], "-p", port, "-P", port]
        self._start("tracker", ["opentracker", *where, "-d", rules, "-w", "whitelist"])

    def _become_seeder(self, name: str, identity: str) -> None:
        self._trust(name, identity)
        done = self._p2pqwen(name, "fetch", REPO, *SWITCHES)
        self._say(f"{name}: {_sources(done)} in {done['seconds']:.1f} s; it seeds from now on")
        self._seed(name)

    def _seed(self, name: str) -> None:
        arguments = _program("seed", "--listen", f"0.0.0.0:{DHT_PORT}", *SWITCHES, "--json")
        self._start(name, arguments, until='"event": "pointer"')

    def _newcomer(self, number: int, identity: str) -> dict[str, Any]:
        name = f"newcomer{number}"
        self.network.add(name, f"77.77.{20 + number}.1")
        before, started = self.network.bytes_sent(), time.monotonic()
        tries = self._trust(name, identity)
        found = time.monotonic() - started
        fetched = self._p2pqwen(name, "fetch", REPO, *SWITCHES)
        seconds = time.monotonic() - started
        verified = self._p2pqwen(name, "verify", REPO)
        _require(verified["ok"] and verified["provenance"] == "proven", f"{name} got another model", verified)
        after = self.network.bytes_sent()
        sent = {host: after[host] - before.get(host, 0) for host in after if host != name}
        row = {
            "newcomer": number,
            "cut_off": [one for one in CUTS[:number] if one is not None],
            "index_tries": tries,
            "index_seconds": round(found, 1),
            "seconds": round(seconds, 1),
            "torrent_by": fetched["torrent_by"],
            "size": fetched["size"],
            "bytes_from_peers": fetched["bytes_from_peers"],
            "bytes_from_web_seeds": fetched["bytes_from_web_seeds"],
            "verified_files": verified["files"],
            "provenance": verified["provenance"],
            "bytes_sent": sent,
        }
        self._say(f"{name}: index after {found:.1f} s, {_sources(fetched)}, verified after {seconds:.1f} s in all")
        return row

    def _trust(self, name: str, identity: str) -> int:
        """Pin the publisher and get its index; return the number of tries: frames are lost."""
        for tries in range(1, MAX_TRIES + 1):
            trusted = self._p2pqwen(name, "trust", "add", identity)
            if trusted["version"] == 1:
                return tries
            told = (self.folder / f"{name}.stderr").read_text()
            self._say(f"{name} got no index at try {tries}: {told.strip()}")
        raise StepError(f"{name} got no index in {MAX_TRIES} tries")

    def _p2pqwen(self, name: str, *arguments: object) -> dict[str, Any]:
        host = self.network.hosts[name]
        command = host.command(_program(*arguments, "--json"))
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS, cwd=ROOT,
                env=self._environment(name), stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise StepError(f"{name}: {arguments[0]} did not end in {COMMAND_SECONDS:g} s") from error
        _require(done.returncode == 0, f"{name}: {' '.join(map(str, arguments))}: exit {done.returncode}", done.stderr)
        (self.folder / f"{name}.stderr").write_text(done.stderr)
        return dict(json.loads(done.stdout))

    def _start(self, name: str, arguments: Sequence[object], *, until: str | None = None) -> str:
        return self._processes.enter_context(
            started(self.network.hosts[name], arguments, self._environment(name), self.folder / f"{name}.log", until)
        )

    def _environment(self, name: str) -> dict[str, str]:
        home = self.folder / name
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "P2PQWEN_"))}
        return kept | {
            "PATH": f"{kept.get('PATH', '')}:/usr/sbin",
            "P2PQWEN_HOME": str(home / "p2pqwen"),
            "HF_HOME": str(home / "huggingface"),
            "HF_ENDPOINT": self._endpoint,
            "P2PQWEN_DHT_BOOTSTRAP": self._bootstrap,
        }

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def started(
    host: Host, arguments: Sequence[object], environment: dict[str, str], log: Path, until: str | None
) -> Iterator[str]:
    """Run a program on a host for the length of the block; yield the line of its output that contains `until`."""
    with log.open("w+b") as output:
        process = subprocess.Popen(
            host.command(arguments), stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment, cwd=ROOT
        )
        try:
            yield _await_line(process, log, until)
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def _await_line(process: subprocess.Popen[bytes], log: Path, until: str | None) -> str:
    deadline = time.monotonic() + START_SECONDS
    while until is not None:
        text = log.read_text(errors="replace")
        found = next((line for line in text.splitlines() if until in line), None)
        if found is not None:
            return found
        _require(process.poll() is None, f"{log.stem} ended with {process.returncode}", text)
        _require(time.monotonic() < deadline, f"{log.stem} did not say {until} in {START_SECONDS:g} s", text)
        time.sleep(0.1)
    return ""


def serve_dht(host: str) -> int:
    """Run one node of the DHT, until the process is ended."""
    import libtorrent as lt

    session = lt.session(
        {
            "listen_interfaces": f"{host}:{DHT_PORT}",
            "enable_dht": True,
            "dht_bootstrap_nodes": "",
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
        }
    )
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del session
    return 0


def written(report: dict[str, Any]) -> str:
    """Return the report as a table in Markdown."""
    line, model = report["line"], report["model"]
    network_text = "a clean network"
    if line["by"] != "nothing":
        network_text = f"cables of {line['delay'] * 1000:g} ms each way that lose {line['loss']:.0%} ({line['by']})"
    what = f"{report['hosts']} hosts on {network_text}; {model['repo']}, {model['size']} bytes"
    rows = [
        f"{what}; {report['machine']}, {report['date']}; {report['seconds']} s in all.",
        "",
        "| cut off | index after | model after | torrent from | from peers | from the Hub | who sent bytes |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in report["newcomers"]:
        senders = sorted(one["bytes_sent"].items(), key=lambda row: -row[1])
        named = ", ".join(f"{name} {_mb(sent)}" for name, sent in senders if sent >= 100_000)
        rows.append(
            f"| {', '.join(one['cut_off']) or 'nothing'} | {one['index_seconds']} s | {one['seconds']} s "
            f"| {one['torrent_by']} | {_mb(one['bytes_from_peers'])} | {_mb(one['bytes_from_web_seeds'])} | {named} |"
        )
    return "\n".join(rows)


def _program(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "p2pqwen", *map(str, arguments)]


def _sources(done: dict[str, Any]) -> str:
    peers, web = _mb(done["bytes_from_peers"]), _mb(done["bytes_from_web_seeds"])
    return f"torrent from {done['torrent_by']}, {peers} from peers and {web} from the Hub"


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _line(text: str) -> Line:
    delay, jitter, loss = (float(part) for part in text.split(","))
    return Line(delay / 1000, jitter / 1000, loss / 100)


def _require(condition: object, what: str, got: object) -> None:
    if not condition:
        raise StepError(f"{what}: {got}")


if __name__ == "__main__":
    for program in ("ip", "opentracker"):
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
            print(f"{program} is not installed", file=sys.stderr)
            sys.exit(77)
    sys.exit(main())
