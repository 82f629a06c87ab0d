"""SHA-1, SHA-256 and git ids as types; printed and parsed only as lower-case hex."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import ClassVar, Self

from p2pqwen.errors import FormatError

_HEX = re.compile(r"[0-9a-f]*", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A hash value of a fixed length."""

    SIZE: ClassVar[int] = 0
    KIND: ClassVar[str] = "digest"

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != self.SIZE:
            raise FormatError(f"a {self.KIND} has the wrong length", expected=self.SIZE, got=len(self.raw))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse lower-case hex of the exact length; raises `FormatError` for anything else."""
        if len(text) != 2 * cls.SIZE or not _HEX.fullmatch(text):
            raise FormatError(
                f"not a {cls.KIND}", expected=f"{2 * cls.SIZE} lower-case hex digits", got=repr(text[:80])
            )
        return cls(bytes.fromhex(text))

    def __str__(self) -> str:
        return self.raw.hex()


class Sha1(Digest):
    """A SHA-1, as in BitTorrent v1."""

    __slots__ = ()
    SIZE = 20
    KIND = "SHA-1"


class Sha256(Digest):
    """A SHA-256."""

    __slots__ = ()
    SIZE = 32
    KIND = "SHA-256"

    @classmethod
    def of(cls, data: bytes | memoryview) -> Self:
        """Return the SHA-256 of these bytes."""
        return cls(hashlib.sha256(data).digest())


class GitOid(Sha1):
    """The SHA-1 id of a git object (blob, tree or commit)."""

    __slots__ = ()
    KIND = "git object id"


class CommitId(GitOid):
    """The id of a git commit: 40 hex digits, never a branch or a short form."""

    __slots__ = ()
    KIND = "commit id"
