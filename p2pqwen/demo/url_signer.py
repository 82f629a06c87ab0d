"""Expiring download URLs like those of the Hub's content delivery: `X-Amz-Date`, `X-Amz-Expires`, a signature."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

_STAMP = "%Y%m%dT%H%M%SZ"


class UrlSigner:
    """Signs paths for a limited time and checks signed paths."""

    def __init__(self, lifetime: int) -> None:
        self.lifetime = lifetime
        self._secret = os.urandom(32)

    def query(self, path: str, filename: str) -> str:
        """Return the query string to append to a path, valid for `lifetime` seconds."""
        stamp = datetime.now(UTC).strftime(_STAMP)
        lifetime = str(self.lifetime)
        parameters = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": lifetime,
            "X-Amz-Signature": self._sign(path, stamp, lifetime),
            "response-content-disposition": f'inline; filename="{filename}";',
        }
        return urlencode(parameters)

    def holds(self, path: str, query: Mapping[str, str]) -> bool:
        """Tell whether the query signs this path and has not expired."""
        stamp, lifetime = query.get("X-Amz-Date", ""), query.get("X-Amz-Expires", "")
        if not hmac.compare_digest(self._sign(path, stamp, lifetime), query.get("X-Amz-Signature", "")):
            return False
        issued = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
        return time.time() < issued.timestamp() + int(lifetime)

    def _sign(self, path: str, stamp: str, lifetime: str) -> str:
        text = f"{path}\n{stamp}\n{lifetime}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()
