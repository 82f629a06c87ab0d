"""One piece of work, done over and over in a child process that is struck at its n-th write step, for every n.

    python -m tests.attacks.faults WORK FAULT TEMPLATE SCRATCH

WORK is `update`, `publish`, `rotate` or `trust`; FAULT is `kill` (SIGKILL, in the middle of writing half the data) or
the name of an errno that the step then fails with. Each child starts from a copy of TEMPLATE; what it left behind is
judged by the caller, through the line of JSON this prints for it. It ends with the first child that got through.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from p2pqwen.errors import P2pqwenError
from p2pqwen.hub.hub_site import HubSite
from p2pqwen.index.root import INDEX_ROLE
from p2pqwen.index.rotation import RootChange
from p2pqwen.library.home import Home
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.snapshots import Library
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.mirrors.location import Location
from p2pqwen.operations.indexes.trust import add_publisher
from p2pqwen.operations.indexes.update import update
from p2pqwen.operations.publish.keys import make_keys
from p2pqwen.operations.publish.plan import Plan
from p2pqwen.operations.publish.publish import publish
from p2pqwen.operations.publish.rotate import rotate
from p2pqwen.values.digest import Sha256
from tests.support.publishing import NOW

STEPS = ("open", "fsync", "replace", "rename", "unlink", "mkdir", "ftruncate", "pwrite", "fdopen")
MOST = 400


def update_work(root: Path) -> None:
    store = TrustStore(Home(root / "home"))
    publisher = Sha256.parse((root / "publisher").read_text())
    update(store, store.get(publisher, now=NOW), now=NOW)


def publish_work(root: Path) -> None:
    home = Home(root / "home")
    plan = Plan(out=root / "site", site=HubSite("https://huggingface.co"))
    publish(Library(home), KeyStore(home), plan, passphrase=lambda _: "", now=NOW + timedelta(days=1), check=None)


def rotate_work(root: Path) -> None:
    """Replace a stolen index key; its successor is made here."""
    store = KeyStore(Home(root / "home"))
    (made,) = make_keys(["fresh"])
    (stolen,) = store.root().roles[INDEX_ROLE].keyids
    change = RootChange(stolen=(stolen,), add={INDEX_ROLE: (made.shown,)})
    rotate(store, change, (made.private,), draft=None, passphrase=lambda _: "", new_passphrase=None)


def trust_work(root: Path) -> None:
    """Trust a publisher at first use."""
    store, publisher = TrustStore(Home(root / "home")), Sha256.parse((root / "publisher").read_text())
    add_publisher(store, publisher, Location(str(root / "site")), now=NOW)


WORK = {"update": update_work, "publish": publish_work, "rotate": rotate_work, "trust": trust_work}


class Striker:
    """Counts write steps and strikes at one of them."""

    def __init__(self, at: int, fault: str) -> None:
        self.at, self.fault, self.count = at, fault, 0

    def step(self, half: Callable[[], object] = lambda: None) -> None:
        self.count += 1
        if self.count != self.at:
            return
        half()
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        code = getattr(errno, self.fault)
        raise OSError(code, os.strerror(code))

    def install(self) -> None:
        for name in STEPS:
            setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            reading = name == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR)
            if not reading and name != "fdopen":
                self.step()
            result = real(*arguments, **options)
            return HalfWriter(result, self) if name == "fdopen" else result

        return call


class HalfWriter:
    """A file whose `write` is a step that may stop half-way."""

    def __init__(self, file: Any, striker: Striker) -> None:
        self._file, self._striker = file, striker

    def write(self, data: bytes) -> int:
        self._striker.step(lambda: (self._file.write(data[: len(data) // 2]), self._file.flush()))
        return self._file.write(data)

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(self, *arguments: object) -> None:
        self._file.__exit__(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def child(work: Callable[[Path], None], root: Path, striker: Striker) -> int:
    """Do the work with faults; 0 done, 3 a clean error of ours, 4 anything else."""
    striker.install()
    try:
        work(root)
    except P2pqwenError:
        return 3
    except BaseException as error:  # noqa: BLE001 - the child's last words
        print(repr(error), file=sys.stderr)
        return 4
    return 0


def main(work: str, fault: str, template: str, scratch: str) -> None:
    for at in range(1, MOST):
        root = Path(scratch) / f"{at:03}"
        shutil.copytree(template, root, symlinks=True)
        pid = os.fork()
        if pid == 0:
            striker = Striker(at, fault)
            code = child(WORK[work], root, striker)
            os._exit(10 + code if striker.count >= at else code)
        status = os.waitpid(pid, 0)[1]
        killed = os.WIFSIGNALED(status)
        code = -os.WTERMSIG(status) if killed else os.WEXITSTATUS(status)
        print(json.dumps({"at": at, "code": code, "root": str(root)}), flush=True)
        if not killed and code < 10:
            return
    raise SystemExit("the work never ends")


if __name__ == "__main__":
    main(*sys.argv[1:])
