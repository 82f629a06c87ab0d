"""URLs that a document may send a reader to: http or https, a plain ASCII host, no credentials, no query.

Whether the host may be talked to at all (loopback, private addresses) is for whoever connects to say.
"""

from __future__ import annotations

import re

from p2pqwen.errors import FormatError

MAX_URL = 2048
_URL = re.compile(
    r"https?://"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::[0-9]{1,5})?"
    r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?",
    re.ASCII,
)


def check_web_url(text: str) -> str:
    """Return the URL as it is; raises `FormatError` for any that is not plain.

    Refused: other schemes, `user:password@`, hosts outside ASCII and their `xn--` forms, queries, fragments, blanks,
    control characters, `..` components.
    """
    host = text.partition("://")[2].partition("/")[0].lower()
    if len(text) > MAX_URL or not _URL.fullmatch(text) or "xn--" in host or "/../" in text + "/":
        raise FormatError("not a plain web address", expected="http(s)://host[:port]/path", got=repr(text[:120]))
    return text
