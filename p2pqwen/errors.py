"""The exception tree: one class for each thing a caller can do differently.

    P2pqwenError               exit 1: it failed, and the text says why
    ├── UsageError             exit 2: the call itself is wrong
    │   └── UnsupportedArgumentError   of the Python API alone
    ├── VerificationError      exit 3: a signature, hash, provenance or version is not what it must be
    │   └── FormatError        exit 3: bytes from outside that do not follow their format
    ├── NotFoundError          exit 4: nobody we may believe knows the thing
    │   └── NotShownError      exit 4: the origin itself says that it does not show it
    │       └── DisabledError  exit 4: and never will again
    ├── ClosedError            exit 1: the origin shows it, and does not serve it to everybody
    ├── NetworkError           exit 5: nobody to fetch from, or no answer in time
    └── DiskError              exit 6: full, or not permitted
        └── FailingDiskError   exit 6: the disk itself cannot read or write

Messages are lower case without a full stop: what, then expected and got where they say more.
A refusal by policy names in its hint the flag that lifts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self


class P2pqwenError(Exception):
    """Anything a user or the network did that stops the work; never a traceback."""

    def __init__(self, what: str, *, expected: object = None, got: object = None, hint: str | None = None) -> None:
        self.what = what
        self.expected = None if expected is None else str(expected)
        self.got = None if got is None else str(got)
        self.hint = hint
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """`what, expected X, got Y`, leaving out what is not known."""
        parts = [self.what]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.got is not None:
            parts.append(f"got {self.got}")
        return ", ".join(parts)


class Interruption(Exception):  # noqa: N818 - no fault
    """Raised to end a whole piece of work where it can go on from: the node stops, the user's hours are over."""


class UsageError(P2pqwenError):
    """The call itself is wrong: a flag, a name, a missing answer."""

    @classmethod
    def of(cls, error: P2pqwenError, *, before: str = "") -> Self:
        """Return what is wrong with a value that a person gave, its hint included; `before` says which value."""
        return cls(f"{before}{error.what}", expected=error.expected, got=error.got, hint=error.hint)


class UnsupportedArgumentError(UsageError):
    """`p2pqwen.snapshot_download` got an argument of huggingface_hub's that it cannot honour."""


class VerificationError(P2pqwenError):
    """A signature, hash, provenance or version is not what it must be."""


class FormatError(VerificationError):
    """Bytes from a file or the network that do not follow their format."""


class NotFoundError(P2pqwenError):
    """Nobody we may believe knows the thing asked for."""


class NotShownError(NotFoundError):
    """The origin itself says that it shows strangers no such repository or revision.

    Any other 404 may come from whoever stands between, and is no reason to believe that something was deleted.
    """


class InUseError(P2pqwenError):
    """Something else works on the same thing just now; it is free again after that."""


class ClosedError(P2pqwenError):
    """The origin serves a repository to nobody, or not to everybody; `closed` says which: `gated` or `disabled`."""

    closed = "gated"


class DisabledError(ClosedError, NotShownError):
    """The origin itself has disabled a repository: it serves it to nobody any more."""

    closed = "disabled"


class NetworkError(P2pqwenError):
    """Nobody to fetch from, or no answer in time."""


class DiskError(P2pqwenError):
    """The disk is full, or does not let us."""


class FailingDiskError(DiskError):
    """The disk itself cannot read or write what it should: EIO, or a file system that contradicts itself."""


@contextmanager
def about(file: object) -> Iterator[None]:
    """Name the file (or address) in what is found wrong with it: the user may have given several."""
    try:
        yield
    except VerificationError as error:
        error.what = f"{file}: {error.what}"
        error.args = (error.message,)
        raise
