"""How long a redirect's target stays valid, by its own query, as the usual storage services write it.

S3 and compatible: `X-Amz-Date` (or `X-Goog-Date`) plus `X-Amz-Expires` seconds. CloudFront and S3's older form:
`Expires` in epoch seconds. Azure: `se`, an ISO time. Else the redirect's `Cache-Control: max-age`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

_COMPACT = "%Y%m%dT%H%M%SZ"
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=([0-9]{1,9})", re.ASCII | re.IGNORECASE)
_LONGEST = timedelta(days=30)


def lifetime(url: str, *, now: datetime, cache_control: str = "") -> float | None:
    """Return for how many seconds from `now` the URL will work, never negative; None if nothing tells."""
    query = {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}
    end = _issued_plus(query, "x-amz") or _issued_plus(query, "x-goog") or _epoch(query) or _azure(query)
    if end is not None:
        return max((min(end, now + _LONGEST) - now).total_seconds(), 0.0)
    if match := _MAX_AGE.search(cache_control):
        return float(min(int(match[1]), _LONGEST.total_seconds()))
    return None


def _issued_plus(query: dict[str, str], prefix: str) -> datetime | None:
    issued, seconds = query.get(f"{prefix}-date", ""), query.get(f"{prefix}-expires", "")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 10):
        return None
    try:
        return datetime.strptime(issued, _COMPACT).replace(tzinfo=UTC) + timedelta(seconds=int(seconds))
    except (ValueError, OverflowError):
        return None


def _epoch(query: dict[str, str]) -> datetime | None:
    text = query.get("expires", "")
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        return None
    return datetime.fromtimestamp(int(text), UTC)


def _azure(query: dict[str, str]) -> datetime | None:
    if "sig" not in query:
        return None
    try:
        end = datetime.fromisoformat(query.get("se", ""))
    except ValueError:
        return None
    return end if end.tzinfo else end.replace(tzinfo=UTC)
