"""Sockets: in a folder, on a port taken again, that must not listen, and the bytes not acknowledged."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from p2pqwen.portable.optional import optional_module

_DESCRIPTORS = Path("/proc/self/fd")

_fcntl = optional_module("fcntl")
_termios = optional_module("termios")


def unix_sockets_work() -> bool:
    """Tell whether a socket can be a file here, at a path of any length."""
    return hasattr(socket, "AF_UNIX") and _DESCRIPTORS.is_dir()


def unix_socket() -> socket.socket:
    """Return a new socket to bind or connect to a file, if `unix_sockets_work`."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


@contextlib.contextmanager
def short_path(folder: Path, name: str) -> Iterator[str]:
    """Yield a path to a socket in a folder that is short enough, if `unix_sockets_work`; raises `OSError`.

    A socket's path may have 107 bytes (unix(7)), and a folder's may be longer. So the path goes through the folder's
    descriptor: /proc/self/fd/<n>/<name>.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield str(_DESCRIPTORS / str(opened) / name)
    finally:
        os.close(opened)


def take_port_again(listener: socket.socket) -> None:
    """Let an unbound socket take a port whose last connections are still closing.

    On Windows, SO_REUSEADDR means something else: it takes the port from the program that has it.
    """
    if os.name != "nt":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


@contextlib.contextmanager
def full_segments(connection: socket.socket) -> Iterator[None]:
    """Send a file over a TCP connection in full segments only, until the block ends; then the rest is sent.

    Without Nagle's algorithm, which HTTP servers disable for short answers, each part of a file that sendfile(2) sends
    may end in a short segment, and each segment wakes a waiting reader. Uses TCP_CORK of tcp(7); elsewhere the system
    decides.
    """
    cork = getattr(socket, "TCP_CORK", None)
    if cork is None:
        yield
        return
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, cork, 1)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # closed meanwhile
            connection.setsockopt(socket.IPPROTO_TCP, cork, 0)


def unacknowledged(connection: socket.socket) -> int:
    """Return the bytes that the system has taken and the peer has not acknowledged; 0 if the system does not tell.

    Bytes in the buffers of the reader's system count as taken: a few megabytes, once.
    """
    if _fcntl is None or _termios is None:
        return 0
    with contextlib.suppress(OSError, AttributeError, ValueError):  # tcp(7) SIOCOUTQ, which is TIOCOUTQ
        return int.from_bytes(_fcntl.ioctl(connection.fileno(), _termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return 0


def shut_listening(ports: Iterable[int]) -> frozenset[int]:
    """Stop this process's TCP sockets on these ports from listening; return the ports that still listen.

    On Linux, shutdown(2) does that and leaves the descriptor to its owner, and /proc lists the sockets. Elsewhere,
    every port is returned.
    """
    wanted = frozenset(ports)
    if not _DESCRIPTORS.is_dir():
        return wanted
    stay = set()
    for entry in list(_DESCRIPTORS.iterdir()):
        try:
            if not stat.S_ISSOCK(entry.stat().st_mode):
                continue
            copy = socket.socket(fileno=os.dup(int(entry.name)))
        except OSError:
            continue  # closed meanwhile
        with copy, contextlib.suppress(OSError):  # closed meanwhile
            if (port := _listening_port(copy)) in wanted:
                copy.shutdown(socket.SHUT_RDWR)
                if _listening_port(copy) is not None:
                    stay.add(port)
    return frozenset(stay)


def _listening_port(sock: socket.socket) -> int | None:
    if sock.family not in {socket.AF_INET, socket.AF_INET6} or sock.type != socket.SOCK_STREAM:
        return None
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None
    return int(sock.getsockname()[1])
