"""A publisher with a library, the site it publishes to, and readers, all through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from p2pqwen.library.home import Home
from tests.support.command import CommandLine
from tests.support.snapshots import hold, make_snapshot

TINY = f"Qwen/Tiny@{make_snapshot().commit}"


class World:
    """A publisher with one snapshot, the site it publishes to, and readers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.keeper = self.user("keeper")
        self.id = self.keeper.ok("keys", "init", "--name", "Test Keep", "--no-passphrase")["publisher"]
        self.held = hold(Home(self.keeper.home))

    def user(self, name: str) -> CommandLine:
        user = CommandLine(self.folder / name)
        user.environment["HF_ENDPOINT"] = "https://hub.invalid"  # RFC 6761: never resolves
        return user

    def publish(self, *options: str | Path) -> dict[str, Any]:
        return self.keeper.ok("publish", "--out", self.site, *options)

    def reader(self, name: str = "reader") -> CommandLine:
        reader = self.user(name)
        reader.ok("trust", "add", self.id, "--index", self.site)
        return reader

    @property
    def index(self) -> dict[str, Any]:
        return json.loads((self.site / "index.json").read_text())
