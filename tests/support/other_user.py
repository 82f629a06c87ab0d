"""Run a function as another user of this machine: in a child process that has dropped its privileges."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

GROUP = 64_200
"""The group that the users below share."""


@dataclass(frozen=True, slots=True)
class OtherUser:
    """A user id with its own group, a member of `GROUP`, and the umask of its programs."""

    uid: int
    umask: int = 0o022

    def does(self, work: Callable[[], Any]) -> Any:
        """Return what `work` returns, or raise what it raises; what cannot be pickled comes as text."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            self._become()
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(_outcome(work))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        good, value = pickle.loads(told)
        if not good:
            raise value
        return value

    def _become(self) -> None:
        os.setgroups([GROUP])
        os.setgid(self.uid)
        os.setuid(self.uid)
        os.umask(self.umask)


ALICE, BOB = OtherUser(64_201), OtherUser(64_202)


def _outcome(work: Callable[[], Any]) -> bytes:
    try:
        return pickle.dumps((True, work()))
    except BaseException as error:  # noqa: BLE001 - raised in the parent
        problem = AssertionError(f"{type(error).__name__}: {error}; {getattr(error, 'hint', '')}")
        return pickle.dumps((False, problem))


@contextmanager
def place_for_all() -> Iterator[Path]:
    """A folder that every user of this machine may write to; pytest's own folders are not accessible."""
    folder = Path(tempfile.mkdtemp(prefix="p2pqwen-users-"))
    try:
        folder.chmod(0o777)
        yield folder
    finally:
        shutil.rmtree(folder)
