"""An archive of small snapshots with one publisher, a real tracker, and users who hold parts of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2pqwen.torrent.metainfo import Metainfo, parse_metainfo
from tests.support.command import CommandLine
from tests.support.models import ATTRIBUTES, README, noise, write_folder
from tests.support.other_clients import opentracker
from tests.support.preserved import Preserver
from tests.support.processes import Process, p2pqwen, running

CONFIG = '[network]\ndht = false\nlsd = false\nupnp = false\nweb_seeds = "never"\n'


@dataclass(frozen=True, slots=True)
class Archive:
    """`sizes` are the snapshots' sizes in bytes, by repository."""

    folder: Path
    publisher: Preserver
    tracker: str
    sizes: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.sizes.values())

    def person(self, name: str, config: str = CONFIG) -> CommandLine:
        """A user with an empty library who trusts the publisher and finds peers only through trackers."""
        someone = self.publisher.trusted_by(name)
        someone.home.mkdir(parents=True, exist_ok=True)
        (someone.home / "config.toml").write_text(config)
        return someone


@contextlib.contextmanager
def archive(folder: Path, sizes: Sequence[int], org: str = "Qwen") -> Iterator[Archive]:
    """Preserve a snapshot of about each size, and publish them all with a tracker."""
    publisher = Preserver(folder)
    made: dict[str, int] = {}
    torrents: list[Metainfo] = []
    for number, size in enumerate(sizes):
        repo, commit = f"{org}/Model-{number}", f"{number:040x}"
        files = {".gitattributes": ATTRIBUTES, "README.md": README, "model.bin": noise(size, repo)}
        source = write_folder(folder / "sources" / str(number), files)
        done = publisher.user.ok("preserve", "--from", source, "--repo", repo, "--commit", commit)
        made[repo] = done["size"]
        torrents.append(parse_metainfo(Path(done["torrent"]).read_bytes()))
    with opentracker(*torrents) as announce:
        publisher.user.ok("publish", "--out", publisher.site, "--tracker", announce, "--yes")
        (publisher.user.home / "config.toml").write_text(CONFIG)
        yield Archive(folder, publisher, announce, made)


@contextlib.contextmanager
def node_of(user: CommandLine, *options: str) -> Iterator[Process]:
    """Run a user's node, which finds peers only through trackers."""
    quiet = ("--no-dht", "--no-lsd", "--no-upnp")
    with running(p2pqwen("seed", "--listen", "127.0.0.1:0", *quiet, *options, "--json"), user.environment) as node:
        node.line(60, containing='"listening"')
        yield node


def swarms(user: CommandLine, *options: str) -> dict[str, dict[str, Any]]:
    """The answer of `health`, by repository."""
    return {row["repo"]: row for row in user.ok("health", *options)["swarms"]}
