"""Times in HTTP fields (RFC 9110 5.6.7), as strangers write them."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime  # noqa: TID251 - here alone: it raises three kinds of errors

_YEARS = range(1970, 9000)  # with room on both sides for a reader who adds to it, or has another zone


def parse_http_date(text: str) -> datetime | None:
    """Return the time in UTC, None where the text is none or one that no clock shows."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC) if moment.year in _YEARS else None
