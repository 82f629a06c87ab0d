"""When a server allows the next request: `Retry-After` (RFC 9110 10.2.3) and the `RateLimit` fields.

The Hub sends `RateLimit: "resolvers";r=0;t=55` (draft-ietf-httpapi-ratelimit-headers-09: r requests left, the window
ends in t seconds). Older servers send `RateLimit-Remaining` and `RateLimit-Reset`, some with the prefix `X-`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from p2pqwen.values.http_date import parse_http_date

LONGEST_WAIT = 3600.0
_PARAMETER = re.compile(r";\s*([rt])=([0-9]{1,9})(?=\s*(?:;|,|$))", re.ASCII)


def retry_after(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Return the seconds that `Retry-After` asks for, at most an hour; None without a valid value."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_WAIT)
    at = parse_http_date(text)
    return None if at is None else min(max((at - now).total_seconds(), 0.0), LONGEST_WAIT)


def quota_pause(headers: Mapping[str, str]) -> float | None:
    """Return the seconds until the next request is allowed if the quota is used up, else None."""
    pauses = [pause for policy in headers.get("RateLimit", "").split(",") if (pause := _policy_pause(policy))]
    for prefix in ("RateLimit-", "X-RateLimit-"):
        left, reset = headers.get(f"{prefix}Remaining", ""), headers.get(f"{prefix}Reset", "")
        if left.strip() == "0" and reset.isascii() and reset.isdigit() and int(reset[:9]) <= LONGEST_WAIT:
            pauses.append(float(reset))  # a larger number is a Unix time in some dialects, or implausible
    return min(max(pauses), LONGEST_WAIT) if pauses else None


def _policy_pause(policy: str) -> float | None:
    parameters = dict(_PARAMETER.findall(policy))
    return float(parameters["t"]) if parameters.get("r") == "0" and "t" in parameters else None
