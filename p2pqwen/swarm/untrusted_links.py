"""What a stranger's link may make this machine connect to: public trackers and peers, never the user's own network.

A link costs its author nothing, and everything it names is contacted from inside the user's network. So only plain
trackers of a magnet are used: UDP, or HTTP at `…/announce` without a query. Then a name that later leads elsewhere can
only cause an announce. No tracker is used whose address is private, by its text or by its name.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from p2pqwen.errors import FormatError
from p2pqwen.values.address_class import AddressClass, classify
from p2pqwen.values.host import Host
from p2pqwen.values.named_hosts import NONE_NAMED, NamedHosts

LOOKUP_SECONDS = 4.0
MAX_HOSTS = 32
_OUTSIDE = frozenset({AddressClass.PUBLIC, AddressClass.STAND_IN})


def tracker_problem(url: str, named: NamedHosts = NONE_NAMED) -> str | None:
    """Return why a stranger's tracker is not used, judged by its text alone; None if it may be.

    `named` are the hosts of the user's network that the user named.
    """
    parts = urlsplit(url)
    if leads_inside(url, named):
        return "it is on this machine or its network"
    if parts.scheme == "udp":
        return None
    if parts.scheme not in {"http", "https"}:
        return "only UDP and HTTP trackers are used"
    if not parts.path.endswith("/announce") or "?" in url or "#" in url:
        return "a link's HTTP tracker must end in /announce"
    return None


def leads_inside(url: str, named: NamedHosts) -> bool:
    """Tell whether a tracker's host is private by its text, or unreadable, and the user has not named it."""
    try:
        host = Host.of_url(url)
    except FormatError:
        return True
    return (host.is_private or host.disguised) and host not in named


def is_named(url: str, named: NamedHosts) -> bool:
    """Tell whether the user named a tracker's host."""
    try:
        return Host.of_url(url) in named
    except FormatError:
        return False


def inside(hosts: Iterable[str], seconds: float = LOOKUP_SECONDS) -> frozenset[str]:
    """Return the hosts that resolve to a private address, or in this time to none at all."""
    wanted = list(dict.fromkeys(hosts))
    found: queue.SimpleQueue[tuple[str, Sequence[str]]] = queue.SimpleQueue()
    for host in wanted[:MAX_HOSTS]:
        # Daemon threads: a dead name server would otherwise delay the end of the program.
        threading.Thread(target=_look_up, args=(host, found), daemon=True).start()
    public = set()
    deadline = time.monotonic() + seconds
    for _ in wanted[:MAX_HOSTS]:
        try:
            host, addresses = found.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        if addresses and all(map(_is_outside, addresses)):
            public.add(host)
    return frozenset(wanted) - public


def _look_up(host: str, found: queue.SimpleQueue[tuple[str, Sequence[str]]]) -> None:
    try:
        rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        rows = []
    found.put((host, [str(row[4][0]) for row in rows]))


def _is_outside(address: str) -> bool:
    return classify(address) in _OUTSIDE
