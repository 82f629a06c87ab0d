"""SHA-1 of git objects with git's own check for collision attacks (sha1dc), which hashlib does not have.

Whoever can write to a repository can make two blobs, trees or commits with one id (SHAttered, 2017; chosen prefixes,
2020) and hand out either as what a commit holds. The inputs that such attacks need can be told from others while they
are hashed; git refuses them, and so do we, through the copy of sha1dc in libgit2. It runs at a third of hashlib's speed
and holds the interpreter's lock, which is nothing for commits, trees and the small files that git itself holds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Literal

from p2pqwen.errors import VerificationError

if TYPE_CHECKING:
    from pygit2 import OdbBackend, Oid

Kind = Literal["blob", "tree", "commit"]


class CollisionAttackError(VerificationError):
    """A git object was made so that another one has its SHA-1."""


def object_id(kind: Kind, content: bytes) -> bytes:
    """Return the 20 bytes of a git object's id, given without its header.

    Raises `CollisionAttackError` for content that shows the marks of a SHA-1 collision attack.
    """
    hash_blob, git_error = _libgit2()
    try:
        return hash_blob(content).raw if kind == "blob" else _hash_other(kind, content)
    except git_error as error:
        raise refused(f"a git {kind} of {len(content)} bytes", error) from error


def load() -> None:
    """Have libgit2 loaded, for which the first who asks for an id would wait: about a tenth of a second."""
    object_id("blob", b"")


def refused(what: str, error: Exception) -> CollisionAttackError:
    """Return the error of an object that git's hash refuses."""
    return CollisionAttackError(
        f"{what} is refused by git's SHA-1",
        expected="content without the marks of a collision attack",
        got=str(error),
        hint="its author can show other content under the same id: warn others, and avoid it",
    )


@cache
def _libgit2() -> tuple[Callable[[bytes], Oid], type[Exception]]:
    """Return the function that hashes a blob and the error that it raises, looked up once for all small files."""
    from pygit2 import GitError
    from pygit2 import hash as hash_blob

    return hash_blob, GitError


def _hash_other(kind: Kind, content: bytes) -> bytes:
    """Hash by writing to an object database without a disk that has everything already: it hashes, and then is done.

    One for each call: libgit2 holds a database's lock while it calls back into Python, and two threads with one
    database would stop one another for ever.
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
