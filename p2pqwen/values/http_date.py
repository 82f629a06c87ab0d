"""Parse times in HTTP fields (RFC 9110 5.6.7) from untrusted servers."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime  # noqa: TID251 - here alone: it raises three kinds of errors

_YEARS = range(1970, 9000)  # with room on both sides for callers' arithmetic and time zones


def parse_http_date(text: str) -> datetime | None:
    """Return the time in UTC, None if the text is no time or implausible."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC) if moment.year in _YEARS else None
