"""Check the URLs in torrents and magnets: absolute, printable ASCII, without a password."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from p2pqwen.errors import FormatError

MAX_URL = 2048
WEB_SCHEMES = frozenset({"http", "https"})
# ws and wss are WebTorrent's. A link with one is accepted; `SwarmSettings.usable_trackers` leaves it out.
TRACKER_SCHEMES = WEB_SCHEMES | {"udp", "ws", "wss"}


def check_web_url(url: str) -> str:
    """Return an http or https URL unchanged; raises `FormatError`."""
    return _check(url, WEB_SCHEMES, "a web address")


def check_tracker_url(url: str) -> str:
    """Return a tracker's URL unchanged; raises `FormatError`."""
    return _check(url, TRACKER_SCHEMES, "a tracker address")


def _check(url: str, schemes: frozenset[str], what: str) -> str:
    problem = f"not {what}"
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or set(url) & set(' "<>\\^`{|}'):
        raise FormatError(problem, expected=f"printable ASCII of at most {MAX_URL} characters", got=_shown(url))
    try:
        parts = urlsplit(url)
        valid = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    else:
        if valid and "@" in parts.netloc:
            raise FormatError(problem, expected="no user name or password in it", got=repr(parts.hostname))
    if not valid:
        raise FormatError(problem, expected=f"{' or '.join(sorted(schemes))} with a host", got=_shown(url))
    return url


def _shown(url: str) -> str:
    """Return the URL for an error message, without what may be a password."""
    return repr(re.sub(r"//[^/]*@", "//…@", url)[:120])
