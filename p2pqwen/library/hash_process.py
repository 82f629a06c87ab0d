"""A child process that hashes for this one (`hash_child`): start it, ask it, end it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256

from p2pqwen.library.hash_child import NOT_READ

_END_SECONDS = 1.0


class HashProcess:
    """Answers one request after another; `close` ends it, and it ends when this process does."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it; raises `OSError`."""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us; the child ends when we do
        )

    def ask(self, request: object, size: int) -> bytes:
        """Return the first `size` bytes of an answer; raises `OSError` if it does not answer."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        line = json.dumps(request).encode() + b"\n"
        self._process.stdin.write(line)
        self._process.stdin.flush()
        begin = sha256(line).digest()
        if self.read(len(begin)) != begin:
            raise BrokenPipeError("something else writes where the process that hashes answers")
        return self.read(size)

    def read(self, size: int) -> bytes:
        """Return the next bytes of an answer; raises `OSError` if there are no more."""
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        if len(answer := self._process.stdout.read(size)) != size:
            raise BrokenPipeError("the process that hashes has ended")
        return answer

    def could_not_read(self) -> bool:
        """Tell whether the process has ended, or is about to, because it could not read the file."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(_END_SECONDS) == NOT_READ
        return False

    def kill(self) -> None:
        """Kill it; a thread that waits for its answer gets an error."""
        self._process.kill()

    def close(self) -> None:
        """End it. Call while no thread waits for an answer."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # noqa: S101 - pipes
            with suppress(OSError):  # a request that it never read
                pipe.close()
        self._process.wait()
