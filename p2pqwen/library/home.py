"""Where a node keeps its things.

A home is its owner's alone: it tells what somebody holds, fetches, publishes and trusts, and from whom. What is made in
it goes through `durable`, which makes it so; a home of an older version is closed when a command starts. Who wants to
share models with other users of the machine names a library folder outside of it, or lets them read the Hugging Face
cache; neither is touched.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Home:
    """The folders and files under one node's root."""

    root: Path

    @property
    def is_open(self) -> bool:
        """Whether others on this machine may look into it."""
        try:
            return bool(stat.S_IMODE(self.root.stat().st_mode) & _OTHERS)
        except OSError:
            return False

    def close_to_others(self) -> bool:
        """Close a home that others may look into, if it is one and ours; tell whether it was open.

        The payload keeps its modes: it may be hard-linked into the Hugging Face cache. So does whatever else has a
        second name, and no link is followed.
        """
        if not self.is_open or not self._is_a_home:
            return False
        try:
            for folder, folders, files in os.walk(self.root):
                if Path(folder) == self.root:
                    folders[:] = [name for name in folders if name != self.library.name]
                for name in (*folders, *files):
                    _close(Path(folder) / name)
            self.root.chmod(0o700)  # last: what is cut off before is begun again
        except OSError:
            return False  # another user's, or read-only: `doctor` says so
        return True

    @property
    def _is_a_home(self) -> bool:
        ours = (self.locks, self.state, self.trust, self.keys, self.library, self.known_peers)
        return any(path.exists() for path in ours)

    @property
    def log(self) -> Path:
        """The node's event log."""
        return self.root / "log"

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
    def choices(self) -> Path:
        """What the user said, kept beside the state: it survives that."""
        return self.root / "choices.json"

    @property
    def locks(self) -> Path:
        """Lock files, one for each thing only one process may do."""
        return self.root / "locks"

    @property
    def config_file(self) -> Path:
        """The user's settings."""
        return self.root / "config.toml"


def _close(path: Path) -> None:
    """Take away what others may do with a file or folder that has one name."""
    found = path.lstat()
    mode = stat.S_IMODE(found.st_mode)
    has_one_name = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
    if has_one_name and mode & _OTHERS:
        path.chmod(mode & ~_OTHERS)
