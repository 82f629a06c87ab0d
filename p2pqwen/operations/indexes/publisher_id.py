"""Publisher ids as users type them."""

from __future__ import annotations

from p2pqwen.errors import FormatError, NotFoundError, UsageError
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.values.digest import Sha256

MIN_PREFIX = 8


def parse_publisher(text: str) -> Sha256:
    """Parse a whole publisher id that a user typed; raises `UsageError`."""
    try:
        return Sha256.parse(text.strip())
    except FormatError as error:
        raise UsageError("not a publisher id", expected="64 lower-case hex digits", got=repr(text[:80])) from error


def find_publisher(store: TrustStore, text: str) -> Sha256:
    """Return the trusted publisher whose id is, or begins with, `text`; raises `NotFoundError`, `UsageError`."""
    matching = [one for one in store.ids() if str(one).startswith(text)]
    if len(text) < MIN_PREFIX or len(matching) > 1:
        raise UsageError(
            "not enough of a publisher id",
            expected=f"{MIN_PREFIX} or more digits of one",
            got=repr(text),
            hint="see `p2pqwen trust list`",
        )
    if not matching:
        raise NotFoundError(f"publisher {text} is not trusted", hint="see `p2pqwen trust list`")
    return matching[0]
