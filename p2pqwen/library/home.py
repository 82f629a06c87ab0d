"""Where a node keeps its files.

A home is private to its owner: it shows what they hold, fetch, publish and trust, and from whom. `durable` makes the
files in it, and makes them private; a home of an older version is closed when a command starts. To share models with
other users of the machine, name a library folder outside the home, or let them read the Hugging Face cache. Neither is
touched here.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.portable.owners import is_ours, others_may
from p2pqwen.values.digest import Sha256
from p2pqwen.values.snapshot_id import SnapshotId
from p2pqwen.values.snapshot_place import file_stem

_CLOSED = frozenset({
    "bundles", "choices.json", "config.toml", "control.json", "control.sock", "dashboard.json", "folders.json",
    "hub.json", "keys", "locks", "log", "node.json", "peers.json", "pointers", "resume", "sites",
    "state.sqlite", "trust", "verified", "xet",
})  # fmt: skip
# SQLite's files, what was set aside, and what an interrupted write left.
_BESIDE = re.compile(r"\.?state\.sqlite[-.].+|\..+\.[0-9]+-[0-9a-f]{8}\.tmp")
_ID = "[0-9a-f]" * 64


@dataclass(frozen=True, slots=True)
class Home:
    """The folders and files under one node's root."""

    root: Path

    @property
    def is_open(self) -> bool:
        """Whether other users of this machine can read it."""
        try:
            return bool(others_may(self.root.stat()))
        except OSError:
            return False

    def close_to_others(self) -> bool:
        """Close a home that others may read, if it is one and ours; tell whether it was open.

        Only files with a name of ours that belong to this user are changed. The payload keeps its modes, since it may
        be hard-linked into the Hugging Face cache. So does any other file with a second name, and no link is followed.
        A folder that contains other things (`/tmp`, a user's home directory) stays open itself; `doctor` says so.
        """
        if not self.is_open or not self._is_a_home:
            return False
        try:
            for entry in os.scandir(self.root):
                if entry.name in _CLOSED or _BESIDE.fullmatch(entry.name):
                    _close_all(Path(entry.path))
            if self._is_ours_alone:  # last, so that an interrupted run is repeated
                self.root.chmod(0o700)
        except OSError:
            return False  # another user's, or read-only: `doctor` says so
        return True

    @property
    def is_shared(self) -> bool:
        """Whether this folder contains other things, so that it is not ours to close."""
        try:
            return not self._is_ours_alone
        except OSError:
            return False

    @property
    def _is_a_home(self) -> bool:
        """Whether a node used this folder: `keys` or `library` alone may be anybody's."""
        files = (self.state, self.choices, self.known_peers, self.node_state)
        inside = ((self.locks, "*.lock"), (self.keys, "*.pem"), (self.trust, _ID), (self.library, "*/*/*.torrent"))
        return any(path.is_file() for path in files) or any(
            next(folder.glob(pattern), None) is not None for folder, pattern in inside
        )

    @property
    def _is_ours_alone(self) -> bool:
        found = self.root.stat()
        somebodys = Path("~").expanduser() if "HOME" in os.environ else None
        if not is_ours(found) or found.st_mode & stat.S_ISVTX or self.root == somebodys:
            return False
        return not any(
            entry.is_dir(follow_symlinks=False) and entry.name not in _CLOSED and entry.name != self.library.name
            for entry in os.scandir(self.root)
        )

    @property
    def log(self) -> Path:
        """The node's event log."""
        return self.root / "log"

    @property
    def xet(self) -> Path:
        """The Xet hashes of the files of held snapshots."""
        return self.root / "xet"

    @property
    def library(self) -> Path:
        """Snapshots: `<org>/<model>/<commit>/…` with `<commit>.torrent` beside it."""
        return self.root / "library"

    @property
    def library_folders(self) -> Path:
        """What was last seen in the library's folders on other disks."""
        return self.root / "folders.json"

    @property
    def staging(self) -> Path:
        """Snapshots being made; on the library's file system, so installing one is a rename."""
        return self.library / ".staging"

    @property
    def keys(self) -> Path:
        """Private keys and what this publisher last published."""
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

    def resume_file(self, snapshot: SnapshotId, infohash: Sha256) -> Path:
        """Return the file of a torrent's resume data, by v2 infohash. It belongs to this snapshot, not to a twin."""
        return self.resume / f"{file_stem(snapshot)}.{str(infohash)[:16]}.resume"

    @property
    def verified(self) -> Path:
        """What was verified, and how the files looked at that time."""
        return self.root / "verified"

    @property
    def node_state(self) -> Path:
        """What the running node says of itself, for `status`."""
        return self.root / "node.json"

    @property
    def hub_endpoint(self) -> Path:
        """Where this home's Hub endpoint answers, while one runs."""
        return self.root / "hub.json"

    @property
    def state(self) -> Path:
        """What the node remembers between runs: choices, counters, what was scrubbed."""
        return self.root / "state.sqlite"

    @property
    def choices(self) -> Path:
        """What the user chose, kept beside the state so that it survives the loss of it."""
        return self.root / "choices.json"

    @property
    def trusts_somebody(self) -> bool:
        """Whether this home holds a pinned publisher, or a publisher of its own."""
        return any(folder.is_dir() and any(folder.iterdir()) for folder in (self.trust, self.keys))

    @property
    def locks(self) -> Path:
        """Lock files, one for each thing only one process may do."""
        return self.root / "locks"

    @property
    def config_file(self) -> Path:
        """The user's settings."""
        return self.root / "config.toml"


def _close_all(path: Path) -> None:
    """Close a path and, if it is a folder, everything in it."""
    if not path.is_symlink() and path.is_dir():
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                _close(Path(folder) / name)
    _close(path)


def _close(path: Path) -> None:
    """Remove other users' permissions from a folder, or from a file with only one name."""
    found = path.lstat()
    has_one_name = stat.S_ISDIR(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
    if has_one_name and (theirs := others_may(found)) and is_ours(found):
        path.chmod(stat.S_IMODE(found.st_mode) & ~theirs)
