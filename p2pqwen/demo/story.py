"""The demo: a model is preserved, signed and seeded; its Hub goes away; a stranger still gets it, whole and proven.

Everything is real: a local Hub, our command line in separate processes with separate homes, BitTorrent between them,
huggingface_hub reading the result offline. Nothing leaves the loopback interface.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from p2pqwen.demo.local_hub import LocalHub
from p2pqwen.demo.node_process import DemoStepError, NodeProcess, SeedProcess
from p2pqwen.demo.tiny_model import REPO, write_tiny_model
from p2pqwen.values.byte_size import format_rate, format_size
from p2pqwen.values.json_value import FLAT

PUBLISHER = "Demo Publisher"
_LOOPBACK_ONLY = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")
_FIND_OFFLINE = (
    "import sys; from huggingface_hub import snapshot_download; "
    "print(snapshot_download(sys.argv[1], local_files_only=True))"
)

Tell = Callable[[str], None]
Stay = Callable[[Sequence[str]], None]
"""Show the commands that the user can try now, and return when the demo should end."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The demo's measurements; times in seconds, sizes in bytes."""

    repo: str
    commit: str
    files: int
    size: int
    provenance: str
    infohash_v1: str
    infohash_v2: str
    magnet: str
    publisher: str
    preserve_seconds: float
    publish_seconds: float
    fetch_seconds: float
    bytes_from_peers: int
    bytes_from_web_seeds: int
    files_verified: int
    signers: tuple[str, ...]
    hub_stopped: bool
    found_in_hf_cache: bool
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What `demo --keep` leaves: a folder, a published site in it, and a node of process `pid` with its dashboard."""

    folder: str
    home: str
    site: str
    dashboard: str
    pid: int


@dataclass(frozen=True, slots=True)
class Told:
    """The answer of `demo --json`; `kept` is None if everything was removed."""

    ok: bool = field(default=True, init=False)
    figures: Figures = field(metadata=FLAT)
    kept: Kept | None = None


def tell_and_keep(tell: Tell) -> Told:
    """Play the story as `tell_story` does, but leave its folder and the publisher's node, with a dashboard.

    If a step fails, nothing is left.
    """
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="p2pqwen-demo-"))
    try:
        story = _Story(folder, tell, None)
        figures, kept = story.play(), story.keep()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Told(replace(figures, seconds=round(time.monotonic() - began, 3)), kept)


def tell_story(tell: Tell, stay: Stay | None = None) -> Figures:
    """Play the whole story and tell each step when it is done; raises `DemoStepError` for the first that fails.

    `stay` is called while the publisher's node still seeds. All files and processes are removed in any case.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="p2pqwen-demo-") as folder:
        story = _Story(Path(folder), tell, stay)
        figures = story.play()
    seconds = time.monotonic() - began
    story.tell("the end", f"{seconds:.1f} s in all; every process of the demo has ended, every file of it is removed")
    return replace(figures, seconds=round(seconds, 3))


class _Story:
    def __init__(self, folder: Path, tell: Tell, stay: Stay | None) -> None:
        self._folder = folder
        self._tell_line = tell
        self._stay = stay
        self._step = 0
        self._model = folder / "model"
        self._site = folder / "site"

    def play(self) -> Figures:
        """Play the steps; the figures lack the total time."""
        self._make_model()
        with LocalHub() as hub:
            commit = hub.add(REPO, self._model)
            self.tell("a Hub", f"serves it at {hub.endpoint}, as commit {str(commit)[:12]}…")
            publisher = NodeProcess(self._folder / "publisher", hub.endpoint)
            stranger = NodeProcess(self._folder / "stranger", hub.endpoint)
            preserved, preserve_seconds = self._preserve(publisher, str(commit))
            published, publish_seconds = self._publish(publisher)
            with self._seeding(publisher) as peer:
                self._stop(hub)
                self._trust(stranger, published["publisher"])
                fetched = self._fetch(stranger, preserved, peer)
                verified = self._verify(stranger, preserved)
                self._find_offline(stranger, preserved)
                if self._stay is not None:
                    self._stay(
                        (
                            f"p2pqwen trust add {published['publisher']} --index {self._site}",
                            f"p2pqwen fetch {REPO} --peer {peer}",
                            f"HF_HUB_OFFLINE=1 hf download {REPO}",
                        )
                    )
        return Figures(
            repo=preserved["repo"],
            commit=preserved["commit"],
            files=preserved["files"],
            size=preserved["size"],
            provenance=verified["provenance"],
            infohash_v1=preserved["infohash_v1"],
            infohash_v2=preserved["infohash_v2"],
            magnet=preserved["magnet"],
            publisher=published["publisher"],
            preserve_seconds=round(preserve_seconds, 3),
            publish_seconds=round(publish_seconds, 3),
            fetch_seconds=fetched["seconds"],
            bytes_from_peers=fetched["bytes_from_peers"],
            bytes_from_web_seeds=fetched["bytes_from_web_seeds"],
            files_verified=verified["files"],
            signers=tuple(signer["label"] for signer in verified["signers"]),
            hub_stopped=True,
            found_in_hf_cache=True,
        )

    def keep(self) -> Kept:
        """Start the publisher's node again, after `play`, to outlive the demo; the Hub stays stopped."""
        publisher = NodeProcess(self._folder / "publisher", "http://127.0.0.1:9")
        listening = ("--listen", "127.0.0.1:0", "--dashboard", "127.0.0.1:0")
        node = publisher.run("seed", "--daemon", *listening, *_LOOPBACK_ONLY)
        url = publisher.run("dashboard")["url"]
        home = publisher.environment["P2PQWEN_HOME"]
        self.tell("kept", f"the site in {self._site}, and a node with a dashboard, process {node['pid']}")
        return Kept(str(self._folder), home, str(self._site), url, node["pid"])

    def _make_model(self) -> None:
        write_tiny_model(self._model)
        files = [path for path in self._model.iterdir() if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        self.tell("a model", f"{REPO}: {len(files)} files, {format_size(size)}, random weights, Qwen3's architecture")

    def _preserve(self, publisher: NodeProcess, commit: str) -> tuple[dict[str, Any], float]:
        began = time.monotonic()
        done = publisher.run("preserve", REPO)
        seconds = time.monotonic() - began
        _require("preserve", done["commit"] == commit, f"commit {commit}", done["commit"])
        _require("preserve", done["provenance"] == "proven", "provenance proven", done["provenance"])
        what = f"{format_size(done['size'])} downloaded and hashed in {seconds:.1f} s"
        self.tell("preserve", f"{what}; proven: these are the files of that git commit")
        self.tell("torrent", f"BitTorrent v1 {done['infohash_v1'][:12]}… and v2 {done['infohash_v2'][:12]}…")
        return done, seconds

    def _publish(self, publisher: NodeProcess) -> tuple[dict[str, Any], float]:
        publisher.run("keys", "init", "--name", PUBLISHER, "--no-passphrase")
        began = time.monotonic()
        done = publisher.run("publish", "--out", str(self._site), "--yes")
        seconds = time.monotonic() - began
        who = f"{PUBLISHER}, {done['publisher'][:12]}…"
        self.tell("publish", f"{who}, signed index version {done['version']} with {done['entries']} model")
        return done, seconds

    @contextmanager
    def _seeding(self, publisher: NodeProcess) -> Iterator[str]:
        with SeedProcess(publisher, ("--listen", "127.0.0.1:0", *_LOOPBACK_ONLY)) as seeding:
            listening = seeding.wait_for("listening")
            seeding.wait_for("seeding")
            peer = f"127.0.0.1:{listening['port']}"
            self.tell("seed", f"the publisher's node serves it at {peer}")
            yield peer

    def _stop(self, hub: LocalHub) -> None:
        hub.close()
        _require("stop the Hub", not _answers(hub.endpoint), "no answer", f"{hub.endpoint} still answers")
        self.tell("the Hub", "is stopped: its address refuses connections, and nothing below can reach it")

    def _trust(self, stranger: NodeProcess, publisher: str) -> None:
        done = stranger.run("trust", "add", publisher, "--index", str(self._site / "index.json"))
        _require("trust add", done["publisher"] == publisher, publisher, done["publisher"])
        found = stranger.run("search", "qwen3")["results"]
        _require("search", len(found) == 1, "one model found", len(found))
        self.tell("a stranger", f"pins that publisher id, checks the index and finds {len(found)} model in it")

    def _fetch(self, stranger: NodeProcess, preserved: dict[str, Any], peer: str) -> dict[str, Any]:
        done = stranger.run("fetch", preserved["magnet"], "--peer", peer, *_LOOPBACK_ONLY)
        _require("fetch", done["size"] == preserved["size"], f"{preserved['size']} bytes", done["size"])
        _require("fetch", done["bytes_from_web_seeds"] == 0, "0 bytes from web seeds", done["bytes_from_web_seeds"])
        rate = format_rate(done["size"] / max(done["seconds"], 0.001))
        amounts = f"{format_size(done['bytes_from_peers'])} from 1 peer, 0 B from web seeds"
        self.tell("fetch", f"by magnet link: {amounts}, in {done['seconds']:.1f} s ({rate})")
        return done

    def _verify(self, stranger: NodeProcess, preserved: dict[str, Any]) -> dict[str, Any]:
        done = stranger.run("verify", f"{preserved['repo']}@{preserved['commit']}")
        right = done["ok"] and done["files"] == preserved["files"] and done["provenance"] == "proven"
        _require("verify", right, f"{preserved['files']} files right and proven", done)
        signers = [signer["label"] for signer in done["signers"] if signer["state"] == "valid"]
        _require("verify", bool(signers), "a valid signature", done["signers"])
        self.tell("verify", f"{done['files']} files re-hashed, all right; signed by {', '.join(signers)}; proven")
        return done

    def _find_offline(self, stranger: NodeProcess, preserved: dict[str, Any]) -> None:
        output = stranger.python(_FIND_OFFLINE, preserved["repo"], HF_HUB_OFFLINE="1")
        found, made = _hashes(Path(output.strip())), _hashes(self._model)
        _require("find in the Hugging Face cache", found == made, made, found)
        self.tell(
            "offline", f"huggingface_hub finds it with HF_HUB_OFFLINE=1, all {len(found)} files as they were made"
        )

    def tell(self, title: str, text: str) -> None:
        """Tell one numbered line."""
        self._step += 1
        self._tell_line(f"{self._step:>2}  {title:<11} {text}")


def _require(step: str, condition: bool, expected: object, got: object) -> None:  # noqa: FBT001 - an assertion
    if not condition:
        raise DemoStepError(f"demo: {step} did not do as expected", expected=expected, got=got)


def _answers(endpoint: str) -> bool:
    address = urlsplit(endpoint)
    try:
        socket.create_connection((address.hostname, address.port), timeout=1).close()  # noqa: TID251 - the demo's own Hub
    except OSError:
        return False
    return True


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
