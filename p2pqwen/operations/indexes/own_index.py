"""The index that this home published last, as it remembers it."""

from __future__ import annotations

from datetime import datetime

from p2pqwen.errors import VerificationError
from p2pqwen.index.acceptance import Accepted, TrustedState, accept
from p2pqwen.library.key_store import KeyStore


def last_published(keys: KeyStore, now: datetime) -> Accepted | None:
    """Return the index this home published last; raises `VerificationError` when the memory of it is damaged."""
    publisher = keys.publisher()
    try:
        data = keys.published()
        return None if data is None else accept(data, TrustedState(publisher), now)
    except VerificationError as error:
        hint = "remove it and continue from what you published: `p2pqwen publish --base FILE`"
        raise VerificationError(f"{keys.published_path} is damaged: {error.message}", hint=hint) from error
