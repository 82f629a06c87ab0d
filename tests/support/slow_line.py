"""A line to a peer with a limited rate and a delay: a relay of TCP connections on loopback."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator

_PART = 16 << 10
_UNDER_WAY = 64  # parts


@contextlib.contextmanager
def slow_line(peer: str, rate: float, seconds: float) -> Iterator[str]:
    """Yield an address that leads to `peer`, whose answers arrive at `rate` bytes per second, each `seconds` late.

    Data to the peer arrives at once, so `seconds` is the round-trip time.
    """
    host, _, port = peer.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, (host, int(port)), rate, seconds), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, peer: tuple[str, int], rate: float, seconds: float) -> None:
    with contextlib.suppress(OSError):
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(peer)
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            late: queue.Queue[tuple[float, bytes]] = queue.Queue(max(_UNDER_WAY, int(rate * seconds / 1000)))
            for work, arguments in ((_copy, (near, far)), (_take, (far, late, rate, seconds)), (_give, (late, near))):
                threading.Thread(target=work, args=arguments, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_PART):
            target.sendall(data)
    _end(target)


def _take(source: socket.socket, late: queue.Queue[tuple[float, bytes]], rate: float, seconds: float) -> None:
    free = 0.0
    with contextlib.suppress(OSError):
        while data := source.recv(_PART):
            free = max(time.monotonic(), free) + len(data) / rate
            late.put((free + seconds, data))
    late.put((time.monotonic(), b""))


def _give(late: queue.Queue[tuple[float, bytes]], target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            at, data = late.get()
            if not data:
                break
            time.sleep(max(0.0, at - time.monotonic()))
            target.sendall(data)
    _end(target)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
