"""SHA-1 of git objects with git's own check for collision attacks (sha1dc), which hashlib does not have.

Anyone who can write to a repository can make two blobs, trees or commits with one id (SHAttered, 2017; chosen prefixes,
2020) and hand out either as the commit's content. The inputs of such attacks can be recognised while they are hashed.
git refuses them, and so do we, with the copy of sha1dc in libgit2. It runs at a third of hashlib's speed and holds the
GIL, which does not matter for commits, trees and the small files that git itself holds.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

from p2pqwen.errors import VerificationError

if TYPE_CHECKING:
    from pygit2 import OdbBackend

Kind = Literal["blob", "tree", "commit"]


class CollisionAttackError(VerificationError):
    """A git object was made to share its SHA-1 with another."""


def object_id(kind: Kind, content: bytes) -> bytes:
    """Return the 20 bytes of a git object's id; `content` excludes the header.

    Raises `CollisionAttackError` for content with the marks of a SHA-1 collision attack.
    """
    from pygit2 import GitError

    try:
        return _hash_blob(content) if kind == "blob" else _hash_other(kind, content)
    except GitError as error:
        raise refused(f"a git {kind} of {len(content)} bytes", error) from error


def load() -> None:
    """Load libgit2 now, for about 0.1 s, instead of at the first request for an id."""
    object_id("blob", b"")


def refused(what: str, error: Exception) -> CollisionAttackError:
    """Return the error for an object that git's hash refuses."""
    return CollisionAttackError(
        f"{what} is refused by git's SHA-1",
        expected="content without the marks of a collision attack",
        got=str(error),
        hint="its author can show other content under the same id: warn others, and avoid it",
    )


def _hash_blob(content: bytes) -> bytes:
    from pygit2 import hash as hash_blob

    return hash_blob(content).raw


def _hash_other(kind: Kind, content: bytes) -> bytes:
    """Hash by writing to an object database that claims to have every object: it hashes and stores nothing.

    Each call makes a new one: libgit2 holds a database's lock while it calls back into Python, so two threads that
    share a database would deadlock.
    """
    from pygit2 import Odb
    from pygit2.enums import ObjectType

    database = Odb()
    database.add_backend(_everything()(), 1)
    return database.write(ObjectType.TREE if kind == "tree" else ObjectType.COMMIT, content).raw


@cache
def _everything() -> type[OdbBackend]:
    from pygit2 import OdbBackend

    class Everything(OdbBackend):
        def exists_cb(self, _oid: object) -> bool:
            return True

    return Everything
