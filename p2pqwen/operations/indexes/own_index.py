"""The index that this home published last, as it remembers it."""

from __future__ import annotations

from datetime import datetime

from p2pqwen.errors import VerificationError
from p2pqwen.index.acceptance import Accepted
from p2pqwen.library.index_rows.beside import read_accepted
from p2pqwen.library.key_store import KeyStore


def last_published(keys: KeyStore, now: datetime) -> Accepted | None:
    """Return the index that this home published last; raises `VerificationError` when its stored copy is damaged."""
    publisher = keys.publisher()
    try:
        return read_accepted(keys.published_path, publisher, now) if keys.published_path.exists() else None
    except VerificationError as error:
        hint = "remove it and continue from what you published: `p2pqwen publish --base FILE`"
        raise VerificationError(f"{keys.published_path} is damaged: {error.message}", hint=hint) from error
