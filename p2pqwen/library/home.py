"""Where a node keeps its things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The folders and files under one node's root."""

    root: Path

    @property
    def library(self) -> Path:
        """Snapshots: `<org>/<model>/<commit>/…` with `<commit>.torrent` beside it."""
        return self.root / "library"

    @property
    def library_folders(self) -> Path:
        """What was seen last in the library's folders on other disks."""
        return self.root / "folders.json"

    @property
    def staging(self) -> Path:
        """Snapshots being made; on the library's file system, so that installing one is a rename."""
        return self.library / ".staging"

    @property
    def keys(self) -> Path:
        """Private keys and what this publisher published last."""
        return self.root / "keys"

    @property
    def trust(self) -> Path:
        """One folder for each trusted publisher."""
        return self.root / "trust"

    @property
    def bundles(self) -> Path:
        """Published sites as torrents: one folder for each publisher, one bundle for each index."""
        return self.root / "bundles"

    @property
    def pointers(self) -> Path:
        """The signed DHT items this node keeps alive: one folder for each publisher."""
        return self.root / "pointers"

    @property
    def known_peers(self) -> Path:
        """Peers and DHT nodes that answered before."""
        return self.root / "peers.json"

    @property
    def resume(self) -> Path:
        """Resume data of unfinished downloads."""
        return self.root / "resume"

    @property
    def verified(self) -> Path:
        """What was verified, and how the files looked then."""
        return self.root / "verified"

    @property
    def node_state(self) -> Path:
        """What the running node says of itself, for `status`."""
        return self.root / "node.json"

    @property
    def state(self) -> Path:
        """What the node remembers between runs: choices, counters, what was scrubbed."""
        return self.root / "state.sqlite"

    @property
    def locks(self) -> Path:
        """Lock files, one for each thing only one process may do."""
        return self.root / "locks"

    @property
    def config_file(self) -> Path:
        """The user's settings."""
        return self.root / "config.toml"
