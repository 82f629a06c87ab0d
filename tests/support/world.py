"""A Hub with one model, a publisher that holds, publishes and seeds it, and a reader who trusts that publisher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder
from tests.support.nodes import quiet_config
from tests.support.swarm import seeding

REPO = "Qwen/Tiny"
NOBODY = "127.0.0.1:9"
NODE_FILES = ("node.json", "control.sock", "node.lock")  # of a node that runs in the home


@dataclass(slots=True)
class World:
    """A Hub with one model, a publisher that holds and seeds it, and a reader who trusts the publisher."""

    folder: Path
    hub: HubSimulator
    commit: str = ""
    publisher: CommandLine = field(init=False)
    reader: CommandLine = field(init=False)
    identity: str = field(init=False)
    peer: str = ""

    def __post_init__(self) -> None:
        self.commit = str(self.hub.add(REPO, write_folder(self.folder / "model", small_model(600_000))))
        self.publisher = self.user("publisher")
        self.publisher.ok("preserve", REPO)
        self.identity = self.publisher.ok("keys", "init", "--name", "Keepers", "--no-passphrase")["publisher"]
        self.publisher.ok("publish", "--out", self.site, "--yes")
        self.reader = self.trusting("reader")

    def user(self, name: str, **options: Any) -> CommandLine:
        """Return a user with a new home, whose network stays on this machine."""
        someone = CommandLine(self.folder / name, self.hub.endpoint, **options)
        quiet_config(someone)
        return someone

    def trusting(self, name: str, **options: Any) -> CommandLine:
        someone = self.user(name, **options)
        someone.ok("trust", "add", self.identity, "--index", self.site)
        return someone

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def index(self) -> Path:
        return self.site / "index.json"

    @property
    def torrent(self) -> Path:
        return self.site / REPO / f"{self.commit}.torrent"

    @property
    def entry(self) -> dict[str, Any]:
        return json.loads(self.index.read_text())["signed"]["entries"][0]

    def publishers_copy(self, folder: Path) -> CommandLine:
        """Return the publisher with a copy of the home, for changes."""
        copy = CommandLine(folder, self.hub.endpoint)
        shutil.copytree(self.publisher.home, copy.home, ignore=shutil.ignore_patterns(*NODE_FILES))
        return copy


@contextmanager
def seeded_world(folder: Path) -> Iterator[World]:
    """A world whose publisher's node seeds; `peer` is its address."""
    with HubSimulator() as hub:
        found = World(folder, hub)
        with seeding(found.publisher) as (_, found.peer):
            yield found
