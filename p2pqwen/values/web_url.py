"""URLs in documents: http or https, a plain ASCII host, a port from 1 to 65535.

They have no credentials, queries or fragments. Whether the host may be contacted at all (loopback, private addresses)
is decided at the connection.
"""

from __future__ import annotations

import ipaddress
import re

from p2pqwen.errors import FormatError

MAX_URL = 2048
PORTS = range(1, 65536)
_URL = re.compile(
    r"https?://"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[(?P<v6>[0-9A-Fa-f:.]{2,45})\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?",
    re.ASCII,
)


def check_web_url(text: str) -> str:
    """Return the URL unchanged; raises `FormatError` for any that is not plain.

    Not plain: other schemes, `user:password@`, hosts outside ASCII and their `xn--` forms, ports other than 1 to 65535,
    queries, fragments, blanks, control characters, `..` components.
    """
    host = text.partition("://")[2].partition("/")[0].lower()
    found = _URL.fullmatch(text) if len(text) <= MAX_URL else None
    if found is None or "xn--" in host or "/../" in text + "/":
        raise FormatError("not a plain web address", expected="http(s)://host[:port]/path", got=repr(text[:120]))
    if found["port"] is not None and int(found["port"]) not in PORTS:
        raise FormatError("not a plain web address", expected="a port from 1 to 65535", got=repr(text[:120]))
    if found["v6"] is not None and not _is_v6(found["v6"]):
        raise FormatError("not a plain web address", expected="an IPv6 address in brackets", got=repr(text[:120]))
    return text


def _is_v6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
