"""The environment of fault runs: a Hub, a publisher that published twice, peers that seed, and users in every state.

There are 2 commits of one model: `OLD`, which every user knows, and `NEW`, which most works are about. A user's folder
is a template: a run copies it and breaks something, and then the folder is judged.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import SnapshotId
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import noise, small_model, write_folder
from tests.support.nodes import quiet_config
from tests.support.preserved import in_cache
from tests.support.processes import p2pqwen, running
from tests.support.swarm import seeding
from tests.support.waiting import wait_until

REPO = "Qwen/Tiny"
WEIGHTS = "model.safetensors"
NEW_FILES = {**small_model(1_300_000), "vocab.bin": noise(300_000, "vocab")}
OLD_FILES = {**small_model(500_000), "config.json": b'{"model_type": "qwen2"}\n'}
QUIET = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")
SLOW = "6MB/s"
_MAIN = "refs/main"


@dataclass(frozen=True, slots=True)
class Published:
    """A published snapshot, its bytes and its torrent."""

    id: SnapshotId
    files: Mapping[str, bytes]
    torrent: Path

    @property
    def metainfo(self) -> Metainfo:
        return parse_metainfo(self.torrent.read_bytes())

    @property
    def commit(self) -> str:
        return str(self.id.commit)


@dataclass
class Scenery:
    """Everything, built once; `user` makes a fresh copy of a template."""

    folder: Path
    hub: HubSimulator
    publisher: Sha256 = field(init=False)
    old: Published = field(init=False)
    new: Published = field(init=False)
    fast: str = ""
    slow: str = ""

    def __post_init__(self) -> None:
        self._publish()
        self._make_templates()

    def template(self, name: str) -> Path:
        return self.folder / "templates" / name

    def user(self, template: str, folder: Path) -> CommandLine:
        """Copy a template to a folder that does not exist yet; hard links within it stay."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", self.template(template), folder], check=True)
        return CommandLine(folder, self.hub.endpoint)

    @cached_property
    def mirror(self) -> Path:
        """The folder in which readers look for indexes: first version 1, then version 2."""
        return self.folder / "mirror"

    def _publish(self) -> None:
        self.keeper = CommandLine(self.folder / "keeper", self.hub.endpoint)
        quiet_config(self.keeper)
        self.publisher = Sha256.parse(
            self.keeper.ok("keys", "init", "--name", "Keepers", "--no-passphrase")["publisher"]
        )
        self.old = self._preserve(OLD_FILES)
        self.keeper.ok("publish", "--out", self.mirror)
        shutil.copytree(self.mirror, self.folder / "site-1")
        self.new = self._preserve(NEW_FILES)

    def _preserve(self, files: Mapping[str, bytes]) -> Published:
        source = self.folder / "sources"
        shutil.rmtree(source, ignore_errors=True)
        commit = str(self.hub.add(REPO, write_folder(source, files)))
        done = self.keeper.ok("preserve", f"{REPO}@{commit}", HF_HUB_CACHE=str(self.folder / "unused-cache"))
        write_folder(self.folder / "folders" / commit, files)
        return Published(SnapshotId.parse(f"{REPO}@{commit}"), files, Path(done["torrent"]))

    def _make_templates(self) -> None:
        self._template("empty")
        reader = self._copy("empty", "reader")
        reader.ok("trust", "add", str(self.publisher), "--index", self.mirror)
        publisher = self._copy("empty", "publisher")
        shutil.rmtree(publisher.home)
        subprocess.run(["cp", "-a", self.keeper.home, publisher.home], check=True)
        shutil.copytree(self.folder / "site-1", publisher.home.parent / "site")
        cached = self._copy("empty", "cached")
        in_cache(cached, self.new.files, self.new.commit, REPO)
        # The publisher publishes version 2, which readers get with their next update.
        self.keeper.ok("publish", "--out", self.mirror)
        with seeding(self.keeper, snapshots=2) as (_, peer):
            holder = self._copy("reader", "holder")
            holder.ok("fetch", self.new.torrent, "--peer", peer, *QUIET, "--no-web-seeds", "--no-hf-cache")
        self._fetch_half(self._copy("reader", "half"))
        spoiled = self._copy("holder", "spoiled")
        blobs = in_cache(spoiled, {WEIGHTS: self.new.files[WEIGHTS]}, self.new.commit, REPO)
        spoil = next(path for path in blobs.iterdir() if path.name == self.etag(WEIGHTS))
        spoil.write_bytes(self.spoiled_weights)

    @property
    def spoiled_weights(self) -> bytes:
        """The weights in the cache of the template `spoiled`."""
        return self.new.files[WEIGHTS][:-1] + b"!"

    def etag(self, name: str) -> str:
        return str(Sha256.of(self.new.files[name]))

    def _template(self, name: str) -> None:
        """Make a user whose Hugging Face cache has another model, and the older commit as main."""
        user = CommandLine(self.template(name), self.hub.endpoint)
        quiet_config(user)
        in_cache(user, {"model.safetensors": b"another" * 1000, "config.json": b"[]"}, "d" * 40, "Other/Model")
        in_cache(user, self.old.files, self.old.commit, REPO)
        for repo, commit in (("Other--Model", "d" * 40), ("Qwen--Tiny", self.old.commit)):
            ref = user.cache / f"models--{repo}" / _MAIN
            ref.parent.mkdir(parents=True)
            ref.write_text(commit)

    def _copy(self, template: str, name: str) -> CommandLine:
        return self.user(template, self.template(name))

    def _fetch_half(self, user: CommandLine) -> None:
        """Start a fetch and interrupt it, so that there is resume data, and more on the disk than it records."""
        with seeding(self.keeper, "--upload-limit", "500KB/s", snapshots=2) as (_, slow):
            command = p2pqwen("fetch", self.new.torrent, "--peer", slow, *QUIET, "--no-web-seeds")
            weights = user.home / "library" / REPO / self.new.commit / WEIGHTS
            with running(command, user.environment) as process:
                wait_until(lambda: weights.exists() and weights.stat().st_blocks * 512 > 400_000, 60, "some weights")
                process.send_signal(signal.SIGINT)
                process.wait(30)
        assert any((user.home / "resume").iterdir())


@contextlib.contextmanager
def scenery(folder: Path) -> Iterator[Scenery]:
    """Build everything, with two peers that seed both snapshots, a fast one and a slow one."""
    with HubSimulator() as hub:
        scene = Scenery(folder, hub)
        subprocess.run(["cp", "-a", folder / "keeper", folder / "slow-keeper"], check=True)
        slow_keeper = CommandLine(folder / "slow-keeper", hub.endpoint)
        with (
            seeding(scene.keeper, snapshots=2) as (_, fast),
            seeding(slow_keeper, "--upload-limit", SLOW, snapshots=2) as (
                _,
                slow,
            ),
        ):
            scene.fast, scene.slow = fast, slow
            yield scene


def fetched(user: CommandLine, published: Published) -> Path:
    """Return the folder of the snapshot's files in a user's library."""
    return user.home / "library" / REPO / published.commit


def content(folder: Path) -> dict[str, bytes]:
    """Return every regular file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
