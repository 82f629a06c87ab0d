"""Close the TCP side of a session that accepts nobody.

libtorrent 2.1 opens a TCP socket beside every UDP socket and keeps it listening with `enable_incoming_tcp` off, so
that connections pile up unanswered. A fetch needs the UDP side (DHT, UDP trackers, hole punching) and must not listen.
On Linux shutdown(2) takes a listening socket out of that state and leaves its descriptor to its owner.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")


def stop_listening(ports: Iterable[int]) -> None:
    """Take this process's TCP sockets that listen on these ports out of the listening state."""
    wanted = frozenset(ports)
    for entry in list(_DESCRIPTORS.iterdir()) if _DESCRIPTORS.is_dir() else ():
        try:
            if not stat.S_ISSOCK(entry.stat().st_mode):
                continue
            copy = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:
            continue  # closed meanwhile
        with copy:
            _shut_if_listening(copy, wanted)


def _shut_if_listening(sock: socket.socket, ports: frozenset[int]) -> None:
    try:
        if sock.family not in {socket.AF_INET, socket.AF_INET6}:
            return
        listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if listens and sock.getsockname()[1] in ports:
            sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed meanwhile
