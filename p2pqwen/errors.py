"""The exception tree: one class for each thing a caller can do differently.

    P2pqwenError               exit 1: it failed; the text says why
    ├── UsageError             exit 2: the call itself is wrong
    │   └── UnsupportedArgumentError   of the Python API alone
    ├── VerificationError      exit 3: a signature, hash, provenance or version is not what it must be
    │   └── FormatError        exit 3: bytes from outside that do not follow their format
    ├── NotFoundError          exit 4: no source that we may believe knows the thing
    │   └── NotShownError      exit 4: the origin itself says that it does not show the thing
    │       └── DisabledError  exit 4: the origin disabled it for good
    ├── ClosedError            exit 1: the origin shows it, but does not serve it to everybody
    ├── NetworkError           exit 5: nobody to fetch from, or no answer in time
    └── DiskError              exit 6: full, or not permitted
        └── FailingDiskError   exit 6: the disk itself cannot read or write

Messages are lower case without a full stop: what, then expected and got if they add something.
The hint of a refusal by policy names the flag that lifts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self


class P2pqwenError(Exception):
    """Anything that a user or the network did that stops the work; shown without a traceback."""

    def __init__(self, what: str, *, expected: object = None, got: object = None, hint: str | None = None) -> None:
        self.what = what
        self.expected = None if expected is None else str(expected)
        self.got = None if got is None else str(got)
        self.hint = hint
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """`what, expected X, got Y`, without the unknown parts."""
        parts = [self.what]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.got is not None:
            parts.append(f"got {self.got}")
        return ", ".join(parts)


class Interruption(Exception):  # noqa: N818 - no fault
    """Raised to end a whole piece of work so that it can resume later: the node stops, the user's hours are over."""


class UsageError(P2pqwenError):
    """The call itself is wrong: a flag, a name, a missing answer."""

    @classmethod
    def of(cls, error: P2pqwenError, *, before: str = "") -> Self:
        """Return the error about a value that a person gave, with its hint; `before` names the value."""
        return cls(f"{before}{error.what}", expected=error.expected, got=error.got, hint=error.hint)


class UnsupportedArgumentError(UsageError):
    """`p2pqwen.snapshot_download` got an argument of huggingface_hub's that it cannot honour."""


class VerificationError(P2pqwenError):
    """A signature, hash, provenance or version is not what it must be."""


class FormatError(VerificationError):
    """Bytes from a file or the network that do not follow their format."""


class NotFoundError(P2pqwenError):
    """No source that we may believe knows the thing asked for."""


class NotShownError(NotFoundError):
    """The origin itself says that it shows the public no such repository or revision.

    Any other 404 may come from something in between, such as a proxy, and does not prove that anything was deleted.
    """


class InUseError(P2pqwenError):
    """Another piece of work is using the same thing now; it will be free later."""


class ClosedError(P2pqwenError):
    """The origin serves a repository to some people or to nobody; `closed` says which: `gated` or `disabled`."""

    closed = "gated"


class DisabledError(ClosedError, NotShownError):
    """The origin itself has disabled a repository and no longer serves it to anybody."""

    closed = "disabled"


class NetworkError(P2pqwenError):
    """Nobody to fetch from, or no answer in time."""


class DiskError(P2pqwenError):
    """The disk is full, or access is not permitted."""


class FailingDiskError(DiskError):
    """The disk itself cannot read or write what it should: EIO, or a file system that contradicts itself."""


@contextmanager
def about(file: object) -> Iterator[None]:
    """Put the file (or address) before the message of a `VerificationError`: the user may have given several."""
    try:
        yield
    except VerificationError as error:
        error.what = f"{file}: {error.what}"
        error.args = (error.message,)
        raise
